"""Graphs for other runtimes whose convolutions compute in eight bits.

A traced graph holds the plain network. Here each of its convolutions that has a range gets its
input quantised and its weights stored as int8, both followed by what makes numbers of them again:
runtimes take that for a convolution of bytes, and any other reader computes the same in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from srcli.archs.quantised import LEVELS, RANGE, grid, imitation, integers, quantised
from srcli.engine.openvino_import import import_openvino
from srcli.engine.passes import Network
from srcli.errors import SrcliError, WeightsError

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_OPSET = 13  # of ONNX: scales for each channel
BOUND = 1e30


def convolutions(network: Network) -> dict[str, nn.Conv2d]:
    """The network's convolutions that run in eight bits, by their names behind its door.

    Raises:
        WeightsError: it was not trained for that.
    """
    found = quantised(network.module)
    if not found:
        raise WeightsError(
            f"The weights of {network.arch.name} x{network.scale} hold no ranges for eight bits.",
            "They come from training: srcli train RECIPE --set quantise=true",
        )
    return {f"network.{name}": conv for name, conv in found.items()}


def imitated(network: Network) -> Network:
    """The network as it computes in eight bits, in PyTorch: what a graph is compared with."""
    return replace(network, module=imitation(network.module))


def _grid(conv: nn.Conv2d) -> tuple[np.float32, np.uint8]:
    step, zero = grid(conv.get_buffer(RANGE))
    return np.float32(step.item()), np.uint8(zero.item())


def _missing(network: Network, names: set[str]) -> SrcliError:
    some = ", ".join(sorted(names)[:3])
    return SrcliError(
        f"{network.arch.name} x{network.scale} cannot be written in eight bits: its graph does not "
        f"show the convolutions {some}."
    )


def quantise_onnx(graph: ModelProto, network: Network) -> None:
    """QuantizeLinear and DequantizeLinear around the convolutions.

    Raises:
        SrcliError: the weights have no ranges, or the graph hides a convolution.
    """
    from onnx import helper, numpy_helper

    left = convolutions(network)
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    nodes = []
    made: dict[tuple[str, bytes], str] = {}  # inputs of several convolutions, by their grid

    def constant(name: str, value: Any) -> str:
        if name not in constants:
            constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    for node in graph.graph.node:
        name = node.input[1].removesuffix(".weight") if node.op_type == "Conv" else ""
        if conv := left.pop(name, None):
            source, (step, zero) = node.input[0], _grid(conv)
            key = source, step.tobytes() + zero.tobytes()
            if key not in made:
                made[key] = f"q{len(made)}"
                at = [constant(f"{made[key]}.step", step), constant(f"{made[key]}.zero", zero)]
                levels = f"{made[key]}.levels"
                nodes.append(helper.make_node("QuantizeLinear", [source, *at], [levels]))
                nodes.append(helper.make_node("DequantizeLinear", [levels, *at], [made[key]]))
            weight, steps = (t.numpy() for t in integers(conv.weight.detach()))
            own = [constant(f"{name}.int8", weight), constant(f"{name}.steps", steps)]
            nodes.append(helper.make_node("DequantizeLinear", own, [node.input[1]], axis=0))
            del constants[node.input[1]]
            node.input[0] = made[key]
        nodes.append(node)
    if left:
        raise _missing(network, set(left))
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(constants.values())


def quantise_openvino(graph: Any, network: Network) -> None:
    """FakeQuantize before the convolutions, and int8 weights.

    Raises:
        SrcliError: the weights have no ranges, or the graph hides a convolution.
    """
    ops: Any = import_openvino("openvino.opset13")
    left = convolutions(network)
    made: dict[tuple[Any, ...], Any] = {}  # as in `quantise_onnx`
    for node in graph.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        name = _module_of(node.get_friendly_name(), left)
        conv = left.pop(name, None)
        if conv is None:
            continue
        source, (step, zero) = node.input_value(0), _grid(conv)
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
        raise _missing(network, set(left))
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
