"""IMDN: information multi-distillation network.

Hui et al., "Lightweight image super-resolution with information multi-distillation network",
ACM MM 2019, arXiv 1909.11856. Code and weights of origin: github.com/Zheng222/IMDN (no licence
stated). Deviation of the released code from the paper's figure: no activation after a block's last
3x3 convolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, chained, conv, share, subpixel
from srcli.archs.stages import Keep, Map, Moments, Run


class IMDModule(nn.Module):
    """Three times: a quarter of the channels is done, the rest refined on; channel attention."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.done = n_feats // 4
        rest = n_feats - self.done
        self.c1 = conv(n_feats, n_feats)
        self.c2 = conv(rest, n_feats)
        self.c3 = conv(rest, n_feats)
        self.c4 = conv(rest, self.done)
        self.cca = CCA(n_feats)
        self.c5 = conv(n_feats, n_feats, 1)

    def distil(self, x: Tensor) -> Tensor:
        """The local part before the attention: looks 4 pixels around."""
        done, rest = [], x
        for step in (self.c1, self.c2, self.c3):
            out = F.leaky_relu(step(rest), 0.05, inplace=True)
            done.append(out[:, : self.done])
            rest = out[:, self.done :]
        return torch.cat([*done, self.c4(rest)], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c5(self.cca(self.distil(x))) + x  # type: ignore[no-any-return]


class DistillationNetwork(nn.Module):
    """What IMDN and RFDN share: blocks in a row, all outputs fused before the upsampler.

    Args:
        scale: native factor.
        blocks: of ``n_feats`` channels each.
        prefix: the state dict's name of a block, before its number.
    """

    def __init__(self, scale: int, n_feats: int, blocks: list[nn.Module], prefix: str) -> None:
        super().__init__()
        self.scale, self.n_feats, self.n_blocks = scale, n_feats, len(blocks)
        self.prefix = prefix
        self.fea_conv = conv(3, n_feats)
        for k, block in enumerate(blocks, 1):
            self.add_module(f"{prefix}{k}", block)
        self.c = nn.Sequential(conv(n_feats * len(blocks), n_feats, 1), nn.LeakyReLU(0.05))
        self.LR_conv = conv(n_feats, n_feats)
        self.upsampler = subpixel(n_feats, 3, scale)

    @property
    def blocks(self) -> list[Any]:
        return [self.get_submodule(f"{self.prefix}{k}") for k in range(1, self.n_blocks + 1)]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.fea_conv(lr)  # (n, c, h, w)
        fused = self.c(chained(self.blocks, head))  # (n, c * blocks, h, w) -> (n, c, h, w)
        return self.upsampler(self.LR_conv(fused) + head)  # type: ignore[no-any-return]

    def finish(self, run: Run, fused: Map, head: Map) -> Map:
        """The stages after the fusion's 1x1 convolution."""
        body = run.local(
            lambda fused, head: self.LR_conv(self.c[1](fused)) + head, fused, head, halo=1
        )
        return run.local(self.upsampler, body, halo=1, scale=self.scale)


class IMDN(DistillationNetwork):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels, a multiple of 16.
        n_blocks: distillation blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 6) -> None:
        blocks: list[nn.Module] = [IMDModule(n_feats) for _ in range(n_blocks)]
        super().__init__(scale, n_feats, blocks, "IMDB")

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated.

        Three maps are stored: a block's input, its distilled features, and the fusion.
        """
        head = run.local(self.fea_conv, lr, halo=1)
        x, stored, distilled, fused = head, None, None, None
        for k, block in enumerate(self.blocks):
            features = run.local(block.distil, x, halo=4)
            distilled, moments = run.sweep(Keep(features, over=distilled), Moments(features))
            gain = block.cca.gain(*moments)
            x = run.local(
                lambda d, x, block=block, gain=gain: block.c5(d * gain).add_(x), distilled, x
            )
            part = share(run, self.c[0], k, x, fused, self.n_feats)
            if k + 1 < self.n_blocks:
                stored, fused = run.sweep(Keep(x, over=stored), Keep(part, over=fused))
                x = stored
        return self.finish(run, part, head)
