"""ncnn's flat files: layer after layer, without names or shapes, which the network must tell.

A layer is a tag, its weights in half precision (out, in, height, width), filled up to a multiple of
four bytes, and its biases in single precision.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from srcli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

HALF_TAG = 0x01306B47
Layer = tuple[str, tuple[int, int, int, int], bool]


def read_flat(data: bytes, name: str, layout: str) -> dict[str, Tensor]:
    """The state dict in a flat file.

    Args:
        data: the whole file.
        name: for messages.
        layout: ``module:CONSTANT``: of each layer its name, (out, in, height, width) and whether it
            is a transposed convolution, whose weights PyTorch has as (in, out, height, width).

    Raises:
        WeightsError: its size or a tag is not what the layout says.
    """
    import torch

    module, _, constant = layout.partition(":")
    layers: tuple[Layer, ...] = getattr(importlib.import_module(module), constant)
    sizes = [_size(shape) for _, shape, _ in layers]
    if len(data) != sum(sizes):
        raise WeightsError(f"{name} has {len(data)} bytes, where its layers take {sum(sizes)}.")
    buffer = bytearray(data)
    state: dict[str, Tensor] = {}
    start = 0
    for (layer, shape, transposed), size in zip(layers, sizes, strict=True):
        if int.from_bytes(data[start : start + 4], "little") != HALF_TAG:
            raise WeightsError(f"{name} holds no half-precision weights where {layer}'s should be.")
        count = shape[0] * shape[1] * shape[2] * shape[3]
        weight = torch.frombuffer(buffer, dtype=torch.float16, count=count, offset=start + 4)
        bias_at = start + size - 4 * shape[0]
        bias = torch.frombuffer(buffer, dtype=torch.float32, count=shape[0], offset=bias_at)
        weight = weight.float().view(shape)
        state[f"{layer}.weight"] = weight.transpose(0, 1).contiguous() if transposed else weight
        state[f"{layer}.bias"] = bias.clone()
        start += size
    return state


def _size(shape: tuple[int, int, int, int]) -> int:
    n_out, n_in, height, width = shape
    weights = 2 * n_out * n_in * height * width
    return 4 + weights + -weights % 4 + 4 * n_out
