"""VDSR: twenty layers that learn what the enlarged picture lacks.

Kim, Lee and Lee, "Accurate image super-resolution using very deep convolutional networks",
CVPR 2016, arXiv 1511.04587. Parameter names and weights of origin:
github.com/Nhat-Thanh/VDSR-Pytorch, MIT. Deviations of that code from the paper: three channels of
YCbCr in and out instead of luma, and the output is clipped.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.stages import Map, Run

MIDDLE = range(2, 20)  # numbers of the layers between the first and the last


class VDSR(nn.Module):
    """The picture enlarged bicubically (n, c, h, w) in 0..1 to the same, sharper.

    Args:
        scale: what the picture was enlarged by; one network serves all.
        channels: 1: luma, 3: YCbCr.
        clip: cut the output to 0..1, in use, not in training.
    """

    def __init__(self, *, scale: int, channels: int = 1, clip: bool = False) -> None:
        super().__init__()
        self.scale, self.clip = scale, clip
        self.conv_1 = conv(channels, 64)
        self.conv_2_to_19 = nn.ModuleDict({f"conv_{k}": conv(64, 64) for k in MIDDLE})
        self.conv_20 = conv(64, channels)

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """What is lacking, added to the picture."""
        sr: Tensor = self.conv_20(x) + lr
        return within(sr, 1, self.training or not self.clip)

    def forward(self, lr: Tensor) -> Tensor:
        x = F.relu(self.conv_1(lr))
        for layer in self.conv_2_to_19.values():
            x = F.relu(layer(x))
        return self.finish(x, lr)

    def stages(self, run: Run, lr: Map) -> Map:
        # nothing is stored between: at output size that would be more than halos cost
        x = lr
        for layer in (self.conv_1, *self.conv_2_to_19.values()):
            x = run.local(lambda x, layer=layer: F.relu(layer(x)), x, halo=1)
        return run.local(self.finish, x, lr, halo=1)
