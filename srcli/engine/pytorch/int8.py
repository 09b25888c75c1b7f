"""Networks whose convolutions compute in eight bits, as PyTorch imitates them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from torch import nn

from srcli.archs.quantised import RANGE, grid, imitation, quantised
from srcli.engine.pytorch.network import Network
from srcli.errors import SrcliError, WeightsError


def convolutions(network: Network) -> dict[str, nn.Conv2d]:
    """The network's convolutions that run in eight bits, by their names in its adapter.

    Raises:
        WeightsError: it was not trained for that.
    """
    found = quantised(network.module)
    if not found:
        raise WeightsError(
            f"The weights of {network.arch.name} x{network.scale} hold no ranges for eight bits.",
            "They come from training with quantise=true, a setting of the recipes of `srcli train`",
        )
    return {f"network.{name}": conv for name, conv in found.items()}


def imitated(network: Network) -> Network:
    """The network as it computes in eight bits, in PyTorch: what a graph is compared with."""
    return replace(network, module=imitation(network.module))


def input_grid(conv: nn.Conv2d) -> tuple[np.float32, np.uint8]:
    step, zero = grid(conv.get_buffer(RANGE))
    return np.float32(step.item()), np.uint8(zero.item())


def hidden(network: Network, names: Iterable[str]) -> SrcliError:
    some = ", ".join(sorted(names)[:3])
    return SrcliError(
        f"{network.arch.name} x{network.scale} cannot be written in eight bits: its graph does not "
        f"show the convolutions {some}."
    )
