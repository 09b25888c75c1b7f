"""Bicubic++: four convolutions, three of them at half the picture's size.

Bilecen and Ayazoglu, "Bicubic++: slim, slimmer, slimmest", CVPRW 2023, arXiv 2305.02126. Code and
weights of origin: github.com/aselsan-research-imaging-team/bicubic-plusplus, CC BY-NC-SA 4.0.
Trained on JPEG pictures of quality 90, on BGR. Not in the paper: no biases, so that the network
does the same in 0..1 and 0..255.
"""

from __future__ import annotations

from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Map, Run


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class BicubicPP(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor.
        n_feats: channels.
    """

    def __init__(self, *, scale: int, n_feats: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.conv0 = nn.Conv2d(3, n_feats, 3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False)
        self.conv_out = nn.Conv2d(n_feats, 3 * (2 * scale) ** 2, 3, padding=1, bias=False)

    def head(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, c, ceil(h / 2), ceil(w / 2)); looks 1 pixel around."""
        return leaky(self.conv0(lr))

    def body(self, x: Tensor) -> Tensor:
        """Looks 2 pixels of its map around."""
        return x + leaky(self.conv2(leaky(self.conv1(x))))

    def tail(self, x: Tensor) -> Tensor:
        """To 2 s times the size."""
        return F.pixel_shuffle(self.conv_out(x), 2 * self.scale)

    def forward(self, lr: Tensor) -> Tensor:
        sr = self.tail(self.body(self.head(lr)))
        # of odd sides, the half that was rounded up is cut off again
        return sr[:, :, : lr.shape[2] * self.scale, : lr.shape[3] * self.scale]

    def stages(self, run: Run, lr: Map) -> Map:
        half = run.local(self.head, lr, halo=2, scale=Fraction(1, 2))
        return run.local(
            self.tail, run.local(self.body, half, halo=2), halo=1, scale=2 * self.scale
        )
