"""RRDBNet: residual-in-residual dense blocks, the generator of ESRGAN and Real-ESRGAN.

Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV workshops
2018, arXiv 1809.00219; x2 and x1 after Real-ESRGAN, arXiv 2107.10833. Code of origin:
github.com/xinntao/ESRGAN, Apache-2.0, and github.com/XPixelGroup/BasicSR, whose names these are;
files with the names of ESRGAN's releases, old and oldest, load too. Not in the paper: nearest
enlargement and a convolution in place of the sub-pixel upsampler.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.names import rename_on_loading, renamed
from srcli.archs.stages import Map, Run

RESIDUAL_SCALE = 0.2


def older_names(n_doublings: int) -> tuple[tuple[str, str], ...]:
    """Names in ESRGAN's releases, old and oldest, and what they became."""
    doublings = ((rf"model\.{3 * k}\.", f"conv_up{k}.") for k in range(1, n_doublings + 1))
    return (
        # a trunk of n blocks is the oldest form's model.1.sub.0 .. n - 1, its convolution sub.n
        (r"model\.0\.", "conv_first."),
        (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
        (r"model\.1\.sub\.\d+\.", "conv_body."),
        *doublings,
        (rf"model\.{3 * n_doublings + 2}\.", "conv_hr."),
        (rf"model\.{3 * n_doublings + 4}\.", "conv_last."),
        (r"RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
        (r"trunk_conv\.", "conv_body."),
        (r"upconv(\d)\.", r"conv_up\1."),
        (r"HRconv\.", "conv_hr."),
    )


def _doublings(names: Iterable[str]) -> int:
    """How many enlargements by 2 a file in one of the forms has."""
    numbers = [int(name.split(".")[1]) for name in names if re.match(r"model\.\d+\.", name)]
    if numbers:
        return (max(numbers) - 4) // 3
    found = (re.match(r"(?:conv_up|upconv)(\d)\.", name) for name in names)
    return max((int(match[1]) for match in found if match), default=0)


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
        """``forward`` whose result after each dense block is cached; x should be a stored map."""
        inner = run.cache(run.local(self.rdb1, x, halo=5))
        inner = run.cache(run.local(self.rdb2, inner, halo=5))
        inner = run.local(self.rdb3, inner, halo=5)
        return run.cache(run.local(lambda x, inner: x + RESIDUAL_SCALE * inner, x, inner))


class RRDBNet(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    For x2 and x1, the picture is first unshuffled to a half and a quarter of its size, which must
    divide h and w, and what follows enlarges by 4; unless it enlarges by the scale alone.

    Args:
        scale: a power of two; unshuffled, 4, 2 or 1.
        n_feats: channels.
        n_blocks: residual-in-residual blocks.
        growth: channels that each convolution of a dense block adds.
        n_doublings: enlargements by 2 at the end.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 64,
        n_blocks: int = 23,
        growth: int = 32,
        n_doublings: int = 2,
    ) -> None:
        super().__init__()
        if 2**n_doublings % scale:
            raise ValueError(f"scale must divide {2**n_doublings}, not be {scale}")
        self.scale, self.n_doublings = scale, n_doublings
        self.shrink: int = 2**n_doublings // scale
        self.conv_first = conv(3 * self.shrink**2, n_feats)
        self.body = nn.Sequential(*(RRDB(n_feats, growth) for _ in range(n_blocks)))
        self.conv_body = conv(n_feats, n_feats)
        for k in range(1, n_doublings + 1):
            self.add_module(f"conv_up{k}", conv(n_feats, n_feats))
        self.conv_hr = conv(n_feats, n_feats)
        self.conv_last = conv(n_feats, 3)
        rename_on_loading(self, older_names(n_doublings))

    @property
    def multiple(self) -> int:
        """What must divide h and w."""
        return self.shrink

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        n_doublings = _doublings(shapes)
        now = {renamed(name, older_names(n_doublings)): shape for name, shape in shapes.items()}
        numbers = [int(name.split(".")[1]) for name in now if name.startswith("body.")]
        n_feats, n_in = now["conv_first.weight"][:2]
        return {
            "scale": 2**n_doublings // math.isqrt(n_in // 3),
            "n_feats": n_feats,
            "n_blocks": max(numbers, default=-1) + 1,
            "growth": now["body.0.rdb1.conv1.weight"][0],
            "n_doublings": n_doublings,
        }

    def unshuffle(self, lr: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 3 k^2, h / k, w / k), k = ``multiple``."""
        return F.pixel_unshuffle(lr, self.shrink) if self.shrink > 1 else lr

    def doubled(self, k: int, x: Tensor) -> Tensor:
        """The k-th enlargement by 2, from 1; looks 1 pixel around."""
        up = self.get_submodule(f"conv_up{k}")
        return leaky(up(F.interpolate(x, scale_factor=2, mode="nearest")))

    def finish(self, x: Tensor) -> Tensor:
        """Looks 2 pixels around."""
        return self.conv_last(leaky(self.conv_hr(x)))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first(self.unshuffle(lr))  # (n, c, h / k, w / k)
        x = head + self.conv_body(self.body(head))
        for k in range(1, self.n_doublings + 1):
            x = self.doubled(k, x)
        return self.finish(x)  # (n, 3, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        small = run.local(self.unshuffle, lr, scale=Fraction(1, self.shrink))
        head = x = run.cache(run.local(self.conv_first, small, halo=1))
        for block in self.body:
            assert isinstance(block, RRDB)
            x = block.stages(run, x)
        x = run.local(lambda x, head: head + self.conv_body(x), x, head, halo=1)
        for k in range(1, self.n_doublings + 1):
            x = run.local(partial(self.doubled, k), x, halo=1, scale=2)
        return run.local(self.finish, x, halo=2)
