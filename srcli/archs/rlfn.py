"""RLFN: residual local feature network, its small form RLFN-S and the NTIRE 2022 winner.

Kong et al., "Residual local feature network for efficient super-resolution", CVPRW 2022,
arXiv 2205.07514. Code and weights of origin: github.com/bytedance/RLFN, Apache-2.0. Trained on
0..255. Deviation of the released code from the paper: LeakyReLU with slope 0.05, not ReLU.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import ESA, conv, subpixel
from srcli.archs.stages import Map, Run


class RLFB(nn.Module):
    """Three 3x3 convolutions with a residual, 1x1, spatial attention."""

    def __init__(self, n_feats: int, hidden: int) -> None:
        super().__init__()
        self.c1_r = conv(n_feats, hidden)
        self.c2_r = conv(hidden, hidden)
        self.c3_r = conv(hidden, n_feats)
        self.c5 = conv(n_feats, n_feats, 1)
        self.esa = ESA(n_feats, 16, deep=False)

    def features(self, x: Tensor) -> Tensor:
        """The local part: looks 3 pixels around."""
        out = F.leaky_relu(self.c1_r(x), 0.05, inplace=True)
        out = F.leaky_relu(self.c2_r(out), 0.05, inplace=True)
        out = F.leaky_relu(self.c3_r(out), 0.05, inplace=True)
        return self.c5(out + x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.esa(self.features(x))  # type: ignore[no-any-return]


class RLFN(nn.Module):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale); h, w >= 15.

    Args:
        scale: 2, 3 or 4.
        channels: 52 (RLFN), 48 (RLFN-S), 46 (NTIRE).
        hidden: channels between a block's 3x3 convolutions; as ``channels``, but 48 for NTIRE.
        n_blocks: 6, for NTIRE 4.
    """

    def __init__(
        self, *, scale: int, channels: int = 52, hidden: int = 52, n_blocks: int = 6
    ) -> None:
        super().__init__()
        self.scale, self.n_blocks = scale, n_blocks
        self.conv_1 = conv(3, channels)
        for k in range(1, n_blocks + 1):
            self.add_module(f"block_{k}", RLFB(channels, hidden))
        self.conv_2 = conv(channels, channels)
        self.upsampler = subpixel(channels, 3, scale)

    @property
    def blocks(self) -> list[RLFB]:
        return [self.get_submodule(f"block_{k}") for k in range(1, self.n_blocks + 1)]  # type: ignore[misc]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_1(lr)  # (n, c, h, w)
        x = head
        for block in self.blocks:
            x = block(x)
        return self.upsampler(self.conv_2(x) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        head = run.local(self.conv_1, lr, halo=1)
        x = head
        for block in self.blocks:
            x = block.esa.stages(run, run.keep(run.local(block.features, x, halo=3)))
        body = run.local(lambda x, head: self.conv_2(x) + head, x, head, halo=1)
        return run.local(self.upsampler, body, halo=1, scale=self.scale)
