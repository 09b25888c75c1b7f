"""Maps of a picture: yet to be computed, stored, or read; and how tiles of them are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from srcli.engine.pytorch.regions import Region, Scale
from srcli.engine.pytorch.storage import Storage


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
        nhwc = low[0].permute(1, 2, 0).float()
        top, down = _between(self.region.y, self.region.h, self.size[0], len(nhwc), low.device)
        left, right = _between(
            self.region.x, self.region.w, self.size[1], nhwc.shape[1], low.device
        )
        near = nhwc[top : top + down.shape[1], left : left + right.shape[1]]
        rows = torch.matmul(right, near).flatten(1)  # one for each of the small map
        stretched = (down @ rows).view(self.region.h, self.region.w, -1)
        return stretched.permute(2, 0, 1)[None].to(low.dtype)

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


@lru_cache(256)
def _between(
    start: int, length: int, total: int, n: int, device: torch.device
) -> tuple[int, Tensor]:
    """For samples start .. start + length of ``total`` that ``n`` are stretched to: the first of
    the ``n`` that they lie between, and the weights (length, k) of k from there on.

    A product with a matrix of two numbers a row is several times as fast as picking and mixing.
    """
    position = torch.arange(start, start + length, dtype=torch.float32)
    position = ((position + 0.5) * (n / total) - 0.5).clamp_(min=0)
    before = position.floor()
    share = position - before
    index = before.long()
    after = (index + 1).clamp_(max=n - 1)
    first = int(index[0])
    weights = torch.zeros((length, int(after[-1]) + 1 - first))
    sample = torch.arange(length)
    weights[sample, index - first] = 1 - share
    weights[sample, after - first] += share  # the same one as before at the end
    return first, weights.to(device)


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
                arguments: list[Any] = [cut(*found[id(n)], inner) for n in node.inputs]
                cover = inner.scaled(node.factor)
                if node.where:
                    whole = self.picture.scaled(node.scale)
                    arguments.append(At(cover, (whole.h, whole.w)))
                found[id(node)] = region, cut(cover, node.fn(*arguments), region)
            elif isinstance(node, Stored):
                found[id(node)] = region, node.storage.read(region)
            else:
                found[id(node)] = region, node.read(region)
        return [
            cut(*found[id(t)], r) if r.pixels else torch.empty(0)
            for t, r in zip(self.targets, regions, strict=True)
        ]


def cut(cover: Region, tensor: Tensor, region: Region) -> Tensor:
    """The part of a tensor that lies at ``cover`` which lies at ``region``."""
    if cover == region:
        return tensor
    rows, columns = (region - cover).index
    return tensor[:, :, rows, columns]
