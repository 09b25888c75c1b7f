"""SwiftSRGAN's discriminator: SRGAN's in depthwise separable convolutions.

Krishnan and Krishnan, "SwiftSRGAN", arXiv 2111.14320. Code of origin:
github.com/Koushik0901/Swift-SRGAN, CC0-1.0, whose parameter names these are. There a sigmoid
follows; here the form of the adversarial loss has it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)


class Separable(nn.Module):
    """3x3 depthwise, 1x1."""

    def __init__(self, n_in: int, n_out: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(n_in, n_in, 3, stride, 1, groups=n_in, bias=bias)
        self.pointwise = nn.Conv2d(n_in, n_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Separable convolution, BatchNorm if wanted, LeakyReLU."""

    def __init__(self, n_in: int, n_out: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.cnn = Separable(n_in, n_out, stride, bias=not norm)
        self.bn = nn.BatchNorm2d(n_out) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.bn(self.cnn(x)), 0.2)


class SwiftDiscriminator(nn.Module):
    """RGB (n, 3, h, w) in 0..1 to one logit a picture, (n, 1).

    Args:
        n_feats: channels of the first blocks.
    """

    def __init__(self, *, n_feats: int = 64) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        n_in = 3
        for k, width in enumerate(WIDTHS):
            blocks.append(Block(n_in, width * n_feats, 1 + k % 2, norm=k > 0))
            n_in = width * n_feats
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d((6, 6)),
            nn.Flatten(),
            nn.Linear(n_in * 36, 1024),
            nn.LeakyReLU(0.2),
            nn.Linear(1024, 1),
        )

    def forward(self, picture: Tensor) -> Tensor:
        return self.classifier(self.blocks(picture))  # type: ignore[no-any-return]
