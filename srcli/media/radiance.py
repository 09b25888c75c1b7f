"""Radiance's HDR pictures (Ward, "Real Pixels", Graphics Gems II, and Radiance's color.c)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.media.linear_light import BT709, to_srgb
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo

_LINE_BYTES, _MAX_LINES = 4096, 1000
_SIZE = re.compile(rb"^([+-][XY]) (\d{1,9}) ([+-][XY]) (\d{1,9})\s*$")
_RUNS = range(8, 32_768)  # widths whose rows may be packed
_LONGEST_RUN = 127


@dataclass(frozen=True, slots=True)
class _Layout:
    width: int
    height: int
    flip: bool
    mirror: bool
    exposure: float
    primaries: tuple[float, ...]
    at: int


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    layout = _layout(stream)
    info = ImageInfo(path, "hdr", layout.width, layout.height, 3, False, 32)
    least = layout.height * (4 if layout.width not in _RUNS else 4 + 8 * (layout.width // 127))
    return Header(info, 1, Metadata(), least_bytes=least)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    layout = _layout(stream)
    stream.seek(layout.at)
    rgbe = _rows(stream.read(), layout.width, layout.height)
    scale = np.ldexp(np.float32(1 / layout.exposure), rgbe[:, :, 3:].astype(np.int32) - 136)
    light = np.where(rgbe[:, :, 3:] == 0, np.float32(0), rgbe[:, :, :3] * scale)
    if layout.flip:
        light = light[::-1]
    if layout.mirror:
        light = light[:, ::-1]
    pixels, notes = to_srgb(light.astype(np.float32), layout.primaries)
    return pixels, None, None, notes


def _layout(stream: BinaryIO) -> _Layout:
    stream.seek(0)
    exposure, primaries = 1.0, BT709
    for _ in range(_MAX_LINES):
        line = stream.readline(_LINE_BYTES)
        if not line:
            raise EOFError
        if line.startswith(b"EXPOSURE="):
            exposure *= float(line[9:])
        elif line.startswith(b"PRIMARIES="):
            found = tuple(float(word) for word in line[10:].split())
            if len(found) == 8 and min(found[1::2]) > 0:
                primaries = found
        elif line.startswith(b"FORMAT=") and line[7:].strip() != b"32-bit_rle_rgbe":
            raise NotImplementedError("its colours are not RGB")
        size = _SIZE.match(line)
        if size is not None:
            break
    else:
        raise ValueError("its header has no end")
    down, height, across, width = size.groups()
    if down[1:] != b"Y" or across[1:] != b"X":
        raise NotImplementedError("it is stored on its side")
    if not np.isfinite(exposure) or exposure <= 0:
        raise ValueError("an impossible exposure")
    flip, mirror = down == b"+Y", across == b"-X"
    return _Layout(int(width), int(height), flip, mirror, exposure, tuple(primaries), stream.tell())


def _rows(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 4): mantissas and exponent."""
    packed = width in _RUNS and data[:2] == b"\2\2" and len(data) > 3 and data[2] < 128
    if not packed:
        if len(data) < 4 * width * height:
            raise EOFError
        out = np.frombuffer(data, np.uint8, 4 * width * height).reshape(height, width, 4)
        if width and height and (out[:, :, :3] == 1).all(axis=2).any():
            raise NotImplementedError("it has the old kind of run lengths")
        return out
    rows = np.empty((height, 4, width), np.uint8)
    at = 0
    for y in range(height):
        head = data[at : at + 4]
        if len(head) < 4:
            raise EOFError
        if head[:2] != b"\2\2" or head[2] << 8 | head[3] != width:
            raise ValueError("a row of another width")
        at += 4
        row = bytearray()
        for plane in range(1, 5):
            while len(row) < plane * width:
                if at + 1 >= len(data):
                    raise EOFError
                count = data[at]
                if count > 128:
                    row += data[at + 1 : at + 2] * (count - 128)
                    at += 2
                else:
                    row += data[at + 1 : at + 1 + count]
                    at += 1 + count
                    if not count:
                        raise ValueError("a run without a length")
                    if at > len(data):
                        raise EOFError
            if len(row) > plane * width:
                raise ValueError("a run beyond its row")
        rows[y] = np.frombuffer(bytes(row), np.uint8).reshape(4, width)
    return np.moveaxis(rows, 1, 2)
