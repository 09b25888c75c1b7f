"""Losses that look through networks of features.toml: LPIPS, DISTS, and features layer by layer.

A recipe names a layer and how its features are compared: ``vgg19.conv5_4 = 1.0`` is the mean
absolute difference of the features, ``vgg19.relu5_4.l2 = 0.006`` the mean squared one. All of a
network's layers come from one pass over each picture.

These networks look at every second or fourth pixel, and pool. A network that is trained through one
of them learns that grid as well and prints it into its pictures; so each step's pictures begin at
another pixel, and the grid lies anywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from srcli.errors import UsageError
from srcli.quality.perceptual import Dists, Lpips
from srcli.training.config import PERCEPTUAL, Config, is_layer

if TYPE_CHECKING:
    from srcli.archs.layers import Recogniser
    from srcli.weights import WeightsOptions

GRID = 16  # pixels: what AlexNet's strides and pools come to, and VGG's up to its fourth


class Layers(nn.Module):
    """The weighted sum of distances of two pictures' features, in some layers of one network.

    Args:
        network: with its weights.
        terms: (layer, ``l1`` or ``l2``) -> weight.

    Raises:
        UsageError: it has no such layer.
    """

    def __init__(self, network: Recogniser, terms: Mapping[tuple[str, str], float]) -> None:
        super().__init__()
        self.network, self.terms = network, dict(terms)
        self.layers = tuple(dict.fromkeys(layer for layer, _ in terms))
        for layer in self.layers:
            if layer not in network.names:
                near = difflib.get_close_matches(layer, network.names, 3)
                raise UsageError(
                    f"loss: there is no layer {layer!r}.",
                    f"There are {', '.join(near or network.names)}.",
                )

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        given = dict(zip(self.layers, self.network(sr, self.layers), strict=True))
        with torch.no_grad():
            wanted = dict(zip(self.layers, self.network(hr, self.layers), strict=True))
        total = sr.new_zeros(())
        for (layer, distance), weight in self.terms.items():
            difference = given[layer] - wanted[layer]
            apart = difference.abs() if distance == "l1" else difference.square()
            total = total + weight * apart.mean()
        return total


class Mean(nn.Module):
    """A metric's mean over a batch."""

    def __init__(self, metric: Lpips | Dists) -> None:
        super().__init__()
        self.metric = metric

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return cast("Tensor", self.metric(sr, hr)).mean()


class FeatureExtractors:
    """Opens what losses look through, each network once.

    Args:
        options: where weights lie.
        files: weights of the user's own, in place of downloads.
    """

    def __init__(self, options: WeightsOptions, files: Sequence[Path] = ()) -> None:
        self._options, self._files = options, tuple(files)
        self._open: dict[str, nn.Module] = {}

    def open(self, names: Iterable[str], weights: Mapping[str, float]) -> dict[str, nn.Module]:
        """Modules that take RGB pictures (sr, hr) in 0..1 and give a number, by their names.

        Args:
            names: of `PERCEPTUAL` and ``network.layer.distance``; each network's layers become one
                module, under the network's name, whose weights are in it.
            weights: of all names.

        Raises:
            SrcliError: no such layer; weights that are not to be had.
        """
        modules: dict[str, nn.Module] = {}
        layers: dict[str, dict[tuple[str, str], float]] = {}
        for name in names:
            if name in PERCEPTUAL:
                modules[name] = Mean(self._metric(name))
            else:
                network, layer, distance = parts(name)
                layers.setdefault(network, {})[layer, distance] = weights[name]
        for network, terms in layers.items():
            modules[network] = Layers(self._network(network), terms)
        return modules

    def _metric(self, name: str) -> Lpips | Dists:
        if name == "dists":
            return Dists(self._network("vgg16", pooling="l2"))
        if name == "lpips":
            return Lpips.alex(self._network("alexnet"))
        return Lpips.vgg(self._network("vgg16"))

    def _network(self, name: str, **config: str) -> Recogniser:
        from srcli.weights.features import load_features

        key = f"{name} {config}"
        if key not in self._open:
            self._open[key] = load_features(name, self._options, self._files, config=config)
        return cast("Recogniser", self._open[key])


def open_extractors(
    config: Config, options: WeightsOptions | None, files: Sequence[Path]
) -> FeatureExtractors:
    """With every network of a recipe open: what is not to be had comes out before any work.

    Args:
        options: None: as the environment says.
    """
    from srcli.weights import WeightsOptions

    extractors = FeatureExtractors(options or WeightsOptions.from_environment(), files)
    for stage in config.stages:
        extractors.open([n for n, w in stage.loss.items() if w and looks(n)], stage.loss)
    return extractors


def place(seed: int, step: int) -> Tensor:
    """(y, x) where the pictures of a step begin, each in 0..``GRID`` - 1."""
    return torch.from_numpy(np.random.default_rng((seed & 0xFFFFFFFF, step)).integers(0, GRID, 2))


def moved(picture: Tensor, start: Tensor) -> Tensor:
    """(n, c, h, w) -> the part that begins at ``start``, of one size whatever that is; of a picture
    below 4 ``GRID`` pixels all."""
    for axis, first in zip((2, 3), start, strict=True):
        length = picture.shape[axis] - GRID + 1
        if picture.shape[axis] >= 4 * GRID:
            places = torch.arange(length, device=picture.device) + first
            picture = picture.index_select(axis, places)
    return picture


def looks(name: str) -> bool:
    """Whether a loss looks through a network."""
    return name in PERCEPTUAL or is_layer(name)


def parts(name: str) -> tuple[str, str, str]:
    """``vgg19.conv5_4.l2`` -> network, layer, distance; L1 if it names none."""
    network, _, rest = name.partition(".")
    layer, _, distance = rest.partition(".")
    return network, layer, distance or "l1"
