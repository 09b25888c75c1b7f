"""LKFMixer: kernels of 31 x 31 pixels, taken apart, and modulation by features of the picture.

Tang and Hu, "LKFMixer: exploring large kernel feature for efficient image super-resolution", 2025,
arXiv 2508.11391. Code and weights of origin: github.com/Supereeeee/LKFMixer, Apache-2.0; the
weights are the exponential average ("params_ema"). T and B differ in channels and blocks.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import cell_maxima, conv, subpixel
from srcli.archs.stages import Cells, Keep, Map, Moments, Run

KERNEL = 31
HALO = KERNEL // 2
PART = 4  # a quarter of the channels sees so far
CELL = 8  # pixels


def depthwise(n_feats: int) -> nn.Conv2d:
    return nn.Conv2d(n_feats, n_feats, 3, padding=1, groups=n_feats)


class PLKB(nn.Module):
    """Partial large kernel: 1 x 31, then 31 x 1 on the first quarter of the channels, then 1x1 of
    all and GELU. Looks `HALO` pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.n_large = n = n_feats // PART
        self.DWConv_Kx1 = nn.Conv2d(n, n, (KERNEL, 1), padding=(HALO, 0), groups=n)
        self.DWConv_1xK = nn.Conv2d(n, n, (1, KERNEL), padding=(0, HALO), groups=n)
        self.conv1 = conv(n_feats, n_feats, 1)

    def mixed(self, large: Tensor, rest: Tensor) -> Tensor:
        """Of the channels that see far, and of the others."""
        large = self.DWConv_Kx1(self.DWConv_1xK(large))
        return F.gelu(self.conv1(torch.cat([large, rest], 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(x[:, : self.n_large], x[:, self.n_large :])


class Refinement(nn.Module):
    """A large kernel beside a small one; looks `HALO` pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.PLKB = PLKB(n_feats)
        self.DWConv3 = depthwise(n_feats)
        self.conv1 = conv(n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv1(self.DWConv3(x) + self.PLKB(x)))


class FDB(nn.Module):
    """Feature distillation: of the input and of each refinement half the channels are kept.

    Args:
        n_feats: channels, a multiple of 4.
        refinement: constructor of what refines.
    """

    def __init__(self, n_feats: int, refinement: type[nn.Module] = Refinement) -> None:
        super().__init__()
        half = n_feats // 2
        for k in (1, 2, 3):
            self.add_module(f"c{k}_d", conv(n_feats, half, 1))
            self.add_module(f"c{k}_r", refinement(n_feats))
        self.c4 = conv(n_feats, half, 1)
        self.c5 = conv(4 * half, n_feats, 1)

    @property
    def refinements(self) -> list[nn.Module]:
        return [self.get_submodule(f"c{k}_r") for k in (1, 2, 3)]

    def joined(self, *refined: Tensor) -> Tensor:
        """Of the input and the three refinements, 1x1 each."""
        distil = [self.get_submodule(name) for name in ("c1_d", "c2_d", "c3_d", "c4")]
        parts = [F.gelu(conv(x)) for conv, x in zip(distil, refined, strict=True)]
        return self.c5(torch.cat(parts, 1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        refined = [x]
        for refine in self.refinements:
            refined.append(refine(refined[-1]))
        return self.joined(*refined)

    def stages(self, run: Run, x: Map) -> Map:
        """``forward``; x should be a stored map, for it is read twice."""
        refined = [x]
        for refine in self.refinements:
            refined.append(run.cache(run.local(refine, refined[-1], halo=HALO)))
        return run.local(self.joined, *refined)


class SFMB(nn.Module):
    """Spatial feature modulation: a large kernel, plus maxima of cells, weighted by channel from
    the means over the whole picture. Needs H, W >= 8."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.PLKB = PLKB(n_feats)
        self.DWConv_3 = depthwise(n_feats)
        self.conv1_1 = conv(n_feats, n_feats, 1)
        self.conv1_2 = conv(n_feats, n_feats, 1)

    def summary(self, maxima: Tensor) -> Tensor:
        """(n, c, h // 8, w // 8) -> the same."""
        return F.gelu(self.conv1_1(self.DWConv_3(maxima)))

    def modulated(self, x: Tensor, mean: Tensor, stretched: Tensor) -> Tensor:
        """``stretched``: the summary at x's resolution; looks `HALO` pixels around."""
        return F.gelu(self.conv1_2(self.PLKB(x) + mean.sigmoid() * stretched))

    def forward(self, x: Tensor) -> Tensor:
        low = self.summary(cell_maxima(x, CELL))
        stretched = F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False)
        return self.modulated(x, x.mean((2, 3), keepdim=True), stretched)

    def stages(self, run: Run, x: Map) -> Map:
        x, maxima, (mean, _) = run.sweep(Keep(x), Cells(x, CELL), Moments(x))
        low = self.summary(maxima)
        return run.local(
            lambda x, at: self.modulated(x, mean.to(x.dtype), at.stretch(low)),
            x,
            halo=HALO,
            where=True,
        )


class FSB(nn.Module):
    """Feature selection: pixel by pixel, how much of a large kernel and how much of a small one."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.PLKB = PLKB(n_feats)
        self.DWConv_3 = depthwise(n_feats)
        self.conv1_1 = conv(2 * n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.PLKB(x), self.DWConv_3(x)
        share = F.gelu(self.conv1_1(torch.cat([large, small], 1))).sigmoid()
        return large * share + small * (1 - share)  # type: ignore[no-any-return]


class FMB(nn.Module):
    """Distillation, modulation and selection, + input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.FDB = FDB(n_feats)
        self.SFMB = SFMB(n_feats)
        self.FSB = FSB(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return self.FSB(self.SFMB(self.FDB(x))) + x  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        """``forward``; x should be a stored map, and the result is one."""
        modulated = run.cache(self.SFMB.stages(run, self.FDB.stages(run, x)))
        return run.cache(run.local(torch.add, run.local(self.FSB, modulated, halo=HALO), x))


class LKFMixer(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 8.

    Args:
        scale: native factor.
        n_feats: channels, a multiple of 4; 40 (T) or 48 (B).
        n_blocks: 6 or 8.
    """

    def __init__(self, *, scale: int, n_feats: int = 40, n_blocks: int = 6) -> None:
        super().__init__()
        self.scale = scale
        self.conv_first = conv(3, n_feats)
        self.layers = nn.Module()
        self.layers.layers = nn.Sequential(*(FMB(n_feats) for _ in range(n_blocks)))
        self.conv = depthwise(n_feats)
        self.upsampler = nn.Module()
        self.upsampler.upsampleOneStep = subpixel(n_feats, 3, scale)

    @property
    def blocks(self) -> nn.Sequential:
        return cast("nn.Sequential", self.layers.layers)

    def finish(self, x: Tensor, head: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return F.gelu(self.conv(x)) + head

    def tail(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 3, h s, w s); looks 1 pixel around."""
        return cast("nn.Sequential", self.upsampler.upsampleOneStep)(x)  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first(lr)  # (n, c, h, w)
        return self.tail(self.finish(self.blocks(head), head))

    def stages(self, run: Run, lr: Map) -> Map:
        x = head = run.cache(run.local(self.conv_first, lr, halo=1))
        for block in self.blocks:
            x = cast("FMB", block).stages(run, x)
        body = run.local(self.finish, x, head, halo=1)
        return run.local(self.tail, body, halo=1, scale=self.scale)
