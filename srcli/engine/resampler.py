"""Enlarging without a network: the catalogue's ``bicubic`` and ``lanczos``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from srcli.engine import memory
from srcli.engine.result import Pixels, Report, peak, quantised
from srcli.quality.resize import Kernel, RowResizer

BAND_BYTES = 16 * 2**20  # of floats, what goes in and what comes out, at a time
LEAST_BYTES = 2**20
_SHARE = 8  # of what is free: strips wait for the writer while the next is made


class Resampler:
    """Enlarges (or reduces) by a fixed kernel; an engine as those of networks are.

    Args:
        kernel: ``bicubic`` (MATLAB's, a = -0.5) or ``lanczos`` (three lobes).
    """

    def __init__(self, kernel: Kernel, memory_bytes: int | None = None) -> None:
        self.kernel = kernel
        self._memory_bytes = memory_bytes

    @property
    def identity(self) -> str:
        return self.kernel

    @property
    def memory_bytes(self) -> int:
        if self._memory_bytes is not None:
            return self._memory_bytes
        return memory.default_limit_bytes()

    def prepare(self, scales: Iterable[int]) -> None:
        """There is nothing to load."""

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """A few bands: it keeps nothing of the picture."""
        return 8 * BAND_BYTES

    def strips(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        size: tuple[int, int],
        *,
        reserve_bytes: int = 0,
        on_progress: Callable[[float], None] = lambda _: None,
        report: Report | None = None,
    ) -> Iterator[Pixels]:
        """As Upscaler.strips; ``passes`` is empty. Computed in float, rounded once at the end."""
        assert not passes, "a resampler reaches any size at once"
        report = report or Report()
        report.device, report.precision, report.tiles = "cpu", "fp32", 1
        height, width, channels = pixels.shape
        white = peak(pixels.dtype)
        resizer = RowResizer(
            (height, width), size, dtype=np.float32, channels=channels, kernel=self.kernel
        )
        row_bytes = (width + size[1] * size[0] / height) * channels * 4
        band_bytes = min(BAND_BYTES, LEAST_BYTES)
        if row_bytes * height > band_bytes:  # else there is nothing to ask the system
            free = self.memory_bytes - memory.taken_bytes() - reserve_bytes
            band_bytes = min(BAND_BYTES, max(LEAST_BYTES, free // _SHARE))
        step = max(1, int(band_bytes / row_bytes))
        for top in range(0, height, step):
            rows = resizer.push(pixels[top : top + step].astype(np.float32))
            on_progress(min(1.0, (top + step) / height))
            if len(rows):
                np.clip(rows, 0, white, out=rows)
                yield quantised(rows, pixels.dtype)
