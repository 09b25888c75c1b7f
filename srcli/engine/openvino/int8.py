"""OpenVINO's graphs whose convolutions compute in eight bits; see srcli.engine.export.onnx_int8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from srcli.archs.quantised import LEVELS, integers
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.pytorch.int8 import convolutions, hidden, input_grid
from srcli.engine.pytorch.network import Network

BOUND = 1e30


def quantise(graph: Any, network: Network) -> None:
    """FakeQuantize before the convolutions, and int8 weights.

    Raises:
        SrcliError: the weights have no ranges, or the graph hides a convolution.
    """
    ops: Any = import_openvino("openvino.opset13")
    left = convolutions(network)
    made: dict[tuple[Any, ...], Any] = {}  # inputs of several convolutions, by their grid
    for node in graph.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        name = _module_of(node.get_friendly_name(), left)
        conv = left.pop(name, None)
        if conv is None:
            continue
        source, (step, zero) = node.input_value(0), input_grid(conv)
        key = source.get_node().get_name(), source.get_index(), step, zero
        if key not in made:
            low, high = (ops.constant(step * np.float32(n - int(zero))) for n in (0, LEVELS))
            made[key] = ops.fake_quantize(source, low, high, low, high, LEVELS + 1)
        node.input(0).replace_source_output(made[key].output(0))
        shape = list(node.input_value(1).get_shape())  # of groups: a dimension more
        weight, steps = (t.numpy() for t in integers(conv.weight.detach()))
        ones = [n if math.prod(shape[:k]) < len(steps) else 1 for k, n in enumerate(shape)]
        floats = ops.convert(ops.constant(weight.reshape(shape)), np.float32)
        numbers = ops.multiply(floats, ops.constant(steps.reshape(ones)))
        node.input(1).replace_source_output(numbers.output(0))
        _finish(ops, node, conv)
    if left:
        raise hidden(network, left)
    graph.validate_nodes_and_infer_types()


def _finish(ops: Any, node: Any, conv: nn.Conv2d) -> None:
    """The bias as a constant, which the converter shapes anew for each picture; and before it a
    bound that nothing reaches. OpenVINO 2026.4 moves the step of a sum of bytes behind what is
    added to it, which goes wrong if the picture's size is free, but not behind a bound."""
    takers = list(node.output(0).get_target_inputs())
    bounded = ops.clamp(node, -BOUND, BOUND)
    for taker in takers:
        taker.replace_source_output(bounded.output(0))
        add = taker.get_node()
        if conv.bias is not None and add.get_type_name() == "Add":
            bias = ops.constant(conv.bias.detach().numpy()[:, None, None])
            add.input(1 - taker.get_index()).replace_source_output(bias.output(0))


def _module_of(friendly: str, names: Mapping[str, Any]) -> str:
    """``__module.network.network.head/aten::_convolution/Convolution`` -> ``network.head``."""
    path = friendly.split("/", maxsplit=1)[0]
    return next((name for name in names if path.endswith(f".{name}")), "")
