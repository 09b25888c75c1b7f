"""PlainUSR: plain convolutions, merged from expanded ones, and attention by local importance.

Wang et al., "PlainUSR: chasing faster ConvNet for efficient super-resolution", ACCV 2024,
arXiv 2409.13435. Code and weights of origin: github.com/icandle/PlainUSR, MIT; the weights are
released merged. Blocks work on the first channels only; the rest pass by, among them three that
carry the picture itself when training begins.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, subpixel
from srcli.archs.merging import (
    Expanded,
    Kernel,
    Mergeable,
    identity,
    in_a_row,
    kernel_of,
    padded,
    plain_conv,
    side_by_side,
    widely,
)
from srcli.archs.stages import Keep, Map, Run, Where, Windows


class ASR(nn.Module):
    """A gain for each channel, squeezed and excited from a learned vector: the same for all
    pictures, so that it merges."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.tensor = nn.Parameter(torch.full((1, n_feats, 1, 1), 0.1))
        self.se = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_feats, n_feats // 4, bias=False),
            nn.SiLU(),
            nn.Linear(n_feats // 4, n_feats, bias=False),
            nn.Sigmoid(),
            nn.Unflatten(1, (n_feats, 1, 1)),
        )

    def gain(self) -> Tensor:
        """(1, c, 1, 1)."""
        return self.se(self.tensor)  # type: ignore[no-any-return]


class RepMBConv(Mergeable):
    """x + reduce(e + gain * 3x3(e)), e = expand(x) to twice the channels: linear, so one 3x3.

    Args:
        n_feats: channels.
        gate: with ``gate``, a 1x1 convolution that replaces channel 0 of the result.
    """

    def __init__(self, n_feats: int, *, gate: bool = False) -> None:
        super().__init__()
        inner = 2 * n_feats
        self.expand_conv = conv(n_feats, inner, 1)
        self.fea_conv = conv(inner, inner, padding=0)
        self.reduce_conv = conv(inner, n_feats, 1)
        self.se = ASR(inner)
        self.gate = conv(n_feats, 1, 1) if gate else None

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand_conv(padded(x))
        out = self.fea_conv(wide) * self.se.gain() + wide[:, :, 1:-1, 1:-1]
        out = self.reduce_conv(out) + x
        return out if self.gate is None else torch.cat([self.gate(out), out[:, 1:]], 1)

    def merged(self) -> nn.Module:
        weight, bias = kernel_of(self.fea_conv)
        gain, gains = widely(self.se.gain(), self.se.gain().view(-1))
        middle = weight * gain.view(-1, 1, 1, 1), bias * gains
        both = side_by_side(middle, identity(middle))
        kernel = in_a_row(in_a_row(kernel_of(self.expand_conv), both), kernel_of(self.reduce_conv))
        kernel = side_by_side(kernel, identity(kernel))
        if self.gate is not None:
            kernel = in_a_row(kernel, _first_row(kernel_of(self.gate)))
        return plain_conv(kernel, like=self.fea_conv)


def _first_row(gate: Kernel) -> Kernel:
    """The 1x1 convolution of all channels that replaces the first."""
    n = gate[0].shape[1]
    weight, bias = torch.eye(n).to(gate[0])[:, :, None, None], torch.zeros(n).to(gate[1])
    weight[0], bias[0] = gate[0][0], gate[1][0]
    return weight, bias


class SoftPool(nn.Module):
    """Softmax-weighted mean of 7x7 windows, stride 3, no padding."""

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.exp(x)
        return F.avg_pool2d(weight * x, 7, 3) / F.avg_pool2d(weight, 7, 3)


class LIA(nn.Module):
    """Local-importance attention: a mask from a low-resolution look at the whole picture, times
    a gate from channel 0. Needs H, W >= 7."""

    WINDOW, STRIDE = 7, 3

    def __init__(self, n_feats: int, f: int) -> None:
        super().__init__()
        down = nn.Conv2d(f, f, 3, stride=2, padding=1)
        self.body = nn.Sequential(
            conv(n_feats, f, 1), SoftPool(), down, conv(f, n_feats), nn.Sigmoid()
        )

    def mask(self, x: Tensor, stretched: Tensor) -> Tensor:
        return x * stretched * torch.sigmoid(x[:, :1])

    def forward(self, x: Tensor) -> Tensor:
        low = self.body(x)
        stretched = F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False)
        return self.mask(x, stretched)


