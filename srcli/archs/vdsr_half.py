"""VDSR-half: VDSR with half the channels, the student of a distillation without data.

Zhang et al., "Data-free knowledge distillation for image super-resolution", CVPR 2021. Code of
origin: github.com/huawei-noah/Efficient-Computing (DFSR), BSD-3. No layer has a bias. There it is
distilled on pictures that a generator makes; here it trains on pictures, by its recipe's preset
``distilled`` towards what VDSR gives.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Map, Run


def plain(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)


class Layer(nn.Module):
    """3x3 and ReLU."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = plain(n_feats, n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class VDSRHalf(nn.Module):
    """Luma enlarged bicubically (n, 1, h, w) in 0..1 to the same, sharper.

    Args:
        scale: what the picture was enlarged by; one network serves all.
        n_feats: channels; 64 is the teacher.
        n_layers: between the first and the last.
    """

    def __init__(self, *, scale: int, n_feats: int = 32, n_layers: int = 18) -> None:
        super().__init__()
        self.scale = scale
        self.input = plain(1, n_feats)
        self.residual_layer = nn.Sequential(*(Layer(n_feats) for _ in range(n_layers)))
        self.output = plain(n_feats, 1)

    def first(self, lr: Tensor) -> Tensor:
        return F.relu(self.input(lr))

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """What is lacking, added to the picture."""
        return self.output(x) + lr  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.residual_layer(self.first(lr)), lr)

    def stages(self, run: Run, lr: Map) -> Map:
        # nothing is stored between: at output size that would be more than halos cost
        x = run.local(self.first, lr, halo=1)
        for layer in self.residual_layer:
            x = run.local(layer, x, halo=1)
        return run.local(self.finish, x, lr, halo=1)
