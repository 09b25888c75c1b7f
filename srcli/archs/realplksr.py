"""RealPLKSR: PLKSR's partial large kernels, normalised for training against real damage.

Lee et al., "Partial large kernel CNNs for efficient super-resolution", 2024, arXiv 2404.11848
(PLKSR; code of origin: github.com/dslisleedh/PLKSR, MIT). RealPLKSR is neosr's form of it
(github.com/neosr-project/neosr, Apache-2.0), in no paper: Mish in the channel mixer, a
GroupNorm over the whole picture at each block's end, the picture repeated instead of enlarged for
the long residual. Later files have a LayerNorm at each block's start instead. DySample: Liu et
al., "Learning to upsample by learning to sample", ICCV 2023, arXiv 2308.15085, in the form
that these files have: groups share an offset, and a 1x1 convolution follows. Dropout is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import LayerNorm, conv
from srcli.archs.stages import Cells, Keep, Map, Moments, Run


class PLKConv2d(nn.Module):
    """One large kernel over the first channels; the others pass."""

    def __init__(self, n_mixed: int, kernel: int) -> None:
        super().__init__()
        self.n_mixed = n_mixed
        self.conv = conv(n_mixed, n_mixed, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x[:, : self.n_mixed]), x[:, self.n_mixed :]], 1)


class EA(nn.Module):
    """Element-wise attention: x times the sigmoid of a 3x3 convolution of it."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.f = nn.Sequential(conv(n_feats, n_feats), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.f(x)  # type: ignore[no-any-return]


