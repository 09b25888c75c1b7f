"""What is told to be plainly damaged, and what is not."""

import io

import numpy as np
import pytest
from PIL import Image

from srcli.media.damage import SIDE, damage
from srcli.media.image import read


def clean(height=160, width=200):
    """Slopes, edges and some texture, without noise."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = 40 * np.sin(x / 9 + y / 31) + 30 * np.cos(y / 13)
    disc = 50.0 * ((y - 70) ** 2 + (x - 90) ** 2 < 2500)
    texture = 6 * np.sin(1.9 * x + 0.7 * y) * (x > 0.6 * width)
    grey = 120 + waves + disc + texture
    return np.clip(np.rint(np.stack([grey, grey - 9, 0.8 * grey], 2)), 0, 255).astype(np.uint8)


def noisy(pixels, sigma):
    drawn = np.random.default_rng(1).normal(0, sigma, pixels.shape)
    return np.clip(np.rint(pixels + drawn), 0, 255).astype(np.uint8)


def packed(pixels, quality):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return io.BytesIO(data.getvalue())


def unpacked(pixels, quality):
    return np.asarray(Image.open(packed(pixels, quality)))


def test_clean_pictures_have_none():
    pixels = clean()
    for picture in (
        pixels,
        pixels[:, :, :1],
        pixels.astype(np.uint16) * 257,
        noisy(pixels, 3),
        unpacked(pixels, 92),
        np.zeros((64, 64, 3), np.uint8),
        pixels[:20, :20],
        np.kron(noisy(pixels[:40, :40], 40), np.ones((8, 8, 1), np.uint8)),  # large pixels
    ):
        assert damage(picture) is None


@pytest.mark.parametrize("quality", [20, 50, 65, 66, 75, 95])
def test_the_quality_of_a_jpeg_file(quality):
    picture = read(packed(clean(), quality))
    assert picture.quality == quality
    said = damage(picture.pixels, picture.quality)
    if quality in (20, 50, 65):
        assert said == f"looks like a JPEG saved at quality {quality}"
    elif quality == 95:
        assert said is None


def test_what_is_no_jpeg_has_no_quality(tmp_path):
    Image.fromarray(clean()).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").quality is None


@pytest.mark.parametrize("left", [0, 3])
def test_the_blocks_of_a_jpeg_that_was_saved_again(left):
    again = unpacked(clean(), 20)[5:, left:]  # cut, so that blocks begin anywhere
    assert "blocks" in damage(again)


def test_noise():
    assert damage(noisy(clean(), 16)) == "has much noise"
    dark = noisy(np.full((160, 160, 3), 4, np.uint8), 16)
    assert damage(dark) is None  # cut off at black: nothing can be told


def test_only_the_middle_is_looked_at():
    large = np.tile(clean(), (8, 8, 1))
    large[:200] = noisy(large[:200], 30)
    assert large.shape[0] > SIDE + 400
    assert damage(large) is None
