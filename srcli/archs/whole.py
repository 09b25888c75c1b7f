"""Stages over a whole picture at once: every map is a tensor, and every verb is done at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from srcli.archs.blocks import cell_maxima
from srcli.archs.stages import Cells, Keep, Map, Moments, Output


@dataclass(frozen=True, eq=False)
class Whole:
    """A map that is there."""

    tensor: Tensor
    scale: int | Fraction = 1


@dataclass(frozen=True)
class Everywhere:
    """Where a tile lies that is the whole map."""

    size: tuple[int, int]

    def stretch(self, low: Tensor) -> Tensor:
        return F.interpolate(low, self.size, mode="bilinear", align_corners=False)

    def nearest(self, low: Tensor) -> Tensor:
        return F.interpolate(low, self.size, mode="nearest")


class WholeRun:
    """A ``stages.Run`` for a picture that is small."""

    def local(
        self,
        fn: Callable[..., Tensor],
        *inputs: Map,
        halo: int = 0,
        scale: int | Fraction = 1,
        where: bool = False,
    ) -> Map:
        arguments: list[Any] = [_tensor(each) for each in inputs]
        factor = inputs[0].scale * scale
        if where:
            height, width = arguments[0].shape[2:]
            arguments.append(Everywhere((int(height * scale), int(width * scale))))
        return Whole(fn(*arguments), factor)

    def sweep(self, *outputs: Output) -> tuple[Any, ...]:
        return tuple(_done(output) for output in outputs)

    def keep(self, source: Map, over: Map | None = None) -> Map:
        return source

    def cache(self, source: Map) -> Map:
        return source


def _tensor(node: Map) -> Tensor:
    return cast("Whole", node).tensor


def _done(output: Output) -> Any:
    if isinstance(output, Keep):
        return output.source
    x = _tensor(output.source)
    if isinstance(output, Moments):
        correction = int(output.unbiased)
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=correction, keepdim=True)
        return mean, variance.sqrt()
    return cell_maxima(x, output.divisor) if isinstance(output, Cells) else output.fn(x)
