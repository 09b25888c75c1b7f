"""Damaged files: whatever a decoder makes of them, only MediaError comes out."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from srcli.errors import MediaError
from srcli.media.image import inspect, read

ROUNDS = 300
# Pillow's remarks about files; the program itself filters them out.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def sample(kind: str) -> bytes:
    rng = np.random.default_rng(5)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    out = io.BytesIO()
    small = rng.integers(0, 256, (13, 17, 4), np.uint8)
    if kind == "deep.tiff":
        deep = small[:, :, :3].astype(np.uint16) * 257
        tifffile.imwrite(out, deep, photometric="rgb", compression="zlib", rowsperstrip=4)
    elif kind == "deep.png":
        Image.fromarray(small[:, :, 0].astype(np.uint16) * 99).save(out, "PNG", exif=exif)
    elif kind in ("jpeg", "bmp", "gif"):
        Image.fromarray(small[:, :, :3]).save(out, kind.upper(), exif=exif, dpi=(72, 72))
    else:
        Image.fromarray(small).save(out, kind.upper(), exif=exif)
    return out.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(0, len(changed)))
        if rng.random() < 0.5:  # headers are where it hurts
            at %= 160
        match int(rng.integers(0, 5)):
            case 0:
                changed[at % len(changed)] = int(rng.integers(0, 256))
            case 1:
                changed[at % len(changed)] ^= 1 << int(rng.integers(0, 8))
            case 2:
                changed[at : at + 4] = b"\xff\xff\xff\xff"
            case 3:
                del changed[at : at + int(rng.integers(1, 20))]
            case 4:
                changed = changed[: max(1, len(changed) - at // 4)]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize(
    "kind", ["png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "deep.png", "deep.tiff"]
)
def test_only_media_errors_escape(kind: str) -> None:
    data = sample(kind)
    assert read(io.BytesIO(data)).pixels.size  # the sound one is fine
    rng = np.random.default_rng(17)
    opened = 0
    for _ in range(ROUNDS):
        damaged = io.BytesIO(mutated(data, rng))
        try:
            info = inspect(damaged, max_pixels=1_000_000)
            picture = read(damaged, info, max_pixels=1_000_000)
        except MediaError as error:
            assert "\n" not in error.message
        else:
            opened += 1
            assert picture.pixels.shape == (info.height, info.width, info.channels)
            assert (picture.alpha is not None) == info.has_alpha
    assert opened < ROUNDS
