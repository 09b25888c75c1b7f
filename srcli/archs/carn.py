"""CARN: cascading residual network, and CARN-M, the mobile form.

Ahn, Kang and Sohn, "Fast, accurate, and lightweight super-resolution with cascading residual
network", ECCV 2018, arXiv 1803.08664. Code and weights of origin: github.com/nmhkahn/CARN-pytorch,
MIT. The released files serve x2, x3 and x4, so the network holds all three upsamplers. Deviations
from the paper: a later training, without the paper's reduced upsampler; the mean colour is
subtracted at the input and added back at the output by fixed 1x1 convolutions in the state dict.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import MeanShift, conv, steps
from srcli.archs.stages import Map, Run

SCALES = (2, 3, 4)


def grouped(n_in: int, n_out: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, groups=groups)


class Body(nn.Module):
    """Layers in a row, under the name that the state dict has for them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


class Residual(Body):
    """Two 3x3; if they are grouped, a 1x1 too (efficient residual block). Looks 2 pixels around."""

    def __init__(self, n_feats: int, groups: int) -> None:
        layers: list[nn.Module] = [
            grouped(n_feats, n_feats, groups),
            nn.ReLU(inplace=True),
            grouped(n_feats, n_feats, groups),
        ]
        if groups > 1:
            layers += [nn.ReLU(inplace=True), conv(n_feats, n_feats, 1)]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


def merge(n_parts: int, n_feats: int) -> Body:
    """1x1 and ReLU over the concatenation of all outputs so far."""
    return Body(conv(n_parts * n_feats, n_feats, 1), nn.ReLU(inplace=True))


class Cascade(nn.Module):
    """Three residual blocks, or three times the same, each output merged with all before it.

    Looks 6 pixels around.
    """

    def __init__(self, n_feats: int, groups: int, recursive: bool) -> None:
        super().__init__()
        self.n_blocks = 1 if recursive else 3
        for k in range(1, self.n_blocks + 1):
            self.add_module(f"b{k}", Residual(n_feats, groups))
        self.c1 = merge(2, n_feats)
        self.c2 = merge(3, n_feats)
        self.c3 = merge(4, n_feats)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for k, c in enumerate((self.c1, self.c2, self.c3)):
            outputs.append(self.get_submodule(f"b{k % self.n_blocks + 1}")(x))
            x = c(torch.cat(outputs, 1))
        return x


def enlarger(n_feats: int, scale: int, groups: int) -> Body:
    """Per step: 3x3, ReLU, PixelShuffle."""
    layers: list[nn.Module] = []
    for s in steps(scale):
        up = grouped(n_feats, n_feats * s * s, groups)
        layers += [up, nn.ReLU(inplace=True), nn.PixelShuffle(s)]
    return Body(*layers)


class CARN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4; says which upsampler is used.
        n_feats: channels, a multiple of ``groups``.
        groups: of the 3x3 convolutions.
        recursive: one residual block serves all three steps of a cascade.
    """

    def __init__(
        self, *, scale: int, n_feats: int = 64, groups: int = 1, recursive: bool = False
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be 2, 3 or 4, not {scale}")
        self.scale = scale
        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.entry = conv(3, n_feats)
        self.b1 = Cascade(n_feats, groups, recursive)
        self.b2 = Cascade(n_feats, groups, recursive)
        self.b3 = Cascade(n_feats, groups, recursive)
        self.c1 = merge(2, n_feats)
        self.c2 = merge(3, n_feats)
        self.c3 = merge(4, n_feats)
        self.upsample = nn.Module()
        for s in SCALES:
            self.upsample.add_module(f"up{s}", enlarger(n_feats, s, groups))
        self.exit = conv(n_feats, 3)

    def enlarge(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h s, w s)."""
        return self.upsample.get_submodule(f"up{self.scale}")(x)  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        return self.add_mean(self.exit(x))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        x = self.entry(self.sub_mean(lr))  # (n, c, h, w)
        outputs = [x]
        for b, c in ((self.b1, self.c1), (self.b2, self.c2), (self.b3, self.c3)):
            outputs.append(b(x))
            x = c(torch.cat(outputs, 1))  # (n, 2c .. 4c, h, w) -> (n, c, h, w)
        return self.finish(self.enlarge(x))

    def stages(self, run: Run, lr: Map) -> Map:
        # mean and entry are two locals: zero padding belongs after the shift
        x = run.local(self.entry, run.local(self.sub_mean, lr), halo=1)
        outputs = [x]
        for b, c in ((self.b1, self.c1), (self.b2, self.c2), (self.b3, self.c3)):
            outputs.append(run.cache(run.local(b, x, halo=6)))
            x = run.local(lambda *parts, c=c: c(torch.cat(parts, 1)), *outputs)
        halo = 2 if self.scale == 4 else 1
        up = run.local(self.enlarge, x, halo=halo, scale=self.scale)
        return run.local(self.finish, up, halo=1)


class CARNM(CARN):
    """CARN-M: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4; says which upsampler is used.
        n_feats: channels, a multiple of 4.
    """

    def __init__(self, *, scale: int, n_feats: int = 64) -> None:
        super().__init__(scale=scale, n_feats=n_feats, groups=4, recursive=True)
