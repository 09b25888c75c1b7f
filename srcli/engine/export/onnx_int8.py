"""ONNX graphs whose convolutions compute in eight bits.

A traced graph holds the plain network. Here each of its convolutions that has a range gets its
input quantised and its weights stored as int8, both followed by what makes numbers of them again:
runtimes take that for a convolution of bytes, and any other reader computes the same in fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from srcli.archs.quantised import integers
from srcli.engine.pytorch.int8 import convolutions, hidden, input_grid
from srcli.engine.pytorch.network import Network

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_OPSET = 13  # scales for each channel


def quantise(graph: ModelProto, network: Network) -> None:
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
            source, (step, zero) = node.input[0], input_grid(conv)
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
        raise hidden(network, left)
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(constants.values())
