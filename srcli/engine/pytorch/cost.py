"""What a network costs anywhere: multiply-adds, counted, not timed."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srcli.catalog.entries import Model
from srcli.engine.pytorch.network import Network
from srcli.weights import new_network

SIDE = 96  # LR pixels a side; where all pixels attend to all, the cost goes with the size


def multiply_adds(network: Network, size: tuple[int, int]) -> int:
    """Of the network's convolutions and matrix products, for an LR picture of (height, width).

    Sides are rounded up to what the network takes. Nothing is computed: it runs on tensors without
    values.
    """
    adapted = copy.deepcopy(network.adapted()).to("meta").eval()
    multiple, least = network.arch.multiple, network.arch.min_size
    sides = [max(least, -(-n // multiple) * multiple) for n in size]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        adapted(torch.empty((1, 3, *sides), device="meta"))
    return int(counter.get_total_flops()) // 2


def per_pixel(model: Model, scale: int) -> float:
    """Multiply-adds per output pixel, of the form that runs, on SIDE x SIDE LR pixels."""
    module: nn.Module = new_network(model.variant(scale), model.arch).eval()
    if model.arch.expanded:
        module = cast("Any", module).merge()
    network = Network(module, model.arch, model.preprocessing, scale)
    return multiply_adds(network, (SIDE, SIDE)) / (SIDE * scale) ** 2
