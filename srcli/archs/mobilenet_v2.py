"""MobileNetV2's convolutions, for perceptual losses. Not a super-resolution network.

Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, arXiv
1801.04381. Weights of origin: torchvision (BSD-3-Clause), whose parameter names these are.
"""

from __future__ import annotations

from torch import Tensor, nn

from srcli.archs.layers import DEVIATION, MEAN, LayersByName

# expansion, channels, blocks, stride of the first of them
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_norm(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, BatchNorm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """1x1 to more channels, 3x3 depthwise, 1x1 back; + input where the shapes are the same."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.adds = stride == 1 and n_in == n_out
        n_hidden = n_in * expansion
        wide = [conv_norm(n_in, n_hidden, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *wide,
            conv_norm(n_hidden, n_hidden, 3, stride, n_hidden),
            nn.Conv2d(n_hidden, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


class MobileNetV2(LayersByName):
    """Layers: ``stem``, ``block1`` to ``block17``, ``head`` (1280 channels, a 32nd of the size).

    Args:
        normalised: bring the picture to ImageNet's mean and deviation first, as it was trained;
            SwiftSRGAN's loss does not.
    """

    def __init__(self, *, normalised: bool = True) -> None:
        layers: list[tuple[str, nn.Module]] = [("stem", conv_norm(3, 32, 3, 2))]
        n_in = 32
        for expansion, n_out, count, stride in ROWS:
            for k in range(count):
                block = InvertedResidual(n_in, n_out, 1 if k else stride, expansion)
                layers.append((f"block{len(layers)}", block))
                n_in = n_out
        layers.append(("head", conv_norm(n_in, 1280, 1)))
        if normalised:
            super().__init__(layers, MEAN, DEVIATION)
        else:
            super().__init__(layers, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
