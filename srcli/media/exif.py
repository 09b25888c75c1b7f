"""EXIF and TIFF directories, read and changed in place (Exif 3.0, CIPA DC-008; TIFF 6.0).

EXIF is a small TIFF file inside the picture. It is changed byte by byte, and never taken apart and
rebuilt, so that maker notes, whose offsets only the camera's maker understands, and tags that
nobody knows come out as they went in.
"""

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

ByteOrder = Literal["<", ">"]

# TIFF 6.0 types (13 is IFD, 16 to 18 are BigTIFF's) and the bytes of one value.
TYPE_BYTES = {
    **{1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4},
    **{16: 8, 17: 8, 18: 8},
}
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT, _ORIENTATION = 0x0100, 0x0101, 0x0112
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_MAX_IFD_BYTES = 1 << 24

# What IFD0 says about the picture, as opposed to how its file is laid out: document name,
# description, make, model, page name, software, date, artist, host, rating, copyright, the
# Windows titles and comments.
DESCRIPTIVE_TAGS = frozenset(
    {269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an image file directory: where it stands and its value's bytes."""

    at: int
    tag: int
    type: int
    count: int
    value_at: int
    value: bytes | None  # None: it points outside the file

    @property
    def end(self) -> int:
        """The byte after its value."""
        return self.value_at + len(self.value or b"")

    def number(self, order: ByteOrder) -> int | None:
        """The value, if it is one SHORT or LONG."""
        found = self.numbers(order) if self.count == 1 else ()
        return found[0] if found else None

    def numbers(self, order: ByteOrder) -> tuple[int, ...]:
        """The value, if it is SHORTs or LONGs; else nothing."""
        code = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(self.type)
        if self.value is None or code is None:
            return ()
        return struct.unpack(f"{order}{self.count}{code}", self.value)


@dataclass(frozen=True, slots=True)
class Ifd:
    """An image file directory."""

    order: ByteOrder
    entries: dict[int, Entry]
    next_at: int
    next: int


def read_header(head: bytes) -> tuple[ByteOrder, bool, int]:
    """The byte order, whether it is BigTIFF, and the offset of IFD0, from the first 16 bytes.

    Raises:
        ValueError: it is not a TIFF header.
    """
    order: ByteOrder = "<" if head[:2] == b"II" else ">"
    if head[:4] in (b"II*\0", b"MM\0*") and len(head) >= 8:
        return order, False, struct.unpack_from(order + "I", head, 4)[0]
    if head[:4] in (b"II+\0", b"MM\0+") and len(head) >= 16:
        return order, True, struct.unpack_from(order + "Q", head, 8)[0]
    raise ValueError("no TIFF header")


def read_ifd(read_at: Callable[[int, int], bytes], order: ByteOrder, big: bool, offset: int) -> Ifd:
    """Read one directory.

    Args:
        read_at: (offset, length) to bytes, fewer at the end of the file.
        order, big, offset: from read_header, or from an entry that points to a directory.

    Raises:
        ValueError: the directory itself does not fit in the file. An entry whose value does not is
            kept, without the value.
    """

    def read(at: int, length: int) -> bytes:
        return read_at(at, length) if at <= sys.maxsize else b""  # BigTIFF has larger offsets

    count_format, entry_format, next_format = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    inline = 8 if big else 4
    entry_bytes = struct.calcsize("<" + entry_format) + inline
    count_bytes = struct.calcsize("<" + count_format)
    raw_count = read(offset, count_bytes) if offset >= 8 else b""
    if len(raw_count) < count_bytes:
        raise ValueError("a directory lies outside the file")
    count = struct.unpack(order + count_format, raw_count)[0]
    start = offset + count_bytes
    if count > 65_535:
        raise ValueError("a directory has too many entries")
    table = read(start, count * entry_bytes)
    if len(table) < count * entry_bytes:
        raise ValueError("a directory is cut short")
    entries = {}
    for index in range(count):
        tag, kind, items = struct.unpack_from(order + entry_format, table, index * entry_bytes)
        at = start + index * entry_bytes
        value_at = at + entry_bytes - inline
        size = TYPE_BYTES.get(kind, 1 << 40) * items
        value: bytes | None = None
        if size <= inline:
            value = read(value_at, size)
        elif size <= _MAX_IFD_BYTES:
            pointer = (index + 1) * entry_bytes - inline
            value_at = struct.unpack_from(order + next_format, table, pointer)[0]
            value = read(value_at, size)
        if value is not None and len(value) < size:
            value = None
        entries[tag] = Entry(at, tag, kind, items, value_at, value)
    next_at = start + count * entry_bytes
    raw_next = read(next_at, inline)
    following = struct.unpack(order + next_format, raw_next)[0] if len(raw_next) == inline else 0
    return Ifd(order, entries, next_at, following)


def strip_prefix(exif: bytes) -> bytes:
    """EXIF without JPEG's `Exif` prefix, which other formats lack or have by mistake."""
    return exif[6:] if exif[:6] in (b"Exif\0\0", b"Exif\0\xff") else exif


def patch_exif(exif: bytes, width: int, height: int) -> bytes:
    """EXIF for a picture of this size (after orientation).

    Orientation becomes 1, the sizes become the output's, the thumbnail goes: it shows the old
    picture, and may show what was cut off it. Nothing else changes.

    Raises:
        ValueError: its first directory cannot be read.
    """
    exif = strip_prefix(exif)
    order, big, offset = read_header(exif)
    if big:
        raise ValueError("EXIF is not BigTIFF")
    patched = bytearray(exif)

    def read_at(at: int, length: int) -> bytes:
        return bytes(patched[at : at + length])

    first = read_ifd(read_at, order, False, offset)
    known = [first]
    sizes = [(first, _WIDTH, width), (first, _HEIGHT, height)]
    for parent, tag in ((first, _EXIF_IFD), (first, _GPS_IFD)):
        child = _child(read_at, parent, tag)
        if child:
            known.append(child)
            if tag == _EXIF_IFD:
                sizes += [(child, _PIXEL_X, width), (child, _PIXEL_Y, height)]
                interop = _child(read_at, child, _INTEROP_IFD)
                known += [interop] if interop else []

    if _ORIENTATION in first.entries:
        entry = first.entries[_ORIENTATION]
        struct.pack_into(order + "HIHH", patched, entry.at + 2, _SHORT, 1, 1, 0)
    for ifd, tag, size in sizes:
        if tag in ifd.entries:  # both SHORT and LONG lie in the entry: LONG holds every size
            struct.pack_into(order + "HII", patched, ifd.entries[tag].at + 2, _LONG, 1, size)
    if first.next:
        _drop_thumbnail(patched, read_at, first, known)
    return bytes(patched)


def _child(read_at: Callable[[int, int], bytes], parent: Ifd, tag: int) -> Ifd | None:
    pointer = parent.entries[tag].number(parent.order) if tag in parent.entries else None
    if not pointer:
        return None
    try:
        return read_ifd(read_at, parent.order, False, pointer)
    except ValueError:
        return None


def _drop_thumbnail(
    exif: bytearray, read_at: Callable[[int, int], bytes], first: Ifd, known: list[Ifd]
) -> None:
    """Cut IFD1 and its JPEG loose; blank the JPEG, and cut it off where nothing else follows."""
    needed = max(end for ifd in known for end in _ends(ifd))
    struct.pack_into(first.order + "I", exif, first.next_at, 0)
    try:
        thumbnail = read_ifd(read_at, first.order, False, first.next)
    except ValueError:
        return
    start = thumbnail.entries.get(_THUMBNAIL)
    length = thumbnail.entries.get(_THUMBNAIL_BYTES)
    start_at = start.number(first.order) if start else None
    size = length.number(first.order) if length else None
    if start_at is None or size is None or start_at < needed or start_at + size > len(exif):
        return  # not where a thumbnail can lie: it is unreachable now, and that must do
    exif[start_at : start_at + size] = bytes(size)
    if start_at + size >= len(exif) - 1:
        first_free = min(start_at, first.next) if first.next >= needed else start_at
        del exif[first_free:]


def _ends(ifd: Ifd) -> Iterator[int]:
    yield ifd.next_at + 4
    for entry in ifd.entries.values():
        if entry.value is not None:
            yield entry.end


def resolution_of(exif: bytes) -> tuple[float, float] | None:
    """Dots per inch that EXIF states, or None."""
    try:
        order, big, offset = read_header(exif)
        first = read_ifd(lambda at, length: exif[at : at + length], order, big, offset)
    except ValueError:
        return None
    found = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        entry = first.entries.get(tag)
        if entry is None or entry.value is None or (entry.type, entry.count) != (5, 1):
            return None
        top, bottom = struct.unpack(order + "II", entry.value)
        if not bottom:
            return None
        found.append(top / bottom)
    unit = first.entries.get(_RESOLUTION_UNIT)
    number = unit.number(order) if unit else 2
    if number not in (2, 3):
        return None
    per_inch = 2.54 if number == 3 else 1.0
    return found[0] * per_inch, found[1] * per_inch


def with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """EXIF that states a resolution; what states one already is left as it is.

    The first directory moves to the end, so that nothing that others point to moves.
    """
    tags: dict[int, Value] = {
        tag: (5, 1, struct.pack("<II", round(value * 1000), 1000))
        for tag, value in zip((_X_RESOLUTION, _Y_RESOLUTION), dpi, strict=True)
    }
    tags[_RESOLUTION_UNIT] = (_SHORT, 1, struct.pack("<H", 2))
    if exif is None:
        return b"II*\0" + struct.pack("<I", 8) + pack_ifd(tags, "<", False, 8)
    order, big, offset = read_header(exif)
    first = read_ifd(lambda at, length: exif[at : at + length], order, big, offset)
    if _X_RESOLUTION in first.entries:
        return exif
    raw = {tag: exif[entry.at : entry.at + 12] for tag, entry in first.entries.items()}
    start = len(exif) + len(exif) % 2
    values_at = start + 2 + 12 * len(raw.keys() | tags.keys()) + 4
    outside = b""
    for tag, (kind, count, value) in tags.items():
        if kind == 5:
            inline = struct.pack(order + "I", values_at + len(outside))
            outside += struct.pack(order + "II", *struct.unpack("<II", value))
        else:
            inline = struct.pack(order + "HH", 2, 0)
        raw[tag] = struct.pack(order + "HHI", tag, kind, count) + inline
    directory = struct.pack(order + "H", len(raw)) + b"".join(raw[tag] for tag in sorted(raw))
    moved = exif[:4] + struct.pack(order + "I", start) + exif[8:] + bytes(len(exif) % 2)
    return moved + directory + struct.pack(order + "I", first.next) + outside


def build_exif(
    first: dict[int, "Value"], exif: dict[int, "Value"], gps: dict[int, "Value"]
) -> bytes | None:
    """A small EXIF stream of directories read from elsewhere (a TIFF file's own tags)."""
    if not (first or exif or gps):
        return None
    whole = dict(first)
    children = {tag: child for tag, child in ((_EXIF_IFD, exif), (_GPS_IFD, gps)) if child}
    for tag in children:
        whole[tag] = (_LONG, 1, bytes(4))
    at = 8 + ifd_bytes(whole, False)
    for tag, child in children.items():
        whole[tag] = (_LONG, 1, struct.pack("<I", at))
        at += ifd_bytes(child, False)
    body = b"II*\0" + struct.pack("<I", 8) + pack_ifd(whole, "<", False, 8)
    for child in children.values():
        body += pack_ifd(child, "<", False, len(body))
    return body


Value = tuple[int, int, bytes]
"""A tag's (type, count, bytes of the value, little end first)."""

# Bytes of the numbers that a value is made of; a rational is two.
_NUMBER_BYTES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}

Directories = tuple[dict[int, Value], dict[int, Value], dict[int, Value]]
"""(descriptive tags of IFD0, Exif tags, GPS tags)."""


def values(ifd: Ifd | None, only: frozenset[int] | None = None) -> dict[int, Value]:
    """A directory's tags without their places, except those that point elsewhere."""
    if ifd is None:
        return {}
    return {
        tag: (entry.type, entry.count, _little(entry.value, entry.type, ifd.order))
        for tag, entry in ifd.entries.items()
        if entry.value is not None
        and entry.type < 16  # BigTIFF's types mean nothing elsewhere
        and (only is None or tag in only)
        and tag not in (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD)
    }


def _little(value: bytes, kind: int, order: ByteOrder) -> bytes:
    size = _NUMBER_BYTES.get(kind, 1)
    if order == "<" or size == 1:
        return value
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def split_exif(exif: bytes) -> Directories:
    """The directories of an EXIF stream, to be laid out anew.

    Raises:
        ValueError: its first directory cannot be read.
    """
    return exif_of_tiff(lambda at, length: exif[at : at + length])


def exif_of_tiff(read_at: Callable[[int, int], bytes], directory: int | None = None) -> Directories:
    """As split_exif, for any TIFF stream, and any directory of it (its offset)."""
    order, big, offset = read_header(read_at(0, 16))
    first = read_ifd(read_at, order, big, offset if directory is None else directory)
    children: list[Ifd | None] = []
    for tag in (_EXIF_IFD, _GPS_IFD):
        pointer = first.entries[tag].number(order) if tag in first.entries else None
        try:
            children.append(read_ifd(read_at, order, big, pointer) if pointer else None)
        except ValueError:
            children.append(None)
    return values(first, DESCRIPTIVE_TAGS), values(children[0]), values(children[1])


def ifd_bytes(tags: dict[int, Value], big: bool) -> int:
    """The length of pack_ifd's answer."""
    inline, entry, ends = (8, 20, 16) if big else (4, 12, 6)
    outside = sum(
        len(value) + len(value) % 2 for _, _, value in tags.values() if len(value) > inline
    )
    return ends + entry * len(tags) + outside


def pack_ifd(tags: dict[int, Value], order: ByteOrder, big: bool, at: int) -> bytes:
    """A directory that will lie at the even offset `at`, its values behind it."""
    inline = 8 if big else 4
    outside_at = at + (16 + 20 * len(tags) if big else 6 + 12 * len(tags))
    table = bytearray(struct.pack(order + ("Q" if big else "H"), len(tags)))
    outside = bytearray()
    for tag in sorted(tags):
        kind, count, value = tags[tag]
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        if len(value) <= inline:
            table += value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + ("Q" if big else "I"), outside_at + len(outside))
            outside += value + bytes(len(value) % 2)
    table += bytes(8 if big else 4)
    return bytes(table + outside)
