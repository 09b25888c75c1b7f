"""The composite of a Photoshop file (PSD and PSB, Adobe's file format specification, 2019).

Pillow reads 8 bits of it, and takes every fourth channel for transparency.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcli.media.colour import at_depth, cmyk_to_rgb, lab_to_rgb
from srcli.media.exif import strip_prefix
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo, Pixels
from srcli.media.sample_range import clipped_notes, full_range

_BITMAP, _GREY, _INDEXED, _RGB, _CMYK, _DUOTONE, _LAB = 0, 1, 2, 3, 4, 8, 9
_COLOURS = {_BITMAP: 1, _GREY: 1, _INDEXED: 1, _RGB: 3, _CMYK: 4, _DUOTONE: 1, _LAB: 3}
_MAX_BYTES = 1 << 26  # of a block of metadata
_LAYERS = (b"Layr", b"Lr16", b"Lr32")
_MERGED_ALPHA = (b"Mtrn", b"Mt16", b"Mt32")
# Blocks whose length has 64 bits in a PSB.
_LONG = (b"LMsk", *_LAYERS, *_MERGED_ALPHA, b"Alph", b"FMsk", b"lnk2", b"FEid", b"FXid", b"PxSD")
_ICC, _EXIF, _XMP, _IPTC, _RESOLUTION = 1039, 1058, 1060, 1028, 1005


@dataclass(frozen=True, slots=True)
class _Layout:
    large: bool
    channels: int
    width: int
    height: int
    bits: int
    mode: int
    palette: bytes
    resources: dict[int, bytes]
    has_alpha: bool
    at: int


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    layout = _layout(stream)
    held = layout.resources
    grey = layout.mode in (_BITMAP, _GREY, _DUOTONE)
    info = ImageInfo(
        path,
        "psd",
        layout.width,
        layout.height,
        1 if grey else 3,
        layout.has_alpha,
        8 if layout.mode in (_INDEXED, _LAB) else layout.bits,
        cmyk=layout.mode == _CMYK,
    )
    iptc = held.get(_IPTC)
    metadata = Metadata(
        icc=held.get(_ICC),
        exif=strip_prefix(held[_EXIF]) if _EXIF in held else None,
        dpi=_dpi(held.get(_RESOLUTION, b"")),
        xmp=held.get(_XMP),
        iptc=iptc or None,
    )
    stream.seek(layout.at)
    packing = _length(stream, 2)
    row_bytes = (layout.width * layout.bits + 7) // 8
    least = row_bytes * layout.height * layout.channels if packing == 0 else 0
    if packing == 1:  # the length of each row, and two bytes for 128
        least = (2 + row_bytes // 64) * layout.height * layout.channels
    return Header(info, 1, metadata, least_bytes=least)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    layout = _layout(stream)
    colours = _COLOURS[layout.mode]
    wanted = colours + layout.has_alpha
    planes = _planes(stream, layout, wanted)
    notes = clipped_notes(planes)
    if layout.channels > wanted:
        more = layout.channels - wanted
        notes = (*notes, f"{more} saved selection{'s' * (more > 1)} or spot colours were left out")
    samples = np.moveaxis(planes, 0, 2)
    icc = header.metadata.icc
    if layout.mode == _BITMAP:
        bits = np.unpackbits(samples[:, :, 0], axis=1, count=layout.width)
        return (np.uint8(255) * (1 - bits)).astype(np.uint8)[:, :, None], None, icc, notes
    full = full_range(samples, layout.bits)
    alpha: Pixels | None = None
    if layout.has_alpha:
        alpha = np.ascontiguousarray(full[:, :, colours])
    pixels: Pixels = full[:, :, :colours]
    if layout.mode == _INDEXED:
        palette = np.frombuffer(layout.palette, np.uint8).reshape(3, 256).T
        pixels = palette[pixels[:, :, 0]]
    elif layout.mode == _LAB:
        image = Image.frombytes(
            "LAB", (layout.width, layout.height), _signed_lab(at_depth(pixels, 8)).tobytes()
        )
        pixels, icc = np.asarray(lab_to_rgb(image)), None
        alpha = None if alpha is None else at_depth(alpha, 8)
        notes = (*notes, "Lab colours were converted to sRGB")
        if layout.bits > 8:
            notes = (*notes, f"{layout.bits}-bit Lab was converted at 8 bits")
    if alpha is not None and layout.mode != _INDEXED:
        pixels = _without_white(pixels, alpha)
    if layout.mode == _CMYK and not inks:
        # what each ink leaves, as Photoshop stores it
        ink = Image.fromarray(255 - np.ascontiguousarray(at_depth(pixels, 8)), "CMYK")
        rgb, icc, said = cmyk_to_rgb(ink, icc)
        pixels, notes = np.asarray(rgb), (*notes, *said)
        alpha = None if alpha is None else at_depth(alpha, 8)
    return pixels, alpha, icc, notes


def _layout(stream: BinaryIO) -> _Layout:
    stream.seek(0)
    version, channels, height, width, bits, mode = struct.unpack(
        ">4xH6xHIIHH", _exactly(stream, 26)
    )
    if version not in (1, 2):
        raise ValueError("its version is unknown")
    if mode not in _COLOURS or (bits == 1) != (mode == _BITMAP) or bits not in (1, 8, 16, 32):
        raise NotImplementedError(f"colours of kind {mode} in {bits} bits")
    if channels < _COLOURS[mode] or channels > 56:
        raise ValueError("too few channels for its colours, or too many")
    palette = _block(stream, 4)
    if mode == _INDEXED and len(palette) != 768:
        raise ValueError("its palette has not 256 colours")
    resources = _resources(_block(stream, 4))
    has_alpha = _layers(stream, version == 2) and channels > _COLOURS[mode]
    return _Layout(
        version == 2,
        channels,
        width,
        height,
        bits,
        mode,
        palette,
        resources,
        has_alpha and mode not in (_BITMAP, _INDEXED),
        stream.tell(),
    )


def _exactly(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _length(stream: BinaryIO, n_bytes: int) -> int:
    return int.from_bytes(_exactly(stream, n_bytes), "big")


def _block(stream: BinaryIO, n_bytes: int) -> bytes:
    length = _length(stream, n_bytes)
    if length > _MAX_BYTES:
        raise ValueError("a block of an impossible length")
    return _exactly(stream, length)


def _resources(data: bytes) -> dict[int, bytes]:
    """Photoshop's image resources by their number, the first of each."""
    found: dict[int, bytes] = {}
    at = 0
    while data[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR") and at + 12 <= len(
        data
    ):
        code = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2  # the name, its length in front, to an even count
        size = int.from_bytes(data[at : at + 4], "big")
        found.setdefault(code, data[at + 4 : at + 4 + size])
        at += 4 + (size + 1) // 2 * 2
    return found


