"""The same networks in a form that trains better: same parameters, same names, same function.

``train``: channel attention's square root gets a floor, for its gradient is infinite where a
channel is constant; 1x1 convolutions are matrix products (a step of BCRN takes 12 % less on a
CPU), and so are blueprint convolutions of 1x1, whose second half PyTorch would compute group by
group. ``compiled``: besides, depthwise convolutions become sums of shifted products and the
attention map is stretched by two small matrices; each of these a compiler fuses with its
neighbours, and none of their gradients needs atomic additions.
``plain`` undoes it. A form is a module's class, so the parameters never move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, ESA, BSConv

Form = Literal["plain", "train", "compiled"]

FLOOR = 1e-12  # of a variance: 1e-6 of a standard deviation


class TrainedCCA(CCA):
    """CCA with its statistics in fp32 and a floor under the root."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = _Moments.apply(x)  # type: ignore[no-untyped-call]
        gain: Tensor = self.gain(mean, std)
        return x * gain.to(x.dtype)


class _Moments(torch.autograd.Function):
    """(n, c, h, w) -> fp32 mean and standard deviation, (n, c, 1, 1) each.

    The gradient is written out: one product and one sum over x instead of seven passes in fp32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        # in steps, which on channels_last take a sixteenth of what torch.var_mean does
        wide = x.float()
        mean = wide.mean((2, 3), keepdim=True)
        std = ((wide - mean).square_().mean((2, 3), keepdim=True) + FLOOR).sqrt_()
        ctx.save_for_backward(x, mean, std)
        return mean, std

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, mean, std = ctx.saved_tensors
        d_mean, d_std = grads
        n = x.shape[2] * x.shape[3]
        slope = d_std / (n * std)
        return torch.addcmul((d_mean / n - slope * mean).to(x.dtype), x, slope.to(x.dtype))


class TrainedBSConv(BSConv):
    """A blueprint convolution of 1x1: its factors multiplied first, then one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.dw.weight * self.pw.weight)[:, :, 0, 0]  # (n_out, 1) times (n_out, n_in)
        return F.linear(x.permute(0, 2, 3, 1), weight, self.dw.bias).permute(0, 3, 1, 2)


class TrainedESA(ESA):
    """ESA that reduces the channels once for both of its looks."""

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        low: Tensor = self.summary(F.max_pool2d(self.conv2(reduced), 7, 3))
        mask: Tensor = self.conv4(self.stretched(low, x) + self.conv_f(reduced))
        return x * mask.sigmoid()

    def stretched(self, low: Tensor, x: Tensor) -> Tensor:
        """The summary at x's resolution."""
        return F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False)


class CompiledESA(TrainedESA):
    """The same, whose map is stretched by matrix products."""

    def stretched(self, low: Tensor, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            down = _stretch(low.shape[2], x.shape[2], x.device)
            right = _stretch(low.shape[3], x.shape[3], x.device)
            return (down @ (low.float() @ right.t())).to(low.dtype)


class ShiftedConv(nn.Conv2d):
    """A depthwise k x k convolution as a sum of k^2 shifted products; stride 1."""

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = _Shifts.apply(input, self.weight[:, 0])  # type: ignore[no-untyped-call]
        if self.bias is not None:
            out = out + self.bias[:, None, None]
        return out.to(input.dtype)


class _Shifts(torch.autograd.Function):
    """(n, c, h, w) and (c, k, k) -> (n, c, h, w), k odd, in the wider of the two dtypes.

    The gradient is written out, for it is the same operation with the weights turned round, which
    is less to compile than what automatic differentiation makes of pads and slices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _sum(p * weight[:, i, j, None, None] for i, j, p in _shifted(x, weight.shape[1]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad, k = grads[0].to(x.dtype), weight.shape[1]
        turned = weight.flip(1, 2)
        dx = _sum(p * turned[:, i, j, None, None] for i, j, p in _shifted(grad, k))
        wide = grad.float()
        sums = [(wide * p).sum((0, 2, 3)) for _, _, p in _shifted(x, k)]
        return dx.to(x.dtype), torch.stack(sums, 1).view_as(weight).to(weight.dtype)


def _shifted(x: Tensor, k: int) -> Iterator[tuple[int, int, Tensor]]:
    """(i, j, x moved by i, j), zeros from outside, for every tap of a k x k kernel."""
    height, width = x.shape[2:]
    padded = F.pad(x, (k // 2,) * 4)
    for i in range(k):
        for j in range(k):
            yield i, j, padded[:, :, i : i + height, j : j + width]


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Added in order."""
    return reduce(torch.add, terms)


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution as a matrix product over the channels."""

    def forward(self, input: Tensor) -> Tensor:
        x = input.permute(0, 2, 3, 1)
        return F.linear(x, self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


def swap_modules(network: nn.Module, form: Form, *, shifts: bool = True) -> None:
    """Give every module of the network its class for this form; ``shifts``: depthwise too."""
    for module in network.modules():
        if isinstance(module, CCA):
            module.__class__ = CCA if form == "plain" else TrainedCCA
        elif isinstance(module, BSConv) and module.dw.kernel_size == (1, 1):
            module.__class__ = BSConv if form == "plain" else TrainedBSConv
        elif isinstance(module, ESA):
            module.__class__ = {"plain": ESA, "train": TrainedESA, "compiled": CompiledESA}[form]
        elif type(module) in (nn.Conv2d, ShiftedConv, PointwiseConv):
            module.__class__ = _conv_class(module, form, shifts)


def _conv_class(conv: nn.Module, form: Form, shifts: bool) -> type[nn.Conv2d]:
    assert isinstance(conv, nn.Conv2d)
    if (
        form == "plain"
        or conv.stride != (1, 1)
        or conv.dilation != (1, 1)
        or conv.padding_mode != "zeros"
    ):
        return nn.Conv2d
    if conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding == (0, 0):
        return PointwiseConv
    # larger kernels, as SwiftSRGAN's 9x9, stay: 81 shifts would be worse than the library
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    same = conv.kernel_size == (3, 3) and conv.padding == (1, 1)
    shifted = form == "compiled" and shifts and depthwise and same
    return ShiftedConv if shifted else nn.Conv2d


def _stretch(n: int, size: int, device: torch.device) -> Tensor:
    """(size, n): bilinear interpolation of n samples to ``size``, align_corners=False.

    Made anew on the device each time: a copy from the host could not be part of a CUDA graph.
    """
    at = (torch.arange(size, device=device) + 0.5) * (n / size) - 0.5
    away = at.clamp(0, n - 1)[:, None] - torch.arange(n, device=device)
    return (1 - away.abs()).clamp(min=0)
