"""SRResNet, SRGAN's generator, and two networks after it: SRGAN's with five blocks, and MSRResNet.

Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial
network", CVPR 2017, arXiv 1609.04802. The authors published no code. Deviation: the paper's network
has pictures in -1..1 at its output; here they are in 0..1.

SRGAN5: code and weights of origin github.com/leftthomas/SRGAN (commit b0323c6), MIT. Deviations:
five residual blocks; PReLU in place of BatchNorm after them; every PReLU has one slope; tanh.

MSRResNet: code of origin github.com/XPixelGroup/BasicSR, Apache-2.0. Deviations: no BatchNorm, 3x3
convolutions throughout, LeakyReLU, and the picture enlarged bilinearly is added.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, steps
from srcli.archs.merging import Expanded, Mergeable, fold
from srcli.archs.stages import Map, Run

BETWEEN_RESTS = 4  # residual blocks, of 2 pixels each


class Residual(Mergeable):
    """3x3, BatchNorm, PReLU, 3x3, BatchNorm, + input; looks 2 pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv1 = conv(n_feats, n_feats)
        self.bn1 = nn.BatchNorm2d(n_feats)
        self.prelu = nn.PReLU()
        self.conv2 = conv(n_feats, n_feats)
        self.bn2 = nn.BatchNorm2d(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))  # type: ignore[no-any-return]

    def merged(self) -> nn.Module:
        fold(self, "conv1", "bn1")
        fold(self, "conv2", "bn2")
        return self


class ConvNorm(Mergeable):
    """3x3 and BatchNorm; looks 1 pixel around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv(n_feats, n_feats)
        self.bn = nn.BatchNorm2d(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))  # type: ignore[no-any-return]

    def merged(self) -> nn.Module:
        fold(self, "conv", "bn")
        return self


class UpStep(nn.Sequential):
    """3x3 to s^2 times the channels, PixelShuffle, PReLU; looks 1 pixel around."""

    def __init__(self, n_feats: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = conv(n_feats, n_feats * factor**2)
        self.shuffle = nn.PixelShuffle(factor)
        self.prelu = nn.PReLU()


def enlarge(run: Run, up: nn.Sequential, x: Map) -> Map:
    """The upsampler's steps."""
    for step in up:
        assert isinstance(step, UpStep)
        x = run.local(step, x, halo=1, scale=step.factor)
    return x


def residuals(run: Run, blocks: nn.Sequential, x: Map) -> Map:
    """Residual blocks of two 3x3 each, with rests between."""
    for k, block in enumerate(blocks, 1):
        x = run.local(block, x, halo=2)
        if k % BETWEEN_RESTS == 0:
            x = run.cache(x)
    return x


class SRResNet(Expanded):
    """The paper's: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: native factor.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(conv(3, n_feats, 9), nn.PReLU())
        self.body = nn.Sequential(*(Residual(n_feats) for _ in range(n_blocks)))
        self.close = ConvNorm(n_feats)
        self.up = nn.Sequential(*(UpStep(n_feats, s) for s in steps(scale)))
        self.tail = conv(n_feats, 3, 9)

    def forward(self, lr: Tensor) -> Tensor:
        head = self.head(lr)  # (n, c, h, w)
        x = self.close(self.body(head)) + head
        return self.tail(self.up(x))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        head = run.cache(run.local(self.head, lr, halo=4))
        x = residuals(run, self.body, head)
        x = run.local(lambda x, head: self.close(x) + head, x, head, halo=1)
        return run.local(self.tail, enlarge(run, self.up, x), halo=4)


class SRGAN5(Expanded):
    """leftthomas's: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale) in 0..1.

    Args:
        scale: 2, 4 or 8.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 5) -> None:
        super().__init__()
        self.scale, self.n_blocks = scale, n_blocks
        self.block1 = nn.Sequential(conv(3, n_feats, 9), nn.PReLU())
        for k in range(2, n_blocks + 2):
            self.add_module(f"block{k}", Residual(n_feats))
        close = nn.Sequential(conv(n_feats, n_feats), nn.PReLU())
        self.add_module(f"block{n_blocks + 2}", close)
        up = (UpStep(n_feats, s) for s in steps(scale))
        self.add_module(f"block{n_blocks + 3}", nn.Sequential(*up, conv(n_feats, 3, 9)))

    def block(self, k: int) -> nn.Sequential:
        return self.get_submodule(f"block{k}")  # type: ignore[return-value]

    @property
    def residuals(self) -> nn.Sequential:
        return nn.Sequential(*(self.block(k) for k in range(2, self.n_blocks + 2)))

    @property
    def up(self) -> nn.Sequential:
        return self.block(self.n_blocks + 3)[:-1]  # type: ignore[return-value]

    def close(self, x: Tensor, head: Tensor) -> Tensor:
        return self.block(self.n_blocks + 2)(x) + head  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """(n, c, h s, w s) -> (n, 3, h s, w s); looks 4 pixels around."""
        return (torch.tanh(self.block(self.n_blocks + 3)[-1](x)) + 1) / 2

    def forward(self, lr: Tensor) -> Tensor:
        head = self.block1(lr)  # (n, c, h, w)
        x = self.close(self.residuals(head), head)
        return self.finish(self.up(x))

    def stages(self, run: Run, lr: Map) -> Map:
        head = run.cache(run.local(self.block1, lr, halo=4))
        x = residuals(run, self.residuals, head)
        x = run.local(self.close, x, head, halo=1)
        x = enlarge(run, self.up, x)
        return run.local(self.finish, x, halo=4)


class PlainResidual(nn.Module):
    """x + 3x3(ReLU(3x3(x))); looks 2 pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv1 = conv(n_feats, n_feats)
        self.conv2 = conv(n_feats, n_feats)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))  # type: ignore[no-any-return]


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class MSRResNet(nn.Module):
    """BasicSR's: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 16) -> None:
        super().__init__()
        self.scale, self.factors = scale, steps(scale)
        self.conv_first = conv(3, n_feats)
        self.body = nn.Sequential(*(PlainResidual(n_feats) for _ in range(n_blocks)))
        for k, s in enumerate(self.factors, 1):
            self.add_module(f"upconv{k}", conv(n_feats, n_feats * s**2))
        self.conv_hr = conv(n_feats, n_feats)
        self.conv_last = conv(n_feats, 3)

    def head(self, lr: Tensor) -> Tensor:
        return leaky(self.conv_first(lr))

    def enlarge(self, x: Tensor, k: int) -> Tensor:
        """Step k = 1, 2 of the upsampler; looks 1 pixel around."""
        return leaky(F.pixel_shuffle(self.get_submodule(f"upconv{k}")(x), self.factors[k - 1]))

    def skip(self, lr: Tensor) -> Tensor:
        """The picture itself, enlarged; looks 1 pixel around."""
        return F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def finish(self, x: Tensor, skip: Tensor) -> Tensor:
        """Looks 2 pixels around."""
        return self.conv_last(leaky(self.conv_hr(x))) + skip  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        x = self.body(self.head(lr))  # (n, c, h, w)
        for k in range(1, len(self.factors) + 1):
            x = self.enlarge(x, k)
        return self.finish(x, self.skip(lr))

    def stages(self, run: Run, lr: Map) -> Map:
        x = residuals(run, self.body, run.local(self.head, lr, halo=1))
        for k, factor in enumerate(self.factors, 1):
            x = run.local(lambda x, k=k: self.enlarge(x, k), x, halo=1, scale=factor)
        skip = run.local(self.skip, lr, halo=1, scale=self.scale)
        return run.local(self.finish, x, skip, halo=2)
