"""The network of a run and its first weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from srcli.archs.merging import Expanded
from srcli.archs.quantised import calibrate, imitate, quantised, split
from srcli.errors import UsageError
from srcli.training.config import Config
from srcli.training.data import Photos
from srcli.training.initialise import fit_last, initialise, last_conv
from srcli.training.networks import Spec, take_over

NAMED = 5  # tensors that a line lists
START_CROPS, START_PATCH = 32, 48  # that the first weights are fitted to
START_STEP = 2**31  # their number: no step of a run


def build_network(spec: Spec, config: Config, init: Mapping[str, Tensor] | None) -> nn.Module:
    """The network in the form that its first weights, ``init`` if there are any, are for."""
    network = spec.build()
    if isinstance(network, Expanded):
        merged = network.merge().train()
        given = config.quantise and init is not None and split(init)[0].keys()
        return merged if config.merged or given == merged.state_dict().keys() else network
    if config.merged:
        raise UsageError(
            f"{spec.arch} has no expanded form that could be merged.", "Leave out merged=true."
        )
    return network


def first_weights(
    network: nn.Module, photos: Photos, config: Config, spec: Spec, init: dict[str, Tensor] | None
) -> str:
    """First weights: from ``init``, what does not fit computed or drawn anew; says what it did."""
    lr, hr = _crops(network, photos, config, spec)
    network.train()
    if init is None:
        if config.start == "plain":
            return "PyTorch's own"
        initialise(network, lr, hr, squash=config.squash, quiet=config.quiet)
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
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return f"given; begun anew: {', '.join(left[:NAMED])}{more}"


def in_eight_bits(network: nn.Module, photos: Photos, config: Config, spec: Spec) -> nn.Module:
    """The network, merged, with its first weights: its convolutions round from now on, to ranges
    that begin as a few crops have them.

    Raises:
        UsageError: it has no convolutions.
    """
    if isinstance(network, Expanded):
        network = network.merge().train()
    calibrate(network, _crops(network, photos, config, spec)[0])
    if not quantised(network):
        raise UsageError(
            f"{spec.arch} has no convolutions that run in eight bits.", "Leave out quantise=true."
        )
    imitate(network)
    return network


def _crops(network: nn.Module, photos: Photos, config: Config, spec: Spec) -> tuple[Tensor, Tensor]:
    """What the network is given and shall give, of the crops that first weights are fitted to."""
    smallest = min(s.patch for s in config.stages)
    patch = START_PATCH if photos.fits(START_PATCH) else smallest
    where = photos.draw(START_STEP, START_CROPS, patch, config.seed)
    device = photos.lr.device
    crops = photos.crops(where.lr.to(device), where.hr.to(device), patch)
    return spec.preprocessed(network, *(crop.cpu().float() / 255 for crop in crops))


def feature_layers(network: nn.Module, teacher: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The layers whose inputs, the two networks' features, are compared: their last."""
    device = next(network.parameters()).device
    probe = torch.zeros(1, 3, 32, 32, device=device)
    teacher.requires_grad_(True)  # the search looks at what could be trained
    layers = last_conv(network, probe)[0], last_conv(teacher, probe)[0]
    teacher.requires_grad_(False)
    return layers
