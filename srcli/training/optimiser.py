"""Parameters as flat vectors, and AdamW and Muon on them.

A network's weights and Adam's two moments are flat fp32 vectors, and its parameters are views of
the first. So clipping, Adam and the sum over processes are a few operations on vectors, whatever
the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srcli.training.config import Config
from srcli.training.muon import MOMENTUM, Matrices

ALIGN = 32  # floats: a compiler's kernels want aligned parameters
SCALE = 2.0**16  # of the loss at the start of fp16: small gradients would round to zero


@dataclass
class Vectors:
    """The state of a run: flat fp32 vectors of one length, and what has happened to them.

    Attributes:
        weights, ema, m, v: the network, its average, Adam's moments.
        loss: (5,): sum of losses since last asked, number of the first step whose loss or gradient
            was not finite (-1: none), steps done; in fp16 also what the loss is multiplied by, and
            the steps since that last changed.
    """

    weights: Tensor
    ema: Tensor
    m: Tensor
    v: Tensor
    loss: Tensor

    def all(self) -> list[Tensor]:
        return [self.weights, self.ema, self.m, self.v, self.loss]

    @classmethod
    def of(cls, network: nn.Module, averaged: nn.Module) -> Vectors:
        """Take the parameters' values; from now on they are views: the network's of ``weights``,
        those of ``averaged``, its double, of ``ema``."""
        weights = flatten(network)
        ema = flatten(averaged)
        ema.copy_(weights)
        zeros = torch.zeros_like(weights)
        loss = torch.tensor([0.0, -1, 0, SCALE, 0], dtype=torch.float64, device=weights.device)
        return cls(weights, ema, zeros, zeros.clone(), loss)


def trained(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]


def flatten(network: nn.Module) -> Tensor:
    """One vector of all that is trained, whose views the parameters become."""
    params = trained(network)
    sizes = [-(-p.numel() // ALIGN) * ALIGN for p in params]
    flat = torch.zeros(sum(sizes), device=params[0].device)
    for p, part in zip(params, torch.split(flat, sizes), strict=True):
        view = part[: p.numel()].view(p.shape)
        view.copy_(p.data)
        p.data = view
    return flat


class Adam:
    """AdamW (arXiv 1711.05101) on flat vectors; on the matrices among them Muon, if wanted.

    Args:
        params: views of ``weights``.
        weights, m, v: flat vectors, changed in place.
        muon: train the matrices by Muon.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        weights: Tensor,
        m: Tensor,
        v: Tensor,
        config: Config,
        *,
        muon: bool = False,
    ) -> None:
        self.weights, self.m, self.v, self.config = weights, m, v, config
        self._pads = [weights.new_zeros(-p.numel() % ALIGN) for p in params]
        self._matrices = Matrices(params, weights, ALIGN) if muon else None

    def flat(self, grads: Sequence[Tensor]) -> Tensor:
        """Gradients of the parameters as a vector like ``weights``."""
        pairs = zip(grads, self._pads, strict=True)
        return torch.cat([t for g, pad in pairs for t in (g.reshape(-1), pad)])

    def clipped(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient, at most ``clip`` long, and how long it was."""
        norm = torch.linalg.vector_norm(grad)
        return grad * (self.config.clip / (norm + 1e-6)).clamp(max=1.0), norm

    def step(
        self,
        grad: Tensor,
        rate: Tensor,
        corrections: tuple[Tensor, Tensor],
        *,
        muon_rate: Tensor | None = None,
        go: Tensor | float = 1.0,
    ) -> None:
        """Change the weights.

        Args:
            rate: learning rate, as ``go`` has left it.
            corrections: of the two young moments.
            muon_rate: Muon's learning rate, if it takes part.
            go: 0: change nothing.
        """
        c = self.config
        kept = 1 - c.beta1
        if self._matrices is None:
            self.m.lerp_(grad, kept * go)
        else:
            self.m.lerp_(grad, (kept + (1 - MOMENTUM - kept) * self._matrices.mask) * go)
        self.v.lerp_(grad * grad, (1 - c.beta2) * go)
        if c.weight_decay:
            self.weights.mul_(1 - rate * c.weight_decay)
        step = self.m / ((self.v / corrections[1]).sqrt() + c.eps)
        if self._matrices is not None:
            assert muon_rate is not None
            step = step * (1 - self._matrices.mask)
            self._matrices.step(self.weights, grad, self.m, muon_rate * go)
        self.weights.sub_(step * (rate / corrections[0]))


class Beside:
    """A network that learns beside the run's own, its weights and Adam's moments flat as there.

    Args:
        network: on its device.
        config: Adam's numbers.
    """

    def __init__(self, network: nn.Module, config: Config) -> None:
        self.network = network.train()
        self.weights = flatten(network)
        self.m, self.v = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.params = trained(network)
        self.adam = Adam(self.params, self.weights, self.m, self.v, config)

    def tensors(self) -> list[Tensor]:
        """Weights and moments."""
        return [self.weights, self.m, self.v]

    def begin_stage(self) -> None:
        """Adam forgets."""
        self.m.zero_()
        self.v.zero_()
