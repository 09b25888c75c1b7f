"""SplitSR with shared weights: blocks that work on a quarter of the channels by turns.

Liu et al., "SplitSR: an end-to-end approach to super-resolution on mobile devices", IMWUT 2021,
arXiv 2101.07996. No code of the authors' is published, and the paper leaves open where the sums
lie; this is github.com/deepconsc/SplitSR (MIT), of another author, and so a guess of his. There one
group of six blocks is gone through six times with the same weights, and so is the upsampler's
convolution; in an ordinary block one convolution and one normalisation are used twice; there is no
long residual. Works on 0..255.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, mean_shift, steps
from srcli.archs.merging import Expanded, Mergeable, fold
from srcli.archs.stages import Map, Run

N_GROUPS = 6  # times that the group is gone through


class Block(Mergeable):
    """3x3 with normalisation and ReLU, twice the same, + input; looks 2 pixels around."""

    HALO = 2

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv(n_feats, n_feats)
        self.batchnorm = nn.BatchNorm2d(n_feats)

    def merged(self) -> nn.Module:
        fold(self, "conv", "batchnorm")
        return self

    def layer(self, x: Tensor) -> Tensor:
        return self.batchnorm(self.conv(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.layer(F.relu(self.layer(x))))


class SplitBlock(Block):
    """The same once, on the first channels, which then go behind the others."""

    HALO = 1

    def __init__(self, n_active: int) -> None:
        super().__init__(n_active)
        self.n_active = n_active

    def forward(self, x: Tensor) -> Tensor:
        active, passive = x[:, : self.n_active], x[:, self.n_active :]
        return torch.cat([passive, F.relu(self.layer(active))], 1)


class SplitSR(Expanded):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2 or 4.
        n_feats: channels, a multiple of 4.
    """

    def __init__(self, *, scale: int, n_feats: int = 64) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"scale must be 2 or 4, not {scale}")
        self.scale = scale
        few = n_feats // 4
        self.MeanSubstract = mean_shift(-1, 255)
        self.MeanAdd = mean_shift(1, 255)
        self.conv_head = conv(3, n_feats)
        half = (Block(n_feats), SplitBlock(few), SplitBlock(few))
        again = (Block(n_feats), SplitBlock(few), SplitBlock(few))
        self.ResidualGroup = nn.Sequential(*half, *again)
        self.upsample = nn.Module()
        self.upsample.conv = conv(n_feats, 4 * n_feats)
        self.conv_back = conv(n_feats, 3)

    def step(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, 2 h, 2 w); looks 1 pixel around."""
        return F.pixel_shuffle(cast("nn.Conv2d", self.upsample.conv)(x), 2)

    def finish(self, x: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return self.MeanAdd(self.conv_back(x))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        x = self.conv_head(self.MeanSubstract(lr))  # (n, c, h, w)
        for _ in range(N_GROUPS):
            x = self.ResidualGroup(x)
        for _ in steps(self.scale):
            x = self.step(x)
        return self.finish(x)

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.conv_head, run.local(self.MeanSubstract, lr), halo=1)
        halo = sum(cast("Block", block).HALO for block in self.ResidualGroup)
        for _ in range(N_GROUPS):
            x = run.cache(run.local(self.ResidualGroup, x, halo=halo))
        for _ in steps(self.scale):
            x = run.local(self.step, x, halo=1, scale=2)
        return run.local(self.finish, x, halo=1)
