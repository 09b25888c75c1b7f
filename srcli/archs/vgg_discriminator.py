"""The discriminator of SRGAN and ESRGAN: VGG's plan, for pictures of one size.

Ledig et al., CVPR 2017, arXiv 1609.04802; as in github.com/XPixelGroup/BasicSR (Apache-2.0), whose
parameter names these are: ESRGAN's. Deviation from SRGAN's paper: 4x4 convolutions where the size
is halved, five times, and 100 hidden units.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class VGGDiscriminator(nn.Module):
    """RGB (n, 3, side, side) in 0..1 to one logit a picture, (n, 1).

    Args:
        side: of the pictures, a multiple of 32; 14,499,401 parameters with 128.
        n_feats: channels of the first layers.
    """

    MULTIPLE = 32

    def __init__(self, *, side: int = 128, n_feats: int = 64) -> None:
        super().__init__()
        n_in = 3
        for k in range(5):
            n = n_feats * 2 ** min(k, 3)
            first = nn.Conv2d(n_in, n, 3, 1, 1, bias=k == 0)
            self.add_module(f"conv{k}_0", first)
            if k:
                self.add_module(f"bn{k}_0", nn.BatchNorm2d(n))
            self.add_module(f"conv{k}_1", nn.Conv2d(n, n, 4, 2, 1, bias=False))
            self.add_module(f"bn{k}_1", nn.BatchNorm2d(n))
            n_in = n
        self.linear1 = nn.Linear(n_in * (side // 32) ** 2, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, picture: Tensor) -> Tensor:
        x = picture
        for k in range(5):
            for j in range(2):
                x = self.get_submodule(f"conv{k}_{j}")(x)
                x = self.get_submodule(f"bn{k}_{j}")(x) if k or j else x
                x = F.leaky_relu(x, 0.2)
        logits: Tensor = self.linear2(F.leaky_relu(self.linear1(x.flatten(1)), 0.2))
        return logits
