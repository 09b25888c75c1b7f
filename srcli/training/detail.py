"""How much detail a photo has where: for drawing crops that teach something.

Most of a photo is sky, wall and blur, of which a network has soon learned all there is. The detail
of a crop is the mean absolute difference of neighbouring LR samples, here from sums over cells of
8 x 8 pixels, so that asking for a crop costs four numbers, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELL = 8  # LR pixels a side
FLOOR = 0.1  # of a level: a pack of flat pictures is drawn evenly


class Detail:
    """Sums of detail over the cells of each photo.

    Args:
        photos: (h, w, 3) uint8 LR pictures.
    """

    def __init__(self, photos: Iterable[NDArray[np.uint8]]) -> None:
        tables = [_table(photo) for photo in photos]
        self._width = torch.tensor([t.shape[1] for t in tables])
        sizes = [t.size for t in tables]
        self._start = torch.tensor(np.cumsum([0, *sizes[:-1]]))
        self._sums = torch.from_numpy(np.concatenate([t.ravel() for t in tables]))

    def of(self, photo: Tensor, y: Tensor, x: Tensor, patch: int) -> Tensor:
        """(n,) float64: mean absolute difference, in levels, of the cells that crops lie in.

        Args:
            photo, y, x: (n,) int64: number of the photo, top left LR pixel.
            patch: LR pixels.
        """
        top, left = y // CELL, x // CELL
        bottom, right = -((-y - patch) // CELL), -((-x - patch) // CELL)
        corners = [(bottom, right, 1), (top, right, -1), (bottom, left, -1), (top, left, 1)]
        first, width = self._start[photo], self._width[photo]
        total = sum(
            sign * self._sums[first + row * width + column] for row, column, sign in corners
        )
        assert isinstance(total, Tensor)
        return total / ((bottom - top) * (right - left) * CELL**2)


def _table(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Summed-area table over cells, a row and a column of zeros first."""
    if not photo.size:
        return np.zeros((1, 1))
    level = photo.astype(np.int16).sum(2, dtype=np.int16)
    detail = np.zeros(level.shape, np.int32)
    detail[1:] += np.abs(np.diff(level, axis=0))
    detail[:, 1:] += np.abs(np.diff(level, axis=1))
    rows, columns = (np.arange(0, n, CELL) for n in level.shape)
    cells = np.add.reduceat(np.add.reduceat(detail, rows, 0), columns, 1) / 3
    return np.pad(cells, ((1, 0), (1, 0))).cumsum(0).cumsum(1)


def choose(detail: Tensor, u: Tensor) -> Tensor:
    """(n, k) detail of candidates and (n,) random numbers in 0..1 -> (n,) which is taken of each
    row, with a chance proportional to its detail."""
    steps = (detail + FLOOR).cumsum(1)
    picked = (u[:, None] * steps[:, -1:] >= steps).sum(1)
    return picked.clamp(max=detail.shape[1] - 1)
