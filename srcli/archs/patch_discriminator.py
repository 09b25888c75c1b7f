"""PatchGAN's discriminator with spectral norm: each logit sees 70 x 70 pixels.

Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, arXiv
1611.07004; with spectral norm as in github.com/cszn/KAIR (MIT).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import spectral_norm


class PatchDiscriminator(nn.Module):
    """RGB (n, 3, h, w) in 0..1 to logits (n, 1, about h / 8, about w / 8).

    Args:
        n_feats: channels of the first layer; 2,764,737 parameters with 64.
        n_layers: convolutions of stride 2.
    """

    def __init__(self, *, n_feats: int = 64, n_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 3
        for k in range(n_layers + 1):
            n_out = n_feats * 2 ** min(k, 3)
            stride = 2 if k < n_layers else 1
            layers += [spectral_norm(nn.Conv2d(n_in, n_out, 4, stride, 2)), nn.LeakyReLU(0.2)]
            n_in = n_out
        layers.append(spectral_norm(nn.Conv2d(n_in, 1, 4, 1, 2)))
        self.layers = nn.Sequential(*layers)

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(picture)
        return logits
