"""BCRN: blueprint separable convolutions, ConvNeXt residuals, two attentions.

Bai and Liang, "A very lightweight image super-resolution network", Scientific Reports 2024,
doi 10.1038/s41598-024-64724-y. Code and weights of origin: github.com/kptx666/BCRN (no licence
stated). Deviations of the released weights from the paper: no LayerNorm and no layer scale in the
ConvNeXt part; no residual around the block; the convolutions inside both attentions are BSConv too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, ESA, BSConv, chained, share
from srcli.archs.stages import Keep, Map, Run


class ConvNeXt(nn.Module):
    """x + project(GELU(expand(depthwise(x)))), after arXiv 2201.03545."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.c1_d_3 = nn.Conv2d(n_feats, n_feats, 3, padding=1, groups=n_feats)
        self.c1_r_1 = nn.Conv2d(n_feats, 4 * n_feats, 1)
        self.c1_r_2 = nn.Conv2d(4 * n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c1_r_2(F.gelu(self.c1_r_1(self.c1_d_3(x))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """BSConv, ConvNeXt, then spatial and channel attention."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = BSConv(n_feats, n_feats)
        self.convNextBlock = ConvNeXt(n_feats)
        self.esa = ESA(n_feats, 16, make=BSConv)
        self.cca = CCA(n_feats, make=BSConv)

    def features(self, x: Tensor) -> Tensor:
        """The local part: looks 2 pixels around."""
        return self.convNextBlock(self.conv(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.cca(self.esa(self.features(x)))  # type: ignore[no-any-return]


class BCRN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 15.

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: attention blocks, whose outputs are all fused before the upsampler.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 6) -> None:
        super().__init__()
        self.scale, self.n_feats, self.n_blocks = scale, n_feats, n_blocks
        self.conv1 = BSConv(3, n_feats)
        for k in range(1, n_blocks + 1):
            self.add_module(f"convNext{k}", Block(n_feats))
        self.conv2 = BSConv(n_feats * n_blocks, n_feats)
        up = BSConv(n_feats, 3 * scale**2)
        self.upsample_block = nn.Sequential(up.pw, up.dw, nn.PixelShuffle(scale))

    @property
    def blocks(self) -> list[Block]:
        return [self.get_submodule(f"convNext{k}") for k in range(1, self.n_blocks + 1)]  # type: ignore[misc]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv1(lr)  # (n, c, h, w)
        fused = self.conv2(chained(self.blocks, head))  # (n, 6c, h, w) -> (n, c, h, w)
        return self.upsample_block(F.gelu(fused) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated."""
        head = run.local(self.conv1, lr, halo=1)
        x, fused = head, None
        for k, block in enumerate(self.blocks):
            features = run.local(block.features, x, halo=2)
            if k == 0:
                kept = run.keep(features)
            else:  # the block before is added to the fusion while its output passes by
                part = share(run, self.conv2.pw, k - 1, x, fused, self.n_feats)
                kept, fused = run.sweep(Keep(features), Keep(part, over=fused))
            x = block.cca.stages(run, block.esa.stages(run, kept), over=kept)
        fused = share(run, self.conv2.pw, self.n_blocks - 1, x, fused, self.n_feats)
        body = run.local(
            lambda fused, head: F.gelu(self.conv2.dw(fused)) + head, fused, head, halo=1
        )
        return run.local(self.upsample_block, body, halo=1, scale=self.scale)
