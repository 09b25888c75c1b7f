"""PSNR and SSIM as the super-resolution papers compute them.

SR and HR are 8-bit RGB, or grey, which counts as RGB with three equal channels. Luma is BT.601's in
float64, not rounded; ``crop_border`` HR pixels are shaved off each side; there is no epsilon. The
score of a set is the mean over its pictures.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
Plane = NDArray[np.float64]

_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
# SSIM's maps are made for this many samples at a time, which the cache holds.
_BAND_SAMPLES = 32_768


def modcrop(image: Image, scale: int) -> Image:
    """Cut the bottom and the right edge off, so that height and width are multiples of scale.

    Args:
        image: (h, w) or (h, w, c), any dtype.
        scale: at least 1.

    Returns:
        A view of the image.

    Raises:
        ValueError: scale is below 1 or the picture is smaller than scale.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    height, width = (n - n % scale for n in image.shape[:2])
    if not (height and width):
        raise ValueError(f"a picture of shape {image.shape} is smaller than the scale {scale}")
    return image[:height, :width]


def luma(rgb: Image) -> Plane:
    """Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 (BT.601, 16..235), not rounded.

    Args:
        rgb: uint8, (h, w, 3) RGB, or (h, w) or (h, w, 1) grey.

    Returns:
        (h, w) float64, 16..235.

    Raises:
        ValueError: another dtype or shape.
    """
    rgb = _as_rgb(rgb)
    # Per channel through a table of the 256 products: the picture is never held in float64.
    red, green, blue = (factor * np.arange(256) / 255 for factor in (65.481, 128.553, 24.966))
    y = red[rgb[..., 0]]
    y += green[rgb[..., 1]]
    y += blue[rgb[..., 2]]
    y += 16
    return y


def psnr(a: Image, b: Image, peak: float) -> float:
    """10 log10(peak^2 / MSE) of two arrays of any one shape, integer or float, in dB.

    Args:
        a, b: the same shape, on the scale that ``peak`` names.
        peak: the value of white: 255, 65535 or 1.

    Returns:
        The PSNR; infinity for equal arrays.

    Raises:
        ValueError: the shapes differ, the arrays are empty, or peak is not above 0.
    """
    if a.shape != b.shape:
        raise ValueError(f"cannot compare pictures of shapes {a.shape} and {b.shape}")
    if a.size == 0:
        raise ValueError("cannot compare empty pictures")
    if not peak > 0:
        raise ValueError(f"peak must be above 0, not {peak}")
    difference = np.subtract(a, b, dtype=np.float64).ravel()
    mse = float(np.square(difference, out=difference).mean())
    return 10 * math.log10(peak * peak / mse) if mse else math.inf


def psnr_y(sr: Image, hr: Image, crop_border: int) -> float:
    """PSNR of the luma, dB.

    Args:
        sr, hr: uint8, (h, w, 3) RGB or (h, w) grey, of one size.
        crop_border: HR pixels left out at each side; the papers take the scale.

    Returns:
        The PSNR; infinity for equal pictures.

    Raises:
        ValueError: another dtype or shape, sizes that differ, or nothing left inside the border.
    """
    sr, hr = _pair(sr, hr, crop_border)
    return psnr(luma(sr), luma(hr), 255)


def psnr_rgb(sr: Image, hr: Image, crop_border: int) -> float:
    """PSNR over the three RGB channels, dB; arguments, result and errors as ``psnr_y``."""
    sr, hr = _pair(sr, hr, crop_border)
    return psnr(sr, hr, 255)


def ssim_y(sr: Image, hr: Image, crop_border: int) -> float:
    """Mean SSIM of the luma (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Gaussian window 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, peak 255, only where the whole window
    lies inside.

    Args:
        sr, hr: uint8, (h, w, 3) RGB or (h, w) grey, of one size.
        crop_border: HR pixels left out at each side; the papers take the scale.

    Returns:
        The mean; exactly 1 for equal pictures.

    Raises:
        ValueError: another dtype or shape, sizes that differ, or less than 11x11 pixels left inside
            the border.
    """
    sr, hr = _pair(sr, hr, crop_border)
    height, width = sr.shape[:2]
    if min(height, width) < _WINDOW:
        raise ValueError(
            f"SSIM needs {_WINDOW}x{_WINDOW} pixels, but {height}x{width} are left inside "
            f"the border of {crop_border}"
        )
    a, b = luma(sr), luma(hr)
    out_height, out_width = height - _WINDOW + 1, width - _WINDOW + 1
    band = max(_WINDOW, _BAND_SAMPLES // width)
    places: int = out_height * out_width
    total = 0.0
    for top in range(0, out_height, band):
        rows = slice(top, min(top + band, out_height) + _WINDOW - 1)
        total += float(_ssim_map(a[rows], b[rows]).sum())
    return total / places


def _ssim_map(a: Plane, b: Plane) -> Plane:
    """SSIM at every place of the window: (h, w) twice -> (h - 10, w - 10)."""
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    mean_a, mean_b = _blurred(a), _blurred(b)
    product = mean_a * mean_b
    squares = mean_a * mean_a + mean_b * mean_b
    # Only the sum of the two variances is asked for: four blurs, not five.
    variances = _blurred(a * a + b * b) - squares
    covariance = _blurred(a * b) - product
    numerator = (2 * product + c1) * (2 * covariance + c2)
    return numerator / ((squares + c1) * (variances + c2))


def _blurred(x: Plane) -> Plane:
    """x under the Gaussian window, separably, valid region: (h, w) -> (h - 10, w - 10)."""
    half = _WINDOW // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * _SIGMA**2))
    window /= window.sum()
    for _ in range(2):  # down the columns; turned over, down the columns again
        n = len(x) - _WINDOW + 1
        total = window[half] * x[half : half + n]
        for k in range(half):
            pair = x[k : k + n] + x[_WINDOW - 1 - k : _WINDOW - 1 - k + n]
            pair *= window[k]
            total += pair
        x = np.ascontiguousarray(total.T)
    return x.T


def _as_rgb(image: Image) -> Image:
    """uint8 (h, w, 3); grey is repeated, without a copy."""
    if image.dtype != np.uint8:
        raise ValueError(f"scores are computed on uint8 pictures, not on {image.dtype}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"expected a picture (h, w, 3) or (h, w), got shape {image.shape}")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _pair(sr: Image, hr: Image, crop_border: int) -> tuple[Image, Image]:
    """Both as RGB without their border."""
    sr, hr = _as_rgb(sr), _as_rgb(hr)
    if sr.shape != hr.shape:
        (sr_height, sr_width), (hr_height, hr_width) = sr.shape[:2], hr.shape[:2]
        raise ValueError(
            f"the SR picture is {sr_height}x{sr_width}, but the HR picture {hr_height}x{hr_width} "
            "(height x width)"
        )
    if crop_border < 0:
        raise ValueError(f"crop_border must not be negative, not {crop_border}")
    height, width = sr.shape[:2]
    if min(height, width) <= 2 * crop_border:
        raise ValueError(
            f"nothing of a {height}x{width} picture is left inside a border of {crop_border}"
        )
    inside = slice(crop_border, height - crop_border), slice(crop_border, width - crop_border)
    return sr[inside], hr[inside]
