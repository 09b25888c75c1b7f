"""LESRCNN: lightweight enhanced super-resolution CNN.

Tian et al., Knowledge-Based Systems 2020, arXiv 2007.04344. Code and weights of origin:
github.com/hellloxiaotian/LESRCNN (no licence stated). Deviations of the released weights from the
paper: no biases but the upsampler's; the mean colour is subtracted at the input and added back at
the output by fixed 1x1 convolutions, which are in the state dict; the authors' activations work in
place, so every sum of the enhancement block adds to the activated signal, not to the one before.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import MeanShift, upsampler
from srcli.archs.stages import Map, Run


class Upsample(nn.Module):
    """The sub-pixel steps, under the name that the state dict has for them."""

    def __init__(self, n_feats: int, scale: int) -> None:
        super().__init__()
        self.up = nn.Module()
        self.up.body = upsampler(n_feats, scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.up.body(x)  # type: ignore[no-any-return, operator]


class LESRCNN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
    """

    N_STEPS = 8  # 3x3 and 1x1 pairs of the enhancement block

    def __init__(self, *, scale: int, n_feats: int = 64) -> None:
        super().__init__()
        self.scale = scale

        def layer(n_in: int, n_out: int, kernel: int, *, relu: bool) -> nn.Sequential:
            body = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
            return nn.Sequential(body, nn.ReLU(inplace=True)) if relu else nn.Sequential(body)

        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.conv1 = layer(3, n_feats, 3, relu=False)
        for k in range(1, self.N_STEPS + 1):
            self.add_module(f"conv{2 * k}", layer(n_feats, n_feats, 3, relu=True))
            self.add_module(f"conv{2 * k + 1}", layer(n_feats, n_feats, 1, relu=False))
        self.conv17_1 = layer(n_feats, n_feats, 3, relu=True)
        self.conv17_2 = layer(n_feats, n_feats, 3, relu=True)
        self.conv17_3 = layer(n_feats, n_feats, 3, relu=True)
        self.conv17_4 = layer(n_feats, n_feats, 3, relu=True)
        self.conv18 = layer(n_feats, 3, 3, relu=False)
        self.upsample = Upsample(n_feats, scale)

    def enhance(self, head: Tensor) -> Tensor:
        """IEEB after its first convolution: (n, c, h, w) -> the same, looks 8 pixels around."""
        x = F.relu(head)
        for k in range(1, self.N_STEPS + 1):
            wide, narrow = getattr(self, f"conv{2 * k}"), getattr(self, f"conv{2 * k + 1}")
            x = F.relu(x + narrow(wide(x)))
        return x

    def refine(self, x: Tensor) -> Tensor:
        """IRB at output size: (n, c, h s, w s) -> (n, 3, h s, w s), looks 5 pixels around."""
        x = self.conv17_4(self.conv17_3(self.conv17_2(self.conv17_1(x))))
        return self.add_mean(self.conv18(x))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv1(self.sub_mean(lr))
        deep = self.upsample(self.enhance(head))
        shallow = self.upsample(F.relu(head))  # the same block serves both
        return self.refine(F.relu(deep + shallow))

    def stages(self, run: Run, lr: Map) -> Map:
        """``forward``; the upsampler is affine, so up(a) + up(b) = 2 up((a + b) / 2): run once."""
        # mean and conv1 are two locals: zero padding belongs after the shift
        head = run.local(self.conv1, run.local(self.sub_mean, lr), halo=1)
        both = run.local(lambda x: (self.enhance(x) + F.relu(x)) * 0.5, head, halo=self.N_STEPS)
        both = run.cache(both)
        up = run.local(
            lambda x: F.relu(self.upsample(x).mul_(2)),
            both,
            halo=2 if self.scale == 4 else 1,
            scale=self.scale,
        )
        return run.local(self.refine, up, halo=5)
