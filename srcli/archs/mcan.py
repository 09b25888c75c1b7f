"""MCAN: matrixed channel attention network, three rows of three blocks, each linked to both sides.

Ma et al., "A matrix-in-matrix neural network for image super-resolution", 2019, arXiv 1903.07949.
Code and weights of origin: github.com/macn3388/MCAN (no licence stated), built on CARN's. One state
dict serves x2, x3 and x4: all three upsamplers are in it. In the code, and so in the files, every
block but a row's first has both ``c0`` and ``c0_fix``, of which one is used; the last convolutions
have neither bias nor activation. The authors' own test cuts pictures into overlapping quarters,
and so differs from the network a little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import MeanShift, conv, steps
from srcli.archs.carn import SCALES, Body, grouped, merge
from srcli.archs.stages import Keep, Map, Moments, Run

N_ROWS = N_BLOCKS = 3

Triple = tuple[Map, Map, Map]


class ChannelAttention(Body):
    """A gain for each channel from its mean over the picture."""

    def __init__(self, n_feats: int, reduction: int) -> None:
        few = n_feats // reduction
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            conv(n_feats, few, 1),
            nn.ReLU(inplace=True),
            conv(few, n_feats, 1),
            nn.Sigmoid(),
        )

    def gain(self, mean: Tensor) -> Tensor:
        """(n, c, 1, 1) -> (n, c, 1, 1)."""
        return self.body[1:](mean)  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Two 3x3, weighted by channel, + input, ReLU."""

    def __init__(self, n_feats: int, groups: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            grouped(n_feats, n_feats, groups),
            nn.ReLU(inplace=True),
            grouped(n_feats, n_feats, groups),
            ChannelAttention(n_feats, reduction),
        )

    @property
    def attention(self) -> ChannelAttention:
        return self.body[3]  # type: ignore[return-value]

    def features(self, x: Tensor) -> Tensor:
        """Looks 2 pixels around."""
        return self.body[:3](x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        return F.relu(x + h * self.attention(h))

    def stages(self, run: Run, x: Map) -> tuple[Map, Map]:
        """x, stored, and the result."""
        h = run.local(self.features, x, halo=2)
        x, h, (mean, _) = run.sweep(Keep(x), Keep(h), Moments(h))
        gain = self.attention.gain(mean)
        return x, run.local(lambda x, h: F.relu(x + h * gain.to(h.dtype)), x, h)


class Cell(nn.Module):
    """Three residual blocks, each output merged with all before it; gives three of them.

    Args:
        n_feats: channels.
        groups: of the 3x3 convolutions.
        reduction: of the channel attention.
        linked: it takes the three outputs of the block before, and perhaps one of the row before,
            instead of a single map.
    """

    def __init__(self, n_feats: int, groups: int, reduction: int, linked: bool) -> None:
        super().__init__()
        self.b1 = Residual(n_feats, groups, reduction)
        self.b2 = Residual(n_feats, groups, reduction)
        self.b3 = Residual(n_feats, groups, reduction)
        if linked:
            self.c0 = merge(2, n_feats)
            self.c0_fix = merge(3, n_feats)
        self.c1 = merge(2 + linked, n_feats)
        self.c2 = merge(3 + linked, n_feats)
        self.c3 = merge(4, n_feats)

    def entered(self, *parts: Tensor) -> Tensor:
        """Of the block before the last output and the first, and perhaps one of the row before."""
        return (self.c0 if len(parts) == 2 else self.c0_fix)(joined(*parts))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, *links: Tensor) -> list[Tensor]:
        """``links``: the second and the third output of the block before, if there is one."""
        merged, outputs = [x], list[Tensor]()
        for k, (b, c) in enumerate(((self.b1, self.c1), (self.b2, self.c2), (self.b3, self.c3))):
            merged.append(b(outputs[-1] if outputs else x))
            outputs.append(c(joined(*merged, *links[k : k + 1])))
        return outputs

    def stages(self, run: Run, x: Map, *links: Map) -> list[Map]:
        """``forward``; the last output is stored."""
        merged: list[Map] = []
        outputs: list[Map] = []
        for k, (b, c) in enumerate(((self.b1, self.c1), (self.b2, self.c2), (self.b3, self.c3))):
            stored, r = b.stages(run, outputs[-1] if outputs else x)
            if outputs:
                outputs[-1] = stored
            else:
                merged.append(stored)
            merged.append(r)
            outputs.append(
                run.local(lambda *parts, c=c: c(joined(*parts)), *merged, *links[k : k + 1])
            )
        outputs[-1] = run.cache(outputs[-1])
        return outputs


def joined(*parts: Tensor) -> Tensor:
    return torch.cat(parts, 1)


