"""Scores as PROTOCOL.md defines them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srcli.quality.metrics import luma, modcrop, psnr, psnr_rgb, psnr_y, ssim_y
from srcli.quality.resize import imresize

seeds = st.integers(0, 2**32 - 1)


def pair(shape, seed=0, noise=20):
    rng = np.random.default_rng(seed)
    hr = rng.integers(0, 256, shape)
    sr = np.clip(hr + rng.integers(-noise, noise + 1, shape), 0, 255)
    return sr.astype(np.uint8), hr.astype(np.uint8)


def y_of(rgb):
    return 16 + (rgb.astype(float) @ [65.481, 128.553, 24.966]) / 255


def ssim_by_definition(a, b):
    """Window by window, as in the paper, with all five moments."""
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(g, g) / np.outer(g, g).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2))
            )
    return np.mean(values)


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], "u1")
    y = luma(colours)
    assert y.dtype == np.float64
    assert y.shape == (1, 5)
    np.testing.assert_allclose(y[0], [16, 235, 81.481, 144.553, 40.966], atol=1e-12)


def test_luma_of_grey_is_that_of_equal_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = luma(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(luma(grey), expected)
    np.testing.assert_array_equal(luma(grey[..., None]), expected)
    np.testing.assert_allclose(expected, 16 + 219.0 * grey / 255, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 30), st.integers(9, 30), st.integers(0, 4), seeds)
def test_psnr_is_the_formula(height, width, border, seed):
    sr, hr = pair((height, width, 3), seed)
    inside = np.s_[border : height - border, border : width - border]
    mse = np.mean((y_of(sr) - y_of(hr))[inside] ** 2)
    assert psnr_y(sr, hr, border) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-9)
    mse = np.mean((sr.astype(float) - hr)[inside] ** 2)
    assert psnr_rgb(sr, hr, border) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(15, 26), st.integers(15, 26), st.integers(0, 2), st.integers(0, 120), seeds)
def test_ssim_is_the_definition(height, width, border, noise, seed):
    sr, hr = pair((height, width, 3), seed, noise)
    inside = np.s_[border : height - border, border : width - border]
    expected = ssim_by_definition(y_of(sr)[inside], y_of(hr)[inside])
    assert ssim_y(sr, hr, border) == pytest.approx(expected, abs=1e-10)


def test_ssim_of_a_flat_dark_pair():
    # No variance at all, where cancellation would show.
    sr, hr = np.full((30, 30), 0, np.uint8), np.full((30, 30), 1, np.uint8)
    a, b = 16, 16 + 219 / 255
    expected = (2 * a * b + 2.55**2) / (a * a + b * b + 2.55**2)
    assert ssim_y(sr, hr, 0) == pytest.approx(expected, abs=1e-12)


def test_ssim_in_bands_is_that_of_the_whole():
    # Tall enough for several bands: the mean over two halves that share ten rows.
    sr, hr = pair((1500, 40, 3))
    top, bottom = np.s_[: 750 + 5], np.s_[750 - 5 :]
    halves = (ssim_y(sr[top], hr[top], 0) + ssim_y(sr[bottom], hr[bottom], 0)) / 2
    assert ssim_y(sr, hr, 0) == pytest.approx(halves, abs=1e-12)


@pytest.mark.parametrize("shape", [(40, 30, 3), (40, 30), (19, 19, 3), (1500, 40)])
def test_equal_pictures(shape):
    _, hr = pair(shape)
    assert psnr_y(hr.copy(), hr, 4) == math.inf
    assert psnr_rgb(hr.copy(), hr, 4) == math.inf
    assert ssim_y(hr.copy(), hr, 4) == 1


def test_grey_counts_as_rgb():
    sr, hr = pair((40, 30))
    sr_rgb, hr_rgb = (np.repeat(x[..., None], 3, axis=2) for x in (sr, hr))
    for score in (psnr_y, psnr_rgb, ssim_y):
        assert score(sr, hr, 2) == score(sr_rgb, hr_rgb, 2) == score(sr_rgb, hr, 2)


def test_border_is_left_out():
    sr, hr = pair((40, 30, 3))
    sr[3:-3, 3:-3] = hr[3:-3, 3:-3]
    for score, perfect in ((psnr_y, math.inf), (psnr_rgb, math.inf), (ssim_y, 1)):
        assert score(sr, hr, 3) == perfect
        assert score(sr, hr, 2) < perfect


def test_psnr_of_other_ranges():
    assert psnr(np.zeros((4, 4), np.uint16), np.full((4, 4), 257, np.uint16), 65535) == (
        pytest.approx(psnr(np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8), 255))
    )
    assert psnr(np.zeros(9), np.full(9, 0.1), 1) == pytest.approx(20)
    assert psnr(np.float32([1, 2]), np.float32([1, 2]), 1) == math.inf
    with pytest.raises(ValueError, match="peak must be above 0"):
        psnr(np.zeros(1), np.zeros(1), 0)
    with pytest.raises(ValueError, match="empty"):
        psnr(np.zeros(0), np.zeros(0), 1)
    with pytest.raises(ValueError, match="shapes"):
        psnr(np.zeros((2, 1)), np.zeros((1, 2)), 1)


@pytest.mark.parametrize("score", [psnr_y, psnr_rgb, ssim_y])
def test_refuses_what_it_cannot_compare(score):
    sr, hr = pair((40, 30, 3))
    with pytest.raises(ValueError, match="SR picture is 39x30, but the HR picture 40x30"):
        score(sr[:-1], hr, 2)
    with pytest.raises(ValueError, match="uint8 pictures, not on float32"):
        score(sr.astype("float32"), hr, 2)
    with pytest.raises(ValueError, match="expected a picture"):
        score(np.zeros((40, 30, 4), np.uint8), hr, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        score(sr, hr, -1)
    with pytest.raises(ValueError, match="40x30 picture is left inside a border of 15"):
        score(sr, hr, 15)


def test_ssim_needs_its_window():
    sr, hr = pair((40, 30, 3))
    with pytest.raises(ValueError, match="needs 11x11 pixels, but 20x10 are left inside"):
        ssim_y(sr, hr, 10)
    assert ssim_y(sr[:11, :11], hr[:11, :11], 0) < 1


def test_modcrop():
    image = np.arange(11 * 7 * 3).reshape(11, 7, 3)
    np.testing.assert_array_equal(modcrop(image, 4), image[:8, :4])
    assert modcrop(image[..., 0], 3).shape == (9, 6)
    assert modcrop(image, 1).shape == image.shape
    with pytest.raises(ValueError, match="smaller than the scale 8"):
        modcrop(image, 8)
    with pytest.raises(ValueError, match="at least 1"):
        modcrop(image, 0)


@pytest.mark.shared
@pytest.mark.parametrize(("scale", "expected"), [(2, 0.9299), (3, 0.8682), (4, 0.8104)])
def test_bicubic_ssim_of_the_papers(shared, scale, expected):
    folder = shared / "benchmarks" / "Set5"
    scores = []
    for path in sorted((folder / "HR").glob("*.png")):
        with Image.open(path) as hr_file, Image.open(folder / f"LRx{scale}" / path.name) as lr_file:
            hr = modcrop(np.asarray(hr_file.convert("RGB")), scale)
            sr = imresize(np.asarray(lr_file.convert("RGB")), scale)
        scores.append(ssim_y(sr, hr, scale))
    # The tables of the papers (VDSR, arXiv:1511.04587) resized Y alone, in floating point.
    assert np.mean(scores) == pytest.approx(expected, abs=0.001)
