"""A network small enough to write down, imported by name as the catalogue's are."""

import torch
from torch import Tensor, nn

from srcli.archs import merging


class Tiny(nn.Module):
    def __init__(self, *, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.up = nn.Conv2d(3, channels * scale * scale, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.up(lr), self.scale)


class Expanded(merging.Expanded):
    """y = a x + b x in training, (a + b) x after ``merge``."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(scale))
        self.b = nn.Parameter(torch.ones(scale))

    def merge(self) -> nn.Module:
        merged = nn.Module()
        merged.c = nn.Parameter((self.a + self.b).detach())
        return merged
