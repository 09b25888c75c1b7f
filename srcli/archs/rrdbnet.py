"""RRDBNet: residual-in-residual dense blocks, the generator of ESRGAN and Real-ESRGAN.

Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops
2018, arXiv 1809.00219; x2 and x1 after Real-ESRGAN, arXiv 2107.10833. Code of origin:
github.com/xinntao/ESRGAN, Apache-2.0, and github.com/XPixelGroup/BasicSR, whose names these are;
files with the names of ESRGAN's releases, old and oldest, load too. Not in the paper: nearest
enlargement and a convolution in place of the sub-pixel upsampler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.names import rename_on_loading, renamed
from srcli.archs.stages import Map, Run

RESIDUAL_SCALE = 0.2


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class DenseBlock(nn.Module):
    """Five 3x3, each fed by all before it, scaled and added to the input; looks 5 around."""

    def __init__(self, n_feats: int, growth: int) -> None:
        super().__init__()
        for k in range(1, 5):
            self.add_module(f"conv{k}", conv(n_feats + (k - 1) * growth, growth))
        self.conv5 = conv(n_feats + 4 * growth, n_feats)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for k in range(1, 5):
            parts.append(leaky(self.get_submodule(f"conv{k}")(torch.cat(parts, 1))))
        return x + RESIDUAL_SCALE * self.conv5(torch.cat(parts, 1))  # type: ignore[no-any-return]


class RRDB(nn.Module):
    """Three dense blocks, scaled and added to the input."""

    def __init__(self, n_feats: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(n_feats, growth)
        self.rdb2 = DenseBlock(n_feats, growth)
        self.rdb3 = DenseBlock(n_feats, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(x)))  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        """``forward`` with a rest after each dense block; x should be a stored map."""
        inner = run.rest(run.local(self.rdb1, x, halo=5))
        inner = run.rest(run.local(self.rdb2, inner, halo=5))
        inner = run.local(self.rdb3, inner, halo=5)
        return run.rest(run.local(lambda x, inner: x + RESIDUAL_SCALE * inner, x, inner))


class RRDBNet(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    For x2 and x1, the picture is first unshuffled to a half and a quarter of its size, which must
    divide h and w; what follows always enlarges by 4.

    Args:
        scale: 4, 2 or 1.
        n_feats: channels.
        n_blocks: residual-in-residual blocks.
        growth: channels that each convolution of a dense block adds.
    """

    # a trunk of n blocks is the oldest form's model.1.sub.0 .. n - 1, and its convolution sub.n
    OLDER = (
        (r"model\.0\.", "conv_first."),
        (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
        (r"model\.1\.sub\.\d+\.", "conv_body."),
        (r"model\.3\.", "conv_up1."),
        (r"model\.6\.", "conv_up2."),
        (r"model\.8\.", "conv_hr."),
        (r"model\.10\.", "conv_last."),
        (r"RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
        (r"trunk_conv\.", "conv_body."),
        (r"upconv(\d)\.", r"conv_up\1."),
        (r"HRconv\.", "conv_hr."),
    )

    def __init__(
        self, *, scale: int, n_feats: int = 64, n_blocks: int = 23, growth: int = 32
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, not {scale}")
        self.scale, self.shrink = scale, 4 // scale
        self.conv_first = conv(3 * self.shrink**2, n_feats)
        self.body = nn.Sequential(*(RRDB(n_feats, growth) for _ in range(n_blocks)))
        self.conv_body = conv(n_feats, n_feats)
        self.conv_up1 = conv(n_feats, n_feats)
        self.conv_up2 = conv(n_feats, n_feats)
        self.conv_hr = conv(n_feats, n_feats)
        self.conv_last = conv(n_feats, 3)
        rename_on_loading(self, self.OLDER)

    @classmethod
    def config_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        now = {renamed(name, cls.OLDER): shape for name, shape in shapes.items()}
        numbers = [int(name.split(".")[1]) for name in now if name.startswith("body.")]
        n_feats, n_in = now["conv_first.weight"][:2]
        return {
            "scale": 4 // math.isqrt(n_in // 3),
            "n_feats": n_feats,
            "n_blocks": max(numbers, default=-1) + 1,
            "growth": now["body.0.rdb1.conv1.weight"][0],
        }

    def unshuffle(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 3 k^2, h / k, w / k), k = 4 / scale."""
        return F.pixel_unshuffle(lr, self.shrink) if self.shrink > 1 else lr

    def up1(self, x: Tensor) -> Tensor:
        return leaky(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))

    def up2(self, x: Tensor) -> Tensor:
        return leaky(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))

    def finish(self, x: Tensor) -> Tensor:
        """Looks 2 pixels around."""
        return self.conv_last(leaky(self.conv_hr(x)))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first(self.unshuffle(lr))  # (n, c, h / k, w / k)
        x = head + self.conv_body(self.body(head))
        return self.finish(self.up2(self.up1(x)))  # (n, 3, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        small = run.local(self.unshuffle, lr, scale=Fraction(1, self.shrink))
        head = x = run.rest(run.local(self.conv_first, small, halo=1))
        for block in self.body:
            assert isinstance(block, RRDB)
            x = block.stages(run, x)
        x = run.local(lambda x, head: head + self.conv_body(x), x, head, halo=1)
        x = run.local(self.up2, run.local(self.up1, x, halo=1, scale=2), halo=1, scale=2)
        return run.local(self.finish, x, halo=2)
