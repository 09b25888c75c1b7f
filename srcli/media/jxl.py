"""JPEG XL (ISO/IEC 18181), by pillow-jxl-plugin, an extra, through its decoder.

The plugin decodes a file when it is opened. What is needed before that, the size above all, is read
here from the codestream's first bits. Its decoder gives 8 bits of colours and 16 of grey.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.errors import MediaError
from srcli.media.boxes import boxes
from srcli.media.header import pillow_header
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo, Pixels
from srcli.media.sample_range import clipped_notes, full_range
from srcli.media.samples import decode_plain, upright

_HEAD_BYTES = 4096
_CODESTREAM = b"\xff\x0a"
_MAX_BYTES = 1 << 26  # of metadata
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_ALPHA, _SPOT, _CFA = 0, 2, 5  # kinds of extra channels
_GREY = 1


@dataclass(frozen=True, slots=True)
class _Scan:
    width: int
    height: int
    bits: int
    grey: bool
    has_alpha: bool
    animated: bool


class _Bits:
    """Numbers of few bits, the lowest first (ISO/IEC 18181-1, 9.2)."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def u(self, n: int) -> int:
        if n > self._left:
            raise EOFError
        found = self._value & ((1 << n) - 1)
        self._value >>= n
        self._left -= n
        return found

    def u32(self, *choices: tuple[int, int]) -> int:
        """One of four kinds: an offset, and bits that are added."""
        offset, n = choices[self.u(2)]
        return offset + self.u(n)

    def enum(self) -> int:
        return self.u32((0, 0), (1, 0), (2, 4), (18, 6))


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    _decoder()
    code, exif, xmp, notes = _contents(stream)
    found = _scan(code)
    if found.animated:
        notes = (*notes, "only the first frame was taken")
    info = ImageInfo(
        path,
        "jxl",
        found.width,
        found.height,
        1 if found.grey else 3,
        found.has_alpha,
        found.bits,
        shallow=found.bits > 8 and not (found.grey and not found.has_alpha),
    )
    # what EXIF says of the orientation is the codestream's to say, and libjxl turns the picture
    return Header(info, 1, Metadata(exif=exif, xmp=xmp), notes)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    stream.seek(0)
    jpeg, found, data, icc, _ = _decoder()(num_threads=1)(stream.read())
    info = header.info
    if jpeg:  # a JPEG packed without loss comes back as it was
        one = io.BytesIO(bytes(data))
        plain = pillow_header(one, None, "jpeg")
        pixels, alpha, icc, notes = decode_plain(one, plain, inks=False)
        pixels, alpha = upright(pixels, alpha, plain.orientation)
        return pixels, alpha, icc, notes
    kind = {"I;16": "<u2", "F": "<f4", "F;16": "<f2"}.get(found.mode, "u1")
    samples: NDArray[Any] = np.frombuffer(bytes(data), kind)
    samples = samples.reshape(info.height, info.width, -1)
    if samples.shape[2] != info.channels + info.has_alpha:
        raise ValueError("its samples are laid out in an unknown way")
    whole: Pixels = full_range(samples, 8 if kind == "u1" else 16)
    notes = clipped_notes(samples)
    icc = bytes(icc) if icc else None
    if info.has_alpha:
        return whole[:, :, :-1], np.ascontiguousarray(whole[:, :, -1]), icc, notes
    return whole, None, icc, notes


def _decoder() -> Any:
    try:
        from pillow_jxl import Decoder
    except ImportError as exc:
        raise MediaError(
            "JPEG XL needs a package that is not installed", 'pip install "srcli[jxl]"'
        ) from exc
    return Decoder


def _contents(stream: BinaryIO) -> tuple[bytes, bytes | None, bytes | None, tuple[str, ...]]:
    """The codestream's head, EXIF, XMP and notes."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    if head.startswith(_CODESTREAM):
        return head, None, None, ()
    size = stream.seek(0, io.SEEK_END)
    code = b""
    notes: tuple[str, ...] = ()
    held: dict[bytes, bytes] = {}
    for kind, start, end in boxes(stream, 0, size):
        stream.seek(start)
        if kind == b"jxlc" or (kind == b"jxlp" and len(code) < _HEAD_BYTES):
            number = 4 * (kind == b"jxlp")  # of bytes that say which part it is
            code += stream.read(min(_HEAD_BYTES, end - start))[number:]
        elif kind in (b"Exif", b"xml ") and end - start < _MAX_BYTES:
            held.setdefault(kind, stream.read(end - start))
        elif kind == b"brob":
            notes = ("metadata packed with Brotli was left out",)
    exif = held.get(b"Exif")
    if exif is not None and exif[:4] not in (b"II*\0", b"MM\0*"):
        # the standard has four bytes first that say where it begins
        exif = exif[4 + int.from_bytes(exif[:4], "big") :]
    return code, exif or None, held.get(b"xml "), notes


def _scan(code: bytes) -> _Scan:
    """The first fields of a codestream (ISO/IEC 18181-1, annexes D and E)."""
    if not code.startswith(_CODESTREAM):
        raise ValueError("there is no codestream in it")
    bits = _Bits(code[2:])
    height, width = _size(bits)
    if bits.u(1):
        return _Scan(width, height, 8, False, False, False)
    animated, orientation = False, 1
    if bits.u(1):
        orientation = 1 + bits.u(3)
        if bits.u(1):
            _size(bits)
        if bits.u(1):
            _preview(bits)
        animated = bool(bits.u(1))
        if animated:
            bits.u32((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.u32((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.u32((0, 0), (0, 3), (0, 16), (0, 32))
            bits.u(1)
    depth = _depth(bits)
    bits.u(1)  # samples fit 16 bits
    has_alpha = False
    for _ in range(bits.u32((0, 0), (1, 0), (2, 4), (1, 12))):
        has_alpha |= _extra_is_alpha(bits)
    bits.u(1)  # XYB
    grey = False
    if not bits.u(1):  # not sRGB
        bits.u(1)  # a profile follows
        grey = bits.enum() == _GREY
    if orientation >= 5:
        width, height = height, width
    return _Scan(width, height, depth, grey, has_alpha, animated)


def _size(bits: _Bits) -> tuple[int, int]:
    """(height, width)."""
    small = bits.u(1)

    def side() -> int:
        return 8 * (1 + bits.u(5)) if small else bits.u32((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.u(3)
    if not ratio:
        return height, side()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


def _preview(bits: _Bits) -> None:
    eighths = bits.u(1)
    choices = (
        ((16, 0), (32, 0), (1, 5), (33, 9)) if eighths else ((1, 6), (65, 8), (321, 10), (1345, 12))
    )
    bits.u32(*choices)
    if not bits.u(3):
        bits.u32(*choices)


def _depth(bits: _Bits) -> int:
    if not bits.u(1):
        return bits.u32((8, 0), (10, 0), (12, 0), (1, 6))
    depth = bits.u32((32, 0), (16, 0), (24, 0), (1, 6))
    bits.u(4)
    return depth


def _extra_is_alpha(bits: _Bits) -> bool:
    if bits.u(1):
        return True
    kind = bits.enum()
    _depth(bits)
    bits.u32((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.u32((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.u(8)
    if kind == _ALPHA:
        bits.u(1)
    elif kind == _SPOT:
        bits.u(64)
    elif kind == _CFA:
        bits.u32((1, 0), (0, 2), (3, 4), (19, 8))
    return kind == _ALPHA
