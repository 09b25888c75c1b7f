"""Networks for recognising what is in a picture, cut off after their convolutions.

Perceptual losses and metrics compare the features that two pictures have in some of their layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Colour = tuple[float, float, float]

# of ImageNet's pictures, RGB in 0..1
MEAN: Colour = (0.485, 0.456, 0.406)
DEVIATION: Colour = (0.229, 0.224, 0.225)


class Recogniser(nn.Module, ABC):
    """RGB (n, 3, h, w) in 0..1 to the features of the layers that are asked for.

    Args:
        names: of the layers in a row; ``layer`` gives each.
        mean, deviation: taken off the picture, and what it is divided by.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, names: Sequence[str], mean: Colour = MEAN, deviation: Colour = DEVIATION
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    @abstractmethod
    def layer(self, place: int) -> nn.Module:
        """The layer that ``names[place]`` is of."""

    def forward(self, picture: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Features in the order asked for; nothing is computed behind the last of them."""
        places = [self.names.index(name) for name in layers]
        found: dict[int, Tensor] = {}
        x = (picture - self.mean) / self.deviation
        for place in range(max(places) + 1):
            x = self.layer(place)(x)
            if place in places:
                found[place] = x
        return [found[place] for place in places]


class LayersByName(Recogniser):
    """Of layers that stand in a row.

    Args:
        layers: (name, layer); parameters are called ``features.<place>.<...>``.
        mean, deviation: as for any `Recogniser`.
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, nn.Module]],
        mean: Colour = MEAN,
        deviation: Colour = DEVIATION,
    ) -> None:
        super().__init__([name for name, _ in layers], mean, deviation)
        self.features = nn.Sequential(*(layer for _, layer in layers))

    def layer(self, place: int) -> nn.Module:
        return self.features[place]