def _layers(stream: BinaryIO, large: bool) -> bool:
    """Read over layers and masks; whether the first extra channel is the composite's alpha."""
    wide = 8 if large else 4
    length = _length(stream, wide)
    end = stream.tell() + length
    if stream.seek(0, io.SEEK_END) < end:
        raise EOFError
    stream.seek(end - length)
    has_alpha = False
    if length >= wide + 2:
        inner = _length(stream, wide)
        start = stream.tell()
        has_alpha = inner >= 2 and _is_negative(stream)
        stream.seek(start + inner)
        if stream.tell() + 4 <= end:
            stream.seek(_length(stream, 4), io.SEEK_CUR)
        has_alpha |= _tagged_alpha(stream, end, large)
    stream.seek(end)
    return has_alpha


def _is_negative(stream: BinaryIO) -> bool:
    """The number of layers is, where there is an alpha of the composite."""
    return int.from_bytes(_exactly(stream, 2), "big", signed=True) < 0


def _tagged_alpha(stream: BinaryIO, end: int, large: bool) -> bool:
    """The same of deep files, which keep their layers in blocks with a name."""
    while stream.tell() + 12 <= end:
        if _exactly(stream, 4) not in (b"8BIM", b"8B64"):
            return False
        key = _exactly(stream, 4)
        length = _length(stream, 8 if large and key in _LONG else 4)
        start = stream.tell()
        if key in _MERGED_ALPHA or (key in _LAYERS and length >= 2 and _is_negative(stream)):
            return True
        stream.seek(start + (length + 3) // 4 * 4)
    return False


def _planes(stream: BinaryIO, layout: _Layout, wanted: int) -> NDArray[Any]:
    """The first channels of the composite: (wanted, height, width), of a bitmap packed."""
    stream.seek(layout.at)
    packing = _length(stream, 2)
    row_bytes = (layout.width + 7) // 8 if layout.bits == 1 else layout.width * layout.bits // 8
    rows = layout.height * wanted
    if packing == 0:
        data = _exactly(stream, rows * row_bytes)
    elif packing == 1:
        each = 4 if layout.large else 2
        counts = np.frombuffer(
            _exactly(stream, layout.height * layout.channels * each), f">u{each}"
        )
        packed = _exactly(stream, int(counts[:rows].sum(dtype=np.int64)))
        if 64 * len(packed) < rows * row_bytes:  # two bytes stand for 128 at most
            raise EOFError
        data = Image.frombytes("L", (row_bytes, rows), packed, "packbits", "L").tobytes()
    else:
        raise NotImplementedError("its composite is packed with deflate")
    kind = {1: "u1", 8: "u1", 16: ">u2", 32: ">f4"}[layout.bits]
    return np.frombuffer(data, kind).reshape(wanted, layout.height, -1)


def _signed_lab(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Lab as Pillow has it: a and b around 0, two's complement; Photoshop has them around 128."""
    out = samples.copy()
    out[:, :, 1:] ^= 0x80
    return out


def _without_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Colours before they were laid on white, as Photoshop lays them in a composite with alpha.

    Where something is darker than what shows through of the white, another program has written the
    file and laid nothing on white.
    """
    full = int(np.iinfo(pixels.dtype).max)
    spare = full // 64  # rounded in a few steps
    out = np.empty_like(pixels)
    for row in range(len(pixels)):
        if (pixels[row].min(axis=1).astype(np.int64) + spare < full - alpha[row].astype(int)).any():
            return pixels
        divisor = np.maximum(alpha[row], 1).astype(np.int64)[:, None]
        white = full - alpha[row].astype(np.int64)[:, None]
        own = (pixels[row].astype(np.int64) - white) * full
        out[row] = np.clip((own + divisor // 2) // divisor, 0, full)
    return out


def _dpi(data: bytes) -> tuple[float, float] | None:
    """ResolutionInfo: 16.16 pixels per inch, whatever unit is shown."""
    if len(data) < 16:
        return None
    across, _, _, down, _, _ = struct.unpack(">IHHIHH", data[:16])
    return across / 65_536, down / 65_536
