"""What stands before and behind a network: colours, luma alone, enlargement."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import Enlarge, network
from torch import nn

from srcli.catalog import Colour, Preprocessing
from srcli.engine.pytorch.adapter import SPACES, RgbAdapter, enlarged
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.quality.metrics import luma
from srcli.quality.resize import resize

COLOURS = Colour.__args__


def tensor(pixels):
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]


def pixels(tensor):
    return tensor[0].permute(1, 2, 0).numpy()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    scale=st.integers(2, 8),
    channels=st.integers(1, 3),
)
def test_enlarged_is_the_exact_bicubic(height, width, scale, channels):
    rng = np.random.default_rng(height * 41 + width)
    picture = rng.random((height, width, channels))
    wanted = resize(picture, (height * scale, width * scale))
    got = pixels(enlarged(tensor(picture), scale))
    assert np.abs(got - wanted).max() < 1e-13  # float64, taps in another order


@pytest.mark.parametrize("colour", COLOURS)
def test_there_and_back(colour, picture):
    """JFIF's published inverse has five decimals; the others invert exactly."""
    rgb = tensor(picture(20, 30)).double() / 255
    space = SPACES[colour]
    off = (space.rgb(space.of(rgb, range(3))) - rgb).abs().max()
    assert off < (1e-5 if colour == "ycbcr" else 1e-14)


def test_luma_is_that_of_the_scores(picture):
    shot = picture(20, 30)
    y = SPACES["y"].of(tensor(shot).double() / 255, [0])[0, 0].numpy()
    assert np.abs(255 * y - luma(shot)).max() < 1e-11


class Repeat(nn.Module):
    """Repeats every sample, after noting what it was given."""

    def __init__(self, scale, factor):
        super().__init__()
        self.scale, self.factor = scale, factor
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        self.saw = x
        return x.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3) * self.one

    def stages(self, run, x):
        return run.local(self.forward, x, scale=self.factor)


@pytest.mark.parametrize("bigger", [False, True])
@pytest.mark.parametrize("maximum", [1.0, 255.0])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_door(colour, maximum, bigger, picture):
    """What the network sees, and what comes of it, for every preprocessing; at once and tiled."""
    scale, shot = 3, picture(40, 37)
    preprocessing = Preprocessing(colour, maximum, bigger)
    module = Repeat(scale, 1 if bigger else scale)
    rgb = shot.astype(np.float64) / 255
    large = resize(rgb, (120, 111))
    seen = large if bigger else rgb
    matrix, offset = np.array(SPACES[colour].matrix), np.array(SPACES[colour].offset)
    channels = (seen @ matrix.T + offset)[:, :, : preprocessing.channels]

    adapted = RgbAdapter(module, preprocessing, scale)
    whole = pixels(adapted(tensor(rgb).float()).detach())
    assert np.abs(pixels(module.saw) / maximum - channels).max() < 1e-6
    repeated = channels if bigger else channels.repeat(scale, 0).repeat(scale, 1)
    around = (large @ matrix.T + offset)[:, :, preprocessing.channels :]
    back = (np.concatenate((repeated, around), 2) - offset) @ np.array(SPACES[colour].inverse).T
    assert np.abs(whole - back).max() < 2e-6

    made = network(module, preprocessing=preprocessing)
    results = [
        Upscaler(lambda _: made, Settings(device="cpu", tile=tile))(rgb.astype(np.float32), [scale])
        for tile in (0, 16)
    ]
    for result in results:
        assert np.abs(result - back.clip(0, 1)).max() < 2e-6


def test_grey_stays_grey(picture):
    """A grey picture's chroma is none, before and after."""
    made = network(Repeat(2, 2), preprocessing=Preprocessing("y"))
    engine = Upscaler(lambda _: made, Settings(device="cpu"))
    grey = picture(20, 21, 1)
    (single,) = {tuple(engine(grey, [2]).shape)}
    assert single == (40, 42, 1)
    three = engine(np.repeat(grey, 3, 2), [2])
    assert np.abs(three.astype(int) - engine(grey, [2])).max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_deep_pixels_and_chains(dtype, picture):
    """Between two passes colours stay in float."""
    shot = picture(16, 18).astype(dtype) * (257 if dtype == np.uint16 else 1)
    made = network(Repeat(2, 2), preprocessing=Preprocessing("y", 1.0))
    result = Upscaler(lambda _: made, Settings(device="cpu"))(shot, [2, 2])
    assert result.dtype == dtype
    assert result.shape == (64, 72, 3)
    white = np.iinfo(dtype).max
    row = np.array(SPACES["y"].matrix[0])
    inside = ((result > 0) & (result < white)).all(2)  # where nothing was cut off
    assert inside.mean() > 0.8
    off = np.abs(result @ row - (shot @ row).repeat(4, 0).repeat(4, 1))[inside]
    assert off.max() <= 0.5 * row.sum() + 0.01  # levels: each colour is rounded once


def test_a_bgr_network_and_its_rgb_twin(picture):
    shot = picture(20, 21)
    module = Enlarge(2)
    straight = network(module)
    turned = network(module, preprocessing=Preprocessing("bgr"))
    engine = {k: Upscaler(lambda _, k=k: k, Settings(device="cpu")) for k in (straight, turned)}
    a, b = (engine[k](shot, [2]) for k in (straight, turned))
    assert np.array_equal(a, b)  # it does the same to each channel
