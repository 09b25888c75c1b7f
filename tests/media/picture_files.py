"""Files of kinds that few libraries write, made for the tests."""

import io
import struct
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

NEGATIVE = struct.pack(">Ih", 2, -1)  # of PSD: one layer, and an alpha of the composite


def saved(pixels: np.ndarray, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **more)
    return out.getvalue()


def pnm(magic: bytes, samples: np.ndarray, maxval: int) -> bytes:
    height, width = samples.shape[:2]
    head = b"%s # a word\n%d %d\n%d\n" % (magic, width, height, maxval)
    if magic in (b"P2", b"P3"):
        return head + " ".join(map(str, samples.ravel())).encode()
    return head + samples.astype("u1" if maxval < 256 else ">u2").tobytes()


def psd(
    samples: np.ndarray,
    mode: int,
    *,
    large: bool = False,
    packed: bool = False,
    layers: bytes = b"",
    resources: bytes = b"",
    palette: bytes = b"",
) -> bytes:
    height, width, channels = samples.shape
    wide = ">Q" if large else ">I"
    kind = samples.dtype.newbyteorder(">")
    planes = np.moveaxis(samples, 2, 0).astype(kind).reshape(channels * height, -1)
    if packed:
        rows = [packbits(row.tobytes()) for row in planes]
        counts = np.array([len(row) for row in rows], ">u4" if large else ">u2")
        body = b"\0\1" + counts.tobytes() + b"".join(rows)
    else:
        body = b"\0\0" + planes.tobytes()
    head = struct.pack(
        ">4sH6xHIIHH", b"8BPS", 2 if large else 1, channels, height, width, kind.itemsize * 8, mode
    )
    return b"".join(
        (
            *(head, struct.pack(">I", len(palette)), palette),
            *(struct.pack(">I", len(resources)), resources),
            *(struct.pack(wide, len(layers)), layers, body),
        )
    )


def packbits(row: bytes) -> bytes:
    out = b""
    for at in range(0, len(row), 128):
        part = row[at : at + 128]
        if len(set(part)) == 1 and len(part) > 1:
            out += bytes((257 - len(part), part[0]))
        else:
            out += bytes((len(part) - 1,)) + part
    return out


def resource(code: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", code, 0, len(data)) + data + bytes(len(data) % 2)


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def sgi(samples: np.ndarray, packed: bool) -> bytes:
    height, width, channels = samples.shape
    kind = samples.dtype.newbyteorder(">")
    head = struct.pack(
        *(">HBBHHHH", 474, packed, kind.itemsize),
        *((2 if channels == 1 else 3), width, height, channels),
    ).ljust(512, b"\0")
    planes = np.moveaxis(samples[::-1], 2, 0).astype(kind)
    if not packed:
        return head + planes.tobytes()
    rows, starts = b"", []
    mark = np.array([0x80 | width], kind).tobytes()
    for row in planes.reshape(-1, width):
        starts.append(len(head) + 8 * height * channels + len(rows))
        rows += mark + row.tobytes() + bytes(kind.itemsize)
    size = len(mark) + width * kind.itemsize + kind.itemsize
    table = np.array(starts, ">u4").tobytes() + np.full(len(starts), size, ">u4").tobytes()
    return head + table + rows


def qoi(samples: np.ndarray) -> bytes:
    height, width = samples.shape[:2]
    body = b"".join(b"\xfe" + bytes(p) for p in samples.reshape(-1, 3))
    return b"qoif" + struct.pack(">IIBB", width, height, 3, 0) + body + bytes(7) + b"\1"


def jxl(samples: np.ndarray, **more: object) -> bytes:
    import pillow_jxl.JpegXLImagePlugin  # noqa: F401

    out = io.BytesIO()
    Image.fromarray(samples).save(out, "JXL", lossless=True, **more)
    return out.getvalue()


def hdr(rgbe: np.ndarray, *, packed: bool) -> bytes:
    height, width = rgbe.shape[:2]
    head = b"#?RADIANCE\nEXPOSURE=2\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width)
    if not packed:
        return head + rgbe.tobytes()
    rows = b""
    for row in rgbe:
        rows += bytes((2, 2, width >> 8, width & 255))
        for plane in row.T:
            rows += bytes((128 + 3, plane[0])) + bytes((width - 3,)) + plane[3:].tobytes()
    return head + rows


def dng(path: Path) -> Path:
    """A sensor of red, green and blue pixels that saw an even grey, and a small preview."""
    sensor = np.full((48, 64), 8000, np.uint16)
    tags = [
        (33421, "H", 2, (2, 2), True),  # the pattern of colours
        (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),  # DNG's version
        (50708, "s", 0, "srcli test", True),
        (50717, "I", 1, 16_000, True),  # white
        (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
        (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # neutral as shot
        (50778, "H", 1, 21, True),
        (271, "s", 0, "Acme", True),
    ]
    tifffile.imwrite(path, sensor, photometric=32803, extratags=tags)
    return path
