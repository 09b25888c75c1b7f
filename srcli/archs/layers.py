"""Networks for recognising what is in a picture, cut off after their convolutions.

Perceptual losses and metrics compare the features that two pictures have in some of their layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# of ImageNet's pictures, RGB in 0..1
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class LayersByName(nn.Module):
    """RGB (n, 3, h, w) in 0..1 to the features of the layers that are asked for.

    Args:
        layers: (name, layer) in a row; parameters are called ``features.<place>.<...>``.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self.names = tuple(name for name, _ in layers)
        self.features = nn.Sequential(*(layer for _, layer in layers))
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, picture: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Features in the order asked for; nothing is computed behind the last of them."""
        places = [self.names.index(name) for name in layers]
        found: dict[int, Tensor] = {}
        x = (picture - self.mean) / self.deviation
        for place in range(max(places) + 1):
            x = self.features[place](x)
            if place in places:
                found[place] = x
        return [found[place] for place in places]
