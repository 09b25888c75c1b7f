"""What a network costs, counted and not timed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srcli.catalog.entries import Model
from srcli.engine.doors import Doored
from srcli.weights import new_network

SIDE = 96  # LR pixels a side; where all pixels attend to all, the cost goes with the size


def multiply_adds(model: Model, scale: int) -> float:
    """Multiplications with addition per output pixel of a network at a native scale.

    Those of convolutions and matrix products, of the form that runs (expanded networks merged), on
    an LR picture of SIDE x SIDE, its sides rounded up to the network's multiple. Nothing is
    computed: the network runs on tensors without values.
    """
    network: nn.Module = new_network(model.variant(scale), model.arch).eval()
    if model.arch.expanded:
        network = cast("Any", network).merge()
    doored = Doored(network, model.door, scale).eval().to("meta")
    side = -(-SIDE // model.arch.multiple) * model.arch.multiple
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        doored(torch.empty(1, 3, side, side, device="meta"))
    return float(counter.get_total_flops()) / 2 / (side * scale) ** 2
