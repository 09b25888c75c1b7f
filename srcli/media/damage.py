"""Whether a picture is plainly damaged, by compression or noise, told cheaply from its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

SIDE = 512  # pixels of the middle that are looked at, at most, per side
LEAST = 32  # pixels per side; there is nothing to be told of less
GRID = 8  # pixels of JPEG's blocks

# Measured, see docs/fidelity.md: what clean pictures stay below, with room.
LOW_QUALITY = 65
BLOCKY = 1.5
STEP, FLAT = 1.5, 0.25  # of the steps that `_grid` compares, in levels of 255
NOISY = 6.5  # levels of 255


def damage(pixels: NDArray[np.generic], quality: int | None = None) -> str | None:
    """What is plainly wrong with a picture, told of it (``has much noise``); None if nothing is.

    Args:
        pixels: (height, width, 1 or 3), uint8 or uint16.
        quality: of the JPEG file that it comes from, 1 to 100; None: it is from none.
    """
    if quality is not None and quality <= LOW_QUALITY:
        return f"looks like a JPEG saved at quality {quality}"
    luma = middle(pixels)
    if min(luma.shape) < LEAST:
        return None
    if blockiness(luma) >= BLOCKY:
        return "shows the blocks of a strong compression"
    if noise(luma) >= NOISY:
        return "has much noise"
    return None


def middle(pixels: NDArray[np.generic]) -> Plane:
    """The luma, 0..255, of the picture's middle."""
    height, width = pixels.shape[:2]
    top, left = (max(0, (n - SIDE) // 2) for n in (height, width))
    part = pixels[top : top + SIDE, left : left + SIDE].astype(np.float32)
    if pixels.dtype == np.uint16:
        part /= 257
    if part.shape[2] == 1:
        return part[:, :, 0]
    return part @ np.array([0.299, 0.587, 0.114], np.float32)


def blockiness(luma: Plane) -> float:
    """How much larger steps are along the lines of a grid of 8 pixels than elsewhere: 1 of a clean
    picture, wherever the grid begins; the lesser of both directions."""
    return min(_grid(luma), _grid(luma.T))


def _grid(luma: Plane) -> float:
    # a step beyond what its neighbours lead one to expect, so that slopes and edges weigh little
    step = np.abs(3 * (luma[:, 2:-1] - luma[:, 1:-2]) - (luma[:, 3:] - luma[:, :-3]))
    columns = np.minimum(step, 24).mean(0)
    phases = np.array([columns[k::GRID].mean() for k in range(GRID)])
    others = float(np.median(phases))
    if others < FLAT or phases.max() - others < STEP:  # drawn with large pixels; nobody sees it
        return 1.0
    return float(phases.max()) / others


def noise(luma: Plane) -> float:
    """The standard deviation of noise in levels, from the smoothest tenth of the picture.

    Immerkaer's mask (CVIU 1996), which slopes and edges pass by, on blocks of 8 x 8.
    """
    across = luma[:, :-2] - 2 * luma[:, 1:-1] + luma[:, 2:]
    mask = across[:-2] - 2 * across[1:-1] + across[2:]  # deviates by 6 times the noise
    h, w = (n // GRID * GRID for n in mask.shape)
    blocks = np.abs(mask[:h, :w]).reshape(h // GRID, GRID, w // GRID, GRID).mean((1, 3))
    light = luma[1 : h + 1, 1 : w + 1].reshape(h // GRID, GRID, w // GRID, GRID).mean((1, 3))
    seen = blocks[(light > 16) & (light < 239)]  # where nothing is cut off
    if seen.size < 16:
        return 0.0
    return float(np.quantile(seen, 0.1)) * float(np.sqrt(np.pi / 2)) / 6
