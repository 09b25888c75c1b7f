"""SPBP: sub-pixel back-projection, up and down again by turns, all stages joined.

Banerjee et al., "Sub-pixel back-projection network for lightweight single image super-resolution",
2020, arXiv 2008.01116. Code and weights of origin:
github.com/supratikbanerjee/SubPixel-BackProjection_SuperResolution (no licence stated), x2 only.
Works on 0..255. Not in the paper: the fixed shifts of the mean colour were trained with the rest;
of the blocks' activations only the PReLU after each enlarging is computed. The picture that is
added is enlarged by PyTorch's bicubic (a = -0.75, border repeated). Trained on Pillow's bicubic LR.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, mean_shift
from srcli.archs.stages import Map, Run

HALF = Fraction(1, 2)


class BackProjection(nn.Module):
    """Groups of 3x3 with PixelShuffle up, and 3x3 of stride 2 down; each sees all before it."""

    def __init__(self, n_feats: int, n_groups: int) -> None:
        super().__init__()
        merges = [conv((k + 1) * n_feats, n_feats, 1) for k in range(1, n_groups)]
        again = [conv((k + 1) * n_feats, n_feats, 1) for k in range(1, n_groups)]
        self.upPac = nn.ModuleList(conv(n_feats, 4 * n_feats) for _ in range(n_groups))
        self.downBlocks = nn.ModuleList(conv(n_feats, n_feats, stride=2) for _ in range(n_groups))
        if n_groups > 1:
            self.uptranBlocks = nn.ModuleList(merges)
            self.downtranBlocks = nn.ModuleList(again)
        self.compress_out = conv(n_groups * n_feats, n_feats, 1)
        self.prelu = nn.PReLU()

    def __len__(self) -> int:
        return len(self.upPac)

    def up(self, k: int, *lows: Tensor) -> Tensor:
        """Group k: all small maps so far to one twice as large; looks 1 pixel around."""
        x = self.uptranBlocks[k - 1](torch.cat(lows, 1)) if k else lows[0]
        return self.prelu(F.pixel_shuffle(self.upPac[k](x), 2))  # type: ignore[no-any-return]

    def down(self, k: int, *highs: Tensor) -> Tensor:
        """Group k: all large maps so far to a small one; looks 1 large pixel around."""
        x = self.downtranBlocks[k - 1](torch.cat(highs, 1)) if k else highs[0]
        return self.downBlocks[k](x)  # type: ignore[no-any-return]

    def compressed(self, *lows: Tensor) -> Tensor:
        """All small maps but the first."""
        return self.compress_out(torch.cat(lows, 1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        lows, highs = [x], []
        for k in range(len(self)):
            highs.append(self.up(k, *lows))
            lows.append(self.down(k, *highs))
        return self.compressed(*lows[1:])


class SPBP(nn.Module):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, 2 h, 2 w).

    Args:
        scale: 2.
        n_feats: channels.
        n_groups: back-projections.
    """

    def __init__(self, *, scale: int = 2, n_feats: int = 16, n_groups: int = 1) -> None:
        super().__init__()
        if scale != 2:
            raise ValueError(f"scale must be 2, not {scale}")
        self.scale = scale
        self.sub_mean = mean_shift(-1, 255).requires_grad_(True)
        self.conv_in = conv(3, 4 * n_feats)
        self.prelu1 = nn.PReLU()
        self.feat_in = conv(4 * n_feats, n_feats, 1)
        self.prelu2 = nn.PReLU()
        self.block = BackProjection(n_feats, n_groups)
        self.prelu3 = nn.PReLU()
        self.conv4 = conv(n_feats, 4 * n_feats)
        self.prelu = nn.PReLU()
        self.conv_out = conv(n_feats, 3)
        self.add_mean = mean_shift(1, 255).requires_grad_(True)

    def head(self, x: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return self.prelu2(self.feat_in(self.prelu1(self.conv_in(x))))  # type: ignore[no-any-return]

    def enlarge(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, 2 h, 2 w); looks 1 pixel around."""
        return self.prelu(F.pixel_shuffle(self.conv4(self.prelu3(x)), self.scale))  # type: ignore[no-any-return]

    def skip(self, x: Tensor) -> Tensor:
        """The picture less its mean, enlarged; looks 2 pixels around."""
        return F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)

    def finish(self, x: Tensor, skip: Tensor) -> Tensor:
        """Looks 1 enlarged pixel around."""
        return self.add_mean(self.conv_out(x) + skip)  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        lr = self.sub_mean(lr)
        x = self.block(self.head(lr))  # (n, c, h, w)
        return self.finish(self.enlarge(x), self.skip(lr))

    def stages(self, run: Run, lr: Map) -> Map:
        lr = run.local(self.sub_mean, lr)
        block = self.block
        lows, highs = [run.local(self.head, lr, halo=1)], []
        for k in range(len(block)):
            highs.append(
                run.local(lambda *x, k=k: block.up(k, *x), *lows, halo=1, scale=self.scale)
            )
            lows.append(run.local(lambda *x, k=k: block.down(k, *x), *highs, halo=2, scale=HALF))
        x = run.local(block.compressed, *lows[1:])
        up = run.local(self.enlarge, x, halo=1, scale=self.scale)
        skip = run.local(self.skip, lr, halo=2, scale=self.scale)
        return run.local(self.finish, up, skip, halo=1)
