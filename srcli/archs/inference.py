"""The same networks in a form that runs faster; training, export and reading have the plain one.

``derive`` copies a network and changes the copy: BatchNorm and rows of 1x1 convolutions are folded,
1x1 - activation - 1x1 runs over chunks of pixels, so that what lies between stays in the CPU's
cache, and in half precision the parts that cost quality stay in fp32. Results equal the plain
network's up to rounding; a test holds that for every network of the catalogue.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srcli.archs.bcrn import BCRN, Block, ConvNeXt
from srcli.archs.blocks import CCA, ESA, BSConv
from srcli.archs.swift_srgan import ConvBlock

# Pixels. 256 hidden channels in fp32 are then 2 MB, which the caches of two cores hold; few of them
# make many operations.
CHUNK = 2048
LEAST_CHUNKS = 4

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
COLOURS = 3
SIDE = 32  # of a picture that every network takes


def derive(network: nn.Module, dtype: torch.dtype = torch.float32, channels: int = 3) -> nn.Module:
    """A copy for inference, in evaluation mode, its maps in ``dtype``; it takes fp32.

    Args:
        network: plain, in fp32; it is left as it is.
        channels: of the network's input.
    """
    derived = folded(network)
    _set_forms(derived, dtype)
    if dtype != torch.float32:
        _halve(derived, dtype, channels)
    return derived


# ------------------------------------------------------------------------------------- folding


def folded(network: nn.Module) -> nn.Module:
    """A copy, in evaluation mode, that needs fewer layers; still what any runtime can take."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    _fold(copied)
    for module in copied.modules():
        if type(module) is BCRN:
            module.__class__ = AddedBCRN
    return copied


class AddedBCRN(BCRN):
    """The fusion of all blocks is added up instead of concatenated."""

    def forward(self, lr: Tensor) -> Tensor:
        head = x = self.conv1(lr)
        fused: Tensor | None = None
        shares = torch.split(self.conv2.pw.weight, self.n_feats, 1)
        for block, weight in zip(self.blocks, shares, strict=True):
            x = block(x)
            share = F.conv2d(x.to(weight.dtype), weight)
            fused = share if fused is None else fused + share
        return self.upsample_block(F.gelu(self.conv2.dw(fused)) + head)  # type: ignore[no-any-return]


