"""Regions: frozen integer rectangles. Their algebra serves LR and SR alike.

Example (one tile of a purely local network with halo ``h`` and scale ``s``)::

    padded = core.grow(h) & picture
    sr = network(lr[padded.index])
    out[core.scaled(s).index] = sr[(core - padded).scaled(s).index]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

Scale = int | Fraction


@dataclass(frozen=True, slots=True)
class Region:
    """Rows y .. y + h, columns x .. x + w, in pixels of some map."""

    y: int
    x: int
    h: int
    w: int

    @property
    def bottom(self) -> int:
        return self.y + self.h

    @property
    def right(self) -> int:
        return self.x + self.w

    @property
    def pixels(self) -> int:
        return self.h * self.w

    @property
    def index(self) -> tuple[slice, slice]:
        """Index of an array whose first two axes are rows and columns."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def grow(self, halo: int) -> Region:
        """The region and ``halo`` pixels around it; may leave the picture."""
        return Region(self.y - halo, self.x - halo, self.h + 2 * halo, self.w + 2 * halo)

    def __and__(self, other: Region) -> Region:
        """The common part; of no size if there is none."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        h, w = min(self.bottom, other.bottom) - y, min(self.right, other.right) - x
        return Region(y, x, max(h, 0), max(w, 0))

    def __or__(self, other: Region) -> Region:
        """The smallest region that holds both."""
        y, x = min(self.y, other.y), min(self.x, other.x)
        return Region(y, x, max(self.bottom, other.bottom) - y, max(self.right, other.right) - x)

    def __contains__(self, other: Region) -> bool:
        return (self | other) == self

    def __sub__(self, origin: Region) -> Region:
        """The same region in the coordinates of ``origin``."""
        return Region(self.y - origin.y, self.x - origin.x, self.h, self.w)

    def scaled(self, factor: Scale) -> Region:
        """The same place in a map ``factor`` times as large.

        Of a smaller map, the pixels that begin inside: regions that cover a picture once do so
        there too, and ceil(n / 2) is half of n.
        """
        y, x = math.ceil(self.y * factor), math.ceil(self.x * factor)
        return Region(y, x, math.ceil(self.bottom * factor) - y, math.ceil(self.right * factor) - x)

    def coarsened(self, factor: Scale) -> Region:
        """The smallest region of a map ``factor`` times smaller that covers this one."""
        y, x = self.y // factor, self.x // factor
        return Region(y, x, -(-self.bottom // factor) - y, -(-self.right // factor) - x)

    def halves(self) -> tuple[Region, Region]:
        """Cut across the longer side."""
        if self.h >= self.w:
            top = self.h // 2
            return (
                Region(self.y, self.x, top, self.w),
                Region(self.y + top, self.x, self.h - top, self.w),
            )
        left = self.w // 2
        return (
            Region(self.y, self.x, self.h, left),
            Region(self.y, self.x + left, self.h, self.w - left),
        )


def cuts(length: int, most: int) -> list[tuple[int, int]]:
    """``length`` in pieces of nearly equal size, none over ``most``: (start, size) of each."""
    n = max(1, -(-length // most))
    edges = [length * k // n for k in range(n + 1)]
    return [(a, b - a) for a, b in pairwise(edges)]


def tile_rows(height: int, width: int, tile: tuple[int, int]) -> Iterator[list[Region]]:
    """The tiles of a picture, row by row; none larger than ``tile`` (height, width)."""
    columns = cuts(width, tile[1])
    for y, h in cuts(height, tile[0]):
        yield [Region(y, x, h, w) for x, w in columns]
