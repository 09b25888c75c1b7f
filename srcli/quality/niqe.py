"""NIQE: how far the statistics of a picture lie from those of unspoilt photographs.

Mittal, Soundararajan and Bovik, IEEE Signal Processing Letters 2013, doi:10.1109/LSP.2012.2227726.
It needs no HR picture; 0 would be an unspoilt photograph, and bicubic enlargements have 7 to 12. As
the authors' MATLAB code: rounded luma, blocks of 96 x 96 without overlap, two scales.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from srcli.quality.metrics import luma
from srcli.quality.resize import imresize
from srcli.weights.features import load_table

BLOCK = 96
_WINDOW, _SIGMA = 7, 7 / 6
# products of neighbours: to the right, below, and the two diagonals
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

Plane = NDArray[np.float64]


def niqe(picture: NDArray[Any]) -> float:
    """NIQE of one picture; lower is better.

    Args:
        picture: uint8, (h, w, 3) RGB or (h, w) grey.

    Raises:
        ValueError: fewer than two blocks of 96 x 96 pixels have any texture.
    """
    rows, columns = picture.shape[0] // BLOCK, picture.shape[1] // BLOCK
    too_small = f"NIQE needs at least two blocks of {BLOCK} x {BLOCK} pixels that have some texture"
    if rows * columns < 2:
        raise ValueError(too_small)
    plane = np.rint(luma(picture[: rows * BLOCK, : columns * BLOCK]))
    scales = []
    for side in (BLOCK, BLOCK // 2):
        if side < BLOCK:
            plane = imresize(plane / 255, 0.5) * 255
        flat = _flattened(plane)
        blocks = (
            flat[y * side : (y + 1) * side, x * side : (x + 1) * side]
            for x in range(columns)
            for y in range(rows)
        )
        scales.append(np.array([_features(block) for block in blocks]))
    features = np.concatenate(scales, axis=1)
    sound = features[np.isfinite(features).all(axis=1)]
    if len(sound) < 2:
        raise ValueError(too_small)
    mean, covariance = _unspoilt()
    off = mean - _mean(features)
    spread = np.linalg.pinv((covariance + np.cov(sound, rowvar=False)) / 2)
    return float(np.sqrt(off @ spread @ off))


def _mean(features: Plane) -> Plane:
    """By feature, of the blocks in which it is a number."""
    known = np.isfinite(features)
    return cast("Plane", np.where(known, features, 0).sum(axis=0) / known.sum(axis=0))


@cache
def _unspoilt() -> tuple[Plane, Plane]:
    table = load_table("metrics", "niqe.")
    return table["mean"].numpy(), table["covariance"].numpy()


def _flattened(plane: Plane) -> Plane:
    """Each pixel less its surroundings' mean, over their deviation + 1."""
    mean = _blurred(plane)
    deviation = np.sqrt(np.abs(_blurred(plane * plane) - mean * mean))
    return cast("Plane", (plane - mean) / (deviation + 1))


def _blurred(plane: Plane) -> Plane:
    """Under a 7x7 Gaussian, the border repeated."""
    half = _WINDOW // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * _SIGMA**2))
    window /= window.sum()
    for _ in range(2):
        padded = np.pad(plane, ((half, half), (0, 0)), mode="edge")
        rows = [weight * padded[k : k + len(plane)] for k, weight in enumerate(window)]
        plane = np.sum(rows, axis=0).T
    return plane


def _features(block: Plane) -> list[float]:
    shape, left, right = _asymmetric(block)
    found = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _asymmetric(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape)
        found += [shape, mean, left, right]
    return found


def _asymmetric(block: Plane) -> tuple[float, float, float]:
    """Shape and two scales of the asymmetric generalised Gaussian that fits; NaN if flat."""
    below, above = block[block < 0], block[block > 0]
    if not (below.size and above.size):
        return math.nan, math.nan, math.nan
    left, right = (math.sqrt(float(np.square(part).mean())) for part in (below, above))
    ratio = left / right
    r = float(np.abs(block).mean()) ** 2 / float(np.square(block).mean())
    wanted = r * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios = _ratios()
    shape = float(shapes[np.argmin((ratios - wanted) ** 2)])
    factor = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    return shape, left * factor, right * factor


@cache
def _ratios() -> tuple[Plane, Plane]:
    """Shapes, and for each the squared mean over the mean square of its distribution."""
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = [
        math.gamma(2 / s) ** 2 / (math.gamma(1 / s) * math.gamma(3 / s)) for s in shapes.tolist()
    ]
    return shapes, np.array(ratios)
