"""ABPN: anchor-based plain net, for 8-bit arithmetic.

Du et al., "Anchor-based plain net for mobile image super-resolution", CVPRW 2021, arXiv 2105.09750.
Code and weights of origin (unofficial): github.com/Longcat2957/ABPN_Pytorch (no licence stated).
Works on 0..255. Deviations: BatchNorm after each convolution; the anchor (the picture's channels
repeated, RGBRGB..) meets PyTorch's channel order, so that it is no nearest-neighbour enlargement:
it puts red, green and blue samples side by side in every colour plane, which the trained weights
undo.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.merging import Expanded, Mergeable, fold
from srcli.archs.stages import Map, Run


class ConvNorm(Mergeable):
    """3x3, BatchNorm and, if wanted, ReLU."""

    def __init__(self, n_in: int, n_out: int, *, relu: bool) -> None:
        super().__init__()
        self.conv = conv(n_in, n_out)
        self.bn = nn.BatchNorm2d(n_out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x

    def merged(self) -> nn.Module:
        fold(self, "conv", "bn")
        return self


class ABPN(Expanded):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale), cut to 0..255 but in training.

    Args:
        scale: native factor.
        n_feats: channels.
        n_convs: convolutions of ``n_feats`` channels.
    """

    def __init__(self, *, scale: int, n_feats: int = 28, n_convs: int = 5) -> None:
        super().__init__()
        self.scale = scale
        n_out = 3 * scale**2
        widths = [3, *[n_feats] * n_convs, n_out, n_out]
        last = len(widths) - 2
        self.feature_extraction = nn.Sequential(
            *(ConvNorm(widths[k], widths[k + 1], relu=k < last) for k in range(last + 1))
        )

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        anchored = x + lr.repeat(1, self.scale**2, 1, 1)
        return within(F.pixel_shuffle(anchored, self.scale), 255, self.training)

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.feature_extraction(lr), lr)  # (n, 3 s^2, h, w) -> (n, 3, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.feature_extraction, lr, halo=len(self.feature_extraction))
        return run.local(self.finish, x, lr, scale=self.scale)
