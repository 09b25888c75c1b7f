"""A network as OpenVINO's two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from srcli.catalog import Model
from srcli.engine.export.files import Exported, check_graph, metadata_of, precision_of_weights
from srcli.engine.openvino.convert import checked, compile_graph, saved, traced
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.openvino.int8 import quantise
from srcli.engine.pytorch.int8 import imitated
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.reference import BOUNDS, compare, sizes
from srcli.errors import SrcliError
from srcli.weights.cache import write_atomic


def export_openvino(
    path: Path,
    network: Network,
    model: Model,
    *,
    half: bool = False,
    int8: bool = False,
    bound: float | None = None,
) -> Exported:
    """Write OpenVINO's ``.xml`` and its ``.bin`` beside it; arguments as those of export_onnx.

    Raises:
        SrcliError: it cannot be exported, or computes something else.
    """
    stored_as = precision_of_weights(half=half, int8=int8)
    check_graph(model)
    openvino: Any = import_openvino()
    graph = traced(network.adapted(), network, [-1, 3, -1, -1])
    if int8:
        quantise(graph, network)
        network = imitated(network)
    for key, text in sorted(metadata_of(network, model, stored_as).items()):
        graph.set_rt_info(text, key.split("."))
    parts = saved(graph, compress_to_fp16=half)
    compiled = compile_graph(openvino.Core().read_model(*parts), network)
    run = checked(lambda pixels: compiled(pixels)[0], network)
    bound = BOUNDS[stored_as] if bound is None else bound
    difference = compare(path, run, network, stored_as, bound)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, data in zip((path, path.with_suffix(".bin")), parts, strict=True):
            write_atomic(file, data)
    except OSError as exc:
        raise SrcliError(f"{path} cannot be written: {exc.strerror or exc}.") from exc
    size_bytes = sum(map(len, parts))
    return Exported(path, size_bytes, sizes(network), difference, bound)
