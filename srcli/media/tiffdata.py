"""The samples of a TIFF's page, however strips or tiles pack them (TIFF 6.0; Adobe's TIFF notes).

libtiff, as Pillow brings it, knows the compressions but few of the layouts: of 16-bit CMYK it gives
the high bytes, of floats, planes or nine samples nothing. So it is asked for bytes alone: strips
that it has to unpack are handed to it as a picture of 8-bit grey, as wide as a row has bytes. What
the bytes mean is worked out here.
"""

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcli.media.exif import Value, pack_ifd

Bytes = NDArray[np.uint8]

# Compression (tag 259): none, deflate by both its numbers, LZMA; what libtiff unpacks to bytes
_NONE, _LZMA = 1, 34925
_DEFLATE = (8, 32946)
_BY_LIBTIFF = (5, 32773, 50000)  # LZW, PackBits, Zstandard
COMPRESSIONS = frozenset({_NONE, *_DEFLATE, _LZMA, *_BY_LIBTIFF})
# Predictor (tag 317): none, differences of samples, of the bytes of floats
_HORIZONTAL, _FLOATING = 2, 3
_KINDS: dict[int, Literal["u", "i", "f"]] = {1: "u", 2: "i", 3: "f", 4: "u"}  # SampleFormat (339)
_WHOLE = (8, 16, 32, 64)
_BATCH_BYTES = 1 << 24  # of unpacked samples at a time
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Packing:
    """How a page's samples lie in the file; made by packing_of.

    Attributes:
        height, width: of the page in pixels.
        bits: per sample.
        kind: unsigned, signed or float.
        samples: of one pixel that lie together: all, or 1 where planes are separate.
        n_planes: 1, or as many as a pixel has samples.
        segment: (height, width) of a strip or tile; strips are as wide as the page.
        tiled: all segments are whole; else the last strip ends with the page.
        spans: (offset, length) of every segment, plane after plane.
    """

    height: int
    width: int
    bits: int
    kind: Literal["u", "i", "f"]
    samples: int
    n_planes: int
    segment: tuple[int, int]
    tiled: bool
    spans: tuple[tuple[int, int], ...]
    order: Literal["<", ">"]
    compression: int
    predictor: int
    bits_reversed: bool

    @property
    def row_bytes(self) -> int:
        """Of one row of a segment, unpacked."""
        return -(-self.segment[1] * self.samples * self.bits // 8)


def packing_of(page: Any) -> Packing:
    """What tifffile read of the page's directory.

    Raises:
        NotImplementedError: it is sound, and nothing that can be read here.
        ValueError: it contradicts itself.
    """
    height, width, samples = (
        int(n) for n in (page.imagelength, page.imagewidth, page.samplesperpixel)
    )
    bits, form = page.bitspersample, page.sampleformat
    if not isinstance(bits, int) or not isinstance(form, int) or form not in _KINDS:
        raise NotImplementedError("its samples are complex numbers, or differ in their depth")
    kind = _KINDS[form]
    if bits < 1 or bits > 64 or (kind == "i" and bits not in _WHOLE):
        raise NotImplementedError(f"its samples are numbers of {bits} bits")
    if kind == "f" and bits not in (16, 32, 64):
        raise NotImplementedError(f"its samples are floats of {bits} bits")
    compression, predictor = int(page.compression), int(page.predictor)
    if compression not in COMPRESSIONS:
        name = getattr(page.compression, "name", str(compression)).replace("_", " ")
        raise NotImplementedError(f"its samples are packed by {name}")
    if predictor not in (0, 1, _HORIZONTAL, _FLOATING):
        raise NotImplementedError(f"its samples are packed with predictor {predictor}")
    if (predictor == _FLOATING and kind != "f") or (
        predictor == _HORIZONTAL and bits not in _WHOLE
    ):
        raise NotImplementedError(f"predictor {predictor} goes with samples of another kind")
    separate = int(page.planarconfig) == 2 and samples > 1
    if page.is_tiled:
        segment = int(page.tilelength), int(page.tilewidth)
    else:
        rows = int(page.rowsperstrip or height)
        segment = min(max(rows, 1), height), width
    if min(segment) < 1:
        raise ValueError("its tiles have no size")
    offsets, counts = page.dataoffsets, page.databytecounts
    n_planes = samples if separate else 1
    needed = n_planes * -(-height // segment[0]) * -(-width // segment[1])
    if len(offsets) != len(counts) or len(offsets) < needed:
        raise ValueError("its lists of strips disagree")
    return Packing(
        height=height,
        width=width,
        bits=bits,
        kind=kind,
        samples=1 if separate else samples,
        n_planes=n_planes,
        segment=segment,
        tiled=bool(page.is_tiled),
        spans=tuple((int(a), int(n)) for a, n in zip(offsets, counts, strict=True))[:needed],
        order=">" if page.parent.byteorder == ">" else "<",
        compression=compression,
        predictor=predictor,
        bits_reversed=int(page.fillorder) == 2,
    )


def read_pieces(
    stream: BinaryIO, packing: Packing, wanted: Sequence[int]
) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
    """The page's samples, piece by piece.

    Args:
        wanted: indices of the samples that are needed, ascending; planes of others are not read.

    Yields:
        (y, x, first, values): values (h, w, n) of uint, int or float, at the full bits of the file,
        which belong at row y and column x; they are those of wanted[first : first + n].

    Raises:
        EOFError: the file ends before the samples do.
        ValueError, zlib.error, lzma.LZMAError, OSError: they are damaged.
    """
    high, wide = packing.segment
    down, across = -(-packing.height // high), -(-packing.width // wide)
    end = stream.seek(0, io.SEEK_END)
    planes = [(0, 0)] if packing.n_planes == 1 else [(k, n) for n, k in enumerate(wanted)]
    batch = max(1, _BATCH_BYTES // max(1, high * packing.row_bytes))
    for plane, first in planes:
        start = plane * down * across
        places = [(start + k, k // across * high, k % across * wide) for k in range(down * across)]
        for rows, group in _alike(places, packing, batch):
            packed = []
            for index, _, _ in group:
                at, length = packing.spans[index]
                if packing.compression == _NONE and length:
                    length = rows * packing.row_bytes  # whatever the file says
                # what is missing would otherwise come out as zeros
                if length == 0 or at + length > end:
                    raise EOFError
                stream.seek(at)
                data = stream.read(length)
                packed.append(data.translate(_REVERSED) if packing.bits_reversed else data)
            raw = _unpacked(packed, packing, rows)
            for (_, y, x), one in zip(group, raw, strict=True):
                step = max(1, _BATCH_BYTES // packing.row_bytes)
                for top in range(0, rows, step):
                    values = _values(one[top : top + step], packing)
                    values = values[: packing.height - y - top, : packing.width - x]
                    if packing.n_planes == 1 and len(wanted) < packing.samples:
                        values = values[:, :, list(wanted)]
                    yield y + top, x, first, values


def _alike(
    places: list[tuple[int, int, int]], packing: Packing, most: int
) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """(rows, segments of so many rows), at most so many at a time; a last strip is shorter."""
    high = packing.segment[0]
    whole = [p for p in places if packing.tiled or p[1] + high <= packing.height]
    for at in range(0, len(whole), most):
        yield high, whole[at : at + most]
    rest = places[len(whole) :]
    if rest:
        yield packing.height - rest[0][1], rest


def _unpacked(packed: list[bytes], packing: Packing, rows: int) -> Bytes:
    """(segments, rows, bytes of a row)."""
    n_bytes = rows * packing.row_bytes
    unpack: Callable[[bytes], bytes]
    if packing.compression in _BY_LIBTIFF:
        return _by_libtiff(packed, packing, rows).reshape(len(packed), rows, packing.row_bytes)
    if packing.compression in _DEFLATE:

        def unpack(data: bytes) -> bytes:
            return zlib.decompressobj().decompress(data, n_bytes)
    elif packing.compression == _LZMA:

        def unpack(data: bytes) -> bytes:
            return lzma.LZMADecompressor().decompress(data, n_bytes)
    else:

        def unpack(data: bytes) -> bytes:
            return data[:n_bytes]

    out = np.empty((len(packed), n_bytes), np.uint8)
    for index, data in enumerate(packed):
        raw = unpack(data)
        if len(raw) < n_bytes:
            raise EOFError
        out[index] = np.frombuffer(raw, np.uint8)
    return out.reshape(len(packed), rows, packing.row_bytes)


def _by_libtiff(packed: list[bytes], packing: Packing, rows: int) -> Bytes:
    """All segments as strips of one grey picture."""

    def longs(*values: int) -> Value:
        return 4, len(values), struct.pack(f"<{len(values)}I", *values)

    width, height = packing.row_bytes, rows * len(packed)
    offsets = [8]
    for data in packed:
        offsets.append(offsets[-1] + len(data))
    at = offsets[-1] + offsets[-1] % 2
    tags = {256: longs(width), 257: longs(height), 258: longs(8), 259: longs(packing.compression)}
    tags |= {262: longs(1), 273: longs(*offsets[:-1]), 277: longs(1), 278: longs(rows)}
    tags |= {279: longs(*(len(data) for data in packed))}
    file = io.BytesIO()
    file.write(b"II*\0" + struct.pack("<I", at))
    file.writelines(packed)
    file.write(bytes(at - offsets[-1]) + pack_ifd(tags, "<", False, at))
    with Image.open(file, formats=["TIFF"]) as image:
        return np.array(image)


def _values(raw: Bytes, packing: Packing) -> NDArray[Any]:
    """Rows of bytes as (rows, width, samples)."""
    width, samples, bits = packing.segment[1], packing.samples, packing.bits
    shape = len(raw), width, samples
    if packing.predictor == _FLOATING:
        return _of_bytes_of_floats(raw, packing).reshape(shape)
    if bits not in _WHOLE:
        return _of_bits(raw, width * samples, bits, packing.order).reshape(shape)
    unsigned = np.dtype(f"u{bits // 8}")
    numbers = np.ascontiguousarray(raw).view(unsigned.newbyteorder(packing.order))
    numbers = numbers.astype(unsigned, copy=False).reshape(shape)
    if packing.predictor == _HORIZONTAL:
        numbers = np.cumsum(numbers, axis=1, dtype=unsigned)
    return numbers.view(f"{packing.kind}{bits // 8}")


def _of_bytes_of_floats(raw: Bytes, packing: Packing) -> NDArray[Any]:
    """Adobe's floating-point predictor: all first bytes of a row, all second, ..., as differences
    from the byte so many samples before."""
    n_bytes = packing.bits // 8
    together = raw.reshape(len(raw), -1, packing.samples)
    summed = np.cumsum(together, axis=1, dtype=np.uint8).reshape(len(raw), n_bytes, -1)
    ordered = np.ascontiguousarray(summed.transpose(0, 2, 1))
    return ordered.view(f">f{n_bytes}")[:, :, 0].astype(f"f{n_bytes}")


def _of_bits(raw: Bytes, n: int, bits: int, order: str) -> NDArray[Any]:
    """Samples of any number of bits, packed from the highest on (TIFF 6.0, FillOrder)."""
    n_bytes = 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8
    out = np.zeros((len(raw), n), f"u{n_bytes}")
    if bits % 8 == 0:  # whole bytes have the file's order
        digits = raw[:, : n * bits // 8].reshape(len(raw), n, bits // 8)
        digits = digits[:, :, ::-1] if order == "<" else digits
        for k in range(bits // 8):
            out <<= out.dtype.type(8)
            out |= digits[:, :, k]
        return out
    step = max(1, (1 << 22) // max(1, raw.shape[1]))
    for top in range(0, len(raw), step):
        ones = np.unpackbits(raw[top : top + step], axis=1)[:, : n * bits]
        ones = ones.reshape(len(ones), n, bits)
        part = out[top : top + step]
        for k in range(bits):
            part <<= part.dtype.type(1)
            part |= ones[:, :, k]
    return out