class PLKBlock(nn.Module):
    """Two 3x3, the large kernel, attention, 1x1, normalisation, and the input added."""

    def __init__(
        self,
        n_feats: int,
        n_mixed: int,
        kernel: int,
        groups: int,
        attention: bool,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.halo = kernel // 2 + (3 if attention else 2)  # pixels that `features` looks around
        self.layer_norm = LayerNorm(n_feats) if layer_norm else nn.Identity()
        self.channel_mixer = nn.Sequential(
            conv(n_feats, 2 * n_feats), nn.Mish(), conv(2 * n_feats, n_feats)
        )
        self.lk = PLKConv2d(n_mixed, kernel)
        self.attn = EA(n_feats) if attention else nn.Identity()
        self.refine = conv(n_feats, n_feats, 1)
        self.norm = nn.Identity() if layer_norm else nn.GroupNorm(groups, n_feats)

    def features(self, x: Tensor) -> Tensor:
        """All but the normalisation at the end and the residual."""
        return self.refine(self.attn(self.lk(self.channel_mixer(self.layer_norm(x)))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.features(x))  # type: ignore[no-any-return]

    def normed(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """`norm`, of each channel's mean and deviation over the whole picture, (n, c, 1, 1)."""
        norm = cast("nn.GroupNorm", self.norm)
        means, variances = (
            torch.unflatten(m, 1, (norm.num_groups, -1)) for m in (mean, std.square())
        )
        centre = means.mean(2, keepdim=True)
        variance = (variances + (means - centre).square()).mean(2, keepdim=True)
        weight, bias = (p.float().view(means[:1].shape) for p in (norm.weight, norm.bias))
        gain = weight / (variance + norm.eps).sqrt()  # (n, groups, c / groups, 1, 1)
        shift = bias - centre * gain
        normed: Tensor = x * gain.flatten(1, 2) + shift.flatten(1, 2)
        return normed.to(x.dtype)

    def stages(self, run: Run, x: Map, y: Map | None) -> tuple[Map, Map | None]:
        """``forward``. x is a stored map and written over; so is y, the block before's features."""
        features = run.local(self.features, x, halo=self.halo)
        if isinstance(self.norm, nn.Identity):
            return run.cache(run.local(torch.add, x, features)), None
        y, (mean, std) = run.sweep(Keep(features, over=y), Moments(features))
        added = run.local(lambda x, y: x + self.normed(y, mean, std), x, y)
        return run.keep(added, over=x), y


class DySample(nn.Module):
    """Enlarges by reading each output pixel at a place that the features choose.

    Args:
        n_in: channels; each of the groups has places of its own.
        scale: factor.
        groups: 4, of an odd scale 3.
        end: a 1x1 convolution to the picture's channels follows.
    """

    CELL = 8  # pixels, of the cells in which the farthest place is looked for

    init_pos: Tensor

    def __init__(self, n_in: int, scale: int, groups: int, end: bool) -> None:
        super().__init__()
        self.scale, self.groups = scale, groups
        n_out = 2 * groups * scale**2
        self.end_conv = conv(n_in, 3, 1) if end else nn.Identity()
        self.offset = conv(n_in, n_out, 1)
        self.scope = nn.Conv2d(n_in, n_out, 1, bias=False)
        nn.init.trunc_normal_(self.offset.weight, std=0.02)
        nn.init.zeros_(self.scope.weight)
        step = (torch.arange(scale) - (scale - 1) / 2) / scale
        across = torch.stack(torch.meshgrid(step, step, indexing="ij"))  # x, then y
        places = across.transpose(1, 2).repeat(1, groups, 1).reshape(1, -1, 1, 1)
        self.register_buffer("init_pos", places)

    def offsets(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 2 g s^2, h, w): how far from its pixel each place is, x then y."""
        return self.offset(x) * self.scope(x).sigmoid() * 0.5 + self.init_pos  # type: ignore[no-any-return]

    def farthest(self, x: Tensor) -> Tensor:
        """(n, 1, h, w): the largest offset of each pixel."""
        return self.offsets(x).abs().amax(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        s, g = self.scale, self.groups
        shift = F.pixel_shuffle(self.offsets(x).view(n, -1, h, w), s).view(n, 2, g, h * s, w * s)
        places = []
        for axis, length in ((3, w), (2, h)):  # -1 and 1 are the picture's outer edges
            centre = (torch.arange(length, device=x.device) + 0.5).repeat_interleave(s)
            centre = centre.view(-1, 1) if axis == 2 else centre
            at = centre.to(x.dtype) + shift[:, 0 if axis == 3 else 1]
            places.append(2 * at / length - 1)
        grid = torch.stack(places, -1).flatten(0, 1)  # (n g, h s, w s, 2)
        parts = x.reshape(n * g, -1, h, w)
        read = F.grid_sample(parts, grid, padding_mode="border", align_corners=False)
        return self.end_conv(read.view(n, -1, h * s, w * s))  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        """``forward``: how far it looks around is found on the whole picture first."""
        x, far = run.sweep(Keep(x), Cells(run.local(self.farthest, x), self.CELL))
        return run.local(self.forward, x, halo=math.ceil(float(far.max())) + 1, scale=self.scale)


class RealPLKSR(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); with DySample h, w >= 8.

    Args:
        scale: native factor; 1 restores.
        n_feats: channels.
        n_blocks: blocks.
        kernel: side of the large kernels.
        n_mixed: channels that they take; None: a quarter.
        groups: of the GroupNorms.
        attention: element-wise attention in each block.
        layer_norm: LayerNorm at each block's start instead of GroupNorm at its end.
        dysample: enlarged by `DySample` instead of a shuffle.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 64,
        n_blocks: int = 28,
        kernel: int = 17,
        n_mixed: int | None = None,
        groups: int = 4,
        attention: bool = True,
        layer_norm: bool = False,
        dysample: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.n_out = scale, 3 * scale**2
        mixed = n_feats // 4 if n_mixed is None else n_mixed
        blocks = (
            PLKBlock(n_feats, mixed, kernel, groups, attention, layer_norm) for _ in range(n_blocks)
        )
        self.feats = nn.Sequential(
            conv(3, n_feats), *blocks, nn.Identity(), conv(n_feats, self.n_out)
        )
        self.to_img: nn.Module = nn.PixelShuffle(scale)
        if dysample:
            self.to_img = DySample(self.n_out, scale, 3 if scale % 2 else 4, end=scale != 1)

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        last = max(int(name.split(".")[1]) for name in shapes if name.startswith("feats."))
        mixed, _, kernel, _ = shapes["feats.1.lk.conv.weight"]
        return {
            "scale": math.isqrt(shapes[f"feats.{last}.weight"][0] // 3),
            "n_feats": shapes["feats.0.weight"][0],
            "n_blocks": last - 2,
            "kernel": kernel,
            "n_mixed": mixed,
            "attention": "feats.1.attn.f.0.weight" in shapes,
            "layer_norm": "feats.1.layer_norm.weight" in shapes,
            "dysample": "to_img.offset.weight" in shapes,
        }

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """(n, c, h, w) and the picture -> (n, 3 s^2, h, w); looks 1 pixel around."""
        return self.feats[-1](x) + lr.repeat_interleave(self.scale**2, 1)  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        return self.to_img(self.finish(self.feats[:-1](lr), lr))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x: Map = run.keep(run.local(self.feats[0], lr, halo=1))
        y: Map | None = None
        for block in self.feats:
            if isinstance(block, PLKBlock):
                x, y = block.stages(run, x, y)
        sr = run.local(self.finish, x, lr, halo=1)
        if isinstance(self.to_img, DySample):
            return self.to_img.stages(run, sr)
        return run.local(self.to_img, sr, scale=self.scale)
