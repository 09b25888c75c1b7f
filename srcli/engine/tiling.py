"""Exact tiling: a network's stages, run breadth-first over the tiles of a picture.

Depth-first tiling (tile by tile through the whole network) leaves seams wherever a network looks at
the whole picture. Here every stage runs over all tiles before the next begins, on picture-sized
maps; the result equals that of the whole picture up to rounding (see srcli.archs.stages for the
vocabulary, and docs/tiling.md for the idea).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srcli.archs.stages import Cells, Keep, Map, Moments, Output, Windows
from srcli.engine.regions import Region, Scale, tile_rows
from srcli.engine.storage import Budget, Storage

SMALLEST_TILE = 16  # LR pixels per side; when even this does not fit, out of memory is final


@dataclass(frozen=True, eq=False)
class Local:
    """A map yet to be computed: ``fn`` of neighbourhoods of other maps."""

    fn: Callable[..., Tensor]
    inputs: tuple[Node, ...]
    halo: int
    factor: Scale
    where: bool

    @property
    def scale(self) -> Scale:
        return self.inputs[0].scale * self.factor

    def wants(self, region: Region, picture: Region) -> Region:
        """What it reads of each input to fill ``region``."""
        return region.coarsened(self.factor).grow(self.halo) & picture.scaled(self.inputs[0].scale)


@dataclass(eq=False)
class Stored:
    """A map in storage."""

    storage: Storage
    scale: Scale


@dataclass(frozen=True, eq=False)
class Source:
    """A map that comes from outside, by region."""

    read: Callable[[Region], Tensor]
    scale: Scale = 1


Node = Local | Stored | Source


@dataclass(frozen=True)
class At:
    """Where a tile lies in its map."""

    region: Region
    size: tuple[int, int]

    def stretch(self, low: Tensor) -> Tensor:
        """This tile's part of ``low`` stretched bilinearly over the map; see archs.stages.Where."""
        nhwc = low[0].permute(1, 2, 0)
        for axis, (start, length, total) in enumerate(
            (
                (self.region.y, self.region.h, self.size[0]),
                (self.region.x, self.region.w, self.size[1]),
            )
        ):
            n = nhwc.shape[axis]
            position = torch.arange(start, start + length, device=low.device, dtype=torch.float32)
            position = ((position + 0.5) * (n / total) - 0.5).clamp_(min=0)
            before = position.floor()
            weight = (position - before).to(low.dtype)
            weight = weight[:, None, None] if axis == 0 else weight[:, None]
            index = before.long()
            first = nhwc.index_select(axis, index)
            second = nhwc.index_select(axis, (index + 1).clamp_(max=n - 1))
            nhwc = torch.lerp(first, second, weight)
        return nhwc.permute(2, 0, 1)[None]

    def nearest(self, low: Tensor) -> Tensor:
        """As ``stretch``, with mode="nearest"."""
        for axis, start, length, total in (
            (2, self.region.y, self.region.h, self.size[0]),
            (3, self.region.x, self.region.w, self.size[1]),
        ):
            n = low.shape[axis]
            # in fp32, as PyTorch rounds
            position = torch.arange(start, start + length, device=low.device, dtype=torch.float32)
            index = (position * (n / total)).floor_().long().clamp_(max=n - 1)
            low = low.index_select(axis, index)
        return low


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

    def rest(self, source: Map) -> Map:
        return self.keep(source)

    def sweep(self, *outputs: Output) -> tuple[Any, ...]:
        sinks = [self._sink(output) for output in outputs]
        walk = Walk([s.source for s in sinks], self.picture)
        self._check_overwrites(sinks, walk)
        tiles = 0
        for row in tile_rows(self.picture.h, self.picture.w, self.tile):
            for core in row:
                tiles += self._tile(core, sinks, walk)
        self.statistics.sweeps += 1
        self.statistics.tiles = max(self.statistics.tiles, tiles)
        return tuple(sink.result() for sink in sinks)

    # what the engine calls

    def rows(self, source: Map, channels: int, dtype: torch.dtype) -> Iterator[Tensor]:
        """The last sweep: the map as bands (1, channels, h, width) from top to bottom."""
        node: Any = source
        walk = Walk([node], self.picture)
        tiles = 0
        for row in tile_rows(self.picture.h, self.picture.w, self.tile):
            top = row[0]
            band_region = Region(top.y, 0, top.h, self.picture.w).scaled(node.scale)
            sink = BandSink(node, band_region, channels, dtype, self.device)
            with torch.inference_mode():
                for core in row:
                    tiles += self._tile(core, [sink], walk)
            yield sink.band.permute(2, 0, 1)[None]
        self.statistics.sweeps += 1
        self.statistics.tiles = max(self.statistics.tiles, tiles)

    # how

    def _tile(self, core: Region, sinks: Sequence[Sink], walk: Walk) -> int:
        """One tile of a sweep, in halves if memory runs out; how many pieces it took."""
        if core.h > self.tile[0] or core.w > self.tile[1]:  # memory ran out before
            return sum(self._tile(half, sinks, walk) for half in core.halves())
        try:
            self._compute(core, sinks, walk)
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
        return sum(self._tile(half, sinks, walk) for half in core.halves())

    def _compute(self, core: Region, sinks: Sequence[Sink], walk: Walk) -> None:
        regions = [sink.wants(core) for sink in sinks]
        tiles = walk.evaluate(regions)
        parts = [
            (sink, region, sink.compute(region, tile))
            for sink, region, tile in zip(sinks, regions, tiles, strict=True)
            if region.pixels
        ]
        # taken only when all is computed: a tile that runs out of memory leaves no trace
        for sink, region, part in parts:
            sink.take(core, region, part)

    def _sink(self, output: Output) -> Sink:
        node: Any = output.source
        if isinstance(output, Keep):
            return KeepSink(self, node, output.over)
        if isinstance(output, Moments):
            return MomentsSink(node)
        if isinstance(output, Cells):
            return CellsSink(node, output.divisor, self.picture.scaled(node.scale))
        return WindowsSink(node, output, self.picture.scaled(node.scale))

    @staticmethod
    def _check_overwrites(sinks: Sequence[Sink], walk: Walk) -> None:
        """A map may be overwritten only if each tile reads it nowhere but at its own place."""
        for sink in sinks:
            if isinstance(sink, KeepSink) and sink.over is not None:
                assert walk.reads_in_place(sink.over), "a map is overwritten while others read it"


