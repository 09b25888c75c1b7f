"""PNG's chunks other than the pixels (PNG specification, third edition, 11.3)."""

import binascii
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from srcli.media.metadata import Chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
# ImageMagick's spelling of what PNG had no chunk for; exiftool and GIMP read it
IPTC_PROFILE = b"Raw profile type iptc"
_EXIF_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")

_MAX_CHUNKS = 1_000_000
_MAX_TEXT_BYTES = 1 << 24
_MAX_INFLATED = 1 << 24
# gAMA and cHRM of sRGB, as the specification gives them; cICP of sRGB
_SRGB_GAMMA = struct.pack(">I", 45_455)
_SRGB_PRIMARIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_SRGB_CICP = b"\x01\x0d\x00\x01"


@dataclass(slots=True)
class PngScan:
    """What the chunks say.

    Attributes:
        bits: per channel; 8 for palettes.
        colour_type: of the header.
        late_exif: the eXIf chunk, if it lies behind the pixels, where Pillow does not look.
        texts: text chunks that are not XMP, IPTC or EXIF.
        too_much_text: some were left out for their size.
        n_frames, plays: of an animation; plays 0: for ever.
    """

    bits: int
    colour_type: int
    late_exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: list[Chunk] = field(default_factory=list)
    colour: list[Chunk] = field(default_factory=list)
    too_much_text: bool = False
    n_frames: int = 1
    plays: int = 0


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk as it stands in the file."""
    crc = zlib.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)))


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(type, length) of each chunk, IEND left out; the stream stands at its data meanwhile."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stream.seek(at)
        start = stream.read(8)
        if len(start) < 8 or start[4:] == b"IEND":
            return
        length = int.from_bytes(start[:4], "big")
        yield start[4:], length
        at += length + 12


def scan(stream: BinaryIO) -> PngScan:
    """Read all chunks but the pixels.

    Raises:
        EOFError: it has no header.
    """
    stream.seek(len(SIGNATURE))
    head = stream.read(25)
    if len(head) < 25 or head[4:8] != b"IHDR":
        raise EOFError
    found = PngScan(8 if head[17] == 3 else head[16], head[17])
    seen_pixels, left = False, _MAX_TEXT_BYTES
    for kind, length in chunks(stream):
        if kind == b"IDAT":
            seen_pixels = True
        elif kind == b"eXIf" and seen_pixels and length < _MAX_TEXT_BYTES:
            found.late_exif = stream.read(length)
        elif kind == b"acTL" and length == 8 and not seen_pixels:
            found.n_frames, found.plays = struct.unpack(">II", stream.read(8))
        elif kind in (b"cHRM", b"gAMA", b"sRGB", b"cICP") and length <= 32 and not seen_pixels:
            found.colour.append((kind, stream.read(length)))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            left -= length
            if left < 0:
                found.too_much_text = True
            else:
                _sort_text(found, kind, stream.read(length))
    return found


def _sort_text(found: PngScan, kind: bytes, data: bytes) -> None:
    keyword = data.partition(b"\0")[0]
    if keyword == XMP_KEYWORD:
        found.xmp = text_of((kind, data)) or found.xmp
    elif keyword == IPTC_PROFILE:
        found.iptc = _raw_profile(text_of((kind, data))) or found.iptc
    elif keyword not in _EXIF_PROFILES:  # those are read as EXIF
        found.texts.append((kind, data))


def text_of(text: Chunk) -> bytes | None:
    """What a text chunk says: Latin-1, or UTF-8 for iTXt; None if it is damaged."""
    kind, data = text
    _, _, value = data.partition(b"\0")
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        value = value[1:]
    elif kind == b"iTXt":
        packed = value[:1] == b"\1"
        value = value[2:].partition(b"\0")[2].partition(b"\0")[2]
    if not packed:
        return value
    try:
        return zlib.decompressobj().decompress(value, _MAX_INFLATED)
    except zlib.error:
        return None


def _raw_profile(text: bytes | None) -> bytes | None:
    """A name, a length and hexadecimal digits, one after the other on lines of their own."""
    lines = (text or b"").strip().split(b"\n")
    try:
        return binascii.unhexlify(b"".join(lines[2:])) or None
    except binascii.Error:
        return None


def iptc_chunk(iptc: bytes) -> Chunk:
    """IPTC datasets as a text chunk."""
    digits = binascii.hexlify(iptc)
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    text = b"\niptc\n%8d\n%s\n" % (len(iptc), b"\n".join(lines))
    return b"zTXt", IPTC_PROFILE + b"\0\0" + zlib.compress(text)


def xmp_chunk(xmp: bytes) -> Chunk:
    """An XMP packet as a text chunk, not compressed, as the XMP specification wants it."""
    return b"iTXt", XMP_KEYWORD + bytes(5) + xmp


def comment_chunk(comment: bytes) -> Chunk:
    """A JPEG's or GIF's comment as a text chunk: UTF-8 if it can be, else Latin-1."""
    if comment.isascii():
        return b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")
    try:
        comment.decode("utf-8")
    except UnicodeDecodeError:
        return b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")
    return b"iTXt", b"Comment" + bytes(5) + comment.replace(b"\0", b"")


def is_srgb(colour: tuple[Chunk, ...]) -> bool:
    """Whether colour chunks say sRGB, or nothing."""
    said = dict(colour)
    if b"cICP" in said:
        return said[b"cICP"] == _SRGB_CICP
    return b"sRGB" in said or (
        said.get(b"gAMA", _SRGB_GAMMA) == _SRGB_GAMMA
        and said.get(b"cHRM", _SRGB_PRIMARIES) == _SRGB_PRIMARIES
    )
