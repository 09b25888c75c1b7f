"""PNG, written strip by strip (PNG specification, third edition).

Pillow needs the whole picture and writes no 16-bit RGB. Here rows are filtered in numpy and
deflated in independent blocks on several threads.

Z_RLE finds only repeats of the previous byte. After the Paeth filter little else is left to find
in an enlarged photo, and it is ten times as fast as zlib's level 6 for about the same size (0.99 to
1.04 of it on Set14 x4). Blocks that shrink a lot (drawings, screenshots, flat skies) or in which a
quick look finds repeats are compressed both ways, and the smaller is taken.
"""

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srcli.media.deflate import RowBlocks, Rows, adler32_combine, deflate
from srcli.media.metadata import Chunk
from srcli.media.pngchunks import SIGNATURE, chunk

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_FILTER_BYTES = 1 << 16  # filtered at a time: the dozen temporaries stay in a core's L2 cache
_FULL_SEARCH_BELOW = 1 / 6  # of the size before deflating
_PROBE_BYTES = 1 << 16
_REPEATS_BELOW = 0.85  # of the size that runs alone give


def _filter_rows(rows: Rows, above: Rows, out: Rows, bpp: int) -> None:
    """Filter rows (n, w bytes) into out (n, 1 + w): per row the filter of least absolute sum.

    Rows lie in one flat buffer with bpp zeros before each, so that left, up and up-left are the
    same buffer at three offsets; what is computed for the zeros themselves is thrown away.
    """
    n, width = rows.shape
    stride = width + bpp
    padded = np.zeros((n + 1, stride), np.uint8)
    padded[0, bpp:] = above
    padded[1:, bpp:] = rows
    flat = padded.reshape(-1)
    size = n * stride - bpp
    x = flat[stride + bpp :]
    a, b, c = flat[stride:-bpp], flat[bpp : bpp + size], flat[:size]

    # Paeth in bytes: |b-c|, |a-c| and |a+b-2c|, the last being their difference where c lies
    # between a and b, and not less than either where it does not (255 will do).
    pa = np.maximum(b, c)
    pa -= np.minimum(b, c)
    pb = np.maximum(a, c)
    pb -= np.minimum(a, c)
    pc = np.maximum(pa, pb)
    pc -= np.minimum(pa, pb)
    pc |= ((a < c) ^ (b < c)).view(np.uint8) - np.uint8(1)
    take_b = np.negative((pb <= pc).view(np.uint8))
    take_a = np.negative(((pa <= pb) & (pa <= pc)).view(np.uint8))
    guess = b ^ c
    guess &= take_b
    guess ^= c
    difference = guess ^ a
    difference &= take_a
    guess ^= difference

    filtered = np.empty((4, n * stride), np.uint8)
    filtered[0, :size] = x
    np.subtract(x, a, out=filtered[1, :size])
    np.subtract(x, b, out=filtered[2, :size])
    np.subtract(x, guess, out=filtered[3, :size])
    by_row = filtered.reshape(4, n, stride)[:, :, :width]
    magnitude = np.abs(by_row.view(np.int8)).view(np.uint8)  # |-128| wraps to 128: as it should
    best = magnitude.sum(axis=2, dtype=np.uint32).argmin(axis=0)
    out[:, 0] = np.array([0, 1, 2, 4], np.uint8)[best]
    out[:, 1:] = by_row[best, np.arange(n)]


def _encode_block(rows: Rows, above: Rows, bpp: int) -> tuple[bytes, int, int]:
    """One block of rows, filtered and deflated: (stream, Adler-32, length before deflating)."""
    n, width = rows.shape
    out = np.empty((n, width + 1), np.uint8)
    step = max(1, _FILTER_BYTES // (width + bpp))
    for start in range(0, n, step):
        part = slice(start, start + step)
        _filter_rows(rows[part], rows[start - 1] if start else above, out[part], bpp)
    packed = deflate(out.data, zlib.Z_RLE, 1)
    if len(packed) < out.size * _FULL_SEARCH_BELOW or _has_repeats(out):
        packed = min(packed, deflate(out.data, zlib.Z_DEFAULT_STRATEGY, 6), key=len)
    return packed, zlib.adler32(out.data), out.size


def _has_repeats(filtered: Rows) -> bool:
    """Whether a search finds much more than runs, tried on some rows from the middle."""
    n, width = filtered.shape
    rows = max(1, _PROBE_BYTES // width)
    start = max(0, (n - rows) // 2)
    probe = filtered[start : start + rows].data
    runs = len(deflate(probe, zlib.Z_RLE, 1))
    return len(deflate(probe, zlib.Z_FILTERED, 4)) < runs * _REPEATS_BELOW


class PngEncoder:
    """Writes one PNG through `write`, from rows given top to bottom.

    Args:
        write: takes the file's bytes in order; it is never asked to seek.
        height, width: in pixels.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        bits: 8 or 16 per channel.
        icc, exif: written as they are, if given (exif without the `Exif` prefix of JPEG).
        dpi: horizontal and vertical dots per inch.
        colour, texts: chunks written as they are.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        height: int,
        width: int,
        channels: int,
        bits: int,
        icc: bytes | None = None,
        exif: bytes | None = None,
        dpi: tuple[float, float] | None = None,
        colour: Sequence[Chunk] = (),
        texts: Sequence[Chunk] = (),
    ) -> None:
        self._write = write
        self._bits = bits
        bpp = channels * bits // 8
        self._blocks = RowBlocks(
            height=height,
            row_bytes=width * bpp,
            encode=lambda rows, above: _encode_block(rows, above, bpp),
            sink=self._take,
        )
        self._adler = 1
        self._lead = b"\x78\x5e"  # the zlib header goes in front of the first block
        header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0)
        write(SIGNATURE + chunk(b"IHDR", header))
        for kind, data in colour:
            write(chunk(kind, data))
        if icc:
            write(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc, 9)))
        if dpi:
            per_metre = [min(2**31 - 1, max(1, round(value / 0.0254))) for value in dpi]
            write(chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
        if exif:
            write(chunk(b"eXIf", exif))
        for kind, data in texts:
            write(chunk(kind, data))

    def rows(self, strip: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Take a strip (n, width, channels), uint8 or, for 16 bits, uint16."""
        samples = strip.reshape(len(strip), -1)
        if self._bits == 16:
            samples = np.ascontiguousarray(samples, dtype=">u2")
        self._blocks.add(samples.view(np.uint8))

    def finish(self) -> None:
        """Write what is left and the end of the file."""
        self._blocks.finish()
        self._write(chunk(b"IDAT", self._lead + b"\x03\0" + struct.pack(">I", self._adler)))
        self._write(chunk(b"IEND", b""))

    def abort(self) -> None:
        """Stop; the file is then without an end."""
        self._blocks.abort()

    def _take(self, block: tuple[bytes, int, int]) -> None:
        packed, adler, length = block
        self._adler = adler32_combine(self._adler, adler, length)
        self._write(chunk(b"IDAT", self._lead + packed))
        self._lead = b""