class Walk:
    """Evaluates lazy maps on a tile, each node once, on just the region that is needed of it."""

    def __init__(self, targets: Sequence[Node], picture: Region) -> None:
        self.targets, self.picture = targets, picture
        self.order: list[Node] = []  # inputs before those that use them
        seen: set[int] = set()
        for target in targets:
            self._visit(target, seen)

    def _visit(self, node: Node, seen: set[int]) -> None:
        # a method, since a recursive closure is a cycle that would keep maps alive
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, Local):
            for n in node.inputs:
                self._visit(n, seen)
        self.order.append(node)

    def needs(self, regions: Sequence[Region]) -> dict[int, Region]:
        """The region needed of every node, by its id, to fill the targets' regions."""
        need: dict[int, Region] = {}

        def add(node: Node, region: Region) -> None:
            if region.pixels:
                need[id(node)] = need[id(node)] | region if id(node) in need else region

        for target, region in zip(self.targets, regions, strict=True):
            add(target, region)
        for node in reversed(self.order):
            if isinstance(node, Local) and id(node) in need:
                for n in node.inputs:
                    add(n, node.wants(need[id(node)], self.picture))
        return need

    def reads_in_place(self, stored: Stored) -> bool:
        """True if a tile that fills the targets reads ``stored`` inside the tile only."""
        # at a multiple of 8, where pixels of smaller maps begin too
        probe = Region(self.picture.h // 16 * 8, self.picture.w // 16 * 8, 1, 1)
        need = self.needs([probe.scaled(t.scale) for t in self.targets])
        return need.get(id(stored), probe.scaled(stored.scale)) == probe.scaled(stored.scale)

    def evaluate(self, regions: Sequence[Region]) -> list[Tensor]:
        """Each target on its region."""
        need = self.needs(regions)
        found: dict[int, tuple[Region, Tensor]] = {}
        for node in self.order:
            region = need.get(id(node))
            if region is None:
                continue
            if isinstance(node, Local):
                inner = node.wants(region, self.picture)
                arguments: list[Any] = [_cut(*found[id(n)], inner) for n in node.inputs]
                cover = inner.scaled(node.factor)
                if node.where:
                    whole = self.picture.scaled(node.scale)
                    arguments.append(At(cover, (whole.h, whole.w)))
                found[id(node)] = region, _cut(cover, node.fn(*arguments), region)
            elif isinstance(node, Stored):
                found[id(node)] = region, node.storage.read(region)
            else:
                found[id(node)] = region, node.read(region)
        return [
            _cut(*found[id(t)], r) if r.pixels else torch.empty(0)
            for t, r in zip(self.targets, regions, strict=True)
        ]


def _cut(cover: Region, tensor: Tensor, region: Region) -> Tensor:
    """The part of a tensor that lies at ``cover`` which lies at ``region``."""
    if cover == region:
        return tensor
    rows, columns = (region - cover).index
    return tensor[:, :, rows, columns]


class Sink:
    """Takes a sweep's tiles."""

    source: Node

    def wants(self, core: Region) -> Region:
        """The region of the source that belongs to a tile, in the source's pixels."""
        return core.scaled(self.source.scale)

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        """What is taken of a tile of the source."""
        return tile

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        raise AssertionError("a kind of sink has its own take")

    def result(self) -> Any:
        raise AssertionError("a kind of sink has its own result")


class KeepSink(Sink):
    """Stores the map."""

    def __init__(self, run: TileRun, source: Node, over: Map | None) -> None:
        self.run, self.source = run, source
        assert over is None or isinstance(over, Stored), "only stored maps are overwritten"
        self.over = over
        self.storage: Storage | None = over.storage if over else None

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        if self.storage is None:  # the first tile tells the channels
            whole = self.run.picture.scaled(self.source.scale)
            self.storage = self.run.budget.storage(
                (whole.h, whole.w), part.shape[1], self.run.dtype, self.run.device
            )
        self.storage.write(region, part)

    def result(self) -> Stored:
        assert self.storage is not None
        return Stored(self.storage, self.source.scale)


class MomentsSink(Sink):
    """Mean and population standard deviation, tiles joined in float64 (Chan et al. 1983)."""

    def __init__(self, source: Node) -> None:
        self.source = source
        self.counts: list[int] = []
        self.parts: list[Tensor] = []

    def compute(self, region: Region, tile: Tensor) -> Tensor:
        self.dtype = tile.dtype
        return torch.stack(torch.var_mean(tile.float(), dim=(0, 2, 3), correction=0))

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        self.counts.append(region.pixels)
        self.parts.append(part)

    def result(self) -> tuple[Tensor, Tensor]:
        parts = torch.stack(self.parts).cpu().double()  # (tiles, 2, c)
        counts = torch.tensor(self.counts, dtype=torch.float64)[:, None]
        variances, means = parts[:, 0], parts[:, 1]
        mean = (counts * means).sum(0) / counts.sum()
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / counts.sum()
        return self._shaped(mean), self._shaped(variance.sqrt())

    def _shaped(self, values: Tensor) -> Tensor:
        return values.float().to(self.parts[0].device)[None, :, None, None]


class WindowsSink(Sink):
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


class CellsSink(Sink):
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


class BandSink(Sink):
    """A row of tiles of the result, (h, width, channels)."""

    def __init__(
        self, source: Node, band: Region, channels: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.source, self.region = source, band
        self.band = torch.empty((band.h, band.w, channels), dtype=dtype, device=device)

    def take(self, core: Region, region: Region, part: Tensor) -> None:
        self.band[(region - self.region).index] = part[0].permute(1, 2, 0)
