"""A loaded network, as the engine runs it, exports write it and tests compare it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from srcli.catalog.entries import Architecture, Preprocessing
from srcli.engine.pytorch.adapter import RgbAdapter


@dataclass(frozen=True)
class Network:
    """A loaded network at one native scale, and what its catalogue entry says of it."""

    module: nn.Module
    arch: Architecture
    preprocessing: Preprocessing
    scale: int

    def adapted(self) -> RgbAdapter:
        """The network as the rest of the program sees it: RGB in 0..1 in and out."""
        return RgbAdapter(self.module, self.preprocessing, self.scale).eval()