def _fold(network: nn.Module) -> None:
    """1x1 BSConvs become one convolution, BatchNorm part of the convolution before it."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BSConv) and (folded := pointwise([child.pw, child.dw])):
                setattr(parent, name, folded)
    for block in network.modules():
        if isinstance(block, ConvBlock) and isinstance(block.bn, nn.BatchNorm2d):
            block.cnn.pointwise = fuse_conv_bn_eval(block.cnn.pointwise, block.bn)
            block.bn = nn.Identity()


def pointwise(layers: Sequence[nn.Module]) -> nn.Conv2d | None:
    """One 1x1 convolution that does what these do in a row; None if not all are 1x1."""
    weight = bias = None
    for layer in layers:
        found = _matrix(layer)
        if found is None:
            return None
        own, shift = found
        weight = own if weight is None else own @ weight
        bias = shift if bias is None else own @ bias + shift
    assert weight is not None and bias is not None, "there is at least one"
    folded = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    folded.weight.data = weight.float()[:, :, None, None]
    folded.bias.data = bias.float()  # type: ignore[union-attr]
    return folded.eval().requires_grad_(False)


def _matrix(layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """(n_out, n_in) and (n_out,) in float64, of a layer that looks at one pixel only."""
    if isinstance(layer, BSConv):
        folded = pointwise([layer.pw, layer.dw])
        return None if folded is None else _matrix(folded)
    if isinstance(layer, nn.Conv2d):
        if layer.kernel_size != (1, 1) or layer.stride != (1, 1) or layer.padding != (0, 0):
            return None
        weight = layer.weight[:, :, 0, 0].double()
        if layer.groups == layer.in_channels == layer.out_channels:
            weight = weight[:, 0].diag()
        elif layer.groups != 1:
            return None
    elif isinstance(layer, nn.Linear):
        weight = layer.weight.double()
    else:
        return None
    bias = layer.bias
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.double()


# --------------------------------------------------------------------------------------- forms


def by_pixels(fn: Callable[[Tensor, Tensor], Any], out: Tensor, x: Tensor) -> Tensor:
    """``fn`` of rows of pixels, chunk by chunk on a CPU, all at once elsewhere.

    Args:
        fn: changes rows (k, c'), its first argument, by (k, c) of ``x``.
        out: (n, c', h, w), overwritten unless it has to be copied for its layout.
        x: (n, c, h, w).

    Both are fastest in channels_last.

    Returns:
        What became of ``out``.
    """
    n, _, h, w = x.shape
    changed, rows = (t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]) for t in (out, x))
    step = min(CHUNK, -(-len(rows) // LEAST_CHUNKS)) if x.device.type == "cpu" else len(rows)
    for chunks in zip(torch.split(changed, step), torch.split(rows, step), strict=True):
        fn(*chunks)
    return changed.view(n, h, w, -1).permute(0, 3, 1, 2)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance of each channel, (n, c) in fp32.

    On a CPU in two steps, for ``var_mean`` of channels_last is ten times as slow there.

    Args:
        x: (n, c, h, w).
    """
    if x.device.type == "cuda":
        variance, mean = torch.var_mean(x.float(), (2, 3), correction=0)
        return mean, variance
    rows = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # (n, h w, c)
    mean = rows.mean(1, keepdim=True)
    return mean[:, 0], (rows - mean).square_().mean(1)


class Hidden(nn.Module):
    """1x1, GELU, 1x1: the layer between is as wide as a network gets.

    Args:
        first, last: the 1x1 convolutions.
    """

    def __init__(self, first: nn.Conv2d, last: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.last = _linear(first), _linear(last)

    def forward(self, x: Tensor, plus: Tensor) -> Tensor:
        """``plus`` + last(gelu(first(x))), written over ``plus``."""
        linear = _linear_in(self.first.weight)

        def chunk(plus: Tensor, x: Tensor) -> None:
            hidden = linear(x.to(self.first.weight.dtype), self.first, "gelu")
            plus.add_(linear(hidden, self.last, "none"))

        return by_pixels(chunk, plus, x)


Linear = Callable[[Tensor, nn.Linear, str], Tensor]


def _linear_in(weight: Tensor) -> Linear:
    """What does a linear layer and an activation for weights like this."""
    fused = weight.device.type == "cpu" and weight.dtype in _fusible()
    return _onednn_linear if fused else _torch_linear


def _torch_linear(x: Tensor, layer: nn.Linear, act: str) -> Tensor:
    return ACTIVATIONS[act](F.linear(x, layer.weight, layer.bias))


def _onednn_linear(x: Tensor, layer: nn.Linear, act: str) -> Tensor:
    """The same in one step, by the name under which PyTorch's compiler calls it."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, act, [], "none")
    return out


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid_,
}


@cache
def _fusible() -> tuple[torch.dtype, ...]:
    """The dtypes in which this PyTorch has `_onednn_linear`, and it is right."""
    found = []
    x, layer = torch.linspace(-3, 3, 64).view(4, 16), nn.Linear(16, 16)
    layer.weight.data, layer.bias.data = torch.eye(16), torch.zeros(16)
    layer.requires_grad_(False)
    for dtype, off in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        try:
            right = all(
                torch.allclose(
                    _onednn_linear(x.to(dtype), layer.to(dtype), name).float(),
                    act(x.clone()),
                    rtol=0,
                    atol=off,
                )
                for name, act in ACTIVATIONS.items()
            )
        except (AttributeError, RuntimeError):
            continue  # a build without oneDNN
        if right:
            found.append(dtype)
    return tuple(found)


class FastConvNeXt(ConvNeXt):
    hidden: Hidden

    def forward(self, x: Tensor) -> Tensor:
        """Overwrites x, which in a block is what its first convolution has just made."""
        return self.hidden(self.c1_d_3(x), x)  # type: ignore[no-any-return]


class Mask(nn.Module):
    """ESA's gate: x times the sigmoid of a 1x1 of (a 1x1 of x, plus the stretched summary)."""

    def __init__(self, first: nn.Conv2d, last: nn.Conv2d) -> None:
        super().__init__()
        self.first, self.last = _linear(first), _linear(last)

    def forward(self, x: Tensor, stretched: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows, low = (t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]) for t in (x, stretched))
        linear = _linear_in(self.first.weight)
        low = linear(rows.to(self.first.weight.dtype), self.first, "none").add_(low)
        mask = linear(low, self.last, "sigmoid").to(x.dtype).mul_(rows)
        return mask.view(n, h, w, -1).permute(0, 3, 1, 2)


class FastESA(ESA):
    mask: Mask | None

    def summary(self, low: Tensor) -> Tensor:
        return super().summary(low).to(low.dtype)

    def gate(self, x: Tensor, stretched: Tensor) -> Tensor:
        return super().gate(x, stretched) if self.mask is None else self.mask(x, stretched)


class FastCCA(CCA):
    dtype: torch.dtype  # of the maps; the gain is computed in fp32

    def gain(self, mean: Tensor, std: Tensor) -> Tensor:
        return super().gain(mean.float(), std.float()).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = (m[:, :, None, None] for m in moments(x))
        return x * self.gain(mean, variance.sqrt())


class FastPReLU(nn.PReLU):
    """Takes maps of any dtype: it stands behind layers that are halved and layers that are not."""

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x.dtype))


