"""A picture made from nothing, for comparing ways to compute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def testcard(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """(3, height, width) in 0..1: waves, an edge, and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.empty((3, height, width))
    for c in range(3):
        fy, fx, phase = rng.uniform(0.05, 0.6, 3)
        picture[c] = 0.5 + 0.25 * np.sin(fy * y + phase) * np.cos(fx * x)
        picture[c] += 0.2 * (y * fx + x * fy > (height + width) * 0.15)
    picture += rng.normal(0, 0.03, picture.shape)
    return picture.clip(0, 1).astype(np.float32)
