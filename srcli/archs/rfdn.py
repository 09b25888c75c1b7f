"""RFDN: residual feature distillation network, in the form that won AIM 2020's challenge.

Liu, Tang and Wu, "Residual feature distillation network for lightweight image super-resolution",
ECCVW 2020, arXiv 2009.11551. Code and weights of origin: github.com/njulj/RFDN, MIT. Trained on
0..255. Deviations of the released weights from the paper: 50 channels and 4 blocks (the paper's
table is of a larger network); no residual around a block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import ESA, Conv, conv, share
from srcli.archs.imdn import DistillationNetwork
from srcli.archs.stages import Keep, Map, Run


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.05, inplace=True)


class Distillation(nn.Module):
    """Three times: 1x1 distils half the channels, 3x3 refines on.

    Args:
        n_feats: channels in and out.
        make: constructor of the 3x3 convolutions.
        point: of the 1x1 ones.
        act: activation; follows the addition of each shallow residual.
        shallow: what is refined is added to what comes of it.
    """

    def __init__(
        self,
        n_feats: int,
        *,
        make: Conv = conv,
        point: Conv = conv,
        act: Callable[[Tensor], Tensor] = leaky,
        shallow: bool = True,
    ) -> None:
        super().__init__()
        half = n_feats // 2
        self.act, self.shallow = act, shallow
        self.c1_d = point(n_feats, half, 1)
        self.c1_r = make(n_feats, n_feats)
        self.c2_d = point(n_feats, half, 1)
        self.c2_r = make(n_feats, n_feats)
        self.c3_d = point(n_feats, half, 1)
        self.c3_r = make(n_feats, n_feats)
        self.c4 = make(n_feats, half)
        self.c5 = point(4 * half, n_feats, 1)

    def features(self, x: Tensor) -> Tensor:
        """The local part: looks 4 pixels around."""
        parts = []
        for distil, refine in (
            (self.c1_d, self.c1_r),
            (self.c2_d, self.c2_r),
            (self.c3_d, self.c3_r),
        ):
            parts.append(self.act(distil(x)))
            refined = refine(x)
            x = self.act(refined + x if self.shallow else refined)
        parts.append(self.act(self.c4(x)))
        return self.c5(torch.cat(parts, 1))  # type: ignore[no-any-return]


class RFDB(Distillation):
    """Residual feature distillation, then spatial attention."""

    def __init__(self, n_feats: int) -> None:
        super().__init__(n_feats)
        self.esa = ESA(n_feats, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.esa(self.features(x))  # type: ignore[no-any-return]


class RFDN(DistillationNetwork):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale); h, w >= 15.

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: distillation blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 50, n_blocks: int = 4) -> None:
        blocks: list[nn.Module] = [RFDB(n_feats) for _ in range(n_blocks)]
        super().__init__(scale, n_feats, blocks, "B")

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated."""
        head = run.local(self.fea_conv, lr, halo=1)
        x, fused = head, None
        for k, block in enumerate(self.blocks):
            features = run.local(block.features, x, halo=4)
            if k == 0:
                kept = run.keep(features)
            else:  # the block before is added to the fusion while its output passes by
                part = share(run, self.c[0], k - 1, x, fused, self.n_feats)
                kept, fused = run.sweep(Keep(features), Keep(part, over=fused))
            x = block.esa.stages(run, kept)
        fused = share(run, self.c[0], self.n_blocks - 1, x, fused, self.n_feats)
        return self.finish(run, fused, head)
