"""SGI pictures ("The SGI Image File Format", Haeberli). Pillow keeps 8 of their 16 bits."""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.media.header import open_image
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo

_HEAD = struct.Struct(">HBBHHHH")
_HEAD_BYTES = 512


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    packed, width, height, samples, bits = _layout(stream)
    if samples not in (1, 3, 4) or bits not in (8, 16):
        raise NotImplementedError(f"{samples} channels of {bits} bits")
    info = ImageInfo(path, "sgi", width, height, 1 if samples == 1 else 3, samples == 4, bits)
    # rows of runs may share their bytes; each has a place in two tables
    least = 8 * height * samples if packed else width * height * samples * bits // 8
    return Header(info, 1, Metadata(), least_bytes=least)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    packed, width, height, samples, bits = _layout(stream)
    array: NDArray[np.uint8] | NDArray[np.uint16]
    if bits == 8:
        array = _pillow(stream, None)
    elif packed:
        # Pillow unpacks one byte of the two; told the other byte order, the other one.
        high, low = _pillow(stream, "B"), _pillow(stream, "L")
        array = high.astype(np.uint16)
        array <<= 8
        array |= low
    else:
        stream.seek(_HEAD_BYTES)
        data = stream.read(width * height * samples * 2)
        if len(data) < width * height * samples * 2:
            raise EOFError
        planes = np.frombuffer(data, ">u2").reshape(samples, height, width)
        array = np.ascontiguousarray(np.moveaxis(planes, 0, 2)[::-1]).astype(np.uint16)
    if samples == 4:
        return array[:, :, :3], np.ascontiguousarray(array[:, :, 3]), None, ()
    return array, None, None, ()


def _layout(stream: BinaryIO) -> tuple[bool, int, int, int, int]:
    """(packed, width, height, samples, bits)."""
    stream.seek(0)
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    _, packed, sample_bytes, dimensions, width, height, samples = _HEAD.unpack(head)
    if packed > 1 or not 1 <= dimensions <= 3:
        raise ValueError("impossible numbers in its header")
    height = height if dimensions > 1 else 1
    return packed == 1, width, height, samples if dimensions > 2 else 1, 8 * sample_bytes


def _pillow(stream: BinaryIO, order: str | None) -> NDArray[np.uint8]:
    """Samples as Pillow reads them, of 16 bits the byte that comes first in this byte order."""
    image = open_image(stream, "sgi")
    if order is not None:
        (tile,) = image.tile
        assert isinstance(tile.args, tuple)
        _, orientation, sample_bytes = tile.args
        kind = f"{image.mode};16{order}".replace("L;16L", "L;16")
        image.tile = [tile._replace(args=(kind, orientation, sample_bytes))]
    image.load()
    samples = np.asarray(image)
    return samples[:, :, None] if samples.ndim == 2 else samples
