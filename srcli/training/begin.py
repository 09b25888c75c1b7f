"""The network of a run and its first weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srcli.archs.merging import Expanded
from srcli.errors import UsageError
from srcli.training.config import Config
from srcli.training.data import Photos
from srcli.training.networks import Spec, take_over
from srcli.training.start import fit_last, last_conv, start

START_CROPS, START_PATCH = 32, 48  # that the first weights are fitted to
START_STEP = 2**31  # their number: no step of a run


def built(spec: Spec, config: Config) -> nn.Module:
    """The network in the form that is trained."""
    network = spec.build()
    if not config.merged:
        return network
    if not isinstance(network, Expanded):
        raise UsageError(
            f"{spec.arch} has no expanded form that could be merged.", "Leave out merged=true."
        )
    return network.merge().train()


def begin(
    network: nn.Module, photos: Photos, config: Config, spec: Spec, init: dict[str, Tensor] | None
) -> str:
    """First weights: from ``init``, what does not fit computed or drawn anew; says what it did."""
    smallest = min(s.patch for s in config.stages)
    patch = START_PATCH if photos.fits(START_PATCH) else smallest
    where = photos.draw(START_STEP, START_CROPS, patch, config.seed)
    device = photos.lr.device
    crops = photos.crops(where.lr.to(device), where.hr.to(device), patch)
    lr, hr = spec.entered(network, *(crop.cpu().float() / 255 for crop in crops))
    network.train()
    if init is None:
        if config.start == "plain":
            return "PyTorch's own"
        start(network, lr, hr, squash=config.squash, quiet=config.quiet)
        return "nearest neighbour"
    left = take_over(network, init)
    if not left:
        return "given"
    names = {id(m): name for name, m in network.named_modules()}
    last, after = last_conv(network, lr)
    tail = tuple(names[id(conv)] + "." for conv in (last, *after))
    if all(name.startswith(tail) for name in left):
        fit_last(network, lr, hr, squash=config.squash)
        return f"given; fitted anew: {', '.join(left)}"
    return f"given; begun anew: {', '.join(left)}"


def feature_layers(network: nn.Module, teacher: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The layers before whose doors the two networks' features are compared: their last."""
    device = next(network.parameters()).device
    probe = torch.zeros(1, 3, 32, 32, device=device)
    teacher.requires_grad_(True)  # the search looks at what could be trained
    layers = last_conv(network, probe)[0], last_conv(teacher, probe)[0]
    teacher.requires_grad_(False)
    return layers
