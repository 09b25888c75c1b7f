"""Names -> networks to train, and weights to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from srcli.archs.ghostsr import between_features
from srcli.catalog.entries import Architecture, Preprocessing, Variant
from srcli.catalog.load import default_catalogue
from srcli.engine.pytorch.adapter import RgbAdapter
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import new_network

if TYPE_CHECKING:
    from srcli.weights import WeightsOptions


ENDINGS = (".safetensors", ".pth", ".pt", ".bin")  # of files, where a model's name has its training
LEAST_SHARE = 0.5  # of a network's numbers that weights to begin with must give


@dataclass(frozen=True)
class Spec:
    """What to build: an architecture, its constructor's arguments, and what it takes."""

    entry: Architecture
    scale: int
    config: Mapping[str, Any]
    preprocessing: Preprocessing

    @property
    def arch(self) -> str:
        return self.entry.name

    def preprocessed(self, network: nn.Module, lr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given, and what it shall give, of RGB crops in 0..1."""
        adapted = RgbAdapter(network, self.preprocessing, self.scale)
        return adapted.preprocess(lr), adapted.colour(hr)

    def build(self) -> nn.Module:
        return new_network(Variant(self.scale, None, 0, config=self.config), self.entry)


def spec_of(arch: str, scale: int, config: Mapping[str, Any] | None = None) -> Spec:
    """The catalogue's architecture at a scale; its first model gives the rest.

    Raises:
        UsageError: no such architecture, or it cannot be built or does not enlarge by ``scale``.
    """
    catalogue = default_catalogue()
    entry = catalogue.architectures.get(arch)
    if entry is None or entry.network is None:
        raise UsageError(f"There is no network {arch!r} to train.", "See `srcli models`.")
    merged: dict[str, Any] = {}
    preprocessing = Preprocessing()
    for model in catalogue.of_architecture(arch)[:1]:
        preprocessing = model.preprocessing
        merged = dict(next((v.config for v in model.variants if v.scale == scale), {}))
        if not merged and model.variants:
            merged = dict(model.variants[0].config)
    spec = Spec(entry, scale, {**merged, **(config or {})}, preprocessing)
    if spec.config.get("ghost") is True:
        spec = _ghosted(spec)
    side = -(-max(16, entry.min_size) // entry.multiple) * entry.multiple
    try:
        network = spec.build().eval()
        with torch.no_grad():
            size = RgbAdapter(network, preprocessing, scale)(torch.zeros(1, 3, side, side)).shape[
                2:
            ]
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as exc:
        raise UsageError(f"{arch} cannot be built at x{scale}: {exc}.") from exc
    if tuple(size) != (side * scale, side * scale):
        raise UsageError(f"{arch} cannot enlarge by {scale}.", "See `srcli models show`.")
    return spec


def _ghosted(spec: Spec) -> Spec:
    """With ghost convolutions, by name, for all that make features of features.

    Raises:
        UsageError: there are none.
    """
    plain = replace(spec, config={k: v for k, v in spec.config.items() if k != "ghost"})
    names = between_features(plain.build(), spec.preprocessing.channels)
    if not names:
        raise UsageError(
            f"{spec.arch} has no regular convolutions between its features, for which ghost "
            "convolutions could stand."
        )
    return replace(spec, config={**plain.config, "ghost": tuple(names)})


def check_patch(spec: Spec, side: int) -> None:
    """UsageError if crops of so many LR pixels are too small for the network."""
    network = spec.build().eval()
    try:
        with torch.no_grad():
            RgbAdapter(network, spec.preprocessing, spec.scale)(torch.zeros(1, 3, side, side))
    except (RuntimeError, ValueError) as exc:
        raise UsageError(
            f"Crops of {side} LR pixels are too small for {spec.arch}.", "Set a larger patch."
        ) from exc


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or .pth file, unnested.

    Raises:
        WeightsError: it cannot be read.
    """
    from srcli.weights.origin import read_any

    try:
        return read_any(path.read_bytes(), str(path))
    except OSError as exc:
        raise WeightsError(f"The weights {path} cannot be read: {exc}.") from exc


def weights_of(name: str | Path, scale: int, options: WeightsOptions | None) -> dict[str, Tensor]:
    """The tensors of a file, or of a model of the catalogue: at its largest scale if it does not
    have this one.

    Raises:
        SrcliError: no such file or model, or its weights cannot be had.
    """
    from srcli import catalog, weights

    path = Path(name)
    if path.is_file() or path.suffix in ENDINGS or len(path.parts) > 1:
        return read_state(path)
    model = catalog.resolve(str(name))
    known = model.scales
    chosen = scale if scale in known else max(known)
    return weights.state_dict(model, chosen, options or weights.WeightsOptions.from_environment())


def take_over(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Copy the tensors whose name and shape fit; the names of the others, in the network's order.

    Raises:
        SrcliError: none fits, or only those of the smaller part of the network.
    """
    own = network.state_dict()
    left = []
    for name, tensor in own.items():
        if name in state and state[name].shape == tensor.shape:
            tensor.copy_(state[name])
        else:
            left.append(name)
    if len(left) == len(own):
        raise SrcliError("None of the initial weights fit this network.")
    missing = sum(own[name].numel() for name in left)
    if missing > (1 - LEAST_SHARE) * sum(t.numel() for t in own.values()):
        fitting = len(own) - len(left)
        raise SrcliError(
            f"Of the initial weights only {fitting} of {len(own)} tensors fit this network: "
            "they belong to another network, or config differs."
        )
    return left
