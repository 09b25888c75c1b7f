"""Tensors -> a network in PyTorch, built by the class that its architecture names."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from srcli.catalog import Architecture, Variant
from srcli.errors import WeightsError
from srcli.weights import recognise

if TYPE_CHECKING:
    from torch import Tensor, nn

CHANGES = {  # keys of a config that no constructor knows: what changes the network that it has made
    "ghost": "srcli.archs.ghostsr:ghosted",
}


def build(
    variant: Variant, arch: Architecture, state: Mapping[str, Tensor], *, merge: bool = True
) -> nn.Module:
    """The network with these weights, in evaluation mode, on the CPU, without gradients.

    Args:
        variant: its scale and config are the constructor's arguments.
        arch: names the class.
        state: must have exactly the network's parameters, of an expanded architecture those of
            its expanded or its plain form. Besides, ranges for eight bits, which the network's
            convolutions then have: see ``srcli.archs.quantised``.
        merge: if the network is expanded, return the equivalent plain network; False to train
            (what is in the plain form already stays so).

    Raises:
        WeightsError: a parameter is missing, too many, or of another shape.
    """
    from srcli.archs import quantised
    from srcli.archs.merging import Expanded

    network = filled(variant, arch, state)
    if merge and isinstance(network, Expanded):
        network = network.merge()
    try:
        quantised.attach(network, quantised.split(state)[1])
    except ValueError as exc:
        raise WeightsError(f"The weights do not fit {arch.name} x{variant.scale}: {exc}.") from exc
    return network.eval().requires_grad_(False)


def new_network(variant: Variant, arch: Architecture) -> nn.Module:
    """The network with random weights, ready to train: as its constructor leaves it, and changed
    as the keys of its config say that stand in `CHANGES`."""
    assert arch.network is not None, "a resampler has no network"
    config = dict(variant.config)
    changes = {key: config.pop(key) for key in CHANGES if key in config}
    network: nn.Module = _named(arch.network)(scale=variant.scale, **config)
    for key, value in changes.items():
        network = _named(CHANGES[key])(network, value)
    return network


def _named(place: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


class OtherNamesError(WeightsError):
    """The tensors are of another network, whatever its scale and arguments."""


def filled(
    variant: Variant, arch: Architecture, state: Mapping[str, Tensor], *, plain: bool = True
) -> nn.Module:
    """``plain``: of an expanded architecture the plain form is tried too."""
    from srcli.archs.quantised import split  # torch

    network = new_network(variant, arch)
    state, _ = split(state)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as exc:
        if arch.expanded and not recognise.has_names_of(network, state):
            raise OtherNamesError(f"The names are not those of {arch.name}.") from exc
        if arch.expanded and plain:
            merged = cast("nn.Module", cast("Any", network).merge())
            with contextlib.suppress(RuntimeError):
                merged.load_state_dict(state, strict=True)
                return merged
        raise WeightsError(
            f"The weights do not fit {arch.name} x{variant.scale}: {_differences(network, state)}."
        ) from exc
    return network


def _differences(network: nn.Module, state: Mapping[str, Tensor], limit: int = 3) -> str:
    """What keeps the tensors from fitting, the first few of each kind."""
    wanted = network.state_dict()
    kinds = {
        "missing": [k for k in wanted if k not in state],
        "not in the network": [k for k in state if k not in wanted],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} for {tuple(t.shape)}"
            for k, t in wanted.items()
            if k in state and state[k].shape != t.shape
        ],
    }
    return "; ".join(
        f"{what}: {', '.join(keys[:limit])}"
        + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
        for what, keys in kinds.items()
        if keys
    )
