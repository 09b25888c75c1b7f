"""BSRN: blueprint separable residual network, and BSRN-S, NTIRE 2022's winner in complexity.

Li et al., "Blueprint separable residual network for efficient image super-resolution", CVPRW 2022,
arXiv 2205.05996. Code and weights of origin: github.com/xiaom233/BSRN, MIT. Not in the paper's
figures: the input enters four times over; inside the spatial attention the 1x1 convolutions are
plain. BSRN-S has a learned factor for each channel in place of the channel attention, its
1x1 convolutions are stored as linear layers, all with bias, and the attention's strided convolution
is a plain one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, ESA, BSConv, chained, conv, share, subpixel
from srcli.archs.rfdn import Distillation
from srcli.archs.stages import Keep, Map, Run


class Pointwise(nn.Linear):
    """A 1x1 convolution whose weight is stored without spatial axes."""

    def __init__(self, n_in: int, n_out: int, kernel: int = 1) -> None:
        assert kernel == 1
        super().__init__(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


class BSConvS(BSConv):
    """BSConv with a bias in its 1x1 convolution too; zero padding comes after it."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride=stride, padding=padding)
        self.pw = Pointwise(n_in, n_out)  # type: ignore[assignment]


class ESDB(Distillation):
    """Efficient separable distillation, spatial and channel attention, + input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__(n_feats, make=BSConv, act=F.gelu)
        self.esa = ESA(n_feats, 16, make=BSConv, point=conv, act=F.gelu)
        self.cca = CCA(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return self.cca(self.esa(self.features(x))) + x  # type: ignore[no-any-return]

    def stages(self, run: Run, kept: Map, x: Map) -> Map:
        """``forward`` from the stored features on; they are written over."""
        out = self.cca.stages(run, self.esa.stages(run, kept), over=kept)
        return run.local(torch.add, out, x)


class ESDBS(Distillation):
    """BSRN-S's block: a learned factor for each channel, then 1x1, + input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__(n_feats, make=BSConvS, point=Pointwise, act=F.gelu)
        self.esa = ESA(n_feats, 12, make=BSConvS, point=Pointwise, down=conv, act=F.gelu)
        self.cw = nn.Parameter(torch.ones(1, n_feats))
        self.conv_out = Pointwise(n_feats, n_feats)

    def finish(self, out: Tensor, x: Tensor) -> Tensor:
        return self.conv_out(out * self.cw[:, :, None, None]) + x  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.esa(self.features(x)), x)

    def stages(self, run: Run, kept: Map, x: Map) -> Map:
        """``forward`` from the stored features on."""
        return run.local(self.finish, self.esa.stages(run, kept), x)


class BSRN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 15.

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: distillation blocks, whose outputs are all fused before the upsampler.
        small: BSRN-S's blocks and linear layers.
    """

    def __init__(
        self, *, scale: int, n_feats: int = 64, n_blocks: int = 8, small: bool = False
    ) -> None:
        super().__init__()
        self.scale, self.n_feats, self.n_blocks = scale, n_feats, n_blocks
        make, point = (BSConvS, Pointwise) if small else (BSConv, conv)
        self.fea_conv = make(12, n_feats)
        for k in range(1, n_blocks + 1):
            self.add_module(f"B{k}", ESDBS(n_feats) if small else ESDB(n_feats))
        self.c1 = point(n_feats * n_blocks, n_feats, 1)
        self.c2 = make(n_feats, n_feats)
        self.upsampler = nn.Module()
        self.upsampler.upsampleOneStep = subpixel(n_feats, 3, scale)

    @property
    def blocks(self) -> list[ESDB | ESDBS]:
        return [self.get_submodule(f"B{k}") for k in range(1, self.n_blocks + 1)]  # type: ignore[misc]

    def head(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, c, h, w); looks 1 pixel around."""
        return self.fea_conv(lr.repeat(1, 4, 1, 1))  # type: ignore[no-any-return]

    def tail(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, 3, h s, w s); looks 1 pixel around."""
        return self.upsampler.upsampleOneStep(x)  # type: ignore[no-any-return, operator]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.head(lr)
        fused = self.c1(chained(self.blocks, head))  # (n, 8c, h, w) -> (n, c, h, w)
        return self.tail(self.c2(F.gelu(fused)) + head)

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward`` with the fusion added up block by block instead of concatenated.

        Three maps are stored: a block's input, its features, and the fusion.
        """
        head = run.local(self.head, lr, halo=1)
        x, stored, kept, fused = head, None, None, None
        for k, block in enumerate(self.blocks):
            kept = run.keep(run.local(block.features, x, halo=4), over=kept)
            x = block.stages(run, kept, x)
            part = share(run, self.c1, k, x, fused, self.n_feats)
            if k + 1 < self.n_blocks:
                stored, fused = run.sweep(Keep(x, over=stored), Keep(part, over=fused))
                x = stored
        body = run.local(lambda fused, head: self.c2(F.gelu(fused)) + head, part, head, halo=1)
        return run.local(self.tail, body, halo=1, scale=self.scale)
