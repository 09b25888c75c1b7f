"""LPIPS and DISTS: how far two pictures lie apart in the features of a network.

Both take RGB tensors (n, 3, h, w) in 0..1 and give one number a picture, with gradients if the
pictures ask for them, so that they serve as metrics and as losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from srcli.archs.layers import Recogniser
from srcli.weights.features import load_table

ALEXNET_LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
VGG16_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_TINY = 1e-6


class Lpips(nn.Module):
    """LPIPS v0.1 with linear heads: 0 for equal pictures (Zhang et al., CVPR 2018, 1801.03924).

    Args:
        network: AlexNet or VGG-16 with their weights.
        layers: whose features are compared.
        heads: for each layer, a weight for each channel.
    """

    def __init__(self, network: Recogniser, layers: Sequence[str], heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.network, self.layers = network, tuple(layers)
        for k, head in enumerate(heads):
            self.register_buffer(f"head{k}", head.float().view(1, -1, 1, 1), persistent=False)

    @classmethod
    def alex(cls, network: Recogniser) -> Lpips:
        """On AlexNet: what papers report."""
        return cls(network, ALEXNET_LAYERS, _heads("lpips_alex."))

    @classmethod
    def vgg(cls, network: Recogniser) -> Lpips:
        """On VGG-16: what is mostly used as a loss."""
        return cls(network, VGG16_LAYERS, _heads("lpips_vgg."))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a))
        pairs = zip(self.network(a, self.layers), self.network(b, self.layers), strict=True)
        for k, (x, y) in enumerate(pairs):
            difference = (_unit(x) - _unit(y)).square()
            weighted = difference * self.get_buffer(f"head{k}")
            total = total + weighted.sum(1).mean((1, 2))
        return total


def _heads(prefix: str) -> list[Tensor]:
    table = load_table("metrics", prefix)
    return [table[str(k)] for k in range(len(table))]


def _unit(x: Tensor) -> Tensor:
    """Of length 1 over the channels."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


class Dists(nn.Module):
    """DISTS: 0 for equal pictures, forgiving of resampled texture (Ding et al., 2004.07728).

    Pictures are compared at their own size; its authors' example first makes the shorter side 256.

    Args:
        network: VGG-16 with L2 pooling and its weights.
    """

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        self.network = network
        table = load_table("metrics", "dists.")
        total = table["alpha"].sum() + table["beta"].sum()
        self.alpha: Tensor
        self.beta: Tensor
        self.register_buffer("alpha", table["alpha"] / total, persistent=False)
        self.register_buffer("beta", table["beta"] / total, persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        maps_a = [a, *self.network(a, VGG16_LAYERS)]
        maps_b = [b, *self.network(b, VGG16_LAYERS)]
        sizes = [x.shape[1] for x in maps_a]
        alphas, betas = torch.split(self.alpha, sizes), torch.split(self.beta, sizes)
        alike = a.new_zeros(len(a))
        for x, y, alpha, beta in zip(maps_a, maps_b, alphas, betas, strict=True):
            mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
            luminance = (2 * mean_x * mean_y + _TINY) / (mean_x**2 + mean_y**2 + _TINY)
            variances = x.var((2, 3), correction=0) + y.var((2, 3), correction=0)
            covariance = (x * y).mean((2, 3)) - mean_x * mean_y
            structure = (2 * covariance + _TINY) / (variances + _TINY)
            alike = alike + (alpha * luminance + beta * structure).sum(1)
        return 1 - alike


def from_pixels(metric: nn.Module, a: Tensor, b: Tensor) -> float:
    """The score of two pictures (h, w, 3) of 8 bits."""
    with torch.inference_mode():
        first, second = (x.permute(2, 0, 1)[None].float() / 255 for x in (a, b))
        return float(metric(first, second))
