"""What WebP, GIF, AVIF and HEIC files hold beside their picture and srcli does not keep, in words.

(JPEG, PNG and TIFF have modules of their own that say it.)
"""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from srcli.media.metadata import CREDENTIALS_NOTE

_WEBP_KNOWN = frozenset(
    {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
)
_GIF_KNOWN = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"XMP DataXMP")
_MAX_PARTS = 100_000
_MAX_META_BYTES = 1 << 24
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
# Auxiliary pictures of HEIF by the end of their URN (ISO 23008-12; Apple's); alpha is read
_AUXILIARY = re.compile(rb"auxC\0\0\0\0([\x20-\x7e]+)")
_ALPHA = re.compile(r"(?:auxiliary:alpha|auxid:1)$")
_AUXILIARIES = (
    (re.compile(r"(?:auxiliary:depth|auxid:2|:depth|:disparity)$"), "the depth map was"),
    (re.compile(r"hdrgainmap$"), "the HDR gain map was"),
    (re.compile(r"matte$"), "mattes of the picture's subject were"),
)


def other_content(stream: BinaryIO, format: str) -> tuple[str, ...]:
    """Sentences about what will be left out; none for formats that are not among these."""
    read: dict[str, Callable[[BinaryIO], list[str]]] = {
        "webp": _webp,
        "gif": _gif,
        "avif": _boxes,
        "heif": _boxes,
    }
    return tuple(dict.fromkeys(read[format](stream))) if format in read else ()


def _webp(stream: BinaryIO) -> list[str]:
    """RFC 9649, 2.7.1: unknown chunks."""
    from srcli.media.webp import chunks

    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    unknown = {kind for kind, _, _ in chunks(stream, 12, end)} - _WEBP_KNOWN
    names = sorted(kind.decode("latin-1").strip() for kind in unknown if kind.isascii())
    if not names:
        return []
    return [f"WebP chunks that srcli does not know were left out: {', '.join(names[:8])}"]


def _gif(stream: BinaryIO) -> list[str]:
    """GIF89a, 23 to 26: extensions."""
    notes: list[str] = []
    stream.seek(10)
    flags = stream.read(3)[:1]
    if flags and flags[0] & 0x80:
        stream.seek(3 << (flags[0] & 7) + 1, 1)
    seen_frame = False
    for _ in range(_MAX_PARTS):
        kind = stream.read(1)
        if kind == b"!":
            label, first = stream.read(1), _first_block(stream)
            if label == b"\xff" and first.startswith(b"ICCRGBG1"):
                notes.append("the colour profile of the GIF was left out")
            elif label == b"\xff" and not first.startswith(_GIF_KNOWN):
                name = first[:11].decode("latin-1").strip()
                notes.append(f"what a program added to the GIF was left out: {name[:11]!r}")
            elif label == b"\x01":
                notes.append("text that is drawn over the GIF's frames was left out")
            elif label == b"\xfe" and seen_frame:
                notes.append("comments after the first frame were left out")
        elif kind == b",":
            seen_frame = True
            place = stream.read(9)
            if len(place) == 9 and place[8] & 0x80:
                stream.seek(3 << (place[8] & 7) + 1, 1)
            stream.read(1)
            _first_block(stream)
        else:
            break
    return notes


def _first_block(stream: BinaryIO) -> bytes:
    """Of a chain of sub-blocks; the stream then stands behind the last."""
    first = b""
    while (length := stream.read(1)) and length[0]:
        if first:
            stream.seek(length[0], 1)
        else:
            first = stream.read(length[0])
    return first


def _boxes(stream: BinaryIO) -> list[str]:
    """HEIF (ISO 23008-12): auxiliary pictures, gain maps, stereo pairs, films."""
    notes: list[str] = []
    for kind, at, length in _top_boxes(stream):
        stream.seek(at)
        if kind == b"mpvd":
            notes.append("the film of this motion photo was left out")
        elif kind == b"uuid" and stream.read(16) == _C2PA:
            notes.append(CREDENTIALS_NOTE)
        elif kind == b"meta":
            meta = stream.read(min(length, _MAX_META_BYTES))
            for urn in {found.decode("ascii") for found in _AUXILIARY.findall(meta)}:
                if not _ALPHA.search(urn):
                    known = (text for pattern, text in _AUXILIARIES if pattern.search(urn))
                    notes.append(
                        f"{next(known, f'an auxiliary picture ({urn[:60]}) was')} left out"
                    )
            if re.search(rb"infe\x02.{7,9}tmap", meta, re.DOTALL):
                notes.append("the HDR gain map was left out")
            if re.search(rb"grpl.{4,1000}ster", meta, re.DOTALL):
                notes.append("the other view of this stereo picture was left out")
    return sorted(notes)


def _top_boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset of the contents, their length) of a file's outermost boxes."""
    at = 0
    for _ in range(_MAX_PARTS):
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            return
        length, start = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(head[8:], "big"), 16
        if length == 0:
            length = _MAX_META_BYTES
        if length < start:
            return
        yield head[4:8], at + start, length - start
        at += length
