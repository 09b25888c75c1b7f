"""What a network costs anywhere: parameters and multiply-adds, counted, not timed."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from srcli.engine.passes import Network


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
    """Count on the meta device: nothing is computed. ``parameters``: the catalogue's count."""
    module = copy.deepcopy(network.module).to("meta").eval()
    multiple, least = network.arch.multiple, network.arch.min_size
    larger = network.scale if network.door.enlarged else 1
    sides = [max(least, -(-n // multiple) * multiple) * larger for n in size]
    channels = 1 if network.door.colour == "y" else 3
    lr = torch.empty((1, channels, *sides), device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(lr)
    return Cost(parameters, counter.get_total_flops() // 2)