def _linear(layer: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution as a layer of rows of pixels."""
    linear = nn.Linear(layer.in_channels, layer.out_channels)
    assert layer.bias is not None
    linear.weight.data = layer.weight.data[:, :, 0, 0].contiguous()
    linear.bias.data = layer.bias.data.clone()
    return linear.requires_grad_(False)


def _set_forms(network: nn.Module, dtype: torch.dtype) -> None:
    for module in list(network.modules()):
        form: Any = module
        if type(module) is ConvNeXt:
            form.hidden = Hidden(module.c1_r_1, module.c1_r_2)
            form.__class__ = FastConvNeXt
            del module.c1_r_1, module.c1_r_2
        elif type(module) is ESA:
            first, last = pointwise([module.conv1, module.conv_f]), pointwise([module.conv4])
            form.mask = None if first is None or last is None else Mask(first, last)
            form.__class__ = FastESA
            if form.mask is not None:
                del module.conv_f, module.conv4
        elif type(module) is nn.PReLU:
            form.__class__ = FastPReLU
        elif type(module) is CCA:
            form.dtype = dtype
            form.__class__ = FastCCA


# ------------------------------------------------------------------------------ half precision


def _halve(network: nn.Module, dtype: torch.dtype, channels: int) -> None:
    """Weights to ``dtype``, but for what is cheap and costs quality.

    In fp32 stay: what reads the picture; everything from the last layer that still mixes feature
    channels on (a result rounded to so few bits of mantissa would be off by a level); and the small
    layers of both attentions. So do buffers, which hold mean colours. With bf16's eight bits of
    mantissa also depthwise convolutions, in which few roundings average out, and others that were
    found to lose; with fp16's eleven all these lose nothing (at most one level, as the rest).
    """
    layers = _in_order(network, channels)
    coarse = dtype == torch.bfloat16
    mixing = [k for k, m in enumerate(layers) if _mixes(m)]
    reading: set[nn.Module] = set()
    kept: set[nn.Module] = set()
    if mixing:  # a network that never leaves colour has no sensitive parts
        reading = {m for m in layers[: mixing[-1]] if _inputs(m) <= COLOURS} | {layers[0]}
        depthwise = {m for m in layers if _inputs(m) > COLOURS and not _mixes(m)}
        kept = reading | set(layers[mixing[-1] :]) | (depthwise if coarse else set())
    sensitive = {**SENSITIVE, **(SENSITIVE_IN_BF16 if coarse else {})}
    small = {
        layer
        for owner in network.modules()
        for name in sensitive.get(type(owner), ())
        if isinstance(part := getattr(owner, name, None), nn.Module)
        for layer in part.modules()
    }
    for module in network.modules():
        if module not in kept | small:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    for layer in layers:
        layer.register_forward_pre_hook(_to_its_own)
    for layer in reading - small:
        if len(layer.weight) > COLOURS:  # type: ignore[arg-type]
            layer.register_forward_hook(lambda m, args, out: out.to(dtype))


# layers that are cheap for what they would cost in quality, by the module that owns them
SENSITIVE: dict[type[nn.Module], tuple[str, ...]] = {
    FastCCA: ("conv_du",),
    FastESA: ("conv_max", "conv3", "conv3_"),
}
SENSITIVE_IN_BF16: dict[type[nn.Module], tuple[str, ...]] = {
    FastESA: (*SENSITIVE[FastESA], "mask"),
    Block: ("conv",),
}


def _to_its_own(layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0].to(layer.weight.dtype), *args[1:])  # type: ignore[arg-type]


def _in_order(network: nn.Module, channels: int) -> list[nn.Module]:
    """Convolutions and linear layers, each once, as ``forward`` comes to them."""
    found: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda m, args: found.append(m))
        for module in network.modules()
        if isinstance(module, LAYERS)
    ]
    with torch.no_grad():  # on zeros: to run on the meta device would import much of torch
        network(torch.zeros((1, channels, SIDE, SIDE)))
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(found))


def _inputs(layer: nn.Module) -> int:
    assert isinstance(layer, LAYERS)
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _mixes(layer: nn.Module) -> bool:
    """True if it makes each of its outputs of several feature channels."""
    return _inputs(layer) > COLOURS and getattr(layer, "groups", 1) < _inputs(layer)
