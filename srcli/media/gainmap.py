"""The gain map of an HDR picture (ISO 21496-1; Android's Ultra HDR, Apple's): what each pixel is
multiplied with on a screen that can be brighter. It lies behind the picture as a JPEG of its own,
usually smaller, and is enlarged with it. MPF (CIPA DC-007) says where it is.
"""

import io
import struct

import numpy as np
from PIL import Image

from srcli.media import jpeg
from srcli.media.exif import pack_ifd
from srcli.media.metadata import GainMap

_QUALITY = 95
_MAX_SIDE_PX = 65_500
_PRIMARY = 0x030000


def enlarged(gain_map: GainMap, size: tuple[int, int]) -> GainMap:
    """As its picture was, to (height, width); with its JPEG."""
    height, width = (
        min(_MAX_SIDE_PX, max(1, round(side * new / old)))
        for side, old, new in zip(gain_map.pixels.shape[:2], gain_map.size, size, strict=True)
    )
    image = Image.fromarray(np.ascontiguousarray(gain_map.pixels))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, subsampling=0)
    data = out.getvalue()
    at = jpeg.walk(data).apps_end
    whole = data[:at] + gain_map.segments + data[at:]
    return GainMap(np.asarray(image), size, gain_map.segments, gain_map.mark, whole)


def joined(picture: bytes, gain_map: GainMap) -> bytes:
    """A JPEG with a gain map behind it, and the index that says so in front."""
    mark, map_bytes = gain_map.mark, gain_map.jpeg
    at = jpeg.walk(picture).apps_end
    index_at = at + len(mark) + 8  # behind marker, length and identifier
    length = len(_index(0, 0, 0)) + len(mark)
    total = len(picture) + length
    index = _index(total, len(map_bytes), total - index_at)
    return b"".join((picture[:at], mark, index, picture[at:], map_bytes))


def _index(size: int, map_size: int, map_at: int) -> bytes:
    """The segment of MPF: two pictures, of which the first is the file's own."""
    entries = struct.pack(">IIIHH", _PRIMARY, size, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, map_size, map_at, 0, 0)
    tags = {
        0xB000: (7, 4, b"0100"),
        0xB001: (4, 1, struct.pack(">I", 2)),
        0xB002: (7, len(entries), entries),
    }
    body = b"MM\0*" + struct.pack(">I", 8) + pack_ifd(tags, ">", False, 8)
    return jpeg.segment_bytes(0xE2, jpeg.MPF + body)
