"""A network as ONNX, for any runtime that reads it."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from srcli.catalog import Model
from srcli.engine.export import onnx_int8
from srcli.engine.export.files import (
    HALF_MAX,
    Exported,
    check_graph,
    metadata_of,
    precision_of_weights,
    store,
    too_large,
    written,
)
from srcli.engine.pytorch.int8 import imitated
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.reference import BOUNDS, Pixels, compare, sizes
from srcli.errors import SrcliError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = range(11, 21)  # the tracing exporter's: Resize by size is right from 11 on
DEFAULT_OPSET = 17  # the newest that older runtimes take too
_LEAST_HALVED = 16  # numbers; below lie constants of operators, not weights


def export_onnx(
    path: Path,
    network: Network,
    model: Model,
    *,
    opset: int = DEFAULT_OPSET,
    half: bool = False,
    int8: bool = False,
    bound: float | None = None,
) -> Exported:
    """Write ONNX: ``lr`` (n, 3, h, w) RGB float32 in 0..1 to ``sr`` (n, 3, h s, w s), not clipped.

    n, h and w are free (h, w at least the architecture's min_size). The network's preprocessing
    (colours, luma alone, enlargement) is in the graph. Atomic. Needs the packages onnx and
    onnxruntime.

    Args:
        path: the file; replaced if it exists.
        network: on the CPU, in fp32.
        model: what it is; its licence stands in the file's metadata.
        opset: one of `OPSETS`.
        half: store weights as fp16, half the bytes; the graph converts them and computes in fp32.
        int8: convolutions in eight bits, their weights stored so; the network has ranges for it.
        bound: largest difference allowed; None: srcli.engine.pytorch.reference.BOUNDS.

    Raises:
        SrcliError: it cannot be exported, or computes something else.
    """
    assert opset in OPSETS
    assert opset >= onnx_int8.LEAST_OPSET or not int8
    stored_as = precision_of_weights(half=half, int8=int8)
    check_graph(model)
    graph = _traced(network.adapted(), network, opset)
    if half:
        _halve(graph)
    if int8:
        onnx_int8.quantise(graph, network)
        network = imitated(network)
    metadata = metadata_of(network, model, stored_as)
    for key, text in sorted(metadata.items()):
        graph.metadata_props.add(key=key, value=text)
    graph.doc_string = f"{model.arch.title} x{network.scale}: RGB in 0..1, NCHW, any height, width"

    bound = BOUNDS[stored_as] if bound is None else bound
    with written(path) as temporary:
        store(temporary, graph.SerializeToString(deterministic=True))
        difference = compare(path, _session(temporary, metadata), network, stored_as, bound)
        size_bytes = temporary.stat().st_size
    return Exported(path, size_bytes, sizes(network), difference, bound, opset)


def _traced(module: nn.Module, network: Network, opset: int) -> ModelProto:
    """The graph with free n, h, w.

    Tracing, not torch.export: right at every size for all networks (they take their sizes from
    tensors), a quarter smaller, four times faster, and it does not need onnxscript.
    """
    import onnx

    height, width = sizes(network)[0]
    more = network.arch.multiple
    # tracing complains of itself and of every size that might be a constant; running it tells
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    buffer: Any = io.BytesIO()  # taken, though the annotation says paths only
    try:
        exporter.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (torch.full((1, 3, height + more, width + more), 0.5),),
                buffer,
                dynamo=False,
                opset_version=opset,
                input_names=["lr"],
                output_names=["sr"],
                dynamic_axes={
                    "lr": {0: "n", 2: "height", 3: "width"},
                    "sr": {0: "n", 2: "sr_height", 3: "sr_width"},
                },
            )
        graph = onnx.load_from_string(buffer.getvalue())
        onnx.checker.check_model(graph, full_check=True)
    except Exception as exc:  # the exporter and the checker raise anything at all
        line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise SrcliError(
            f"{network.arch.name} x{network.scale} cannot be written as ONNX with opset {opset}: "
            f"{line}",
            f"Try another --opset ({OPSETS[0]} to {OPSETS[-1]}).",
        ) from exc
    finally:
        exporter.setLevel(level)
    return graph


def _halve(graph: ModelProto) -> None:
    """Store weights as fp16 and have the graph convert them, which a runtime does once, at load."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _LEAST_HALVED:
            continue
        if not np.abs(values).max() <= HALF_MAX:
            raise too_large(tensor.name)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _session(path: Path, metadata: Mapping[str, str]) -> Callable[[Pixels], Pixels]:
    """The file as onnxruntime runs it; its metadata must have come through."""
    onnxruntime: Any = importlib.import_module("onnxruntime")  # has no annotations
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # its exceptions have no common base
        raise SrcliError(f"onnxruntime cannot load the export: {exc}") from exc
    if session.get_modelmeta().custom_metadata_map != metadata:
        raise SrcliError("The export has lost its metadata; it was not kept.")

    def run(pixels: Pixels) -> Pixels:
        try:
            (sr,) = session.run(["sr"], {"lr": pixels})
        except Exception as exc:  # as above
            raise SrcliError(f"onnxruntime cannot run the export: {exc}") from exc
        return np.asarray(sr, dtype=np.float32)

    return run
