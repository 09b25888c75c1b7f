"""VGG-16's and VGG-19's convolutions, for LPIPS, DISTS and perceptual losses.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, arXiv 1409.1556. Weights of origin: torchvision (BSD-3-Clause), whose parameter names these
are. They are no super-resolution networks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.layers import LayersByName

CHANNELS = (64, 128, 256, 512, 512)
PER_BLOCK = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions


class L2Pool(nn.Module):
    """The root of the squares' mean under a 3x3 Hann window, every second pixel (DISTS)."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        hann = torch.tensor([0.5, 1.0, 0.5])
        window = hann[:, None] * hann[None, :]
        self.register_buffer("window", window / window.sum(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.window.expand(x.shape[1], 1, 3, 3)
        squares = F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
        return (squares + 1e-12).sqrt()


class VGG(LayersByName):
    """Layers: ``conv1_1``, ``relu1_1``, ... ``relu5_3`` (VGG-19: ``relu5_4``); ``pool1`` to 5.

    Args:
        depth: 16 or 19.
        pooling: ``max``, as trained, or ``l2``, as DISTS has it.
    """

    def __init__(self, *, depth: int = 16, pooling: Literal["max", "l2"] = "max") -> None:
        if depth not in PER_BLOCK:
            raise ValueError(f"depth must be 16 or 19, not {depth}")
        layers: list[tuple[str, nn.Module]] = []
        n_in = 3
        for block, (n_out, count) in enumerate(zip(CHANNELS, PER_BLOCK[depth], strict=True), 1):
            for k in range(1, count + 1):
                layers.append((f"conv{block}_{k}", nn.Conv2d(n_in, n_out, 3, padding=1)))
                layers.append((f"relu{block}_{k}", nn.ReLU()))
                n_in = n_out
            layers.append((f"pool{block}", nn.MaxPool2d(2) if pooling == "max" else L2Pool()))
        super().__init__(layers)
