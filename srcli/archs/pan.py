"""PAN: pixel attention network.

Zhao et al., "Efficient image super-resolution using pixel attention", ECCVW 2020,
arXiv 2010.01073. Code and weights of origin: github.com/zhaohengyuan1/PAN (no licence stated).
Deviations of the released code from the paper: in the upsampler, pixel attention comes before the
activation; no activation after a block's sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, steps
from srcli.archs.stages import Map, Run


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class PixelAttention(nn.Module):
    """x times a mask for every pixel and channel."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv(n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class PAConv(nn.Module):
    """A 3x3 convolution, masked by pixel attention, then another."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.k2 = conv(n_feats, n_feats, 1)
        self.k3 = nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False)
        self.k4 = nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.k4(self.k3(x) * torch.sigmoid(self.k2(x)))  # type: ignore[no-any-return]


class SCPA(nn.Module):
    """Self-calibrated block: half of the channels plain, half with pixel attention; + input.

    Looks 2 pixels around.
    """

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        half = n_feats // 2
        self.conv1_a = nn.Conv2d(n_feats, half, 1, bias=False)
        self.conv1_b = nn.Conv2d(n_feats, half, 1, bias=False)
        self.k1 = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, bias=False))
        self.PAConv = PAConv(half)
        self.conv3 = nn.Conv2d(2 * half, n_feats, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = leaky(self.k1(leaky(self.conv1_a(x))))
        b = leaky(self.PAConv(leaky(self.conv1_b(x))))
        return self.conv3(torch.cat([a, b], 1)) + x  # type: ignore[no-any-return]


class PAN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels at LR size.
        n_up: channels while enlarging.
        n_blocks: SCPA blocks.
    """

    BETWEEN_RESTS = 4  # blocks

    def __init__(
        self, *, scale: int, n_feats: int = 40, n_up: int = 24, n_blocks: int = 16
    ) -> None:
        super().__init__()
        self.scale = scale
        self.factors = steps(scale)
        self.conv_first = conv(3, n_feats)
        self.SCPA_trunk = nn.Sequential(*(SCPA(n_feats) for _ in range(n_blocks)))
        self.trunk_conv = conv(n_feats, n_feats)
        for k in range(1, len(self.factors) + 1):
            self.add_module(f"upconv{k}", conv(n_feats if k == 1 else n_up, n_up))
            self.add_module(f"att{k}", PixelAttention(n_up))
            self.add_module(f"HRconv{k}", conv(n_up, n_up))
        self.conv_last = conv(n_up, 3)

    def enlarge(self, x: Tensor, k: int) -> Tensor:
        """Step k (1, 2) of the upsampler; looks 2 enlarged pixels around."""
        x = F.interpolate(x, scale_factor=self.factors[k - 1], mode="nearest")
        x = leaky(self.get_submodule(f"att{k}")(self.get_submodule(f"upconv{k}")(x)))
        return leaky(self.get_submodule(f"HRconv{k}")(x))

    def skip(self, lr: Tensor) -> Tensor:
        """The picture itself, enlarged; looks 1 pixel around."""
        return F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first(lr)  # (n, c, h, w)
        x = self.trunk_conv(self.SCPA_trunk(head)) + head
        for k in range(1, len(self.factors) + 1):
            x = self.enlarge(x, k)
        return self.conv_last(x) + self.skip(lr)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        head = run.local(self.conv_first, lr, halo=1)
        x = head
        for k, block in enumerate(self.SCPA_trunk, 1):
            x = run.local(block, x, halo=2)
            if k % self.BETWEEN_RESTS == 0:
                x = run.cache(x)
        x = run.local(lambda x, head: self.trunk_conv(x) + head, x, head, halo=1)
        for k, factor in enumerate(self.factors, 1):
            x = run.local(lambda x, k=k: self.enlarge(x, k), x, halo=1, scale=factor)
        skip = run.local(self.skip, lr, halo=1, scale=self.scale)
        return run.local(lambda x, skip: self.conv_last(x) + skip, x, skip, halo=1)
