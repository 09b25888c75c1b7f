"""ESPCN: three layers at low resolution, and the sub-pixel shuffle that all others took over.

Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network", CVPR 2016, arXiv 1609.05158. Parameter names and weights of origin:
github.com/Nhat-Thanh/ESPCN-Pytorch, MIT. Deviations of that code from the paper: three channels of
YCbCr in and out instead of luma, and the output is clipped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.stages import Map, Run


class ESPCN(nn.Module):
    """LR (n, c, h, w) in 0..1 to SR (n, c, h * scale, w * scale).

    Args:
        scale: native factor.
        channels: 1: luma, 3: YCbCr.
        clip: cut the output to 0..1, in use, not in training.
    """

    def __init__(self, *, scale: int, channels: int = 1, clip: bool = False) -> None:
        super().__init__()
        self.scale, self.clip = scale, clip
        self.conv_1 = conv(channels, 64, 5)
        self.conv_2 = conv(64, 32)
        self.conv_3 = conv(32, channels * scale**2)

    def finish(self, x: Tensor) -> Tensor:
        """(n, 32, h, w) -> (n, c, h s, w s)."""
        sr = F.pixel_shuffle(self.conv_3(x), self.scale)
        return within(sr, 1, self.training or not self.clip)

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(torch.tanh(self.conv_2(torch.tanh(self.conv_1(lr)))))

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(lambda x: torch.tanh(self.conv_1(x)), lr, halo=2)
        x = run.local(lambda x: torch.tanh(self.conv_2(x)), x, halo=1)
        return run.local(self.finish, x, halo=1, scale=self.scale)
