"""A loaded network, as the engine runs it, exports write it and tests compare it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from srcli.catalog.entries import Architecture, Door
from srcli.engine.pytorch.doors import Doored


@dataclass(frozen=True)
class Network:
    """A loaded network at one native scale, and what its catalogue entry says of it."""

    module: nn.Module
    arch: Architecture
    door: Door
    scale: int

    def doored(self) -> Doored:
        """The network as the rest of the program sees it: RGB in 0..1 in and out."""
        return Doored(self.module, self.door, self.scale).eval()
