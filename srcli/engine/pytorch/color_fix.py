"""Correction of low frequencies (--color-fix): a network is to add detail, not to shift colours.

The picture is compared with the result by the means of blocks of LR pixels. What they differ by
beyond a tolerance, which faithful networks stay within, is interpolated and added. It works on the
bands of the result as they come, holds one and a half rows of blocks, and sums whole blocks, so
that the result does not depend on how it was tiled.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.engine.pytorch.regions import cuts
from srcli.engine.result import Pixels, peak

BLOCK = 32  # LR pixels a side, at most
TOLERANCE = 1.5 / 255


class ColorFix:
    """Corrects one result.

    Args:
        pixels: the picture, (h, w, c).
        native: (height, width) of the result, whole multiples of the picture's.
    """

    def __init__(self, pixels: Pixels, native: tuple[int, int]) -> None:
        height, width, channels = pixels.shape
        self.scale = native[0] // height
        self.rows, self.columns = cuts(height, BLOCK), cuts(width, BLOCK)
        self.wanted = self._lr_means(pixels)
        self.n_bytes = 2 * BLOCK * self.scale * native[1] * max(channels, 3) * 4
        self.held: Tensor | None = None
        self.top = 0  # rows handed out
        self.fixes: list[NDArray[np.float64]] = []  # (columns of blocks, c) for each row of blocks

    def push(self, band: Tensor) -> Tensor:
        """Take rows (n, width, c) in 0..1; give those that can be corrected by now, maybe none."""
        held = band if self.held is None else torch.cat((self.held, band))
        n = self.scale
        while len(self.fixes) < len(self.rows):
            start, length = self.rows[len(self.fixes)]
            first, last = start * n - self.top, (start + length) * n - self.top
            if last > len(held):
                break
            self.fixes.append(self._fix(held[first:last]))
        ready = self._ready(len(held))
        out = self._corrected(held[:ready])
        self.held = held[ready:]
        self.top += ready
        return out

    def _lr_means(self, pixels: Pixels) -> NDArray[np.float64]:
        """(rows of blocks, columns of blocks, c)"""
        white = peak(pixels.dtype)
        return np.stack(
            [
                np.stack(
                    [
                        pixels[y : y + h, x : x + w].mean(axis=(0, 1), dtype=np.float64) / white
                        for x, w in self.columns
                    ]
                )
                for y, h in self.rows
            ]
        )

    def _fix(self, block_row: Tensor) -> NDArray[np.float64]:
        """By how much each block of a row drifted, less the tolerance."""
        n = self.scale
        seen = block_row.clamp(0, 1).double().sum(dim=0).cpu().numpy()
        means = np.stack(
            [seen[x * n : (x + w) * n].mean(axis=0) / len(block_row) for x, w in self.columns]
        )
        drift = self.wanted[len(self.fixes)] - means
        fix: NDArray[np.float64] = np.sign(drift) * np.maximum(np.abs(drift) - TOLERANCE, 0)
        return fix

    def _centre(self, cut: tuple[int, int]) -> float:
        """The middle of a block, in rows or columns of the result."""
        return float((cut[0] + cut[1] / 2) * self.scale - 0.5)

    def _ready(self, held: int) -> int:
        """How many rows lie before the middle of the last row of blocks that is known.

        What is handed out must not be of a block that is still to be summed.
        """
        known = len(self.fixes)
        if known == len(self.rows):
            return held
        if not known:
            return 0
        middle = int(self._centre(self.rows[known - 1])) + 1
        return max(0, min(held, middle - self.top))

    def _corrected(self, rows: Tensor) -> Tensor:
        if not len(rows) or not any(fix.any() for fix in self.fixes):
            return rows
        at = np.arange(self.top, self.top + len(rows))
        above, below, down = _between(at, [self._centre(cut) for cut in self.rows])
        below = np.minimum(below, len(self.fixes) - 1)
        columns = np.arange(rows.shape[1])
        left, right, across = _between(columns, [self._centre(cut) for cut in self.columns])
        fixes = np.stack(self.fixes)
        lines = fixes[:, left] * (1 - across)[:, None] + fixes[:, right] * across[:, None]
        whole = lines[above] * (1 - down)[:, None, None] + lines[below] * down[:, None, None]
        return rows + torch.from_numpy(whole.astype(np.float32)).to(rows.device)


def _between(
    at: NDArray[np.int64], centres: list[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each position the centres on either side, and how far it is from one to the other."""
    spread = np.interp(at, centres, np.arange(len(centres)))
    low = np.minimum(spread.astype(np.int64), len(centres) - 1)
    return low, np.minimum(low + 1, len(centres) - 1), spread - low
