"""Enlarging without a network."""

import numpy as np
import pytest

from srcli import catalog
from srcli.engine import resampler as module
from srcli.engine.open import open_engine
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.engine.resampler import Resampler
from srcli.engine.result import Report
from srcli.quality.resize import resize


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(74, 106), (93, 131), (20, 31)])
def test_equals_resize(kernel, dtype, channels, size, picture, monkeypatch):
    """In float, rounded once, whatever the bands."""
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (picture(37, 53, channels) * (white / 255)).astype(dtype)
    expected = resize(pixels.astype(np.float32), size, kernel).clip(0, white)
    monkeypatch.setattr(module, "BAND_BYTES", 53 * channels * 4 * 5)
    report, shares = Report(), []
    strips = list(
        Resampler(kernel).strips(pixels, (), size, on_progress=shares.append, report=report)
    )
    result = np.concatenate(strips)
    assert len(strips) > 3
    assert result.dtype == dtype
    assert result.shape == (*size, channels)
    assert np.array_equal(result, expected if dtype == np.float32 else np.rint(expected))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert (report.device, report.precision, report.tiles) == ("cpu", "fp32", 1)


def test_overshoot_is_cut():
    """Bicubic rings at edges: beyond white and black it is cut, not wrapped around."""
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[:, 4:] = 255
    [result] = Resampler("bicubic").strips(pixels, (), (32, 32))
    assert result[:, :4].max() == 0
    assert result[:, -4:].min() == 255
    assert result.min() == 0
    assert result.max() == 255


def test_open_engine():
    bicubic = open_engine(catalog.resolve("bicubic"), Settings(memory_bytes=2**30))
    assert isinstance(bicubic, Resampler)
    assert bicubic.memory_bytes == 2**30
    assert open_engine(catalog.resolve("lanczos")).kernel == "lanczos"
    plain = Settings(device="cpu", backend="torch")  # whatever was tuned here
    assert isinstance(open_engine(catalog.resolve("bcrn"), plain), Upscaler)


def test_memory():
    made = Resampler("bicubic")
    assert made.memory_bytes > 2**20
    assert made.estimate_bytes((10_000, 10_000), ()) < 2**28  # it keeps nothing of the picture


def test_strips_are_as_small_as_the_memory_allowed():
    """Those of a wide picture, of which three wait for the writer; the result stays the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3000, 3), np.uint8)
    results = {}
    for memory_bytes in (2**20, 2**34):
        strips = list(Resampler("bicubic", memory_bytes).strips(pixels, (), (240, 12_000)))
        results[memory_bytes] = np.concatenate(strips)
        largest = max(strip.nbytes for strip in strips)
        assert largest <= (2**20 if memory_bytes == 2**20 else 2**24)
    assert np.array_equal(*results.values())


@pytest.mark.shared
def test_open_engine_with_weights(shared, weights, picture):
    """From the catalogue, through the weights store, to pixels; and from a user's tensors."""
    from srcli.weights import state_dict

    model = catalog.resolve("rlfn_ntire.authors")
    said = []
    settings = Settings(device="cpu", backend="torch")
    engine = open_engine(model, settings, weights=weights, announce=said.append)
    result = engine(picture(20, 24), [4])
    state = state_dict(model, 4, weights)
    own = open_engine(model, settings, state=state)
    assert np.array_equal(own(picture(20, 24), [4]), result)
