"""The words in which a network tells the engine how it may be cut into tiles.

A network has two definitions. ``forward`` is the plain one, for training, export and reading.
``stages(run, lr)`` says the same over *maps*: picture-sized feature maps that are never asked for
all at once. ``run`` (the engine's) offers four verbs:

- ``local``: a function of a neighbourhood. Nothing is computed yet; chains of locals are evaluated
  together, tile by tile, each on the tile grown by the halos that follow it and clipped at the
  picture's border, so that zero padding falls exactly where the whole picture has it.
- ``sweep``: one pass over all tiles that produces something: a stored map (``Keep``), statistics
  of the whole picture (``Moments``), or a small map made of strided windows (``Windows``) or of
  cells (``Cells``).
- ``keep``: a sweep that stores one map.
- ``cache``: a ``keep`` that is there only to save the recomputation of halos; an engine may leave
  the map unevaluated instead.

Results equal ``forward`` on the whole picture up to floating-point rounding, at any tile size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from torch import Tensor


class Map(Protocol):
    """A feature map as large as the picture times ``scale``; stored, or yet to be computed.

    Smaller maps are of ceil(n scale) pixels a side.
    """

    @property
    def scale(self) -> int | Fraction: ...


class Where(Protocol):
    """Where a tile lies; handed to a ``local`` function that asked for it with ``where=True``."""

    def stretch(self, low: Tensor) -> Tensor:
        """This tile's part of ``low`` (1, c, h', w') stretched bilinearly over the whole picture.

        Equals ``F.interpolate(low, picture_size, mode="bilinear", align_corners=False)`` cut to
        the tile.
        """
        ...

    def nearest(self, low: Tensor) -> Tensor:
        """As ``stretch``, with mode="nearest"."""
        ...


@dataclass(frozen=True)
class Keep:
    """Store a map. ``over``: a stored map to write it over, read at the same place only."""

    source: Map
    over: Map | None = None


@dataclass(frozen=True)
class Moments:
    """Per-channel mean and standard deviation of a map, each (1, c, 1, 1) in fp32.

    ``unbiased``: the sum of squares is divided by the number of pixels less one.
    """

    source: Map
    unbiased: bool = False


@dataclass(frozen=True)
class Windows:
    """``fn`` on strided windows of a map: a small tensor (1, c, h', w') for the whole picture.

    ``fn`` maps (1, c, h, w) to (1, c', (h - size) // stride + 1, (w - size) // stride + 1) without
    padding: convolutions and poolings in a row, ``size`` their joint receptive field.
    """

    source: Map
    fn: Callable[[Tensor], Tensor]
    size: int
    stride: int


@dataclass(frozen=True)
class Cells:
    """A map's maxima in (h // divisor) x (w // divisor) cells: ``F.adaptive_max_pool2d``."""

    source: Map
    divisor: int


Output = Keep | Moments | Windows | Cells


class Run(Protocol):
    """What the engine offers to ``stages``."""

    def local(
        self,
        fn: Callable[..., Tensor],
        *inputs: Map,
        halo: int = 0,
        scale: int | Fraction = 1,
        where: bool = False,
    ) -> Map:
        """``fn(*tiles)``: looks ``halo`` pixels around each, enlarges by ``scale``.

        With a scale of 1/s every tile begins at a multiple of s, and ``halo`` is one too; where
        s does not divide the picture's sides, ``fn`` rounds up what it makes of the last tiles.
        """
        ...

    def sweep(self, *outputs: Output) -> tuple[Any, ...]:
        """One pass over the tiles: a stored Map, (mean, std), or a Tensor for each output."""
        ...

    def keep(self, source: Map, over: Map | None = None) -> Map: ...

    def cache(self, source: Map) -> Map: ...


class Staged(Protocol):
    """A network that the engine can run by stages."""

    def stages(self, run: Run, lr: Map) -> Map: ...
