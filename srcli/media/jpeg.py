"""What a JPEG file holds beside its picture: segments, and whatever follows the end of the picture.

Phones put a second JPEG there, or a film: the gain map of an HDR picture (ISO 21496-1, Android's
Ultra HDR, Apple's), depth, another view (CIPA DC-007, MPF), the film of a motion photo.
"""

import io
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from srcli.media.exif import read_header, read_ifd
from srcli.media.metadata import CREDENTIALS_NOTE, PATHS_NOTE, GainMap, has_paths
from srcli.media.xmp import container_items

START, END = b"\xff\xd8", b"\xff\xd9"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
MPF = b"MPF\0"
_SOS, _EOI, _APP0, _DQT = 0xDA, 0xD9, 0xE0, 0xDB
_TABLE_SUM = 3688  # of the standard's luma table, which is that of quality 50
_STAND_ALONE = (0x01, *range(0xD0, 0xD9))
_KNOWN = {
    0: (b"JFIF\0", b"JFXX\0"),
    1: (b"Exif\0", XMP, EXTENDED_XMP),
    2: (b"ICC_PROFILE\0", MPF, ISO_GAIN_MAP),
    12: (b"Ducky",),
    13: (b"Photoshop 3.0\0", b"Adobe_CM"),
    14: (b"Adobe",),
}
# inside a scan: whatever is neither a byte of 0xFF, nor a restart, nor a filling byte
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_GAIN_MAP = re.compile(
    rb"http://ns\.adobe\.com/hdr-gain-map/1\.0/|urn:com:apple:photo:2020:aux:hdrgainmap"
)
_DEPTH = re.compile(rb"(?i)aux:(?:depth|disparity)|aux\w+:depth|GDepth:")
_MATTE = re.compile(rb"(?i)aux:\w*matte")
_FILM = "the film of this motion photo was left out"
_THUMBNAILS = (0x010001, 0x010002)  # of MPF's types
_FOLLOWING = re.compile(rb"(?s)\xff\xd8\xff|....ftyp")
# what Samsung's cameras note of the moment and the mode
_SAMSUNGS_OWN = re.compile(r"Image_UTC|MCC_|Camera_|Color_Display|Watermark")
_JUNK = bytes(np.random.default_rng(0).integers(0, 255, 4096, np.uint8))  # without 0xFF


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment: its marker's second byte, where its contents lie, and the contents."""

    marker: int
    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Walk:
    """A JPEG from its first marker to its last.

    Attributes:
        segments: all, those of scans included.
        end: the offset behind the end marker; None where there is none.
    """

    segments: tuple[Segment, ...]
    end: int | None

    def app(self, number: int, identifier: bytes) -> Iterator[bytes]:
        """What follows the identifier in segments of APPn that begin with it."""
        for segment in self.segments:
            if segment.marker == _APP0 + number and segment.data.startswith(identifier):
                yield segment.data[len(identifier) :]

    @property
    def apps_end(self) -> int:
        """Where the segments of APPn at the beginning end."""
        at = 2
        for segment in self.segments:
            if not _APP0 <= segment.marker <= 0xEF:
                break
            at = segment.at + len(segment.data)
        return at


def walk(data: bytes, start: int = 0) -> Walk:
    """Go from marker to marker; whatever is damaged ends the walk."""
    segments: list[Segment] = []
    at = start + 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _EOI:
            return Walk(tuple(segments), at + 2)
        if marker in _STAND_ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            break
        segments.append(Segment(marker, at + 4, data[at + 4 : at + 2 + length]))
        at += 2 + length
        if marker == _SOS:
            found = _MARKER.search(data, at)
            if found is None:
                break
            at = found.start()
    return Walk(tuple(segments), None)


@dataclass(frozen=True, slots=True)
class OtherContent:
    """What a JPEG holds beside its picture: what can go on, and a word about all the rest.

    ``quality``: 1 to 100, by which the usual encoders would have made its quantisation table.
    """

    gain_map: GainMap | None
    notes: tuple[str, ...]
    quality: int | None


