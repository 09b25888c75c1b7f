"""PNG's chunks other than the pixels (PNG specification, third edition, 11.3)."""

import binascii
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from srcli.media.metadata import CREDENTIALS_NOTE, Chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
# ImageMagick's spelling of what PNG had no chunk for; exiftool and GIMP read it
IPTC_PROFILE = b"Raw profile type iptc"
_EXIF_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")

_MAX_CHUNKS = 1_000_000
_BLOCK = 1 << 20
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the colour type
# The passes of an interlaced picture: first column, first row, and the steps between them
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_MAX_TEXT_BYTES = 1 << 24
_MAX_INFLATED = 1 << 24
# Of those that say how colours are meant, all go on; mDCV and cLLI are of HDR.
_COLOUR = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
# What else is used, and what only says how the old pixels were made or stored.
_KNOWN = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"iCCP", b"pHYs", b"eXIf", b"acTL", b"fdAT"}
    | {b"cHRM", b"gAMA", b"sRGB", b"cICP"}
    | {b"bKGD", b"hIST", b"sBIT", b"sPLT", b"tIME", b"iDOT", b"vpAg"}
)
_CREDENTIALS = b"caBX"
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
        hidden: the default image, for programs that know no animation, is none of the frames.
        others: types of chunks that hold something that is left out.
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
    hidden: bool = False
    others: list[bytes] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is left out, as sentences."""
        notes = []
        if self.too_much_text:
            notes.append("text of more than 16 MB was left out")
        if self.hidden and self.n_frames > 1:
            notes.append("the default image, which is no frame of the animation, was left out")
        elif self.hidden:
            notes.append("the default image was taken, and the animation's one frame left out")
        if _CREDENTIALS in self.others:
            notes.append(CREDENTIALS_NOTE)
        others = sorted(kind.decode("latin-1") for kind in {*self.others} - {_CREDENTIALS})
        if others:
            listed = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
            notes.append(f"PNG chunks that srcli does not know were left out: {listed}")
        return notes


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


def mended(stream: BinaryIO) -> tuple[BinaryIO, tuple[str, ...]]:
    """A PNG without ancillary chunks whose checksum is wrong, and a word about them.

    Whether a chunk is ancillary, so that the picture can do without it, shows in the case of its
    first letter. Pixels have a checksum of their own. Other files stay as they are.
    """
    stream.seek(0)
    if stream.read(8) != SIGNATURE:
        return stream, ()
    damaged: list[tuple[bytes, int, int]] = []
    for kind, length in chunks(stream):
        if kind[0] & 0x20 and kind != b"fdAT":
            at = stream.tell()
            data, stored = stream.read(length), stream.read(4)
            whole = len(stored) == 4
            if whole and zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(stored, "big"):
                damaged.append((kind, at - 8, length + 12))
    if not damaged:
        return stream, ()
    sound, start = io.BytesIO(), 0
    for _, at, length in damaged:
        stream.seek(start)
        sound.write(stream.read(at - start))
        start = at + length
    stream.seek(start)
    sound.write(stream.read())
    names = sorted({kind.decode("latin-1") for kind, _, _ in damaged})
    note = f"damaged PNG chunks (wrong checksum) were left out: {', '.join(names[:8])}"
    return sound, (note,)


def check_pixels(stream: BinaryIO) -> None:
    """Whether there is data for every pixel.

    Packed data may end in good order before the picture does: where a program that wrote row by row
    was stopped. Decoders leave the rest black, and say nothing.

    Raises:
        EOFError: there is less than the header says.
        zlib.error: the packed data is damaged.
    """
    stream.seek(16)
    width, height, bits, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", stream.read(13))
    pixel_bits = bits * _SAMPLES[colour_type]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    missing = 0
    for left, top, across, down in passes:
        columns = -((left - width) // across)
        rows = -((top - height) // down)
        if columns > 0 and rows > 0:
            missing += rows * (
                1 + (columns * pixel_bits + 7) // 8
            )  # each row has a filter in front
    unpacker = zlib.decompressobj()
    for kind, length in chunks(stream):
        left_over = length if kind == b"IDAT" else 0
        while left_over and missing > 0 and not unpacker.eof:
            packed = stream.read(min(left_over, _BLOCK))
            if not packed:
                raise EOFError
            left_over -= len(packed)
            while packed and missing > 0 and not unpacker.eof:
                missing -= len(unpacker.decompress(packed, _BLOCK))
                packed = unpacker.unconsumed_tail
    if missing > 0 and not unpacker.eof:
        missing -= len(unpacker.flush())
    if missing > 0:
        raise EOFError


def scan(stream: BinaryIO) -> PngScan:
    """Read all chunks but the pixels.

    Raises:
        EOFError: it has no header.
        ValueError: it has a palette's numbers and no palette.
        NotImplementedError: it is Apple's own kind of PNG.
    """
    stream.seek(len(SIGNATURE))
    head = stream.read(25)
    if head[4:8] == b"CgBI":
        raise NotImplementedError(
            "Apple's CgBI, made for iPhone apps; pngcrush -revert-iphone-optimizations undoes it"
        )
    if len(head) < 25 or head[4:8] != b"IHDR":
        raise EOFError
    found = PngScan(8 if head[17] == 3 else head[16], head[17])
    seen_pixels = seen_frames = animated = has_palette = False
    left = _MAX_TEXT_BYTES
    for kind, length in chunks(stream):
        if kind == b"IDAT":
            seen_pixels = True
        elif kind == b"PLTE":
            has_palette |= not seen_pixels
        elif kind == b"eXIf" and seen_pixels and length < _MAX_TEXT_BYTES:
            found.late_exif = stream.read(length)
        elif kind == b"acTL" and length == 8 and not seen_pixels:
            found.n_frames, found.plays = struct.unpack(">II", stream.read(8))
            animated = True
        elif kind == b"fcTL":
            found.hidden |= seen_pixels and not seen_frames
            seen_frames = True
        elif kind in _COLOUR and length <= 32 and not seen_pixels:
            found.colour.append((kind, stream.read(length)))
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            left -= length
            if left < 0:
                found.too_much_text = True
            else:
                _sort_text(found, kind, stream.read(length))
        elif kind not in _KNOWN and kind.isalpha() and len(found.others) < 100:
            found.others.append(kind)
    if found.colour_type == 3 and not has_palette:
        raise ValueError("its palette is missing")
    found.hidden &= animated
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
