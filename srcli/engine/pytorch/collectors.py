"""What takes a sweep's tiles: maps that are kept, and summaries of whole maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srcli.archs.inference import moments
from srcli.archs.stages import Map, Windows
from srcli.engine.pytorch.maps import Node, Stored
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.storage import Storage


class Collector:
    """Takes a sweep's tiles."""

    source: Node

    def wants(self, core: Region) -> Region:
        """The region of the source that belongs to a tile, in the source's pixels."""
        return core.scaled(self.source.scale)

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        """What is taken of a tile of the source."""
        return tile

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        raise AssertionError("a kind of collector has its own take")

    def result(self) -> Any:
        raise AssertionError("a kind of collector has its own result")


class MapCollector(Collector):
    """Stores the map.

    Args:
        over: a stored map to overwrite; None: a new one is made.
        allocate: storage for so many channels.
    """

    def __init__(self, source: Node, over: Map | None, allocate: Callable[[int], Storage]) -> None:
        self.source, self.allocate = source, allocate
        assert over is None or isinstance(over, Stored), "only stored maps are overwritten"
        self.over = over
        self.storage: Storage | None = over.storage if over else None

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        if self.storage is None:  # the first tile tells the channels
            self.storage = self.allocate(part.shape[1])
        self.storage.write(region, part)

    def result(self) -> Stored:
        assert self.storage is not None
        return Stored(self.storage, self.source.scale)


class MomentsCollector(Collector):
    """Mean and standard deviation, tiles joined in float64 (Chan et al. 1983)."""

    def __init__(self, source: Node, unbiased: bool) -> None:
        self.source, self.unbiased = source, unbiased
        self.counts: list[int] = []
        self.parts: list[Tensor] = []

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        return torch.cat(moments(tile))

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        self.counts.append(region.pixels)
        self.parts.append(part)

    def result(self) -> tuple[Tensor, Tensor]:
        parts = torch.stack(self.parts).cpu().double()  # (tiles, 2, c)
        counts = torch.tensor(self.counts, dtype=torch.float64)[:, None]
        means, variances = parts[:, 0], parts[:, 1]
        mean = (counts * means).sum(0) / counts.sum()
        variance = (counts * (variances + (means - mean) ** 2)).sum(0)
        variance = variance / (counts.sum() - int(self.unbiased))
        return self._shaped(mean), self._shaped(variance.sqrt())

    def _shaped(self, values: Tensor) -> Tensor:
        return values.float().to(self.parts[0].device)[None, :, None, None]


class WindowsCollector(Collector):
    """A small map of strided windows; a window belongs to the tile in which it starts."""

    def __init__(self, source: Node, windows: Windows, whole: Region) -> None:
        self.source, self.windows = source, windows
        self.n = (
            (whole.h - windows.size) // windows.stride + 1,
            (whole.w - windows.size) // windows.stride + 1,
        )
        assert min(self.n) > 0, "the picture is smaller than one window"
        self.low: Tensor | None = None

    def _span(self, start: int, length: int, n: int) -> tuple[int, int]:
        """The windows that start in ``start .. start + length``: first, one past the last."""
        stride = self.windows.stride
        return min(n, -(-start // stride)), min(n, -(-(start + length) // stride))

    def _spans(self, core: Region) -> tuple[tuple[int, int], tuple[int, int]]:
        own = core.scaled(self.source.scale)
        return self._span(own.y, own.h, self.n[0]), self._span(own.x, own.w, self.n[1])

    def wants(self, core: Region) -> Region:
        (top, bottom), (left, right) = self._spans(core)
        if bottom <= top or right <= left:
            return Region(0, 0, 0, 0)
        size, stride = self.windows.size, self.windows.stride
        return Region(
            top * stride,
            left * stride,
            (bottom - 1 - top) * stride + size,
            (right - 1 - left) * stride + size,
        )

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        return self.windows.fn(tile)

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        if self.low is None:
            self.low = part.new_empty((1, part.shape[1], *self.n))
        (top, bottom), (left, right) = self._spans(core)
        self.low[:, :, top:bottom, left:right] = part

    def result(self) -> Tensor:
        assert self.low is not None
        return self.low


class CellsCollector(Collector):
    """Maxima in cells, which tiles may cut and which may overlap by one row or column."""

    def __init__(self, source: Node, divisor: int, whole: Region) -> None:
        self.source, self.whole = source, whole
        self.n = whole.h // divisor, whole.w // divisor
        assert min(self.n) > 0, "the picture is smaller than one cell"
        self.low: Tensor | None = None

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        """Maxima of the parts of cells that lie in the tile."""
        for axis, start, length, n, total in (
            (2, region.y, region.h, self.n[0], self.whole.h),
            (3, region.x, region.w, self.n[1], self.whole.w),
        ):
            first, last = _cells(start, length, n, total)
            parts = []
            for k in range(first, last):
                begin = max(k * total // n, start)
                end = min(-(-(k + 1) * total // n), start + length)
                parts.append(tile.narrow(axis, begin - start, end - begin).amax(axis))
            tile = torch.stack(parts, axis)
        return tile

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        if self.low is None:
            self.low = part.new_full((1, part.shape[1], *self.n), -torch.inf)
        top, bottom = _cells(region.y, region.h, self.n[0], self.whole.h)
        left, right = _cells(region.x, region.w, self.n[1], self.whole.w)
        low = self.low[:, :, top:bottom, left:right]
        torch.maximum(low, part, out=low)

    def result(self) -> Tensor:
        assert self.low is not None
        return self.low


def _cells(start: int, length: int, n: int, total: int) -> tuple[int, int]:
    """The cells, of ``n`` over ``total``, with a part in start .. start + length: first, one past
    the last. Cell k reaches from floor(k total / n) to ceil((k + 1) total / n)."""
    first = start * n // total
    while first > 0 and -(-first * total // n) > start:
        first -= 1
    return first, min(n, -(-(start + length) * n // total))


class BandCollector(Collector):
    """A row of tiles of the result, (h, width, channels)."""

    def __init__(
        self, source: Node, band: Region, channels: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.source, self.region = source, band
        self.band = torch.empty((band.h, band.w, channels), dtype=dtype, device=device)

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        self.band[(region - self.region).index] = part[0].permute(1, 2, 0)
