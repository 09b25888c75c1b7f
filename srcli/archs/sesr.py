"""SESR: linear blocks that collapse into one convolution each.

Bhardwaj et al., "Collapsible linear blocks for super-efficient super resolution", MLSys 2022,
arXiv 2103.09404. Code of origin: github.com/ARM-software/sesr (TensorFlow), Apache-2.0; parameter
names are ours. Luma. Two modes, as in the code: *expanded* is the paper's; in *collapsed*, the
default, training too uses the collapsed kernel, which the code gets by passing an impulse through
the block, so that the biases are added to every tap for every input channel and the convolution
has none, and every block of as many channels out as in has the residual, the last one too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, within
from srcli.archs.merging import (
    Expanded,
    Mergeable,
    identity,
    in_a_row,
    kernel_of,
    plain_conv,
    side_by_side,
)
from srcli.archs.stages import Map, Run


class LinearBlock(Mergeable):
    """k x k to many channels, then 1x1 to few, nothing between: one convolution.

    Args:
        n_in, n_out: channels.
        width: of the map between.
        kernel: k.
        residual: add the input.
        collapsed: convolve with the collapsed kernel, biases on its taps.
    """

    def __init__(
        self, n_in: int, n_out: int, width: int, kernel: int, *, residual: bool, collapsed: bool
    ) -> None:
        super().__init__()
        self.residual, self.collapsed = residual, collapsed
        self.expand = conv(n_in, width, kernel)
        self.squeeze = conv(width, n_out, 1)

    def kernel(self) -> Tensor:
        """The collapsed mode's: (n_out, n_in, k, k)."""
        squeeze = self.squeeze.weight[:, :, 0, 0]
        weight = torch.einsum("ow,wikl->oikl", squeeze, self.expand.weight)
        assert self.expand.bias is not None and self.squeeze.bias is not None
        bias = squeeze @ self.expand.bias + self.squeeze.bias
        weight = weight + bias[:, None, None, None]
        if self.residual:
            weight = weight + nn.init.dirac_(torch.empty_like(weight))
        return weight

    def forward(self, x: Tensor) -> Tensor:
        if self.collapsed:
            weight = self.kernel()
            return F.conv2d(x, weight, padding=weight.shape[2] // 2)
        out: Tensor = self.squeeze(self.expand(x))
        return out + x if self.residual else out

    def merged(self) -> nn.Module:
        if not self.collapsed:
            kernel = in_a_row(kernel_of(self.expand), kernel_of(self.squeeze))
            if self.residual:
                kernel = side_by_side(kernel, identity(kernel))
            return plain_conv(kernel, like=self.expand)
        return plain_conv((self.kernel(), None), like=self.expand)


class SESR(Expanded):
    """Luma (n, 1, h, w) in 0..1 to (n, 1, h * scale, w * scale), cut to 0..1 but in training.

    Args:
        scale: 2 or 4; x4 shuffles twice by 2.
        n_feats: channels of the collapsed network.
        n_blocks: linear blocks between the first and the last.
        width: channels inside a linear block.
        collapsed: mode, see above.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 16,
        n_blocks: int = 5,
        width: int = 256,
        collapsed: bool = True,
    ) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"scale must be 2 or 4, not {scale}")
        self.scale = scale

        def block(n_in: int, n_out: int, kernel: int, middle: bool) -> LinearBlock:
            residual = middle or (collapsed and n_in == n_out)
            return LinearBlock(n_in, n_out, width, kernel, residual=residual, collapsed=collapsed)

        self.input_block = block(1, n_feats, 5, False)
        self.linear_blocks = nn.Sequential(
            *(block(n_feats, n_feats, 3, True) for _ in range(n_blocks))
        )
        self.activations = nn.Sequential(*(nn.PReLU(n_feats) for _ in range(n_blocks)))
        self.output_block = block(n_feats, scale**2, 5, False)

    def body(self, head: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w); looks as many pixels around as there are blocks."""
        x = head
        for block, act in zip(self.linear_blocks, self.activations, strict=True):
            x = act(block(x))
        return x + head

    def finish(self, x: Tensor, lr: Tensor) -> Tensor:
        """(n, c, h, w) and the picture -> (n, 1, h s, w s); looks 2 pixels around."""
        x = self.output_block(x) + lr
        if self.scale == 4:  # the first of the two shuffles moves groups of four channels
            n, _, height, width = x.shape
            x = x.view(n, 4, 4, height, width).transpose(1, 2).reshape(n, 16, height, width)
            x = F.pixel_shuffle(x, 2)
        return within(F.pixel_shuffle(x, 2), 1, self.training)

    def forward(self, lr: Tensor) -> Tensor:
        return self.finish(self.body(self.input_block(lr - 0.5)), lr)

    def stages(self, run: Run, lr: Map) -> Map:
        # two locals: zero padding belongs after the shift
        head = run.local(self.input_block, run.local(lambda lr: lr - 0.5, lr), halo=2)
        x = run.local(self.body, head, halo=len(self.linear_blocks))
        return run.local(self.finish, x, lr, halo=2, scale=self.scale)
