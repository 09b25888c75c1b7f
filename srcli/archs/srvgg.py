"""SRVGGNetCompact: one chain of 3x3 convolutions, the small network of Real-ESRGAN.

Wang et al., "Real-ESRGAN: training real-world blind super-resolution with pure synthetic data",
ICCV workshops 2021, arXiv 2107.10833. Code and weights of origin: github.com/xinntao/Real-ESRGAN,
BSD-3-Clause. The network is not in the paper; the released code describes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.stages import Map, Run


class SRVGGNetCompact(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor; all released weights have 4.
        n_feats: channels.
        n_convs: convolutions between the first and the last.
    """

    BETWEEN_RESTS = 6  # convolutions

    def __init__(self, *, scale: int, n_feats: int = 64, n_convs: int = 16) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [conv(3, n_feats), nn.PReLU(n_feats)]
        for _ in range(n_convs):
            layers += [conv(n_feats, n_feats), nn.PReLU(n_feats)]
        self.body = nn.Sequential(*layers, conv(n_feats, 3 * scale**2))

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        last = max(int(name.split(".")[1]) for name in shapes if name.startswith("body."))
        return {
            "scale": math.isqrt(shapes[f"body.{last}.weight"][0] // 3),
            "n_feats": shapes["body.0.weight"][0],
            "n_convs": last // 2 - 1,
        }

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """The chain's result, shuffled, + the picture enlarged by repetition."""
        nearest = F.interpolate(lr, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(x, self.scale) + nearest

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.body(lr), lr)  # (n, 3 s^2, h, w) -> (n, 3, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        x = lr
        last = len(self.body) - 1
        for k in range(0, last, 2):  # a convolution and its PReLU
            x = run.local(self.body[k : k + 2], x, halo=1)
            if k // 2 % self.BETWEEN_RESTS == self.BETWEEN_RESTS - 1:
                x = run.cache(x)
        x = run.local(self.body[last], x, halo=1)
        return run.local(self.finish, x, lr, scale=self.scale)
