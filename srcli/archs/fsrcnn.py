"""FSRCNN: thin layers at low resolution, enlarged by one transposed convolution at the end.

Dong, Loy and Tang, "Accelerating the super-resolution convolutional neural network", ECCV 2016,
arXiv 1608.00367. Parameter names and weights of origin: github.com/yjn870/FSRCNN-pytorch, no
licence stated. Deviation of that code: the red coefficient of its luma has two digits swapped, up
to one grey level darker in red; here luma is BT.601's.
"""

from __future__ import annotations

from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.stages import Map, Run


class FSRCNN(nn.Module):
    """LR luma (n, 1, h, w) in 0..1 to SR luma (n, 1, h * scale, w * scale).

    Args:
        scale: native factor.
        d: channels of the first and the last layers.
        s: channels between, where the mapping is done.
        m: mapping layers.
    """

    def __init__(self, *, scale: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.scale, self.m = scale, m
        self.first_part = nn.Sequential(conv(1, d, 5), nn.PReLU(d))
        layers: list[nn.Module] = [conv(d, s, 1), nn.PReLU(s)]
        for _ in range(m):
            layers += [conv(s, s), nn.PReLU(s)]
        self.mid_part = nn.Sequential(*layers, conv(s, d, 1), nn.PReLU(d))
        self.last_part = nn.ConvTranspose2d(
            d, 1, 9, stride=scale, padding=4, output_padding=scale - 1
        )

    def forward(self, lr: Tensor) -> Tensor:
        x = self.mid_part(self.first_part(lr))  # (n, d, h, w)
        return self.last_part(x)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.first_part, lr, halo=2)
        x = run.local(self.mid_part, x, halo=self.m)
        # a 9x9 kernel at a stride of at least 2 reaches two LR pixels
        return run.local(self.last_part, x, halo=2, scale=self.scale)
