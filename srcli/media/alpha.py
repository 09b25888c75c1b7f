"""Transparency: colours under it that enlarging may safely look at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]  # uint8 or uint16


def bleed(pixels: Array, alpha: Array) -> Array:
    """Fill the colours of fully transparent pixels from the visible ones around them.

    What a file hides under alpha 0 is arbitrary (often black, or a cut-out background), and a
    network looks at it when it enlarges the edge beside it. The fill is push-pull: averages of the
    visible pixels at ever coarser levels, interpolated back into the holes (Gortler et al., The
    Lumigraph, SIGGRAPH 1996).

    Args:
        pixels: (height, width, channels).
        alpha: (height, width), of the same type.

    Returns:
        `pixels` itself where nothing or everything is transparent, else a new array that differs
        only where alpha is 0.
    """
    visible = alpha > 0
    if visible.all() or not visible.any():
        return pixels
    levels = [(pixels, visible)]
    while not levels[-1][1].all():
        levels.append(_coarser(*levels[-1]))
    filled = levels.pop()[0]
    while levels:
        finer, known = levels.pop()
        filled = _finer(filled, finer, known)
    return filled


def _coarser(pixels: Array, known: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Half the size, rounded up: the mean of the known pixels of each 2x2, known where any is."""
    height, width = known.shape
    edge = ((0, height % 2), (0, width % 2))
    padded = np.pad(known, edge).astype(np.uint8)
    count = padded[0::2, 0::2] + padded[1::2, 0::2]
    count += padded[0::2, 1::2] + padded[1::2, 1::2]
    wide = np.uint16 if pixels.dtype == np.uint8 else np.uint32
    means = np.empty((*count.shape, pixels.shape[2]), pixels.dtype)
    divisor = np.maximum(count, 1).astype(wide)
    for channel in range(pixels.shape[2]):
        plane: Array = np.pad(pixels[:, :, channel] * known, edge).astype(wide)
        total = plane[0::2, 0::2] + plane[1::2, 0::2]
        total += plane[0::2, 1::2]
        total += plane[1::2, 1::2]
        means[:, :, channel] = (total + divisor // 2) // divisor
    return means, count > 0


def _finer(coarse: Array, pixels: Array, known: NDArray[np.bool_]) -> Array:
    """`pixels` with its holes filled from `coarse`, interpolated linearly."""
    height, width = known.shape
    out = np.empty_like(pixels)
    for channel in range(pixels.shape[2]):
        plane = np.ascontiguousarray(coarse[:, :, channel])
        image = Image.fromarray(plane if plane.dtype == np.uint8 else plane.astype(np.float32))
        # The last row and column of an odd size cover only half of their coarse pixel.
        box = (0, 0, width / 2, height / 2)
        larger = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
        rounded = larger if larger.dtype == np.uint8 else np.rint(larger)
        out[:, :, channel] = np.where(known, pixels[:, :, channel], rounded)
    return out
