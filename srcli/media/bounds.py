"""How few bytes can hold what a header announces, by the largest expansion of each codec.

A header of a few bytes may announce gigapixels, which a decoder fills for minutes before it finds
that the data has ended. There is no such bound for WebP, JPEG 2000, JPEG XL, AVIF and HEIC: an even
picture of any size takes them next to nothing.
"""

import math
import struct
from typing import Any, BinaryIO

from srcli.media import gif
from srcli.media.animation import Animation
from srcli.media.picture import Header

_DEFLATE = 1032  # RFC 1951: a run of 258 bytes takes two bits at least
_PACKBITS = 64  # 128 bytes from two
_LZW_STRING = 4094  # the longest that 12 bits can name
_JPEG_PIXELS = 512  # of a byte: a block of 8 x 8 takes a bit at least
_EMPTY_CANVAS = 1 << 24  # pixels of a GIF that no frame needs to cover
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ARITHMETIC = range(0xC9, 0xD0)  # JPEG's frames of that kind have no bound
_LUMA_CHROMA = 6


def least_bytes(stream: BinaryIO, header: Header) -> int:
    """How many bytes of a file the picture's pixels take at least; 0 where that is not known."""
    if header.least_bytes:
        return header.least_bytes
    measure = _MEASURES.get(header.info.format)
    return 0 if measure is None else measure(stream, header)


def _png(stream: BinaryIO, header: Header) -> int:
    stream.seek(16)
    width, height, depth, kind = struct.unpack(">IIBB", stream.read(10))
    row = (width * depth * _PNG_SAMPLES.get(kind, 1) + 7) // 8
    return int(row * height // _DEFLATE)


def _jpeg(stream: BinaryIO, header: Header) -> int:
    stream.seek(2)
    while (mark := stream.read(2)) and mark[0] == 0xFF and len(mark) == 2:
        if 0xC0 <= mark[1] <= 0xCF and mark[1] not in (0xC4, 0xC8, 0xCC):
            area = header.info.width * header.info.height
            return 0 if mark[1] in _ARITHMETIC else area // _JPEG_PIXELS
        if mark[1] == 0xFF:
            stream.seek(-1, 1)
            continue
        stream.seek(max(0, int.from_bytes(stream.read(2), "big") - 2), 1)
    return 0


def _bmp(stream: BinaryIO, header: Header) -> int:
    stream.seek(14)
    head = stream.read(20)
    if int.from_bytes(head[:4], "little") < 40:
        depth, packing = int.from_bytes(head[10:12], "little"), 0
    else:
        depth, packing = struct.unpack_from("<HI", head, 14)
    if packing not in (0, 3, 6):  # run lengths may leave the rest of a picture out
        return 0
    return int((header.info.width * depth + 7) // 8 * header.info.height)


def lzw_bytes(pixels: int) -> int:
    """Of a GIF's codes: the n-th names n pixels at most, until the table is full."""
    growing = _LZW_STRING * (_LZW_STRING + 1) // 2
    if pixels <= growing:
        return 3 * math.isqrt(2 * pixels) // 8  # of three bits at least
    return 3 * _LZW_STRING // 8 + 12 * (pixels - growing) // _LZW_STRING // 8


def _gif(stream: BinaryIO, header: Header) -> int:
    animation: Animation = gif.scan(stream)
    for part in animation.parts:
        if sum(n for _, n in part.spans) < lzw_bytes(part.width * part.height):
            raise EOFError
    canvas = animation.width * animation.height
    return lzw_bytes(canvas) if canvas > _EMPTY_CANVAS else 0


def _tiff(stream: BinaryIO, header: Header) -> int:
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages[header.page]
        packing = int(page.compression)
        expansion = {1: 1, 8: _DEFLATE, 32946: _DEFLATE, 32773: _PACKBITS, 5: _LZW_STRING}
        if packing not in expansion or int(page.photometric) == _LUMA_CHROMA:
            return 0
        if not isinstance(page.bitspersample, int):
            return 0
        bits = page.bitspersample * int(page.samplesperpixel)
        area = int(page.imagewidth) * int(page.imagelength)
        return area * bits // 8 // expansion[packing]


def _qoi(stream: BinaryIO, header: Header) -> int:
    return header.info.width * header.info.height // 62


def _pcx(stream: BinaryIO, header: Header) -> int:
    stream.seek(0)
    head = stream.read(66)
    row = (header.info.width * head[3] + 7) // 8 * head[65]
    return 2 * row * header.info.height // 63


def _dds(stream: BinaryIO, header: Header) -> int:
    stream.seek(80)
    flags, _, depth = struct.unpack("<I4sI", stream.read(12))
    bits = 4 if flags & 4 else 8 if flags & 0x20 else depth  # of a pixel: blocks, palette, plain
    return header.info.width * header.info.height * int(bits) // 8


def _tga(stream: BinaryIO, header: Header) -> int:
    stream.seek(0)
    head = stream.read(18)
    area, pixel_bytes = header.info.width * header.info.height, (head[16] + 7) // 8
    return area * (1 + pixel_bytes) // 128 if head[2] & 8 else area * pixel_bytes


_MEASURES = {
    "png": _png,
    "jpeg": _jpeg,
    "bmp": _bmp,
    "gif": _gif,
    "tiff": _tiff,
    "qoi": _qoi,
    "pcx": _pcx,
    "dds": _dds,
    "tga": _tga,
}
