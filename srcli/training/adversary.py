"""The second network of an adversarial run: it tells what is given from what shall be given.

Every step first trains the network, whose loss has a term for being told apart, and then the
discriminator, on the same pictures (Goodfellow et al., arXiv 1406.2661). Both have an optimiser of
their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.errors import UsageError
from srcli.training.config import Config, Rivalry
from srcli.training.optimiser import Beside

DISCRIMINATORS: Mapping[str, tuple[str, str]] = {
    "unet": ("srcli.archs.unet_discriminator", "UNetDiscriminator"),
    "patch": ("srcli.archs.patch_discriminator", "PatchDiscriminator"),
    "vgg": ("srcli.archs.vgg_discriminator", "VGGDiscriminator"),
    "swift": ("srcli.archs.swift_discriminator", "SwiftDiscriminator"),
}


def discriminator(name: str, side: int, config: Mapping[str, Any]) -> nn.Module:
    """The network of this name for pictures of ``side`` pixels.

    Raises:
        UsageError: it cannot be built so, or takes no pictures of this size.
    """
    module, kind = DISCRIMINATORS[name]
    network_class = getattr(importlib.import_module(module), kind)
    multiple = getattr(network_class, "MULTIPLE", 1)
    if side % multiple:
        raise UsageError(
            f"The discriminator {name} wants HR crops whose side is a multiple of {multiple}, "
            f"not {side}.",
            "Change patch, which is in LR pixels.",
        )
    sized = {"side": side} if name == "vgg" else {}
    try:
        network: nn.Module = network_class(**sized, **config)
    except (TypeError, ValueError, RuntimeError) as exc:
        raise UsageError(f"The discriminator {name} cannot be built: {exc}.") from exc
    return network


def generator_loss(form: Rivalry, fake: Tensor, real: Tensor) -> Tensor:
    """What the network pays for being told apart.

    Args:
        form: of the loss.
        fake, real: logits of what is given and of what shall be given.
    """
    if form == "relativistic":
        ahead, behind = real - fake.mean(), fake - real.mean()
        return (F.softplus(ahead) + F.softplus(-behind)).mean() / 2
    if form == "least_squares":
        return (fake - 1).square().mean()
    if form == "hinge":
        return -fake.mean()
    if form == "probability":
        return 1 - torch.sigmoid(fake).mean()
    return F.softplus(-fake).mean()


def discriminator_loss(form: Rivalry, fake: Tensor, real: Tensor) -> Tensor:
    """What the discriminator pays for not telling apart; see `generator_loss`."""
    if form == "relativistic":
        ahead, behind = real - fake.mean(), fake - real.mean()
        return (F.softplus(-ahead) + F.softplus(behind)).mean() / 2
    if form == "least_squares":
        return (real - 1).square().mean() + fake.square().mean()
    if form == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if form == "probability":
        return 1 - torch.sigmoid(real).mean() + torch.sigmoid(fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


class Adversary(Beside):
    """A discriminator, what Adam remembers of it, and its loss since last asked.

    Args:
        config: names it, the form of the loss, and Adam's numbers.
        side: of the pictures, HR pixels.
        device: where.

    Raises:
        UsageError: as `discriminator`.
    """

    def __init__(self, config: Config, side: int, device: torch.device) -> None:
        self.form: Rivalry = config.rivalry
        with torch.random.fork_rng(devices=[]):  # the run's other random numbers stay as they were
            torch.manual_seed(config.seed + 1)
            network = discriminator(config.discriminator, side, config.discriminator_config)
        super().__init__(network.to(device), config)
        self.loss = torch.zeros(2, dtype=torch.float64, device=device)  # sum, count

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [*super().tensors(), self.loss, *self.network.buffers()]

    def judge(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The network's adversarial loss, of RGB pictures in 0..1."""
        fake = self.network(sr).float()
        if self.form != "relativistic":
            return generator_loss(self.form, fake, fake)  # which does not ask for the other
        with torch.no_grad():
            real = self.network(hr).float()
        return generator_loss(self.form, fake, real)

    def gradient(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's loss and its gradient as a flat vector."""
        real, fake = self.network(hr).float(), self.network(sr.detach()).float()
        loss = discriminator_loss(self.form, fake, real)
        grads = torch.autograd.grad(loss, self.params)
        return loss.detach(), self.adam.flat(grads)

    def update(
        self, loss: Tensor, grad: Tensor, rate: Tensor, corrections: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Change the weights; whether loss and gradient were finite."""
        grad, norm = self.adam.clipped(grad)
        self.adam.step(grad, rate, corrections)
        self.loss[0].add_(loss)
        self.loss[1].add_(1)
        return torch.isfinite(loss) & torch.isfinite(norm)

    def fetch(self) -> float:
        """Mean loss since the last call; waits for the device."""
        total, n = self.loss.tolist()
        self.loss.zero_()
        return float(total / max(n, 1))
