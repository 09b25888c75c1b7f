"""Beyond the picture: what the network pads with, or the mirror image."""

import numpy as np
import pytest
import torch
from tiny_networks import Nearest, Spot, network

from srcli import catalog
from srcli.engine.open import open_engine
from srcli.engine.pytorch.passes import Picture
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.upscaler import MARGIN, Upscaler
from srcli.engine.settings import Settings


def made(make, **settings):
    return Upscaler(lambda scale: network(make(scale)), Settings(device="cpu", **settings))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (20, 17)])
def test_mirrored_is_numpys_symmetric(picture, size):
    pixels = picture(*size)
    whole = Picture.of_array(pixels, torch.device("cpu")).mirrored(MARGIN)
    expected = np.pad(pixels, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), "symmetric")
    assert whole.size == expected.shape[:2]
    for region in (Region(0, 0, *whole.size), Region(5, 9, 8, 12), Region(MARGIN, MARGIN, *size)):
        got = whole.read(region)[0].permute(1, 2, 0) * 255
        assert np.abs(got.numpy() - expected[region.index]).max() < 1e-3
    back = whole.without(MARGIN).read(Region(0, 0, *size))[0].permute(1, 2, 0) * 255
    assert np.abs(back.numpy() - pixels).max() < 1e-3


@pytest.mark.parametrize("tile", [0, 16, 20])
@pytest.mark.parametrize("size", [(1, 2), (5, 60), (37, 29)])
@pytest.mark.parametrize("passes", [(2,), (2, 3)])
def test_a_local_network_is_untouched(picture, tile, size, passes):
    """A network that looks at nothing around a pixel gives the same with either border."""
    pixels = picture(*size)
    results = [made(Nearest, border=b, tile=tile)(pixels, passes) for b in ("network", "reflect")]
    assert results[1].shape == (size[0] * np.prod(passes), size[1] * np.prod(passes), 3)
    assert np.array_equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", [1, 8])
def test_tiling_is_exact(picture, lively, ensemble):
    model = catalog.resolve("bcrn.authors", 2)
    pixels = picture(45, 52)
    results = [
        Upscaler(
            lambda scale: lively(model, scale),
            Settings(device="cpu", border="reflect", tile=tile, ensemble=ensemble),
        )(pixels, (2,))
        for tile in (0, 24)
    ]
    assert np.abs(results[0].astype(int) - results[1]).max() <= 1


def test_padding_shows_only_without(picture):
    """A network that looks around sees zeros beyond the picture, or what the picture goes on as."""
    white = np.full((20, 20, 3), 255, np.uint8)
    dark = made(Spot, border="network")(white, (2,))
    even = made(Spot, border="reflect")(white, (2,))
    assert np.ptp(even) == 0 and np.ptp(dark) > 0


def test_the_entry_decides_unless_told_otherwise(monkeypatch):
    from dataclasses import replace

    model = catalog.resolve("bcrn.authors")
    assert model.border == "network"
    assert open_engine(model).settings.border == "network"
    mirrored = replace(model, border="reflect")
    assert open_engine(mirrored).settings.border == "reflect"
    assert open_engine(mirrored, Settings(border="network")).settings.border == "network"
    one, other = (Upscaler(lambda s: None, Settings(border=b)) for b in ("network", "reflect"))
    assert one.identity != other.identity


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "without", "most"),
    [("bcrn.authors", 34, 0), ("swift_srgan.authors", 27, 2), ("rlfn_s.authors", 1, 0)],
)
def test_a_white_picture(weights, name, without, most):
    """Levels by which 64 x 64 white pixels x4 are off at worst."""
    white = np.full((64, 64, 3), 255, np.uint8)
    worst = {}
    for border in ("network", "reflect"):
        engine = open_engine(
            catalog.resolve(name, 4),
            Settings(device="cpu", backend="torch", border=border),
            weights=weights,
        )
        worst[border] = 255 - int(engine(white, (4,)).min())
    assert abs(worst["network"] - without) <= 1 and worst["reflect"] <= most
    assert torch.get_default_dtype() == torch.float32