class FastAttention(nn.Module):
    """x times a 3x3 convolution's mask and a gate from channel 0."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(n_feats, n_feats), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x[:, :1]) * self.body(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """3x3 convolutions on the first ``n_feats`` channels, then attention; the rest pass by.

    Args:
        n_feats: channels worked on.
        n_convs: convolutions.
        f: channels of LIA's path; 0: the fast attention; None: no attention.
    """

    def __init__(self, n_feats: int, n_convs: int, f: int | None) -> None:
        super().__init__()
        self.n_feats, self.n_convs = n_feats, n_convs
        layers: list[nn.Module] = []
        for k in range(1, n_convs + 1):
            last = k == n_convs
            layers.append(RepMBConv(n_feats, gate=last and f is not None))
            if not last:
                layers.append(nn.LeakyReLU(0.05))
        if f is not None:
            layers.append(LIA(n_feats, f) if f else FastAttention(n_feats))
        self.body = nn.Sequential(*layers)

    @property
    def attention(self) -> LIA | None:
        return self.body[-1] if isinstance(self.body[-1], LIA) else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.body(x[:, : self.n_feats]), x[:, self.n_feats :]], 1)

    def features(self, x: Tensor) -> Tensor:
        """Up to LIA; looks ``n_convs`` pixels around."""
        done = self.body[:-1](x[:, : self.n_feats])
        return torch.cat([done, x[:, self.n_feats :]], 1)

    def stages(self, run: Run, x: Map) -> Map:
        lia = self.attention
        if lia is None:
            return run.local(self, x, halo=self.n_convs + 1)
        n = self.n_feats
        (kept,) = run.sweep(Keep(run.local(self.features, x, halo=self.n_convs)))
        part = run.local(lambda x: x[:, :n], kept)
        (low,) = run.sweep(Windows(part, lia.body[:2], lia.WINDOW, lia.STRIDE))
        low = lia.body[2:](low)

        def masked(x: Tensor, at: Where) -> Tensor:
            return torch.cat([lia.mask(x[:, :n], at.stretch(low)), x[:, n:]], 1)

        return run.local(masked, kept, where=True)


class PlainUSR(Expanded):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 7 but for the ultra form.

    Args:
        scale: 2 or 4.
        n_feats: channels beside the picture's three.
        widths: channels that the blocks work on, from the outer ones inwards: two of them are the
            ultra form of three blocks, three make five blocks.
        f: channels of the attention's path.
        n_convs: 3x3 convolutions in a block.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 64,
        widths: tuple[int, ...] = (64, 48, 32),
        f: int = 16,
        n_convs: int = 2,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(3, n_feats + 3)
        if len(widths) == 2:
            outer, middle = widths
            names = ["block1", "blockm", "block2"]
            blocks = [(outer, None), (middle, 0), (outer, None)]
        else:
            first, second, third = widths
            names = ["block1", "block2", "blockm", "block3", "block4"]
            blocks = [(n, f) for n in (first, second, third, second, first)]
        self.names = names
        for name, (n, attention) in zip(names, blocks, strict=True):
            self.add_module(name, Block(n, n_convs, attention))
        self.tail = subpixel(n_feats + 3, 3, scale)
        with torch.no_grad():  # the picture's nearest-neighbour enlargement, to begin with
            for c in range(3):
                self.head.weight[n_feats + c, c, 1, 1] += 1
                up = cast("nn.Conv2d", self.tail[0]).weight[c * scale**2 : (c + 1) * scale**2]
                up[:, n_feats + c, 1, 1] += 1

    @property
    def blocks(self) -> list[Block]:
        return [self.get_submodule(name) for name in self.names]  # type: ignore[misc]

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(lr)  # (n, c + 3, h, w)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.head, lr, halo=1)
        for block in self.blocks:
            x = block.stages(run, x)
        return run.local(self.tail, x, halo=1, scale=self.scale)