def other_content(data: bytes) -> OtherContent:
    """Of a whole file. The gain map is as it lies in the file, not yet upright, of no size yet."""
    first = walk(data)
    xmp = b"".join(first.app(1, XMP))
    extended = b"".join(first.app(1, EXTENDED_XMP))
    notes = _of_segments(first)
    if re.search(rb"GDepth:Data", xmp + extended):
        notes.append("the depth map was left out")
    if re.search(rb"GImage:Data", xmp + extended):
        notes.append("another view of the picture was left out")
    if re.search(rb"GAudio:Data", xmp + extended):
        notes.append("the sound recorded with the picture was left out")
    if first.end is None:
        return OtherContent(None, tuple(notes), _quality(first))
    gain_map: GainMap | None = None
    items = [name for name in container_items(xmp) if name != "Primary"]
    kinds = {at: kind for at, _, kind in multi_picture(first)}
    blocks = _samsungs(data)
    end = min((at for at in blocks.values() if at >= first.end), default=len(data))
    views = 0
    for index, (kind, start, stop) in enumerate(_behind(data, first.end, end)):
        if kind == "film":
            notes.append(_FILM)
        elif kind == "unknown":
            notes.append(f"unknown data behind the picture was left out: {stop - start:,} bytes")
        else:
            what = _kind_of_picture(data, start, kinds.get(start), items[index : index + 1])
            if what == "gain map" and gain_map is None:
                gain_map = _gain_map(data[start:stop], first)
                if gain_map is None:
                    notes.append("a damaged HDR gain map was left out")
            elif what == "view":
                views += 1
            elif what != "thumbnail":
                notes.append(f"the {what} was left out")
    if any(name.startswith("MotionPhoto") for name in blocks):
        notes.append(_FILM)
    names = [n for n in blocks if not _SAMSUNGS_OWN.match(n) and not n.startswith("MotionPhoto")]
    if names:
        notes.append(f"what Samsung's camera added was left out: {', '.join(names[:8])}")
    if views:
        notes.append(f"other views of the picture (MPO) were left out: {views}")
    return OtherContent(gain_map, tuple(dict.fromkeys(notes)), _quality(first))


def _quality(first: Walk) -> int | None:
    """By the sum of the table of the first component, which is luma's."""
    for segment in first.segments:
        at = 0
        while segment.marker == _DQT and at < len(segment.data):
            wide, number = divmod(segment.data[at], 16)
            n_bytes = 2 if wide else 1
            table = segment.data[at + 1 : at + 1 + 64 * n_bytes]
            at += 1 + 64 * n_bytes
            if number == 0 and len(table) == 64 * n_bytes:
                values = struct.unpack(f">64{'H' if wide else 'B'}", table)
                percent: float = 100 * sum(values) / _TABLE_SUM
                quality = 5000 / percent if percent > 100 else (200 - percent) / 2
                return min(100, max(1, round(quality)))
    return None


def _of_segments(first: Walk) -> list[str]:
    notes: list[str] = []
    unknown: set[int] = set()
    paths = False
    for segment in first.segments:
        number = segment.marker - _APP0
        if not 0 <= number <= 15:
            continue
        if number == 11 and b"c2pa" in segment.data[:200]:
            notes.append(CREDENTIALS_NOTE)
        elif number == 11:
            unknown |= set() if CREDENTIALS_NOTE in notes else {number}
        elif number == 13 and segment.data.startswith(b"Photoshop 3.0\0"):
            paths |= has_paths(segment.data)
        elif not segment.data.startswith(_KNOWN.get(number, ())):
            unknown.add(number)
    if paths:
        notes.append(PATHS_NOTE)
    if unknown:
        listed = ", ".join(f"APP{number}" for number in sorted(unknown))
        notes.append(f"JPEG segments that srcli does not know were left out: {listed}")
    return list(dict.fromkeys(notes))


