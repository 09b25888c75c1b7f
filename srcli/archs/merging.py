"""From the form that was trained to the equivalent plain one.

A network in expanded form has modules that know a plain equal of themselves; ``merge`` puts that in
their place. What is merged: linear layers in a row, linear layers side by side, and BatchNorm's
stored statistics.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Kernel = tuple[Tensor, Tensor]  # weight (n_out, n_in, k, k) and bias (n_out)


class Mergeable(nn.Module, ABC):
    """A module with an equal of fewer operations."""

    @abstractmethod
    def merged(self) -> nn.Module:
        """The equal, of its own parameters, for evaluation."""


class Expanded(nn.Module):
    """A network in the form that is trained."""

    def merge(self) -> nn.Module:
        """The same network with every `Mergeable` in its plain form; self is left as it is.

        Of a merged network, the same again.
        """
        plain = copy.deepcopy(self).eval()
        with torch.no_grad():
            for name, module in list(plain.named_modules()):
                if isinstance(module, Mergeable):
                    plain.set_submodule(name, module.merged())
        return plain


def in_a_row(first: Kernel, second: Kernel) -> Kernel:
    """One convolution for two, one of which is 1x1.

    Equal also at the border if the input is padded before the first and nothing after it.
    """
    (w1, b1), (w2, b2) = first, second
    if w1.shape[2] == 1:
        weight = torch.einsum("omhw,mi->oihw", w2, w1[:, :, 0, 0])
    else:
        weight = torch.einsum("om,mihw->oihw", w2[:, :, 0, 0], w1)
    return weight, b2 + w2.sum((2, 3)) @ b1


def identity(kernel: Kernel) -> Kernel:
    """The convolution, shaped like ``kernel``, that leaves its input as it is."""
    weight, bias = kernel
    return nn.init.dirac_(torch.empty_like(weight)), torch.zeros_like(bias)


def side_by_side(*kernels: Kernel) -> Kernel:
    """One convolution for the sum of several; 1x1 ones sit in the middle of the largest."""
    size = max(weight.shape[2] for weight, _ in kernels)
    total = [F.pad(w, ((size - w.shape[2]) // 2,) * 4) for w, _ in kernels]
    return torch.stack(total).sum(0), torch.stack([bias for _, bias in kernels]).sum(0)


def widely(weight: Tensor, bias: Tensor) -> Kernel:
    """In float64 on the CPU, where merging rounds nothing away."""
    return weight.detach().cpu().double(), bias.detach().cpu().double()


def kernel_of(conv: nn.Conv2d) -> Kernel:
    """A convolution's, `widely`."""
    assert conv.bias is not None
    return widely(conv.weight, conv.bias)


def plain_conv(kernel: Kernel | tuple[Tensor, None], like: nn.Conv2d) -> nn.Conv2d:
    """A convolution with "same" zero padding, of another's dtype, on its device."""
    weight, bias = kernel
    n_out, n_in, size, _ = weight.shape
    made = nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=bias is not None)
    made.weight.data = weight
    if bias is not None:
        made.bias.data = bias  # type: ignore[union-attr]
    return made.to(like.weight).requires_grad_(like.weight.requires_grad)


def padded(x: Tensor) -> Tensor:
    """One zero around the picture. A 1x1 convolution makes its own bias of it, so that the map
    that the 3x3 after it reads is padded with what the 1x1 gives on zeros."""
    return F.pad(x, (1, 1, 1, 1))


def fold(module: nn.Module, conv: str, norm: str) -> None:
    """BatchNorm's stored statistics into the convolution before it; nothing is left of the norm.

    Behind what is no plain convolution (see ``ghostsr``) it stays as it is.
    """
    conv_module, norm_module = module.get_submodule(conv), module.get_submodule(norm)
    if isinstance(norm_module, nn.BatchNorm2d) and isinstance(conv_module, nn.Conv2d):
        module.set_submodule(conv, fuse_conv_bn_eval(conv_module, norm_module))
        module.set_submodule(norm, nn.Identity())
