"""SRCNN: the first convolutional network for super-resolution, three layers.

Dong et al., "Image super-resolution using deep convolutional networks", ECCV 2014 and TPAMI 2016,
arXiv 1501.00092. Parameter names and weights of origin: github.com/Nhat-Thanh/SRCNN-Pytorch, MIT.
Deviations of that code from the paper: three channels of YCbCr in and out instead of luma, and the
output is clipped. No layer pads in either; the network repeats the picture's edge beforehand by as
much as its layers take away, where the paper's own test code repeats it before every layer.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.stages import Map, Run


class SRCNN(nn.Module):
    """The picture enlarged bicubically (n, c, h, w) in 0..1 to the same, sharper.

    Args:
        scale: what the picture was enlarged by; the network is the same for all.
        kernels: sides of the three layers: (9, 1, 5), (9, 3, 5) or (9, 5, 5) in the paper.
        channels: 1: luma, 3: YCbCr.
        clip: cut the output to 0..1, in use, not in training.
    """

    def __init__(
        self,
        *,
        scale: int,
        kernels: tuple[int, int, int] = (9, 1, 5),
        channels: int = 1,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.clip = scale, clip
        self.margin = sum(k // 2 for k in kernels)  # what the layers take away on each side
        first, second, third = kernels
        self.patch_extraction = conv(channels, 64, first, padding=0)
        self.nonlinear_map = conv(64, 32, second, padding=0)
        self.recon = conv(32, channels, third, padding=0)

    def forward(self, lr: Tensor) -> Tensor:
        x = F.pad(lr, (self.margin,) * 4, mode="replicate")  # (n, c, h + 2m, w + 2m)
        x = F.relu(self.nonlinear_map(F.relu(self.patch_extraction(x))))
        sr: Tensor = self.recon(x)  # (n, c, h, w)
        return within(sr, 1, self.training or not self.clip)

    def stages(self, run: Run, lr: Map) -> Map:
        return run.local(self.forward, lr, halo=self.margin)
