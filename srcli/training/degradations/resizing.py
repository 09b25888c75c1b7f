"""Resizing as programs do it: with and without smoothing what becomes too small to show."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from srcli.training.degradations.kernels import Picture

# area, bilinear, bicubic and lanczos smooth when they reduce; linear and cubic take the nearest two
# and four pixels whatever lies between, as many programs and OpenCV do
Mode = Literal["area", "bilinear", "bicubic", "lanczos", "linear", "cubic", "nearest"]
MODES: tuple[str, ...] = get_args(Mode)


def resized(picture: Picture, size: tuple[int, int], mode: str) -> Picture:
    """(h, w, 3) -> (size[0], size[1], 3); not clipped."""
    if size == picture.shape[:2]:
        return picture
    down = _matrix(picture.shape[0], size[0], mode)
    across = _matrix(picture.shape[1], size[1], mode)
    rows = np.tensordot(down, picture, (1, 0))  # (H, w, 3)
    out: Picture = np.ascontiguousarray(np.tensordot(rows, across, (1, 1)).transpose(0, 2, 1))
    return out


@lru_cache(maxsize=512)
def _matrix(n_in: int, n_out: int, mode: str) -> NDArray[np.float32]:
    """(n_out, n_in): each output pixel's weights; the border's pixels stand for what is beyond."""
    ratio = n_in / n_out
    wide = max(1.0, ratio) if mode in ("area", "bilinear", "bicubic", "lanczos") else 1.0
    radius = {"area": 0.5, "nearest": 0.5, "bilinear": 1, "linear": 1, "lanczos": 3}.get(mode, 2)
    centre = (np.arange(n_out) + 0.5) * ratio - 0.5
    if mode == "nearest":
        matrix = np.zeros((n_out, n_in))
        matrix[np.arange(n_out), np.clip(np.rint(centre).astype(int), 0, n_in - 1)] = 1
        return matrix.astype(np.float32)
    reach = math.ceil(radius * wide) + 1
    taps = np.floor(centre).astype(int)[:, None] + np.arange(-reach, reach + 1)
    weights = _weights((taps - centre[:, None]) / wide, mode, wide)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((n_out, n_in))
    rows = np.broadcast_to(np.arange(n_out)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, n_in - 1)), weights)
    return matrix.astype(np.float32)


def _weights(x: NDArray[np.float64], mode: str, wide: float) -> NDArray[np.float64]:
    x = np.abs(x)
    if mode == "area":  # the share of each pixel that lies under the box
        edge = 0.5 / wide
        return np.clip(0.5 + edge - x, 0, 2 * edge)
    if mode in ("bilinear", "linear"):
        return np.clip(1 - x, 0, None)
    if mode == "lanczos":
        return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)
    a = -0.75 if mode == "cubic" else -0.5  # OpenCV's, and everybody else's
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
