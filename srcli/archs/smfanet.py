"""SMFANet and SMFANet+: self-modulation by features of 8 x 8 cells and by their variance.

Zheng et al., "SMFANet: a lightweight self-modulation feature aggregation network for efficient
image super-resolution", ECCV 2024, eccv2024.ecva.net/virtual/2024/poster/309. Code and weights of
origin: github.com/Zheng-MJ/SMFANet, Apache-2.0. The variance is the unbiased one, as in the
code; the two networks differ in their numbers of channels and blocks.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import cell_maxima, conv, subpixel
from srcli.archs.stages import Cells, Keep, Map, Moments, Run, Where

CELL = 8  # pixels


def variance(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, 1, 1): of each channel over the picture, unbiased, in fp32."""
    x = x.float()
    n = x.shape[2] * x.shape[3]
    # spelled out: torch's own is several times slower in channels_last
    return (x - x.mean((2, 3), keepdim=True)).square().mean((2, 3), keepdim=True) * (n / (n - 1))


class LDE(nn.Module):
    """Local details: depthwise 3x3 and 1x1 to twice the channels, GELU, 1x1; looks 1 pixel
    around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        wide = 2 * n_feats
        self.conv_0 = nn.Sequential(
            nn.Conv2d(n_feats, wide, 3, padding=1, groups=n_feats), conv(wide, wide, 1)
        )
        self.conv_1 = conv(wide, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(F.gelu(self.conv_0(x)))  # type: ignore[no-any-return]


class SMFA(nn.Module):
    """Self-modulation feature aggregation: half of the features go through `LDE`, the other half
    times their own summary at low resolution."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.linear_0 = conv(n_feats, 2 * n_feats, 1)
        self.linear_1 = conv(n_feats, n_feats, 1)
        self.linear_2 = conv(n_feats, n_feats, 1)
        self.lde = LDE(n_feats)
        self.dw_conv = nn.Conv2d(n_feats, n_feats, 3, padding=1, groups=n_feats)
        self.alpha = nn.Parameter(torch.ones(1, n_feats, 1, 1))
        self.belt = nn.Parameter(torch.zeros(1, n_feats, 1, 1))

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is for `LDE`, and what is modulated."""
        local, modulated = self.linear_0(x).chunk(2, 1)
        return local, modulated

    def summary(self, maxima: Tensor, variance: Tensor) -> Tensor:
        """(n, c, h // 8, w // 8) and (n, c, 1, 1) -> (n, c, h // 8, w // 8)."""
        mixed = self.dw_conv(maxima) * self.alpha + variance * self.belt
        return F.gelu(self.linear_1(mixed))

    def joined(self, x: Tensor, enlarged: Tensor) -> Tensor:
        """``enlarged``: the summary at x's resolution; looks 1 pixel around."""
        local, modulated = self.halves(x)
        return self.linear_2(modulated * enlarged + self.lde(local))  # type: ignore[no-any-return]


class PCFN(nn.Module):
    """Feed-forward, 3x3 on a quarter of the hidden channels; looks 1 pixel around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.n_mixed = n_feats // 2
        self.conv_0 = conv(n_feats, 2 * n_feats, 1)
        self.conv_1 = conv(self.n_mixed, self.n_mixed)
        self.conv_2 = conv(2 * n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.conv_0(x))
        mixed, rest = hidden[:, : self.n_mixed], hidden[:, self.n_mixed :]
        return self.conv_2(torch.cat([F.gelu(self.conv_1(mixed)), rest], 1))  # type: ignore[no-any-return]


class FMB(nn.Module):
    """Feature modulation block: aggregation and feed-forward, each of pixels of unit length and
    with a residual. Needs H, W >= 8."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.smfa = SMFA(n_feats)
        self.pcfn = PCFN(n_feats)

    def fed(self, x: Tensor) -> Tensor:
        return x + self.pcfn(F.normalize(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        normed = F.normalize(x)
        _, modulated = self.smfa.halves(normed)
        low = self.smfa.summary(cell_maxima(modulated, CELL), variance(modulated))
        enlarged = F.interpolate(low, x.shape[2:], mode="nearest")
        return self.fed(x + self.smfa.joined(normed, enlarged))

    def stages(self, run: Run, x: Map) -> Map:
        values = run.local(lambda x: self.smfa.halves(F.normalize(x))[1], x)
        x, maxima, (_, std) = run.sweep(
            Keep(x), Cells(values, CELL), Moments(values, unbiased=True)
        )
        low = self.smfa.summary(maxima, std.square())

        def aggregated(x: Tensor, at: Where) -> Tensor:
            return x + self.smfa.joined(F.normalize(x), at.nearest(low))

        return run.local(self.fed, run.local(aggregated, x, halo=1, where=True), halo=1)


class SMFANet(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 8.

    Args:
        scale: native factor.
        n_feats: channels, an even number; 36 (SMFANet) or 48 (SMFANet+).
        n_blocks: 8 or 12.
    """

    def __init__(self, *, scale: int, n_feats: int = 36, n_blocks: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.to_feat = conv(3, n_feats)
        self.feats = nn.Sequential(*(FMB(n_feats) for _ in range(n_blocks)))
        self.to_img = subpixel(n_feats, 3, scale)

    def forward(self, lr: Tensor) -> Tensor:
        head = self.to_feat(lr)  # (n, c, h, w)
        return self.to_img(self.feats(head) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = head = run.local(self.to_feat, lr, halo=1)
        for block in self.feats:
            x = cast("FMB", block).stages(run, x)
        x = run.local(torch.add, x, head)
        return run.local(self.to_img, x, halo=1, scale=self.scale)
