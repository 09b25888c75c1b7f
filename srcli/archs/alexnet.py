"""AlexNet's convolutions, whose features LPIPS compares. Not a super-resolution network.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997.
Weights of origin: torchvision (BSD-3-Clause), whose parameter names these are.
"""

from __future__ import annotations

from torch import nn

from srcli.archs.layers import LayersByName

# channels in and out, kernel, stride, padding
CONVOLUTIONS = (
    (3, 64, 11, 4, 2),
    (64, 192, 5, 1, 2),
    (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)


class AlexNet(LayersByName):
    """Layers: ``conv1`` to ``conv5``, ``relu1`` to ``relu5``, ``pool1`` and ``pool2``."""

    def __init__(self) -> None:
        layers: list[tuple[str, nn.Module]] = []
        for k, shape in enumerate(CONVOLUTIONS, 1):
            layers += [(f"conv{k}", nn.Conv2d(*shape)), (f"relu{k}", nn.ReLU())]
            if k <= 2:
                layers.append((f"pool{k}", nn.MaxPool2d(3, 2)))
        super().__init__(layers)
