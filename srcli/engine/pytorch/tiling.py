"""Exact tiling: a network's stages, run breadth-first over the tiles of a picture.

Depth-first tiling (tile by tile through the whole network) leaves seams wherever a network looks at
the whole picture. Here every stage runs over all tiles before the next begins, on picture-sized
maps; the result equals that of the whole picture up to rounding (see srcli.archs.stages for the
vocabulary, and docs/tiling.md for the idea).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from srcli.archs.stages import Cells, Keep, Map, Moments, Output
from srcli.engine.pytorch.collectors import (
    BandCollector,
    CellsCollector,
    Collector,
    MapCollector,
    MomentsCollector,
    WindowsCollector,
)
from srcli.engine.pytorch.maps import Local, Node, Stored, Walk
from srcli.engine.pytorch.regions import Region, Scale, tile_rows
from srcli.engine.pytorch.storage import Budget, Storage

SMALLEST_TILE = 16  # LR pixels per side; when even this does not fit, out of memory is final


@dataclass
class Statistics:
    """What a run did."""

    tiles: int = 0  # of the finest sweep: how many pieces the picture was cut into
    sweeps: int = 0
    smaller: int = 0  # how often memory ran out and tiles were halved


def is_out_of_memory(error: BaseException) -> bool:
    """True only for a failed allocation; other device errors are not to be retried."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the CPU's and MPS's allocators raise plain RuntimeErrors
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator: can't allocate memory" in text
        or "DefaultCPUAllocator: not enough memory" in text
        or "MPS backend out of memory" in text
    )


class TileRun:
    """Runs stages over one picture; the engine's side of srcli.archs.stages.Run.

    Args:
        size: the picture's (height, width) in LR pixels.
        tile: largest tile (height, width) in LR pixels.
        budget: where kept maps go.
        device: where tiles are computed.
        dtype: of stored maps.
        on_tile: called with the share of the sweep done (LR pixels of a tile / of the picture).
    """

    def __init__(
        self,
        size: tuple[int, int],
        tile: tuple[int, int],
        budget: Budget,
        *,
        device: torch.device,
        dtype: torch.dtype,
        on_tile: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.picture = Region(0, 0, *size)
        self.tile, self.budget = tile, budget
        self.device, self.dtype = device, dtype
        self.on_tile = on_tile
        self.statistics = Statistics()

    # what stages() calls

    def local(
        self,
        fn: Callable[..., Tensor],
        *inputs: Map,
        halo: int = 0,
        scale: Scale = 1,
        where: bool = False,
    ) -> Local:
        nodes: Any = inputs
        assert len({node.scale for node in nodes}) == 1, "a local's inputs are of one size"
        # tiles begin where a pixel of the smaller map does
        assert halo * scale == int(halo * scale), "a halo is whole pixels of the result too"
        return Local(fn, nodes, halo, scale, where)

    def keep(self, source: Map, over: Map | None = None) -> Stored:
        return self.sweep(Keep(source, over))[0]  # type: ignore[no-any-return]

    def cache(self, source: Map) -> Map:
        return self.keep(source)

    def sweep(self, *outputs: Output) -> tuple[Any, ...]:
        collectors = [self._collector(output) for output in outputs]
        walk = Walk([s.source for s in collectors], self.picture)
        self._check_overwrites(collectors, walk)
        tiles = 0
        for row in tile_rows(self.picture.h, self.picture.w, self.tile):
            for core in row:
                tiles += self._tile(core, collectors, walk)
        self.statistics.sweeps += 1
        self.statistics.tiles = max(self.statistics.tiles, tiles)
        return tuple(collector.result() for collector in collectors)

    # what the engine calls

    def rows(self, source: Map, channels: int, dtype: torch.dtype) -> Iterator[Tensor]:
        """The last sweep: the map as bands (1, channels, h, width) from top to bottom."""
        node: Any = source
        walk = Walk([node], self.picture)
        tiles = 0
        for row in tile_rows(self.picture.h, self.picture.w, self.tile):
            top = row[0]
            band_region = Region(top.y, 0, top.h, self.picture.w).scaled(node.scale)
            collector = BandCollector(node, band_region, channels, dtype, self.device)
            with torch.inference_mode():
                for core in row:
                    tiles += self._tile(core, [collector], walk)
            yield collector.band.permute(2, 0, 1)[None]
        self.statistics.sweeps += 1
        self.statistics.tiles = max(self.statistics.tiles, tiles)

    # how

    def _tile(self, core: Region, collectors: Sequence[Collector], walk: Walk) -> int:
        """One tile of a sweep, in halves if memory runs out; how many pieces it took."""
        if core.h > self.tile[0] or core.w > self.tile[1]:  # memory ran out before
            return sum(self._tile(half, collectors, walk) for half in core.halves())
        try:
            self._compute(core, collectors, walk)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or max(core.h, core.w) <= SMALLEST_TILE:
                raise
        else:
            self.on_tile(core.pixels / self.picture.pixels)
            return 1
        # out of the except block: its traceback holds the failed tile's tensors
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        self.statistics.smaller += 1
        side = max(SMALLEST_TILE, max(min(core.h, self.tile[0]), min(core.w, self.tile[1])) // 2)
        self.tile = (min(self.tile[0], side), min(self.tile[1], side))  # of the sweeps to come
        return sum(self._tile(half, collectors, walk) for half in core.halves())

    def _compute(self, core: Region, collectors: Sequence[Collector], walk: Walk) -> None:
        regions = [collector.wants(core) for collector in collectors]
        tiles = walk.evaluate(regions)
        parts = [
            (collector, region, collector.compute(region, tile))
            for collector, region, tile in zip(collectors, regions, tiles, strict=True)
            if region.pixels
        ]
        # taken only when all is computed: a tile that runs out of memory leaves no trace
        for collector, region, part in parts:
            collector.take(core, region, part)

    def _collector(self, output: Output) -> Collector:
        node: Any = output.source
        if isinstance(output, Keep):
            return MapCollector(node, output.over, partial(self._storage, node))
        if isinstance(output, Moments):
            return MomentsCollector(node, output.unbiased)
        if isinstance(output, Cells):
            return CellsCollector(node, output.divisor, self.picture.scaled(node.scale))
        return WindowsCollector(node, output, self.picture.scaled(node.scale))

    def _storage(self, node: Node, channels: int) -> Storage:
        """Room for a map of as many channels."""
        whole = self.picture.scaled(node.scale)
        return self.budget.storage((whole.h, whole.w), channels, self.dtype, self.device)

    @staticmethod
    def _check_overwrites(collectors: Sequence[Collector], walk: Walk) -> None:
        """A map may be overwritten only if each tile reads it nowhere but at its own place."""
        for collector in collectors:
            if isinstance(collector, MapCollector) and collector.over is not None:
                assert walk.reads_in_place(collector.over), (
                    "a map is overwritten while others read it"
                )
