"""DRRN: one residual unit, its weights shared by all passes through it.

Tai, Yang and Liu, "Image super-resolution via deep recursive residual network", CVPR 2017,
doi:10.1109/CVPR.2017.298. Parameter names of github.com/yjn870/DRRN-pytorch; no weights of it that
load are known. Deviations of that code from the paper: no BatchNorm; and its activations work in
place, so that what every pass adds is the block's first map after the ReLU, not before.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Map, Run


class Layer(nn.Module):
    """ReLU, then 3x3 without bias."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.ReLU(), nn.Conv2d(n_in, n_out, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)  # type: ignore[no-any-return]


class Unit(nn.Module):
    """Two layers; looks 2 pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.module = nn.Sequential(Layer(n_feats, n_feats), Layer(n_feats, n_feats))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)  # type: ignore[no-any-return]


class Recursion(nn.Module):
    """A layer, then passes through one unit, the layer's output added to each."""

    def __init__(self, n_in: int, n_feats: int, n_units: int) -> None:
        super().__init__()
        self.n_units = n_units
        self.h0 = Layer(n_in, n_feats)
        self.ru = Unit(n_feats)

    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.h0(x))

    def again(self, x: Tensor, h0: Tensor) -> Tensor:
        return self.ru(x) + h0  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        x = h0 = self.first(x)
        for _ in range(self.n_units):
            x = self.again(x, h0)
        return x

    def stages(self, run: Run, x: Map) -> Map:
        x = h0 = run.local(self.first, x, halo=1)
        for _ in range(self.n_units):
            x = run.local(self.again, x, h0, halo=2)
        return x


class DRRN(nn.Module):
    """The picture's luma enlarged bicubically (n, 1, h, w) in 0..1 to the same, sharper.

    Args:
        scale: what the picture was enlarged by; one network serves all.
        n_feats: channels.
        n_blocks: recursive blocks (B of the paper's names).
        n_units: passes through each block's unit (U).
    """

    def __init__(
        self, *, scale: int, n_feats: int = 128, n_blocks: int = 1, n_units: int = 25
    ) -> None:
        super().__init__()
        self.scale = scale
        self.rbs = nn.Sequential(
            *(Recursion(n_feats if b else 1, n_feats, n_units) for b in range(n_blocks))
        )
        self.rec = Layer(n_feats, 1)

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        return self.rec(x) + lr  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.rbs(lr), lr)

    def stages(self, run: Run, lr: Map) -> Map:
        # nothing is stored between: at output size that would be more than halos cost
        x = lr
        for block in self.rbs:
            assert isinstance(block, Recursion)
            x = block.stages(run, x)
        return run.local(self.finish, x, lr, halo=1)
