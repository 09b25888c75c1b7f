"""ESRN: residual dense blocks of three kinds, in an order that an evolutionary search found.

Song et al., "Efficient residual dense block search for image super-resolution", AAAI 2020,
arXiv 1909.11409. Code of origin: github.com/huawei-noah/vega (ESR-EA), Apache-2.0. The networks
that the paper found are nowhere published as lists of blocks; the list in the catalogue is the
code's documentation's example. x3, which the code has but cannot run, is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.stages import Keep, Map, Run

HALF = Fraction(1, 2)


class Block(nn.Module, ABC):
    """What the three kinds share: 1x1 to ``g`` channels before, and the way around.

    Args:
        n_in: channels of the input.
        g: channels inside.
        n_out: channels of the result.
    """

    def __init__(self, n_in: int, g: int, n_out: int) -> None:
        super().__init__()
        if n_in != g:
            self.InConv = conv(n_in, g, 1)
        self.around = "input" if n_out == n_in else "inside" if n_out == g else "1x1"
        if self.around == "1x1":
            self.OutConv = conv(n_in, n_out, 1)

    def inside(self, x: Tensor) -> Tensor:
        return self.InConv(x) if hasattr(self, "InConv") else x

    def shortcut(self, x: Tensor) -> Tensor:
        """From the input to what is added to the result."""
        if self.around == "1x1":
            return self.OutConv(x)  # type: ignore[no-any-return]
        return x if self.around == "input" else self.inside(x)

    @abstractmethod
    def result(self, x: Tensor) -> Tensor:
        """What the block adds to its `shortcut`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.result(x) + self.shortcut(x)

    @abstractmethod
    def stages(self, run: Run, x: Map) -> Map:
        """``forward``."""


class Grouped(nn.Module):
    """3x3 of shuffled channels in groups, ReLU."""

    def __init__(self, k: int, g: int) -> None:
        super().__init__()
        groups = min(4, 2 ** ((k + 1).bit_length() - 1))
        self.rows = k + 1
        self.conv = nn.Sequential(nn.Conv2d((k + 1) * g, g, 3, padding=1, groups=groups))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(
            self.conv(torch.unflatten(x, 1, (self.rows, -1)).transpose(1, 2).flatten(1, 2))
        )


class G(Block):
    """Group dense block: every 3x3 sees, in groups, all that was before it."""

    def __init__(self, n_in: int, n: int, g: int, n_out: int) -> None:
        super().__init__(n_in, g, n_out)
        self.convs = nn.Sequential(*(Grouped(k, g) for k in range(n)))
        self.LFF = conv((n + 1) * g, n_out, 1)

    def result(self, x: Tensor) -> Tensor:
        dense = self.inside(x)
        for layer in self.convs:
            dense = torch.cat([dense, layer(dense)], 1)
        return self.LFF(dense)  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        return run.local(self, x, halo=len(self.convs))


class Shrinking(Block):
    """3x3 by turns with a 1x1 of all that was before it."""

    def __init__(self, n_in: int, n: int, g: int, n_out: int, n_last: int) -> None:
        super().__init__(n_in, g, n_out)
        layers = (nn.Sequential(conv(g, g), nn.ReLU(True)) for _ in range(n))
        self.Convs = nn.Sequential(*layers)
        shrinks = [conv((k + 2) * g, g, 1) for k in range(n - 1)]
        self.ShrinkConv = nn.Sequential(*shrinks, conv(n_last, n_out, 1))

    def shrunk(self, k: int, *dense: Tensor) -> Tensor:
        return self.ShrinkConv[k](torch.cat(dense, 1))  # type: ignore[no-any-return]

    def dense(self, x: Tensor, times: int) -> Tensor:
        """All that the last 1x1 sees; each 3x3 is used so many times."""
        parts = [x]
        for k, layer in enumerate(self.Convs):
            for _ in range(times):
                x = layer(x)
            parts.append(x)
            if k + 1 < len(self.Convs):
                x = self.shrunk(k, *parts)
        return torch.cat(parts, 1)


class S(Shrinking):
    """Shrink dense block."""

    def __init__(self, n_in: int, n: int, g: int, n_out: int) -> None:
        super().__init__(n_in, n, g, n_out, (n + 1) * g)

    def result(self, x: Tensor) -> Tensor:
        return self.ShrinkConv[-1](self.dense(self.inside(x), 1))  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        return run.local(self, x, halo=len(self.Convs))


