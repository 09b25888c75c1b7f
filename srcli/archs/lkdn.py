"""LKDN: large kernel distillation network, and LKDN-S.

Xie et al., "Large kernel distillation network for efficient single image super-resolution", CVPR
workshops 2023, arXiv 2407.14340. Code and weights of origin: github.com/stella-von/LKDN, MIT. BSRN
with attention by large kernels in place of its two, and without shallow residuals, so that all of
it is local. As in BSRN the input enters four times over. LKDN-S was trained with a shallow residual
and two more branches, which its published file has merged.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import BSConv, LayerNorm, chained, conv, share, subpixel
from srcli.archs.rfdn import Distillation
from srcli.archs.stages import Keep, Map, Run


class LKA(nn.Module):
    """x times large-kernel attention: 1x1, depthwise 5x5, and 5x5 of every third pixel.

    Guo et al., "Visual attention network", 2022, arXiv 2202.09741; looks 8 pixels around.
    """

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.pointwise = conv(n_feats, n_feats, 1)
        self.depthwise = nn.Conv2d(n_feats, n_feats, 5, padding=2, groups=n_feats)
        self.depthwise_dilated = nn.Conv2d(
            n_feats, n_feats, 5, padding=6, dilation=3, groups=n_feats
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.depthwise_dilated(self.depthwise(self.pointwise(x)))  # type: ignore[no-any-return]


class LKDB(Distillation):
    """Distillation, large-kernel attention, 1x1 and LayerNorm, + input; looks 12 pixels around."""

    HALO = 12

    def __init__(self, n_feats: int) -> None:
        super().__init__(n_feats, make=BSConv, act=F.gelu, shallow=False)
        self.atten = LKA(n_feats)
        self.c6 = conv(n_feats, n_feats, 1)
        self.pixel_norm = LayerNorm(n_feats, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.pixel_norm(self.c6(self.atten(self.features(x)))) + x  # type: ignore[no-any-return]


class LKDN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels, an even number.
        n_blocks: distillation blocks, whose outputs are all fused before the upsampler.
    """

    def __init__(self, *, scale: int, n_feats: int = 56, n_blocks: int = 8) -> None:
        super().__init__()
        self.scale, self.n_feats, self.n_blocks = scale, n_feats, n_blocks
        self.fea_conv = BSConv(12, n_feats)
        for k in range(1, n_blocks + 1):
            self.add_module(f"B{k}", LKDB(n_feats))
        self.c1 = conv(n_feats * n_blocks, n_feats, 1)
        self.c2 = BSConv(n_feats, n_feats)
        self.upsampler = subpixel(n_feats, 3, scale)

    @property
    def blocks(self) -> list[nn.Module]:
        return [self.get_submodule(f"B{k}") for k in range(1, self.n_blocks + 1)]

    def head(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, c, h, w); looks 1 pixel around."""
        return self.fea_conv(lr.repeat(1, 4, 1, 1))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.head(lr)
        fused = self.c1(chained(self.blocks, head))  # (n, 8c, h, w) -> (n, c, h, w)
        return self.upsampler(self.c2(F.gelu(fused)) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated."""
        x = head = run.local(self.head, lr, halo=1)
        fused = None
        for k, block in enumerate(self.blocks):
            x = run.local(block, x, halo=LKDB.HALO)
            part = share(run, self.c1, k, x, fused, self.n_feats)
            if k + 1 < self.n_blocks:
                x, fused = run.sweep(Keep(x), Keep(part, over=fused))
        body = run.local(lambda fused, head: self.c2(F.gelu(fused)) + head, part, head, halo=1)
        return run.local(self.upsampler, body, halo=1, scale=self.scale)
