"""Colours under transparency."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srcli.media.alpha import bleed


@settings(deadline=None)
@given(
    st.integers(1, 17),
    st.integers(1, 17),
    st.sampled_from([1, 3]),
    st.sampled_from(["u1", "u2"]),
    st.floats(0, 1),
)
def test_visible_pixels_stay_and_holes_lie_between_them(
    height: int, width: int, channels: int, dtype: str, share: float
) -> None:
    rng = np.random.default_rng(height * 100 + width)
    top = np.iinfo(dtype).max
    pixels = rng.integers(top // 4, top // 2, (height, width, channels)).astype(dtype)
    alpha = np.where(rng.random((height, width)) < share, 1, 0).astype(dtype)
    pixels[alpha == 0] = top  # what was hidden
    before = pixels.copy()
    out = bleed(pixels, alpha)
    assert (pixels == before).all() and out.dtype == pixels.dtype and out.shape == pixels.shape
    seen = alpha > 0
    assert (out[seen] == before[seen]).all()
    if seen.any():
        assert out.min() >= before[seen].min() and out.max() <= before[seen].max()
    else:
        assert (out == before).all()


@pytest.mark.parametrize("value", [0, 9])
def test_nothing_to_do(value: int) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert bleed(pixels, np.full((2, 2), value, np.uint8)) is pixels


def test_the_hidden_colour_is_gone_beside_the_edge_and_the_fill_is_smooth() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)  # black hidden under transparency
    pixels[:, :20] = 200, 100, 50
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :20] = 255
    out = bleed(pixels, alpha)
    assert (out == (200, 100, 50)).all()
    pixels[:, 44:], alpha[:, 44:] = (0, 200, 50), 255
    out = bleed(pixels, alpha).astype(int)
    assert np.abs(np.diff(out, axis=1)).max() < 60  # no step of 200 anywhere
    assert (out[:, 20, 0] > 150).all() and (out[:, 43, 0] < 50).all()
