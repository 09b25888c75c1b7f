"""What a network costs anywhere: parameters and multiply-adds, counted, not timed."""

from __future__ import annotations

from dataclasses import dataclass

from srcli.engine.pytorch.cost import multiply_adds
from srcli.engine.pytorch.network import Network


@dataclass(frozen=True)
class Cost:
    """Of one network for one LR size.

    Attributes:
        parameters: learnable ones, of the network as it runs.
        multiply_adds: of its convolutions and matrix products, for the whole picture.
    """

    parameters: int
    multiply_adds: int


def cost(network: Network, size: tuple[int, int], parameters: int) -> Cost:
    """Counted, see srcli.engine.pytorch.cost. ``parameters``: the catalogue's count."""
    return Cost(parameters, multiply_adds(network, size))