def _behind(data: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of what follows the picture: pictures, films, unknown."""
    at = start
    while at < end:
        if data[at : at + 3] == b"\xff\xd8\xff":
            following = walk(data, at).end or end
            yield "picture", at, following
        elif data[at + 4 : at + 8] == b"ftyp":
            following = _end_of_boxes(data, at, end)
            yield "film", at, following
        else:
            match = _FOLLOWING.search(data, at, end)
            following = match.start() if match else end
            if data[at:following].strip(b"\0\xff"):  # with which some cameras fill up
                yield "unknown", at, following
        at = following


def _end_of_boxes(data: bytes, at: int, end: int) -> int:
    """Where the boxes of an ISO base media file end."""
    while at + 8 <= end and data[at + 4 : at + 8].isalnum():
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8 or at + length > end:
            return end
        at += length
    return at


def _samsungs(data: bytes) -> dict[str, int]:
    """The offsets of blocks that Samsung's cameras put behind a picture, by their names.

    A directory of them lies at the file's end, between SEFH and SEFT.
    """
    found: dict[str, int] = {}
    directory = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if not data.endswith(b"SEFT") or directory < 0 or data[directory:][:4] != b"SEFH":
        return found
    for at in range(directory + 12, len(data) - 19, 12):
        start = directory - int.from_bytes(data[at + 4 : at + 8], "little")
        length = int.from_bytes(data[start + 4 : start + 8], "little") if start >= 0 else 0
        name = data[start + 8 : start + 8 + length].decode("latin-1") if length < 64 else ""
        if name.isprintable() and name:
            found[name] = start
    return found


def multi_picture(first: Walk) -> list[tuple[int, int, int]]:
    """(start, length, type) of the other pictures that an MPF index lists."""
    for segment in first.segments:
        if segment.marker != _APP0 + 2 or not segment.data.startswith(MPF):
            continue
        index, base = segment.data[4:], segment.at + 4
        try:
            order, big, offset = read_header(index)
            ifd = read_ifd(lambda at, n, index=index: index[at : at + n], order, big, offset)  # type: ignore[misc]
            listed = ifd.entries[0xB002].value or b""
        except (ValueError, KeyError, struct.error):
            return []
        places = range(0, len(listed) - 15, 16)
        entries = [struct.unpack_from(order + "III", listed, at) for at in places]
        return [(base + at, size, kind & 0xFFFFFF) for kind, size, at in entries[1:]]
    return []


def _kind_of_picture(data: bytes, start: int, kind: int | None, item: Sequence[str]) -> str:
    own = walk(data, start)
    said = b"".join(s.data for s in own.segments if _APP0 < s.marker <= 0xEF)
    if _GAIN_MAP.search(said) or ISO_GAIN_MAP in said or [*item] == ["GainMap"]:
        return "gain map"
    if _MATTE.search(said):
        return "matte of the picture's subject"
    if _DEPTH.search(said) or "Depth" in "".join(item):
        return "depth map"
    return "thumbnail" if kind in _THUMBNAILS else "view"


def _gain_map(data: bytes, first: Walk) -> GainMap | None:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode not in ("L", "RGB"):
                return None
            pixels = np.array(image)
    except Exception:  # as with every decoder, see plain_errors
        return None
    own = [
        s
        for s in walk(data).segments
        if (s.marker == _APP0 + 1 and s.data.startswith(XMP))
        or (s.marker == _APP0 + 2 and not s.data.startswith(MPF))
    ]
    return GainMap(
        pixels=pixels,
        size=(0, 0),
        segments=b"".join(segment_bytes(s.marker, s.data) for s in own),
        mark=b"".join(
            segment_bytes(_APP0 + 2, ISO_GAIN_MAP + rest) for rest in first.app(2, ISO_GAIN_MAP)
        ),
    )


def segment_bytes(marker: int, data: bytes) -> bytes:
    """A segment as it stands in the file."""
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def with_end(data: bytes) -> bytes | None:
    """A file without its end marker, given one, if all pixels are there; else None.

    libjpeg fills up what is missing with grey. So the picture is decoded twice, once with something
    else behind it: what is complete comes out the same.
    """
    found = walk(data)
    if found.end is not None or not _has_all_scans(found):
        return None
    whole = data[:-1] if data.endswith(b"\xff") else data
    pictures = []
    for more in (b"", _JUNK):
        with Image.open(io.BytesIO(whole + more + END), formats=["JPEG"]) as image:
            pictures.append(image.tobytes())
    return whole + END if pictures[0] == pictures[1] else None


def _has_all_scans(found: Walk) -> bool:
    """Whether the scans reach every bit of every coefficient of every component."""
    frame = next((s.data for s in found.segments if s.marker in (0xC0, 0xC1, 0xC2)), b"")
    if len(frame) < 6 or found.segments[-1].marker != _SOS:
        return False
    wanted = {frame[6 + 3 * k] for k in range(frame[5]) if 6 + 3 * k < len(frame)}
    low: dict[int, list[int]] = {component: [99] * 64 for component in wanted}
    for segment in found.segments:
        scan = segment.data
        if segment.marker != _SOS or len(scan) < 4 + 2 * scan[0]:
            continue
        first, last, bits = scan[1 + 2 * scan[0] :][:3]
        for k in range(scan[0]):
            for coefficient in range(first, min(last, 63) + 1):
                if scan[1 + 2 * k] in low:
                    low[scan[1 + 2 * k]][coefficient] = bits & 15
    return all(bit == 0 for bits_ in low.values() for bit in bits_)
