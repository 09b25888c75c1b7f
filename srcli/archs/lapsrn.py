"""LapSRN: a Laplacian pyramid, a level for each factor of two; every level's picture is a result.

Lai et al., "Deep Laplacian pyramid networks for fast and accurate super-resolution", CVPR 2017,
arXiv 1704.03915. Parameter names of github.com/twtygqyy/pytorch-LapSRN, whose weights are a pickled
program and not loadable here. No deviation from the paper.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Map, Run

SLOPE = 0.2


def conv3(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)


def double(n_feats: int) -> nn.ConvTranspose2d:
    """Twice as large; looks one pixel around."""
    return nn.ConvTranspose2d(n_feats, n_feats, 4, stride=2, padding=1, bias=False)


class Features(nn.Module):
    """A level's features, twice as large."""

    def __init__(self, n_feats: int, n_convs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(n_convs):
            layers += [conv3(n_feats, n_feats), nn.LeakyReLU(SLOPE, inplace=True)]
        self.cov_block = nn.Sequential(*layers, double(n_feats), nn.LeakyReLU(SLOPE, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.cov_block(x)  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        ends = range(0, len(self.cov_block) + 1, 2)  # a convolution and its activation
        for a, b in pairwise(ends):
            scale = 2 if b == ends[-1] else 1
            x = run.local(self.cov_block[a:b], x, halo=1, scale=scale)
        return x


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drop the levels beyond the module's own from what is about to be loaded."""
    assert isinstance(module, LapSRN)
    for name in list(state):
        level = re.match(r"convt_[FIR](\d+)\.", name.removeprefix(prefix))
        if level and int(level[1]) not in module.numbers:
            del state[name]


class LapSRN(nn.Module):
    """LR luma (n, 1, h, w) in 0..1 to SR luma (n, 1, h * scale, w * scale).

    Args:
        scale: a power of two: how many levels there are. Weights with more may be loaded: the first
            levels of a larger scale are the smaller one's network.
        n_feats: channels.
        n_convs: convolutions in a level.
    """

    def __init__(self, *, scale: int, n_feats: int = 64, n_convs: int = 10) -> None:
        super().__init__()
        n_levels = scale.bit_length() - 1
        if scale != 2**n_levels or n_levels < 1:
            raise ValueError(f"scale must be a power of two above 1, not {scale}")
        self.scale, self.numbers = scale, range(1, n_levels + 1)
        self.conv_input = conv3(1, n_feats)
        for k in self.numbers:
            self.add_module(f"convt_I{k}", double(1))
            self.add_module(f"convt_R{k}", conv3(n_feats, 1))
            self.add_module(f"convt_F{k}", nn.Sequential(Features(n_feats, n_convs)))
            line = torch.tensor([1, 3, 3, 1]) / 4  # bilinear, learned from there
            self.image(k).weight.data = torch.outer(line, line)[None, None]
        self.register_load_state_dict_pre_hook(_leave_out)  # type: ignore[no-untyped-call]

    def image(self, k: int) -> nn.ConvTranspose2d:
        return self.get_submodule(f"convt_I{k}")  # type: ignore[return-value]

    def features(self, k: int) -> Features:
        return self.get_submodule(f"convt_F{k}.0")  # type: ignore[return-value]

    def residual(self, k: int) -> nn.Conv2d:
        return self.get_submodule(f"convt_R{k}")  # type: ignore[return-value]

    def enter(self, lr: Tensor) -> Tensor:
        return F.leaky_relu(self.conv_input(lr), SLOPE)

    def levels(self, lr: Tensor) -> list[Tensor]:
        """The pictures of all levels, the smallest first: what training compares."""
        x, image, pictures = self.enter(lr), lr, []
        for k in self.numbers:
            x = self.features(k)(x)  # (n, c, h 2^k, w 2^k)
            image = self.image(k)(image) + self.residual(k)(x)
            pictures.append(image)
        return pictures

    def forward(self, lr: Tensor) -> Tensor:
        return self.levels(lr)[-1]

    def stages(self, run: Run, lr: Map) -> Map:
        x, image = run.local(self.enter, lr, halo=1), lr
        for k in self.numbers:
            x = self.features(k).stages(run, x)
            image = run.local(self.image(k), image, halo=1, scale=2)
            image = run.local(torch.add, image, run.local(self.residual(k), x, halo=1))
        return image
