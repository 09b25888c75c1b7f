"""Convolutions in eight bits: how they are imitated in floating point, for training and comparing.

The input of a convolution is rounded to 256 levels between two ends, its *range*, one for the whole
tensor; zero is one of the levels, for borders are padded with it. A weight is rounded to 127 levels
around zero, with a step for each output channel. So it takes seven bits of the eight: x86
processors without VNNI add two products of bytes in 16 bits, which 2 x 255 x 63 just fits, and all
processors compute the same. Sums, biases and everything between two convolutions stay in floating
point. Gradients pass through the rounding (straight-through estimator, arXiv 1308.3432), and end
outside of the range.

A range is a buffer of its convolution, so weights that were trained so carry it in their file,
under ``<convolution>.input_range``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

RANGE = "input_range"
LEVELS = 255  # above the lowest
LARGEST = 63  # of a weight
MOMENTUM = 0.01  # of a running range: the share of the batch at hand
LEAST = 1e-8  # of a range and of a channel's largest weight


class QuantConv2d(nn.Conv2d):
    """A convolution whose input and weights are rounded as in eight bits, computed in fp32.

    In training its range follows the inputs. It is a Conv2d's class for a time, see `imitate`.
    """

    input_range: Tensor  # (2,): lowest and highest, around zero

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            if self.training:
                self.input_range.lerp_(ends(x.detach()), MOMENTUM)
            step, zero = grid(self.input_range)
            levels = (_rounded(x / step) + zero).clamp(0, LEVELS)
            steps = weight_steps(self.weight.detach())
            weight = _rounded(self.weight / steps) * steps
            out: Tensor = self._conv_forward((levels - zero) * step, weight, self.bias)
            return out


def _rounded(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def ends(x: Tensor) -> Tensor:
    """(2,): the lowest and the highest of x and zero."""
    low, high = torch.aminmax(x)
    return torch.stack((low.clamp(max=0), high.clamp(min=LEAST)))


def grid(input_range: Tensor) -> tuple[Tensor, Tensor]:
    """Step of the levels, and which of them, 0 to 255, is zero."""
    low, high = input_range.float().unbind()
    step = (high - low) / LEVELS
    return step, (-low / step).round()


def weight_steps(weight: Tensor) -> Tensor:
    """(n_out, 1, 1, 1): of each output channel."""
    return weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=LEAST) / LARGEST


def integers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as int8, and what each output channel is multiplied by, (n_out,)."""
    steps = weight_steps(weight)
    return (weight / steps).round().to(torch.int8), steps.flatten()


# ------------------------------------------------------------------------------------- networks


@torch.no_grad()
def calibrate(network: nn.Module, x: Tensor) -> None:
    """Give every convolution that runs on ``x`` the range of its input. The network is left in the
    mode it is in, and its convolutions compute as before."""
    found: dict[str, Tensor] = {}

    def note(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        now = ends(args[0])
        if name in found:  # of a convolution that runs several times, all of them
            before = found[name]
            now = torch.stack((torch.minimum(before[0], now[0]), torch.maximum(before[1], now[1])))
        found[name] = now

    handles = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    training = network.training
    try:
        network.eval()(x)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    attach(network, found)


def attach(network: nn.Module, ranges: Mapping[str, Tensor]) -> None:
    """Give convolutions their ranges, by name.

    Raises:
        ValueError: there is no such convolution, or it is no range.
    """
    modules = dict(network.named_modules())
    for name, ends in ranges.items():
        module = modules.get(name)
        if not isinstance(module, nn.Conv2d):
            raise ValueError(f"{name} is no convolution of this network")
        low, high = ends.float().tolist() if ends.shape == (2,) else (1.0, 0.0)
        if not (-float("inf") < low <= 0 < high < float("inf")):
            raise ValueError(f"the range of {name} is not one around zero")
        module.register_buffer(RANGE, ends.float().clone())


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A network's own tensors, and ranges by the names of their convolutions."""
    ending = f".{RANGE}"
    own = {name: tensor for name, tensor in state.items() if not name.endswith(ending)}
    ranges = {n.removesuffix(ending): t for n, t in state.items() if n.endswith(ending)}
    return own, ranges


def quantised(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions that have a range, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and RANGE in module._buffers
    }


def imitate(network: nn.Module) -> None:
    """From now on, every convolution that has a range rounds as in eight bits."""
    for conv in quantised(network).values():
        conv.__class__ = QuantConv2d


def imitation(network: nn.Module) -> nn.Module:
    """A copy that computes as in eight bits."""
    copied = copy.deepcopy(network)
    imitate(copied)
    return copied
