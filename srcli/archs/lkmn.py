"""LKMN: large kernel modulation network, kernels of 31 x 31 pixels weighted by channel.

Hu, Tang and Zhang, "Large kernel modulation network for efficient image super-resolution", 2025,
arXiv 2508.11893. Code and weights of origin: github.com/Supereeeee/LKMN, Apache-2.0; the weights
are the exponential average ("params_ema"). By LKFMixer's authors, with parts of it.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import LayerNorm, conv, subpixel
from srcli.archs.lkfmixer import FDB, HALO, PART, PLKB, depthwise
from srcli.archs.stages import Keep, Map, Moments, Run


class EPLKB(PLKB):
    """A partial large kernel on every fourth channel, weighted by its mean over the picture."""

    def chosen(self, x: Tensor) -> Tensor:
        return x[:, ::PART]

    def weighted(self, x: Tensor, mean: Tensor) -> Tensor:
        """``mean``: (n, c / 4, 1, 1), of the chosen channels; looks `HALO` pixels around."""
        rest = [x[:, k::PART] for k in range(1, PART)]
        return self.mixed(self.chosen(x) * mean.sigmoid(), torch.cat(rest, 1))

    def mean(self, x: Tensor) -> Tensor:
        return self.chosen(x).mean((2, 3), keepdim=True)


class Aggregation(nn.Module):
    """A large kernel beside a small one."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.PLKB = EPLKB(n_feats)
        self.DWConv3 = depthwise(n_feats)
        self.conv1 = conv(2 * n_feats, n_feats, 1)

    def weighted(self, x: Tensor, mean: Tensor) -> Tensor:
        """Looks `HALO` pixels around."""
        both = torch.cat([self.DWConv3(x), self.PLKB.weighted(x, mean)], 1)
        return F.gelu(self.conv1(both))

    def forward(self, x: Tensor) -> Tensor:
        return self.weighted(x, self.PLKB.mean(x))


class Scaler(nn.Module):
    """A factor for each channel."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, n_feats, 1, 1), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def measured(run: Run, x: Map, block: Aggregation | CGFN) -> tuple[Map, Tensor]:
    """x, stored, and the mean of what ``block`` weights of it."""
    x, (mean, _) = run.sweep(Keep(x), Moments(run.local(block.PLKB.chosen, x)))
    return x, mean


class HFDB(FDB):
    """Hybrid feature distillation: `FDB` with GELU at its end."""

    def __init__(self, n_feats: int) -> None:
        super().__init__(n_feats, Aggregation)

    def joined(self, *refined: Tensor) -> Tensor:
        return F.gelu(super().joined(*refined))

    def stages(self, run: Run, x: Map) -> Map:
        refined = []
        for refine in self.refinements:
            block = cast("Aggregation", refine)
            x, mean = measured(run, x, block)
            refined.append(x)
            x = run.local(
                lambda x, block=block, mean=mean: block.weighted(x, mean.to(x.dtype)),
                x,
                halo=HALO,
            )
        return run.local(self.joined, *refined, x)


class CGFN(nn.Module):
    """Cross-gate feed-forward: each kernel's result times what the other one changes."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.PLKB = EPLKB(n_feats)
        self.DWConv_3 = depthwise(n_feats)
        self.conv1 = conv(2 * n_feats, n_feats, 1)
        self.scaler1 = Scaler(n_feats)
        self.scaler2 = Scaler(n_feats)

    def weighted(self, x: Tensor, mean: Tensor) -> Tensor:
        """Looks `HALO` pixels around."""
        large, small = self.PLKB.weighted(x, mean), self.DWConv_3(x)
        crossed = [large * self.scaler2(x - small), small * self.scaler1(x - large)]
        return F.gelu(self.conv1(torch.cat(crossed, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.weighted(x, self.PLKB.mean(x))

    def stages(self, run: Run, x: Map) -> Map:
        x, mean = measured(run, x, self)
        return run.local(lambda x: self.weighted(x, mean.to(x.dtype)), x, halo=HALO)


class RFMG(nn.Module):
    """Residual feature modulation group: each half normalised first and with a residual."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.HFDB = HFDB(n_feats)
        self.CGFN = CGFN(n_feats)
        self.norm1 = LayerNorm(n_feats)
        self.norm2 = LayerNorm(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        x = self.HFDB(self.norm1(x)) + x
        return self.CGFN(self.norm2(x)) + x  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        """``forward``; x should be a stored map, and the result is one."""
        x = run.cache(run.local(torch.add, self.HFDB.stages(run, run.local(self.norm1, x)), x))
        return run.cache(run.local(torch.add, self.CGFN.stages(run, run.local(self.norm2, x)), x))


class LKMN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor.
        n_feats: channels, a multiple of 4.
        n_blocks: groups of two blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 36, n_blocks: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.conv_first = conv(3, n_feats)
        self.layers = nn.Sequential(*(RFMG(n_feats) for _ in range(n_blocks)))
        self.conv = depthwise(n_feats)
        self.upsampler = subpixel(n_feats, 3, scale)

    def finish(self, x: Tensor, head: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return F.gelu(self.conv(x)) + head

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first(lr)  # (n, c, h, w)
        return self.upsampler(self.finish(self.layers(head), head))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = head = run.cache(run.local(self.conv_first, lr, halo=1))
        for block in self.layers:
            x = cast("RFMG", block).stages(run, x)
        body = run.local(self.finish, x, head, halo=1)
        return run.local(self.upsampler, body, halo=1, scale=self.scale)