class Row(nn.Module):
    """Three blocks; a row after the first also takes the outputs of the one before."""

    def __init__(self, n_feats: int, groups: int, reduction: int, first: bool) -> None:
        super().__init__()
        for k in range(1, N_BLOCKS + 1):
            self.add_module(f"cell{k}", Cell(n_feats, groups, reduction, linked=k > 1))
        if not first:
            self.c0 = merge(2, n_feats)

    @property
    def cells(self) -> list[Cell]:
        return [self.get_submodule(f"cell{k}") for k in range(1, N_BLOCKS + 1)]  # type: ignore[misc]

    def entered(self, last: Tensor, first: Tensor) -> Tensor:
        """Of the row before the last block's output and the first's."""
        return self.c0(joined(last, first))  # type: ignore[no-any-return]

    def forward(self, before: list[Tensor]) -> list[Tensor]:
        """The blocks' last outputs of the row before, or the features alone, to those of this."""
        first, *others = self.cells
        x = before[0] if len(before) == 1 else self.entered(before[2], before[0])
        outputs = first(x)
        ends = [outputs[-1]]
        for k, cell in enumerate(others, 1):
            x = cell.entered(outputs[2], outputs[0], *before[k : k + 1])
            outputs = cell(x, *outputs[1:])
            ends.append(outputs[-1])
        return ends

    def stages(self, run: Run, before: list[Map]) -> list[Map]:
        first, *others = self.cells
        x = before[0] if len(before) == 1 else run.local(self.entered, before[2], before[0])
        outputs = first.stages(run, x)
        ends = [outputs[-1]]
        for k, cell in enumerate(others, 1):
            x = run.local(cell.entered, outputs[2], outputs[0], *before[k : k + 1])
            outputs = cell.stages(run, x, *outputs[1:])
            ends.append(outputs[-1])
        return ends


def enlarger(n_feats: int, n_up: int, scale: int) -> Body:
    """Per step: 3x3, ReLU, PixelShuffle to a quarter of ``n_up`` channels."""
    layers: list[nn.Module] = []
    for s in steps(scale):
        layers += [conv(n_feats, n_up // 4 * s * s), nn.ReLU(inplace=True), nn.PixelShuffle(s)]
        n_feats = n_up // 4
    return Body(*layers)


class MCAN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4; says which upsampler is used.
        n_feats: channels of the blocks.
        n_head: of the first convolution.
        n_up: of the upsamplers, a multiple of 4.
        groups: of the blocks' 3x3 convolutions.
        reduction: of the channel attention.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 24,
        n_head: int = 64,
        n_up: int = 128,
        groups: int = 1,
        reduction: int = 8,
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be 2, 3 or 4, not {scale}")
        self.scale = scale
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.entry = conv(3, n_head)
        self.entry_shrink = conv(n_head, n_feats)
        for k in range(1, N_ROWS + 1):
            self.add_module(f"cell{k}", Row(n_feats, groups, reduction, first=k == 1))
        n_joined = N_ROWS * n_feats
        self.fusion = nn.Conv2d(n_joined, n_joined, 3, padding=1, bias=False)
        self.shrink = nn.Conv2d(n_joined, n_feats, 3, padding=1, bias=False)
        self.upsample = nn.Module()
        for s in SCALES:
            self.upsample.add_module(f"up{s}", enlarger(n_feats, n_up, s))
        self.exit = nn.Conv2d(n_up // 4, 3, 3, padding=1, bias=False)

    @property
    def rows(self) -> list[Row]:
        return [self.get_submodule(f"cell{k}") for k in range(1, N_ROWS + 1)]  # type: ignore[misc]

    def fused(self, *ends: Tensor) -> Tensor:
        """Looks 1 pixel around."""
        return self.fusion(joined(*ends))  # type: ignore[no-any-return]

    def enlarge(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c', h s, w s)."""
        return self.upsample.get_submodule(f"up{self.scale}")(x)  # type: ignore[no-any-return]

    def skip(self, lr: Tensor) -> Tensor:
        """The picture less its mean, enlarged; looks 1 pixel around."""
        return F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def finish(self, x: Tensor, skip: Tensor) -> Tensor:
        """Looks 1 enlarged pixel around."""
        return self.add_mean(self.exit(x) + skip)  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        lr = self.sub_mean(lr)
        head = self.entry_shrink(self.entry(lr))  # (n, c, h, w)
        ends, last = [head], []
        for row in self.rows:
            ends = row(ends)
            last.append(ends[-1])
        x = self.shrink(self.fused(*last)) + head
        return self.finish(self.enlarge(x), self.skip(lr))

    def stages(self, run: Run, lr: Map) -> Map:
        lr = run.local(self.sub_mean, lr)
        head = run.local(self.entry_shrink, run.local(self.entry, lr, halo=1), halo=1)
        head = run.cache(head)
        ends, last = [head], []
        for row in self.rows:
            ends = row.stages(run, ends)
            last.append(ends[-1])
        fused = run.local(self.fused, *last, halo=1)
        x = run.local(lambda fused, head: self.shrink(fused) + head, fused, head, halo=1)
        halo = 2 if self.scale == 4 else 1
        up = run.local(self.enlarge, x, halo=halo, scale=self.scale)
        skip = run.local(self.skip, lr, halo=1, scale=self.scale)
        return run.local(self.finish, up, skip, halo=1)
