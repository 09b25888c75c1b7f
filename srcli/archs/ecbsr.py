"""ECBSR: edge-oriented convolution blocks, each of which merges into one 3x3.

Zhang, Zeng and Zhang, "Edge-oriented convolution block for real-time super resolution on mobile
devices", ACM MM 2021, doi 10.1145/3474085.3475291. Code of origin: github.com/xindongzhang/ECBSR
and BasicSR, Apache-2.0. Luma. Deviation: white is 1, as in BasicSR; the authors' is 255.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.merging import (
    Expanded,
    Kernel,
    Mergeable,
    identity,
    in_a_row,
    kernel_of,
    padded,
    side_by_side,
    widely,
)
from srcli.archs.stages import Map, Run

MASKS = {
    "sbx": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "sby": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "lpl": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 1e-3)


class Branch(nn.Module, ABC):
    """1x1, then 3x3 over a map padded with what the 1x1 gives on zeros; both with bias."""

    def __init__(self, n_in: int, n_mid: int) -> None:
        super().__init__()
        first = nn.Conv2d(n_in, n_mid, 1)
        self.k0, self.b0 = first.weight, first.bias

    @abstractmethod
    def second(self) -> tuple[Tensor, Tensor]:
        """The 3x3 kernel (n_out, n_mid, 3, 3), and its bias."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(padded(x), self.k0, self.b0), *self.second())

    def kernel(self) -> Kernel:
        assert self.b0 is not None
        return in_a_row(widely(self.k0, self.b0), widely(*self.second()))


class Wide(Branch):
    """1x1 to twice the channels, then 3x3."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, 2 * n_out)
        second = nn.Conv2d(2 * n_out, n_out, 3)
        self.k1, self.b1 = second.weight, second.bias

    def second(self) -> tuple[Tensor, Tensor]:
        assert self.b1 is not None
        return self.k1, self.b1


class Edge(Branch):
    """1x1, then a scaled edge filter on every channel."""

    mask: Tensor

    def __init__(self, n_in: int, n_out: int, kind: str) -> None:
        super().__init__(n_in, n_out)
        self.scale = _parameter(n_out, 1, 1, 1)
        self.bias = nn.Parameter(torch.randn(n_out) * 1e-3)
        mask = torch.tensor(MASKS[kind], dtype=torch.float32)
        self.register_buffer("mask", mask.repeat(n_out, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(padded(x), self.k0, self.b0)
        return F.conv2d(x, self.scale * self.mask, self.bias, groups=len(self.bias))

    def second(self) -> tuple[Tensor, Tensor]:
        kernel = self.scale * self.mask  # (n, 1, 3, 3), depthwise
        eye = torch.eye(len(self.bias)).to(kernel)
        return eye[:, :, None, None] * kernel, self.bias


class Plain(nn.Module):
    """3x3 and, but for the last, PReLU."""

    def __init__(self, n_in: int, n_out: int, *, act: bool) -> None:
        super().__init__()
        self.conv3x3 = conv(n_in, n_out)
        if act:
            self.act = nn.PReLU(n_out)
        self.acts = act

    def linear(self, x: Tensor) -> Tensor:
        return self.conv3x3(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.act(x) if self.acts else x


class ECB(Plain, Mergeable):
    """Edge-oriented convolution block: the sum of five branches and, if wanted, the input."""

    def __init__(self, n_in: int, n_out: int, *, act: bool, residual: bool) -> None:
        super().__init__(n_in, n_out, act=act)
        self.residual = residual and n_in == n_out
        self.conv1x1_3x3 = Wide(n_in, n_out)
        self.conv1x1_sbx = Edge(n_in, n_out, "sbx")
        self.conv1x1_sby = Edge(n_in, n_out, "sby")
        self.conv1x1_lpl = Edge(n_in, n_out, "lpl")

    @property
    def branches(self) -> list[Branch]:
        return [self.conv1x1_3x3, self.conv1x1_sbx, self.conv1x1_sby, self.conv1x1_lpl]

    def linear(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3x3(x)
        for branch in self.branches:
            out = out + branch(x)
        return out + x if self.residual else out

    def merged(self) -> nn.Module:
        own = kernel_of(self.conv3x3)
        kernels = [own, *(branch.kernel() for branch in self.branches)]
        if self.residual:
            kernels.append(identity(own))
        weight, bias = side_by_side(*kernels)
        plain = Plain(weight.shape[1], len(bias), act=self.acts).to(self.conv3x3.weight)
        plain.conv3x3.weight.copy_(weight)
        cast("Tensor", plain.conv3x3.bias).copy_(bias)
        if self.acts:
            plain.act = self.act
        return plain


class ECBSR(Expanded):
    """(n, c, h, w) in 0..1, c luma or colours, to (n, c, h * scale, w * scale).

    Args:
        scale: native factor.
        n_blocks: blocks between the first and the last (M).
        n_feats: channels (C).
        colours: 1 or 3.
        residual: blocks of as many channels out as in add their input (``with_idt``).
    """

    def __init__(
        self,
        *,
        scale: int,
        n_blocks: int = 4,
        n_feats: int = 16,
        colours: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        widths = [colours, *[n_feats] * (n_blocks + 1), colours * scale**2]
        last = len(widths) - 2
        self.backbone = nn.Sequential(
            *(
                ECB(widths[k], widths[k + 1], act=k < last, residual=residual)
                for k in range(last + 1)
            )
        )

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """The last map, shuffled, + the picture enlarged by repetition."""
        return F.pixel_shuffle(x + lr.repeat_interleave(self.scale**2, 1), self.scale)

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.backbone(lr), lr)  # (n, c s^2, h, w) -> (n, c, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        x = lr
        for block in self.backbone:
            x = run.local(block, x, halo=1)
        return run.local(self.finish, x, lr, scale=self.scale)
