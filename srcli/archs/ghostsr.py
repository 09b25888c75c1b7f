"""GhostSR: EDSR in which half of what each block's convolutions give is the other half, shifted.

Nie et al., "GhostSR: learning ghost features for efficient image super-resolution", TMLR 2022,
arXiv 2101.08525. Code of origin: github.com/mindspore-ai/models (research/cv/GhostSR), Apache-2.0,
in MindSpore. Here at EDSR-baseline's size (64 channels, 16 blocks) instead of the full one's. In
training the code adds Gumbel noise, less of it from epoch to epoch, before it chooses a shift; here
the choice is made without. The paper's clustering of a trained network's filters is in neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.edsr import EDSR
from srcli.archs.merging import Expanded, Mergeable

SHIFTS = 3  # rows and columns of where a shift may come from


class Shift(Mergeable):
    """All channels moved by one and the same pixel at most, to where the largest weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 1, SHIFTS, SHIFTS))

    def kernel(self) -> Tensor:
        """(1, 1, 3, 3): one 1, the rest 0; its gradient is that of the weights."""
        size = self.weight.abs().flatten()
        chosen = F.one_hot(size.argmax(), len(size)).to(self.weight).view_as(self.weight)
        return chosen + self.weight - self.weight.detach() if self.training else chosen

    def merged(self) -> nn.Module:
        """The choice itself for weights, which no rounding changes."""
        fixed = Shift().to(self.weight).eval()
        fixed.weight.data = self.kernel()
        return fixed.requires_grad_(self.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        kernel = self.kernel().expand(n, 1, SHIFTS, SHIFTS)
        return F.conv2d(x.to(kernel.dtype), kernel, padding=SHIFTS // 2, groups=n)


class GhostConv(nn.Module):
    """3x3 to half the channels, and the same shifted; looks 2 pixels around."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        n_primary = -(-n_out // 2)
        self.n_ghosts = n_out - n_primary
        self.primary_conv = conv(n_in, n_primary)
        self.cheap_conv = Shift()

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        return torch.cat([primary, self.cheap_conv(primary[:, : self.n_ghosts])], 1)


class GhostEDSR(EDSR, Expanded):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    HALO = 4  # of a block

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 16) -> None:
        super().__init__(scale=scale, n_feats=n_feats, n_blocks=n_blocks)
        blocks = list(self.body)[:-1]
        for block in blocks:
            block.body = nn.Sequential(
                GhostConv(n_feats, n_feats), nn.ReLU(True), GhostConv(n_feats, n_feats)
            )
