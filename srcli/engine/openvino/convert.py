"""From a network in PyTorch to OpenVINO's graph, compared before anyone uses it."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli.archs.inference import folded
from srcli.engine.openvino import graph_files
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.openvino.int8 import quantise
from srcli.engine.pytorch.int8 import imitated
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.profile import profile
from srcli.engine.pytorch.reference import Pixels, compare, sizes
from srcli.errors import SrcliError


def convert(network: Network, *, int8: bool = False) -> dict[str, bytes]:
    """The network as the parts of a file, compared with the network here.

    (1, h, w, 3) RGB float32 in 0..1 to (1, h s, w s, 3), not clipped; h and w are free.

    Args:
        network: on the CPU, in fp32; its preprocessing becomes part of the graph.
        int8: convolutions in eight bits; the network has ranges for it.

    Raises:
        SrcliError: it cannot be converted, or computes something else.
    """
    # what is folded has other convolutions than those that have ranges
    module = network.module if int8 else folded(network.module)
    adapted = replace(network, module=module).adapted()
    graph = traced(_Nhwc(adapted), network, [1, -1, -1, 3])
    if int8:
        quantise(graph, network)
        network = imitated(network)
    compiled = compile_graph(graph, network)

    def run(pixels: Pixels) -> Pixels:
        nhwc = pixels.transpose(0, 2, 3, 1)
        made = [compiled(np.ascontiguousarray(one[None]))[0] for one in nhwc]
        return np.concatenate(made).transpose(0, 3, 1, 2)

    compare("its graph", checked(run, network), network, "int8" if int8 else "fp32")
    facts = {"widest_bytes": profile(adapted).widest_bytes}
    xml, constants = saved(graph)
    return {
        graph_files.GRAPH: xml,
        graph_files.CONSTANTS: constants,
        graph_files.FACTS: json.dumps(facts).encode(),
    }


def traced(module: nn.Module, network: Network, shape: list[int]) -> Any:
    """A module as OpenVINO's frontend converts it, for pictures of this shape; -1 is free."""
    decoders: Any = import_openvino("openvino.frontend.pytorch.ts_decoder")
    frontends: Any = import_openvino("openvino.frontend")
    height, width = sizes(network)[0]
    more = network.arch.multiple  # another size than any that is compared
    free = iter((height + more, width + more))
    # the number of pictures, if it is free, comes first
    fixed = [1, *(next(free) if n < 0 else n for n in shape[1:])]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracing takes every size for a possible constant
            # not openvino.convert_model, which reports every use to its makers
            decoder = decoders.TorchScriptPythonDecoder(
                module,
                example_input=(torch.full(fixed, 0.5),),
                trace_kwargs={"check_trace": False},
            )
            frontend = frontends.FrontEndManager().load_by_framework("pytorch")
            graph = frontend.convert(frontend.load(decoder))
            graph.reshape(shape)
    except Exception as exc:  # the converter raises anything at all
        raise _not_converted(network, exc) from exc
    return graph


def compile_graph(graph: Any, network: Network) -> Any:
    """A graph ready to run, in fp32 but for what is quantised."""
    openvino: Any = import_openvino()
    try:
        return openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as exc:  # as the converter
        raise _not_converted(network, exc) from exc


def _not_converted(network: Network, exc: Exception) -> SrcliError:
    line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return SrcliError(
        f"OpenVINO cannot convert {network.arch.name} x{network.scale}: {line}",
        "Use --backend torch.",
    )


def checked(run: Callable[[Pixels], Pixels], network: Network) -> Callable[[Pixels], Pixels]:
    """``run``, which says in srcli's words that a graph does not run at every size."""

    def guarded(pixels: Pixels) -> Pixels:
        try:
            return run(pixels)
        except RuntimeError as exc:
            raise SrcliError(
                f"OpenVINO cannot run {network.arch.name} x{network.scale} at every size",
                "Use --backend torch.",
            ) from exc

    return guarded


def saved(graph: Any, *, compress_to_fp16: bool = False) -> tuple[bytes, bytes]:
    """OpenVINO's two files."""
    openvino: Any = import_openvino()
    with tempfile.TemporaryDirectory(prefix="srcli-openvino-") as folder:
        xml = Path(folder) / graph_files.GRAPH
        openvino.save_model(graph, xml, compress_to_fp16=compress_to_fp16)
        return xml.read_bytes(), xml.with_name(graph_files.CONSTANTS).read_bytes()


class _Nhwc(nn.Module):
    """A network that takes and gives pictures as they lie in memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        sr: Tensor = self.network(x.permute(0, 3, 1, 2))
        return sr.permute(0, 2, 3, 1)
