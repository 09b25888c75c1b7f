"""DDS (Microsoft's "DDS File Layout"): Pillow decodes blocks; plain colours are read here.

Pillow takes them apart pixel by pixel in Python, minutes for a large texture.
"""

import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.media.header import pillow_header
from srcli.media.picture import Decoded, Header, Pixels
from srcli.media.samples import decode_plain

_AT, _HEAD_BYTES = 80, 128
_RGB, _ALPHA = 0x40, 0x01
_CUBE, _VOLUME = 0x200, 0x200000


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    header = pillow_header(stream, path, "dds")
    stream.seek(112)
    (more,) = struct.unpack("<I", stream.read(4))
    if more & (_CUBE | _VOLUME):
        what = "faces of a cube" if more & _CUBE else "layers of a volume"
        header = replace(
            header, notes=(*header.notes, f"only the first of several {what} was taken")
        )
    return header


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    stream.seek(_AT)
    flags, _, depth, *masks = struct.unpack("<I4sI4I", stream.read(28))
    if not flags & _RGB or depth not in (8, 16, 24, 32):
        return decode_plain(stream, header)
    info, n_bytes = header.info, depth // 8
    stream.seek(_HEAD_BYTES)
    size = info.width * info.height * n_bytes
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    parts = np.frombuffer(data, np.uint8).reshape(info.height, info.width, n_bytes)
    pixels = np.stack([_channel(parts, mask) for mask in masks[:3]], axis=2)
    alpha = _channel(parts, masks[3]) if flags & _ALPHA else None
    return pixels, alpha, None, ()


def _channel(parts: NDArray[np.uint8], mask: int) -> Pixels:
    """The bits under a mask, stretched to 8."""
    if not mask:
        return np.zeros(parts.shape[:2], np.uint8)
    low = (mask & -mask).bit_length() - 1
    top = mask >> low
    out = np.empty(parts.shape[:2], np.uint8)
    for row, line in enumerate(parts):
        values = np.zeros(len(line), np.uint32)
        for k in range(parts.shape[2]):
            values |= line[:, k].astype(np.uint32) << np.uint32(8 * k)
        own = ((values & np.uint32(mask)) >> np.uint32(low)).astype(np.float64)
        out[row] = np.rint(own * (255 / top))
    return out
