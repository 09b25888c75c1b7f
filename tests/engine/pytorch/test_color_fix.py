"""The correction of low frequencies: what drifts comes back, what is faithful stays bit for bit."""

import numpy as np
import pytest
import torch
from tiny_networks import Nearest, network

from srcli import catalog
from srcli.engine.open import open_engine
from srcli.engine.pytorch.color_fix import TOLERANCE, ColorFix
from srcli.engine.pytorch.upscaler import Upscaler
from srcli.engine.settings import Settings


def corrected(pixels, result, bands):
    """A result (h s, w s, c) in 0..1 through the correction, in bands of these heights."""
    color_fix = ColorFix(pixels, result.shape[:2])
    parts, row = [], 0
    while row < len(result):
        n = bands[len(parts) % len(bands)]
        parts.append(color_fix.push(torch.from_numpy(result[row : row + n])))
        row += n
    whole = torch.cat(parts).numpy()
    assert whole.shape == result.shape
    return whole


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (100, 33), (70, 70)])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_what_is_faithful_stays(picture, size, scale):
    pixels = picture(*size)
    result = (pixels / 255).astype(np.float32).repeat(scale, 0).repeat(scale, 1)
    result += np.float32(TOLERANCE * 0.9)
    assert np.array_equal(corrected(pixels, result, (5,)), result)


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (100, 33), (70, 70)])
def test_an_even_shift_comes_back_to_the_tolerance(size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(80, 170, (*size, 3), np.uint8)
    plain = (pixels / 255).astype(np.float32).repeat(2, 0).repeat(2, 1)
    shift = np.array([0.1, -0.08, 0.0], np.float32)
    got = corrected(pixels, plain + shift, (16,))
    left = np.sign(shift) * TOLERANCE
    assert np.abs(got - plain - left).max() < 1e-5


def test_detail_stays(picture):
    """Only low frequencies are compared: what the network adds has no mean."""
    rng = np.random.default_rng(1)
    pixels = np.full((64, 64, 3), 128, np.uint8)
    detail = rng.normal(0, 0.1, (128, 128, 3)).astype(np.float32)
    detail -= detail.reshape(2, 64, 2, 64, 3).mean(axis=(1, 3)).repeat(64, 0).repeat(64, 1)
    result = np.float32(128 / 255) + detail
    assert np.array_equal(corrected(pixels, result, (11,)), result)


def test_bands_do_not_matter(picture):
    pixels = picture(90, 40)
    rng = np.random.default_rng(2)
    waves = np.sin(np.mgrid[:180, :80][0] / 25)[:, :, None].astype(np.float32) * 0.1
    result = (pixels / 255).astype(np.float32).repeat(2, 0).repeat(2, 1) + waves
    result += rng.normal(0, 0.01, result.shape).astype(np.float32)
    whole = corrected(pixels, result, (180,))
    assert not np.array_equal(whole, result)
    for bands in ((1,), (7, 30), (64,), (65, 1, 100)):
        assert np.abs(corrected(pixels, result, bands) - whole).max() < 1e-6


@pytest.mark.parametrize("tile", [0, 16, 25])
@pytest.mark.parametrize("channels", [1, 3])
def test_through_the_engine(picture, tile, channels):
    """A network that tints everything; the picture comes back within the tolerance."""
    pixels = np.clip(picture(50, 61, channels), 60, 190)

    def run(**more):
        engine = Upscaler(
            lambda scale: network(Nearest(scale, (0.12, 0.09, 0.1))),
            Settings(device="cpu", tile=tile, **more),
        )
        return engine(pixels, (2,)).astype(int)

    expected = pixels.astype(int).repeat(2, 0).repeat(2, 1)
    assert np.abs(run() - expected).max() > 20
    assert np.abs(run(color_fix=True) - expected).max() <= 3


@pytest.mark.shared
@pytest.mark.parametrize("name", ["bcrn.authors", "rlfn_s.authors"])
def test_faithful_networks_are_not_touched(weights, shared, name):
    """Not one sample of a Set5 picture changes, and so no PSNR."""
    from PIL import Image

    pixels = np.asarray(Image.open(shared / "benchmarks/Set5/LRx4/baby.png").convert("RGB"))
    results = [
        open_engine(
            catalog.resolve(name, 4),
            Settings(device="cpu", backend="torch", color_fix=fix),
            weights=weights,
        )(pixels, (4,))
        for fix in (False, True)
    ]
    assert np.array_equal(*results)
