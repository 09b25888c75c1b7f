"""The U-Net with spectral norm that Real-ESRGAN is trained against.

Wang et al., "Real-ESRGAN: training real-world blind super-resolution with pure synthetic data",
ICCVW 2021, arXiv 2107.10833. Code of origin: github.com/xinntao/Real-ESRGAN, BSD-3-Clause, whose
parameter names these are.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm


class UNetDiscriminator(nn.Module):
    """RGB (n, 3, h, w) in 0..1, h and w multiples of 8, to a logit for each pixel, (n, 1, h, w).

    Args:
        n_feats: channels of the first layer; 4,376,897 parameters with 64.
    """

    MULTIPLE = 8

    def __init__(self, *, n_feats: int = 64) -> None:
        super().__init__()

        def down(k: int) -> nn.Module:
            n = n_feats * 2**k
            return spectral_norm(nn.Conv2d(n, 2 * n, 4, 2, 1, bias=False))

        def same(n_in: int, n_out: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False))

        self.conv0 = nn.Conv2d(3, n_feats, 3, 1, 1)
        self.conv1, self.conv2, self.conv3 = down(0), down(1), down(2)
        self.conv4 = same(8 * n_feats, 4 * n_feats)
        self.conv5 = same(4 * n_feats, 2 * n_feats)
        self.conv6 = same(2 * n_feats, n_feats)
        self.conv7, self.conv8 = same(n_feats, n_feats), same(n_feats, n_feats)
        self.conv9 = nn.Conv2d(n_feats, 1, 3, 1, 1)

    def forward(self, picture: Tensor) -> Tensor:
        x0 = _leaky(self.conv0(picture))
        x1 = _leaky(self.conv1(x0))
        x2 = _leaky(self.conv2(x1))
        x = _leaky(self.conv3(x2))
        for conv, skip in ((self.conv4, x2), (self.conv5, x1), (self.conv6, x0)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = _leaky(conv(x)) + skip
        logits: Tensor = self.conv9(_leaky(self.conv8(_leaky(self.conv7(x)))))
        return logits


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
