"""Blur: kernels of many forms, and the convolution with one."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # (h, w, 3), 0..255
Form = Literal["gaussian", "generalized", "plateau", "sinc"]


def gaussian(
    size: int,
    sigmas: tuple[float, float],
    angle: float = 0.0,
    form: Form = "gaussian",
    beta: float = 1.0,
) -> NDArray[np.float64]:
    """A kernel whose sum is 1.

    Args:
        size: odd side.
        sigmas: along the two axes, pixels; equal: isotropic.
        angle: of the axes, radians.
        form: of d, the squared distance in sigmas: exp(-d / 2), exp(-d^beta / 2), or the plateau
            1 / (1 + d^beta) (arXiv 2107.10833).
        beta: of the last two.
    """
    y, x = _grid(size)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    distance = (along / sigmas[0]) ** 2 + (across / sigmas[1]) ** 2
    if form == "plateau":
        kernel = 1 / (1 + distance**beta)
    else:
        kernel = np.exp(-0.5 * distance ** (beta if form == "generalized" else 1.0))
    return _whole(kernel)


def sinc(size: int, cutoff: float) -> NDArray[np.float64]:
    """The circular low-pass filter, whose ringing is that of sharpening and of strong JPEG.

    Args:
        size: odd side.
        cutoff: radians per pixel, up to pi.
    """
    y, x = _grid(size)
    radius = np.sqrt(x * x + y * y)
    middle = size // 2
    radius[middle, middle] = 1.0
    kernel = cutoff * _bessel(cutoff * radius) / (2 * math.pi * radius)
    kernel[middle, middle] = cutoff**2 / (4 * math.pi)
    return _whole(kernel)


def convolve(picture: Picture, kernel: NDArray[np.float64]) -> Picture:
    """The picture under the kernel, mirrored beyond its border; by FFT, in single precision."""
    half = kernel.shape[0] // 2
    height, width = picture.shape[:2]
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    padded = np.pad(planes, ((0, 0), (half, half), (half, half)), mode="reflect")
    size = _fast(height + 2 * half), _fast(width + 2 * half)
    spectrum = np.fft.rfft2(padded, size)
    spectrum *= np.fft.rfft2(kernel.astype(np.float32), size)
    blurred = np.fft.irfft2(spectrum, size)
    top = 2 * half  # the kernel's middle lies at (half, half)
    inside = blurred[:, top : top + height, top : top + width]
    out: Picture = np.ascontiguousarray(inside.transpose(1, 2, 0), np.float32)
    return out


def _grid(size: int) -> tuple[Any, Any]:
    middle = size // 2
    y, x = np.mgrid[-middle : middle + 1, -middle : middle + 1].astype(np.float64)
    return y, x


def _whole(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    total = kernel.sum()
    if not (np.isfinite(total) and total > 0):  # so narrow that nothing is left: a point
        kernel = np.zeros_like(kernel)
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = total = 1.0
    scaled: NDArray[np.float64] = kernel / total
    return scaled


def _bessel(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """J1, by the mean of cos(t - x sin t) over half a turn (exact to 1e-12 for x up to 100)."""
    t = (np.arange(256) + 0.5) * (math.pi / 256)
    known, place = np.unique(x, return_inverse=True)  # a circle's points are at few distances
    values = np.cos(t - known[:, None] * np.sin(t)).mean(axis=1)
    found: NDArray[np.float64] = values[place].reshape(x.shape)
    return found


@lru_cache(maxsize=1024)
def _fast(n: int) -> int:
    """The next number with the factors 2, 3 and 5 alone, whose transform is fast."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
