"""RT4KSR: pixel-unshuffled pictures through convolutions merged from expanded ones.

Zamfir, Conde and Timofte, "Towards real-time 4K image super-resolution", CVPRW 2023. Code and
weights of origin: github.com/eduardzamfir/RT4KSR, Apache-2.0. Deviation of the released
configuration from the paper: the branch of high frequencies is switched off; it and its factor
``gamma`` are in the file and left out here.
"""

from __future__ import annotations

from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import LayerNorm, conv, subpixel
from srcli.archs.merging import (
    Expanded,
    Mergeable,
    identity,
    in_a_row,
    kernel_of,
    padded,
    plain_conv,
    side_by_side,
)
from srcli.archs.names import rename_on_loading
from srcli.archs.stages import Map, Run


class RepResBlock(Mergeable):
    """x + reduce(e + 3x3(e)), e = expand(x) to twice the channels: linear, so one 3x3."""

    def __init__(self, n_feats: int, ratio: int = 2) -> None:
        super().__init__()
        inner = ratio * n_feats
        self.expand_conv = conv(n_feats, inner, 1)
        self.fea_conv = conv(inner, inner, padding=0)
        self.reduce_conv = conv(inner, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand_conv(padded(x))
        out = self.fea_conv(wide) + wide[:, :, 1:-1, 1:-1]
        return self.reduce_conv(out) + x  # type: ignore[no-any-return]

    def merged(self) -> nn.Module:
        middle = kernel_of(self.fea_conv)
        both = side_by_side(middle, identity(middle))
        kernel = in_a_row(in_a_row(kernel_of(self.expand_conv), both), kernel_of(self.reduce_conv))
        return plain_conv(side_by_side(kernel, identity(kernel)), like=self.fea_conv)


class Block(nn.Module):
    """LayerNorm, convolution, GELU; looks 1 pixel of its map around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.norm = LayerNorm(n_feats)
        self.conv1 = RepResBlock(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv1(self.norm(x)))


class RT4KSR(Expanded):
    """LR (n, 3, h, w) in 0..1, h and w even, to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2 or 3.
        n_feats: channels.
        n_blocks: blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 24, n_blocks: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(conv(12, n_feats))
        self.body = nn.Sequential(*(Block(n_feats) for _ in range(n_blocks)))
        self.tail = nn.Sequential(LayerNorm(n_feats), RepResBlock(n_feats))
        self.upsample = subpixel(n_feats, 3, 2 * scale)
        rename_on_loading(self, unused=r"gamma$|hfb\.")

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(F.pixel_unshuffle(lr, 2))  # (n, c, h / 2, w / 2)
        return self.upsample(self.tail(self.body(x)))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        half = run.local(lambda lr: F.pixel_unshuffle(lr, 2), lr, scale=Fraction(1, 2))
        x = run.local(self.head, half, halo=1)
        for block in self.body:
            x = run.local(block, x, halo=1)
        x = run.local(self.tail, x, halo=1)
        return run.local(self.upsample, x, halo=1, scale=2 * self.scale)
