"""SPAN: swift parameter-free attention network, as in NTIRE 2024, and its successor SPAN-F.

Wan et al., "Swift parameter-free attention network for efficient super-resolution", CVPRW 2024,
arXiv 2311.12770. Weights of origin: challenge entries in github.com/Amazingren/NTIRE2024_ESR (28
and 26 channels; the paper's networks have 52 and 48) and github.com/Amazingren/NTIRE2025_ESR
(SPAN-F), MIT; released merged, each convolution under the name ``eval_conv``. Not in the paper:
the mean colour is subtracted and the rest multiplied by 255 at the input; what the last fusion
takes from the sixth block is its first layer's output after the activation, which works in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import MEAN, conv, subpixel
from srcli.archs.merging import (
    Expanded,
    Mergeable,
    in_a_row,
    kernel_of,
    padded,
    plain_conv,
    side_by_side,
)
from srcli.archs.names import rename_on_loading
from srcli.archs.stages import Map, Run


class Evaluated(nn.Module):
    """The plain 3x3 convolution that several were merged into."""

    def __init__(self, eval_conv: nn.Conv2d) -> None:
        super().__init__()
        self.eval_conv = eval_conv

    def forward(self, x: Tensor) -> Tensor:
        return self.eval_conv(x)  # type: ignore[no-any-return]


class Conv3XC(Mergeable):
    """1x1, 3x3 and 1x1 in a row through twice the channels, and a 1x1 beside them.

    A file in this form has an ``eval_conv`` too, out of date; it is not read.
    """

    GAIN = 2

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.sk = conv(n_in, n_out, 1)
        self.conv = nn.Sequential(
            conv(n_in, self.GAIN * n_in, 1),
            conv(self.GAIN * n_in, self.GAIN * n_out, padding=0),
            conv(self.GAIN * n_out, n_out, 1),
        )
        rename_on_loading(self, unused=r"eval_conv\.")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(padded(x)) + self.sk(x)  # type: ignore[no-any-return]

    def merged(self) -> nn.Module:
        first, second, third = (kernel_of(cast("nn.Conv2d", layer)) for layer in self.conv)
        kernel = side_by_side(in_a_row(in_a_row(first, second), third), kernel_of(self.sk))
        return Evaluated(plain_conv(kernel, like=self.sk))


class SPAB(nn.Module):
    """Three 3x3 convolutions; their result, odd-symmetrically squashed, is the mask itself.

    Looks 3 pixels around. With ``n_in`` other than ``n_feats``: no residual, and no mask.
    """

    def __init__(self, n_feats: int, n_in: int | None = None) -> None:
        super().__init__()
        self.masks = n_in is None
        self.c1_r = Conv3XC(n_in or n_feats, n_feats)
        self.c2_r = Conv3XC(n_feats, n_feats)
        self.c3_r = Conv3XC(n_feats, n_feats)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output, and its first layer's."""
        first = F.silu(self.c1_r(x))
        last = self.c3_r(F.silu(self.c2_r(first)))
        return ((last + x) * (torch.sigmoid(last) - 0.5) if self.masks else last), first

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)[0]


class SPAN(Expanded):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor.
        n_feats: channels.
        centred: the mean colour is subtracted and the rest multiplied by 255 first. Files of
            networks trained without hold an empty ``no_norm``.
    """

    N_BLOCKS = 6
    RESTS = (3, 5)  # after these blocks, and the first

    mean: Tensor

    def __init__(self, *, scale: int, n_feats: int = 28, centred: bool = True) -> None:
        super().__init__()
        self.scale, self.centred = scale, centred
        rename_on_loading(self, unused="no_norm$")
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_1 = Conv3XC(3, n_feats)
        for k in range(1, self.N_BLOCKS + 1):
            self.add_module(f"block_{k}", SPAB(n_feats))
        self.conv_cat = conv(4 * n_feats, n_feats, 1)
        self.conv_2 = Conv3XC(n_feats, n_feats)
        self.upsampler = subpixel(n_feats, 3, scale)

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        n_out = shapes["upsampler.0.weight"][0]
        return {
            "scale": math.isqrt(n_out // 3),
            "n_feats": shapes["conv_cat.weight"][0],
            "centred": "no_norm" not in shapes,
        }

    @property
    def blocks(self) -> list[SPAB]:
        return [self.get_submodule(f"block_{k}") for k in range(1, self.N_BLOCKS + 1)]  # type: ignore[misc]

    def centre(self, lr: Tensor) -> Tensor:
        return (lr - self.mean) * 255 if self.centred else lr

    def last(self, x: Tensor) -> Tensor:
        """Block 6: (n, c, h, w) -> (n, 2c, h, w), its output and its first layer's."""
        return torch.cat(self.blocks[-1].both(x), 1)

    def fuse(self, head: Tensor, one: Tensor, last: Tensor) -> Tensor:
        out, first = last.chunk(2, 1)
        return self.conv_cat(torch.cat([head, self.conv_2(out), one, first], 1))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_1(self.centre(lr))  # (n, c, h, w)
        one = x = self.blocks[0](head)
        for block in self.blocks[1:-1]:
            x = block(x)
        return self.upsampler(self.fuse(head, one, self.last(x)))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        # two locals: zero padding belongs after the shift
        head = run.local(self.conv_1, run.local(self.centre, lr), halo=1)
        one = x = run.cache(run.local(self.blocks[0], head, halo=3))
        for k, block in enumerate(self.blocks[1:-1], 2):
            x = run.local(block, x, halo=3)
            if k in self.RESTS:
                x = run.cache(x)
        fused = run.local(self.fuse, head, one, run.local(self.last, x, halo=3), halo=1)
        return run.local(self.upsampler, fused, halo=1, scale=self.scale)


class SPANF(Expanded):
    """SPAN-F: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor.
        n_feats: channels.
    """

    N_BLOCKS = 5
    REST = 3  # after this block, and the first

    def __init__(self, *, scale: int, n_feats: int = 32) -> None:
        super().__init__()
        self.scale = scale
        n_out = 3 * scale**2
        self.conv_near = nn.Conv2d(3, n_out, 3, padding=1, groups=3, bias=False)
        for k in range(1, self.N_BLOCKS + 1):
            self.add_module(f"block_{k}", SPAB(n_feats, 3 if k == 1 else None))
        self.conv_cat = conv(n_out + 2 * n_feats, n_feats, 1)
        self.conv_2 = Conv3XC(n_feats, n_out)

    @property
    def blocks(self) -> list[SPAB]:
        return [self.get_submodule(f"block_{k}") for k in range(1, self.N_BLOCKS + 1)]  # type: ignore[misc]

    def finish(self, near: Tensor, x: Tensor, one: Tensor) -> Tensor:
        """(n, 3 s^2, h, w) and twice (n, c, h, w) -> (n, 3, h s, w s); looks 1 pixel around."""
        fused = self.conv_2(self.conv_cat(torch.cat([near, x, one], 1)))
        return F.pixel_shuffle(fused, self.scale)

    def forward(self, lr: Tensor) -> Tensor:
        one = x = self.blocks[0](lr)
        for block in self.blocks[1:]:
            x = block(x)
        return self.finish(self.conv_near(lr), x, one)

    def stages(self, run: Run, lr: Map) -> Map:
        one = x = run.cache(run.local(self.blocks[0], lr, halo=3))
        for k, block in enumerate(self.blocks[1:], 2):
            x = run.local(block, x, halo=3)
            if k == self.REST:
                x = run.cache(x)
        near = run.local(self.conv_near, lr, halo=1)
        return run.local(self.finish, near, x, one, halo=1, scale=self.scale)
