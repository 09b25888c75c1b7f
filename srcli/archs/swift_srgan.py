"""SwiftSRGAN: SRGAN's generator in depthwise separable convolutions.

Krishnan and Krishnan, "SwiftSRGAN", arXiv 2111.14320. Code and weights of origin:
github.com/Dynamic-Zoom/Dynamic-Zoom, CC0-1.0. The paper reports 25.13 dB on Set5 x4; the released
weights score 30.0 under the shared protocol.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srcli.archs.blocks import steps
from srcli.archs.merging import Expanded, Mergeable, fold
from srcli.archs.stages import Map, Run


class SeparableConv(nn.Module):
    """Depthwise k x k, then pointwise 1x1, both with ``bias`` or both without."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(n_in, n_in, kernel, padding=kernel // 2, groups=n_in, bias=bias)
        self.pointwise = nn.Conv2d(n_in, n_out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class ConvBlock(Mergeable):
    """Separable convolution, BatchNorm, PReLU, each of the latter two if wanted."""

    def __init__(self, n_in: int, n_out: int, kernel: int, *, norm: bool, act: bool) -> None:
        super().__init__()
        self.cnn = SeparableConv(n_in, n_out, kernel, bias=not norm)
        self.bn = nn.BatchNorm2d(n_out) if norm else nn.Identity()
        self.act = nn.PReLU(n_out)  # in the state dict even where it is not used
        self.use_act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.cnn(x))
        return self.act(x) if self.use_act else x

    def merged(self) -> nn.Module:
        fold(self, "cnn.pointwise", "bn")
        return self


class Residual(nn.Module):
    """x + block2(block1(x)); looks 2 pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.block1 = ConvBlock(n_feats, n_feats, 3, norm=True, act=True)
        self.block2 = ConvBlock(n_feats, n_feats, 3, norm=True, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(self.block1(x))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Separable convolution to 4 c channels, PixelShuffle(2), PReLU."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = SeparableConv(n_feats, 4 * n_feats, 3)
        self.ps = nn.PixelShuffle(2)
        self.act = nn.PReLU(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.ps(self.conv(x)))  # type: ignore[no-any-return]


class SwiftSRGAN(Expanded):
    """Generator: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale) in 0..1.

    Args:
        scale: 2 or 4.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    REST = 4  # residual blocks between two resting points: their halos add up to 8 pixels

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.initial = ConvBlock(3, n_feats, 9, norm=False, act=True)
        self.residual = nn.Sequential(*(Residual(n_feats) for _ in range(n_blocks)))
        self.convblock = ConvBlock(n_feats, n_feats, 3, norm=True, act=False)
        self.upsampler = nn.Sequential(*(Upsample(n_feats) for _ in steps(scale)))
        self.final_conv = SeparableConv(n_feats, 3, 9)

    def forward(self, lr: Tensor) -> Tensor:
        initial = self.initial(lr)
        x = self.convblock(self.residual(initial)) + initial
        return (torch.tanh(self.final_conv(self.upsampler(x))) + 1) / 2

    def stages(self, run: Run, lr: Map) -> Map:
        initial = run.cache(run.local(self.initial, lr, halo=4))
        x = initial
        for k, block in enumerate(self.residual, 1):
            x = run.local(block, x, halo=2)
            if k % self.REST == 0:
                x = run.cache(x)
        x = run.local(lambda x, initial: self.convblock(x) + initial, x, initial, halo=1)
        for step in self.upsampler:
            x = run.local(step, x, halo=1, scale=2)
        return run.local(lambda x: torch.tanh(self.final_conv(x)).add_(1).div_(2), x, halo=4)
