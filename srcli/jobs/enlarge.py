"""One decoded picture through an engine: colours, black and transparency, strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from srcli.engine.engine import Engine
from srcli.engine.result import Pixels, Report
from srcli.jobs.job import AlphaMode
from srcli.media.alpha import bleed
from srcli.media.image import Picture
from srcli.quality.resize import Kernel, RowResizer

PLANE_SHARE = 4  # a network's plane is kept whole if it takes at most a quarter of the memory


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
        Strips (rows, width, c), c = 1 or 3, or 4 with the black of CMYK, and one more for
        transparency if there is any.
    """
    pixels, black = picture.pixels, picture.black
    planes: list[_PlaneRows] = []

    def plane_rows(plane: Pixels, how: AlphaMode) -> None:
        held_bytes = reserve_bytes + sum(rows.held_bytes for rows in planes)
        planes.append(_plane_rows(plane[:, :, None], engine, passes, size, how, held_bytes))

    if picture.alpha is not None and alpha != "discard":
        # hidden colours must not come in from under transparent pixels
        pixels = bleed(pixels, picture.alpha)
        black = None if black is None else bleed(black[:, :, None], picture.alpha)[:, :, 0]
    if black is not None:
        plane_rows(black, "network")
    if picture.alpha is not None and alpha != "discard":
        plane_rows(picture.alpha, alpha)
    for strip in engine.strips(
        pixels,
        passes,
        size,
        reserve_bytes=reserve_bytes + sum(rows.held_bytes for rows in planes),
        on_progress=on_progress,
        report=report,
    ):
        parts = [strip, *(rows.take(len(strip)) for rows in planes)]
        yield np.concatenate(parts, axis=2) if planes else strip


def _plane_rows(
    plane: Pixels,
    engine: Engine,
    passes: Sequence[int],
    size: tuple[int, int],
    how: AlphaMode,
    reserve_bytes: int,
) -> _PlaneRows:
    """A plane's rows: through the network unless it is constant, or too large to keep."""
    size_bytes = size[0] * size[1] * plane.itemsize
    flat = bool((plane == plane[0, 0, 0]).all())
    if how == "lanczos" or flat or size_bytes * PLANE_SHARE > engine.memory_bytes:
        return _PlaneRows(plane, size, "lanczos")
    fine = np.empty((*size, 1), plane.dtype)
    row = 0
    for strip in engine.strips(plane, passes, size, reserve_bytes=reserve_bytes + size_bytes):
        fine[row : row + len(strip)] = strip
        row += len(strip)
    return _PlaneRows(plane, size, "bicubic", fine)


class _PlaneRows:
    """An enlarged plane, alpha or black, handed out in any portions from top to bottom.

    Args:
        plane: (h, w, 1).
        size: (height, width) of the result.
        kernel: that resamples it.
        fine: the network's result, (height, width, 1). What resampling finds full or empty
            stays so: a network leaves it a level or two off, which shows.
    """

    BAND = 64  # LR rows at a time

    def __init__(
        self, plane: Pixels, size: tuple[int, int], kernel: Kernel, fine: Pixels | None = None
    ) -> None:
        self.plane, self.next, self.fine, self.taken = plane, 0, fine, 0
        lr_size = (plane.shape[0], plane.shape[1])
        self.resizer = RowResizer(lr_size, size, dtype=plane.dtype, channels=1, kernel=kernel)
        self.ready = np.empty((0, size[1], 1), plane.dtype)
        self.held_bytes = 0 if fine is None else fine.nbytes

    def take(self, n: int) -> Pixels:
        """The next n rows: (n, width, 1)."""
        parts = [self.ready]
        held = len(self.ready)
        while held < n:
            band = self.plane[self.next : self.next + self.BAND]
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
