"""Headers that announce more than the file can hold, said before anything is decoded."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from srcli.errors import MediaError
from srcli.media.image import inspect, read

EVEN = Image.new("RGB", (600, 500), (200, 30, 90))


def saved(image: Image.Image, kind: str, **more: object) -> bytearray:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return bytearray(out.getvalue())


def announcing(data: bytearray, at: int, form: str, *values: int) -> bytearray:
    struct.pack_into(form, data, at, *values)
    return data


def tall_png() -> bytearray:
    data = announcing(saved(EVEN, "PNG"), 16, ">II", 20_000, 20_000)
    return announcing(data, 29, ">I", zlib.crc32(data[12:29]))


def tall_jpeg() -> bytearray:
    data = saved(EVEN, "JPEG")
    return announcing(data, data.index(b"\xff\xc0") + 5, ">HH", 20_000, 20_000)


def tall_tiff(compression: str | None) -> bytearray:
    out = io.BytesIO()
    tifffile.imwrite(out, np.asarray(EVEN), compression=compression, photometric="rgb")
    data = bytearray(out.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for tag in ("ImageWidth", "ImageLength"):
            entry = file.pages[0].tags[tag]
            form = "<I" if int(entry.dtype) == 4 else "<H"
            struct.pack_into(form, data, entry.valueoffset, 20_000)
    return data


def wide_gif(*, frame: bool) -> bytearray:
    """As it was found: 556 bytes that announce 37,142 x 2,014 pixels."""
    data = saved(Image.effect_mandelbrot((20, 20), (-2, -2, 2, 2), 100).convert("P"), "GIF")
    announcing(data, 6, "<HH", 37_142, 2_014)
    if frame:
        announcing(data, data.index(b",\0\0\0\0") + 5, "<HH", 37_142, 2_014)
    return data


BOMBS = {
    "gif": wide_gif(frame=True),
    "gif canvas": wide_gif(frame=False),
    "png": tall_png(),
    "jpeg": tall_jpeg(),
    "bmp": announcing(saved(EVEN, "BMP"), 18, "<ii", 20_000, 20_000),
    "tiff": tall_tiff(None),
    "tiff deflate": tall_tiff("zlib"),
    "pcx": announcing(saved(EVEN, "PCX"), 8, "<HH", 20_000, 20_000),
    "dds": announcing(saved(EVEN, "DDS"), 12, "<II", 20_000, 20_000),
    "sgi": announcing(saved(EVEN, "SGI"), 6, ">HH", 20_000, 20_000),
    "ppm": bytearray(b"P6 20000 20000 255\n" + bytes(1000)),
    "pgm": bytearray(b"P2 20000 20000 255\n" + bytes(1000)),
    "pfm": bytearray(b"PF 20000 20000 -1\n" + bytes(1000)),
    "qoi": bytearray(b"qoif" + struct.pack(">IIBB", 20_000, 20_000, 3, 0) + b"\xfd" * 1000),
    "psd": bytearray(
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 20_000, 20_000, 8, 3) + bytes(12) + bytes(999)
    ),
    "psd runs": bytearray(
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 20_000, 20_000, 8, 3)
        + bytes(12)
        + b"\0\1"
        + bytes(999)
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_too_little_for_what_is_announced(kind: str) -> None:
    began = time.process_time()
    with pytest.raises(MediaError, match="cut short"):
        inspect(io.BytesIO(BOMBS[kind]))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "PCX", "SGI", "TIFF", "DDS", "TGA"])
def test_an_even_picture_is_no_bomb(kind: str, tmp_path) -> None:
    """One colour is what codecs pack best."""
    path = tmp_path / f"a.{kind.lower()}"
    options = {"PNG": {"compress_level": 9}, "JPEG": {"quality": 1, "progressive": True}}
    options["TGA"] = {"compression": "tga_rle"}
    Image.new("L", (3000, 2500), 128).save(path, **options.get(kind, {}))
    assert read(path).pixels.shape[:2] == (2500, 3000)
    if kind == "TIFF":
        for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"):
            mode = "1" if packing == "group4" else "L"
            Image.new(mode, (3000, 2500)).save(path, compression=packing)
            assert read(path).pixels.shape[:2] == (2500, 3000)


def test_a_gif_whose_frames_are_small_is_read() -> None:
    data = saved(Image.new("P", (20, 20), 1), "GIF")
    picture = read(io.BytesIO(announcing(data, 6, "<HH", 3_000, 2_000)))
    assert picture.pixels.shape[:2] == (2_000, 3_000)