class C(Shrinking):
    """Contextual dense block: at half the size, each 3x3 three times; PixelShuffle back."""

    TIMES = 3

    def __init__(self, n_in: int, n: int, g: int, n_out: int) -> None:
        super().__init__(n_in, n, g, n_out, (n + 1) * g // 4)

    def pooled(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.inside(x), 2)

    def repeated(self, k: int, x: Tensor) -> Tensor:
        """Looks `TIMES` pixels around."""
        for _ in range(self.TIMES):
            x = self.Convs[k](x)
        return x

    def enlarged(self, *dense: Tensor) -> Tensor:
        return self.ShrinkConv[-1](F.pixel_shuffle(torch.cat(dense, 1), 2))  # type: ignore[no-any-return]

    def result(self, x: Tensor) -> Tensor:
        return self.enlarged(self.dense(self.pooled(x), self.TIMES))

    def stages(self, run: Run, x: Map) -> Map:
        low = run.local(self.pooled, x, scale=HALF)
        dense = [low]
        for k in range(len(self.Convs)):
            low = run.local(lambda x, k=k: self.repeated(k, x), low, halo=self.TIMES)
            dense.append(low)
            if k + 1 < len(self.Convs):
                low = run.local(lambda *parts, k=k: self.shrunk(k, *parts), *dense)
        result = run.local(self.enlarged, *dense, scale=2)
        return run.local(lambda result, x: result + self.shortcut(x), result, x)


KINDS: dict[str, type[G | S | C]] = {"G": G, "S": S, "C": C}


class Trunk(nn.Module):
    """3x3, the blocks in a row, and a fusion of all their outputs.

    Args:
        n_feats: channels before and after.
        blocks: ``kind_n_g_out``: G, S or C, 3x3 convolutions, channels inside, channels after.
    """

    def __init__(self, n_feats: int, blocks: Sequence[str]) -> None:
        super().__init__()
        self.SFENet2 = conv(n_feats, n_feats)
        made: list[nn.Module] = []
        self.widths: list[int] = []
        n_in = n_feats
        for block in blocks:
            kind, *numbers = block.split("_")
            n, g, n_out = (int(number) for number in numbers)
            made.append(KINDS[kind](n_in, n, g, n_out))
            self.widths.append(n_out)
            n_in = n_out
        self.ERBD = nn.Sequential(*made)
        self.GFF = nn.Sequential(conv(sum(self.widths), n_feats, 1), conv(n_feats, n_feats))

    @property
    def blocks(self) -> list[Block]:
        return [cast("Block", block) for block in self.ERBD]

    def forward(self, x: Tensor) -> Tensor:
        x = self.SFENet2(x)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.GFF(torch.cat(outputs, 1))  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated."""
        x = run.cache(run.local(self.SFENet2, x, halo=1))
        fusion = cast("nn.Conv2d", self.GFF[0])
        start, fused = 0, None
        for block, width in zip(self.blocks, self.widths, strict=True):
            weight = fusion.weight[:, start : start + width]
            start += width
            x = block.stages(run, x)
            if fused is None:
                bias = fusion.bias
                part = run.local(
                    lambda x, w=weight, b=bias: F.conv2d(x.to(w.dtype), w, b.to(w.dtype)), x
                )
            else:
                part = run.local(
                    lambda x, fused, w=weight: F.conv2d(x.to(w.dtype), w).add_(fused), x, fused
                )
            x, fused = run.sweep(Keep(x), Keep(part, over=fused))
        assert fused is not None, "there are blocks"
        return run.local(self.GFF[1], fused, halo=1)


class ESRN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w even.

    Args:
        scale: 2 or 4.
        blocks: as `Trunk` takes them.
        n_feats: channels outside the blocks.
    """

    def __init__(self, *, scale: int, blocks: Sequence[str], n_feats: int = 32) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"scale must be 2 or 4, not {scale}")
        self.scale = scale
        self.SFENet1 = conv(3, n_feats)
        self.ERDBLayer = Trunk(n_feats, blocks)
        n_up = 3 * n_feats if scale == 2 else 4 * n_feats
        up = [conv(n_feats, n_up), nn.PixelShuffle(2)]
        if scale == 4:
            up += [conv(n_feats, n_up), nn.PixelShuffle(2)]
        self.UPNet = nn.Sequential(*up, conv(n_up // 4, 3))

    def forward(self, lr: Tensor) -> Tensor:
        head = self.SFENet1(lr)  # (n, c, h, w)
        return self.UPNet(self.ERDBLayer(head) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        head = run.local(self.SFENet1, lr, halo=1)
        x = run.local(torch.add, self.ERDBLayer.stages(run, head), head)
        for k in range(0, len(self.UPNet) - 1, 2):
            x = run.local(self.UPNet[k : k + 2], x, halo=1, scale=2)
        return run.local(self.UPNet[-1], x, halo=1)
