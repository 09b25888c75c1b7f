"""XLSR: grouped convolutions, quantisable; Mobile AI 2021's winner.

Ayazoglu, "Extremely lightweight quantization robust real-time single-image super resolution for
mobile devices", CVPRW 2021, arXiv 2105.10288. Code and weights of origin (unofficial):
github.com/cxzhou95/XLSR, MIT. Deviation: trained on BGR.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.stages import Map, Run

GROUPS = 4


class ConvReLU(nn.Module):
    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = conv(n_in, n_out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class GBlock(nn.Module):
    """Grouped 3x3, ReLU, 1x1; looks 1 pixel around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(n_feats, n_feats, 3, padding=1, groups=GROUPS)
        self.conv1 = conv(n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(F.relu(self.conv0(x)))  # type: ignore[no-any-return]


class XLSR(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale), cut to 0..1 but in training.

    Args:
        scale: native factor.
        n_feats: channels, a multiple of 4.
        n_blocks: grouped blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 32, n_blocks: int = 3) -> None:
        super().__init__()
        self.scale = scale
        for k in range(GROUPS):
            self.add_module(f"conv0_{k}", ConvReLU(3, n_feats // GROUPS, 3))
        self.conv1 = conv(3, n_feats // 2)
        self.conv2 = conv(n_feats, n_feats, 1)
        self.Gblocks = nn.Sequential(*(GBlock(n_feats) for _ in range(n_blocks)))
        self.conv3 = ConvReLU(n_feats + n_feats // 2, n_feats, 1)
        self.conv4 = conv(n_feats, 3 * scale**2)

    def head(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, c, h, w); looks 1 pixel around."""
        parts = [self.get_submodule(f"conv0_{k}")(lr) for k in range(GROUPS)]
        return self.conv2(torch.cat(parts, 1))  # type: ignore[no-any-return]

    def fuse(self, x: Tensor, lr: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return self.conv3(torch.cat([x, self.conv1(lr)], 1))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 3, h s, w s); looks 1 pixel around."""
        return within(F.pixel_shuffle(self.conv4(x), self.scale), 1, self.training)

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.fuse(self.Gblocks(self.head(lr)), lr))

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.Gblocks, run.local(self.head, lr, halo=1), halo=len(self.Gblocks))
        fused = run.local(self.fuse, x, lr, halo=1)
        return run.local(self.finish, fused, halo=1, scale=self.scale)
