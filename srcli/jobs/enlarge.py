"""One decoded picture through an engine: colour and transparency together, strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from srcli.engine.open import Engine
from srcli.engine.result import Pixels, Report
from srcli.jobs.plan import AlphaMode
from srcli.media.alpha import bleed
from srcli.media.image import Picture
from srcli.quality.resize import Kernel, RowResizer

ALPHA_SHARE = 4  # a network's alpha plane is kept whole if it takes at most a quarter of the memory


def enlarge(
    picture: Picture,
    engine: Engine,
    passes: Sequence[int],
    size: tuple[int, int],
    *,
    alpha: AlphaMode = "network",
    reserve_bytes: int = 0,
    on_progress: Callable[[float], None] = lambda _: None,
    report: Report | None = None,
) -> Iterator[Pixels]:
    """The result from top to bottom.

    Args:
        picture: decoded; its transparency apart.
        engine, passes, size, reserve_bytes, on_progress, report: as Engine.strips.
        alpha: how transparency is enlarged, or ``discard``.

    Yields:
        Strips (rows, width, c), c = 1 or 3, and one more for transparency if there is any.
    """
    if picture.alpha is None or alpha == "discard":
        yield from engine.strips(
            picture.pixels,
            passes,
            size,
            reserve_bytes=reserve_bytes,
            on_progress=on_progress,
            report=report,
        )
        return
    plane = picture.alpha[:, :, None]
    rows = _alpha_rows(plane, engine, passes, size, alpha, reserve_bytes)
    for strip in engine.strips(
        # hidden colours must not come in from under transparent pixels
        bleed(picture.pixels, picture.alpha),
        passes,
        size,
        reserve_bytes=reserve_bytes + rows.held_bytes,
        on_progress=on_progress,
        report=report,
    ):
        yield np.concatenate((strip, rows.take(len(strip))), axis=2)


def _alpha_rows(
    plane: Pixels,
    engine: Engine,
    passes: Sequence[int],
    size: tuple[int, int],
    alpha: AlphaMode,
    reserve_bytes: int,
) -> _AlphaRows:
    """The alpha plane's rows: through the network unless it is constant, or too large to keep."""
    size_bytes = size[0] * size[1] * plane.itemsize
    flat = bool((plane == plane[0, 0, 0]).all())
    if alpha == "lanczos" or flat or size_bytes * ALPHA_SHARE > engine.memory_bytes:
        return _AlphaRows(plane, size, "lanczos")
    fine = np.empty((*size, 1), plane.dtype)
    row = 0
    for strip in engine.strips(plane, passes, size, reserve_bytes=reserve_bytes + size_bytes):
        fine[row : row + len(strip)] = strip
        row += len(strip)
    return _AlphaRows(plane, size, "bicubic", fine)


class _AlphaRows:
    """The enlarged alpha plane, handed out in any portions from top to bottom.

    Args:
        alpha: (h, w, 1).
        size: (height, width) of the result.
        kernel: that resamples it.
        fine: the network's result, (height, width, 1). What resampling finds fully opaque or fully
            transparent stays so: a network leaves it a level or two off, which shows.
    """

    BAND = 64  # LR rows at a time

    def __init__(
        self, alpha: Pixels, size: tuple[int, int], kernel: Kernel, fine: Pixels | None = None
    ) -> None:
        self.alpha, self.next, self.fine, self.taken = alpha, 0, fine, 0
        lr_size = (alpha.shape[0], alpha.shape[1])
        self.resizer = RowResizer(lr_size, size, dtype=alpha.dtype, channels=1, kernel=kernel)
        self.ready = np.empty((0, size[1], 1), alpha.dtype)
        self.held_bytes = 0 if fine is None else fine.nbytes

    def take(self, n: int) -> Pixels:
        """The next n rows: (n, width, 1)."""
        parts = [self.ready]
        held = len(self.ready)
        while held < n:
            band = self.alpha[self.next : self.next + self.BAND]
            self.next += self.BAND
            parts.append(self.resizer.push(band))
            held += len(parts[-1])
        rows = np.concatenate(parts)
        rows, self.ready = rows[:n], rows[n:]
        if self.fine is not None:
            fine = self.fine[self.taken : self.taken + n]
            rows = np.where((rows == 0) | (rows == np.iinfo(rows.dtype).max), rows, fine)
        self.taken += n
        return rows
