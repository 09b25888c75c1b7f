"""waifu2x's upconv_7: six convolutions and a transposed one that enlarges by 2.

Code and weights of origin: github.com/nagadomi/waifu2x, MIT; the files in ncnn's format are from
github.com/nihui/waifu2x-ncnn-vulkan, MIT. There is no paper: the network grew out of SRCNN's
(arXiv 1501.00092) and of the transposed convolution of FSRCNN (arXiv 1608.00367). Nothing is
padded inside; instead the picture is, by repeating its border.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Map, Run

CHANNELS = (3, 16, 32, 64, 128, 128, 256)
MARGIN = 7  # LR pixels that the layers take away on each side

# the file's layers in its order: name, (out, in, height, width), whether it is a transposed one
LAYERS = (
    *(
        (f"convs.{k}", (n_out, n_in, 3, 3), False)
        for k, (n_in, n_out) in enumerate(pairwise(CHANNELS))
    ),
    ("up", (3, CHANNELS[-1], 4, 4), True),
)


class UpConv7(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, 2 h, 2 w).

    Args:
        scale: 2.
    """

    def __init__(self, *, scale: int = 2) -> None:
        super().__init__()
        if scale != 2:
            raise ValueError(f"scale must be 2, not {scale}")
        self.convs = nn.ModuleList(nn.Conv2d(n_in, n_out, 3) for n_in, n_out in pairwise(CHANNELS))
        self.up = nn.ConvTranspose2d(CHANNELS[-1], 3, 4, stride=2, padding=3)

    def forward(self, lr: Tensor) -> Tensor:
        x = F.pad(lr, (MARGIN,) * 4, mode="replicate")  # (n, 3, h + 14, w + 14)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
        return self.up(x)  # type: ignore[no-any-return]  # (n, 3, 2 h, 2 w)

    def stages(self, run: Run, lr: Map) -> Map:
        return run.local(self.forward, lr, halo=MARGIN, scale=2)
