"""A network as a file for other programs: ONNX, OpenVINO, safetensors; loaded back and compared.

An export gets its name only after it has been read from disk, run on two odd picture sizes and
found to compute what the network here computes.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import srcli
from srcli.archs.inference import folded
from srcli.catalog import Model
from srcli.engine import eight_bits, graphs
from srcli.engine.openvino_import import import_openvino
from srcli.engine.passes import Network
from srcli.engine.profile import profile
from srcli.engine.testcard import testcard
from srcli.errors import SrcliError, WeightsError
from srcli.weights import build, load_file, save_file
from srcli.weights.cache import replacing, write_atomic

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

OPSETS = range(11, 21)  # the tracing exporter's: Resize by size is right from 11 on
DEFAULT_OPSET = 17  # the newest that older runtimes take too
BOUND = 1e-4  # of white; rounding in another order of sums stays below 1e-5
# rounded weights move every sample a little: by at most 2.4e-3 with the authors' weights
HALF_BOUND = 1e-2
# Root mean square: what lies between two levels is rounded to either, by the order of a sum. What
# rounding to eight bits itself changes is 2.5e-3 and more.
INT8_BOUND = 4e-3
# odd, and unlike any multiple of a stride in a network; the second runs as a batch of two
SIZES = ((47, 61), (83, 39))
_LEAST_HALVED = 16  # numbers; below lie constants of operators, not weights
_HALF_MAX = 65504.0

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """An export that was loaded back.

    Attributes:
        path: the file.
        bytes: its size.
        sizes: (height, width) of the pictures it was compared on.
        difference: largest difference from the network here, of white; in eight bits its root mean
            square.
        bound: what would have been too much.
        opset: of an ONNX file.
    """

    path: Path
    bytes: int
    sizes: tuple[tuple[int, int], ...]
    difference: float
    bound: float
    opset: int | None = None


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

    n, h and w are free (h, w at least the architecture's min_size). What the network's door does
    (colours, luma alone, enlargement) is in the graph. Atomic. Needs the packages onnx and
    onnxruntime.

    Args:
        path: the file; replaced if it exists.
        network: on the CPU, in fp32.
        model: what it is; its licence stands in the file's metadata.
        opset: one of `OPSETS`.
        half: store weights as fp16, half the bytes; the graph converts them and computes in fp32.
        int8: convolutions in eight bits, their weights stored so; the network has ranges for it.
        bound: largest difference allowed; None: `BOUND`, `HALF_BOUND` or `INT8_BOUND`.

    Raises:
        SrcliError: it cannot be exported, or computes something else.
    """
    assert opset in OPSETS and not (half and int8)
    assert opset >= eight_bits.LEAST_OPSET or not int8
    _check_graph(model)
    graph = _traced(network.doored(), network, opset)
    if half:
        _halve(graph)
    if int8:
        eight_bits.quantise_onnx(graph, network)
        network = eight_bits.imitated(network)
    module = network.doored()
    facts = _facts(network, model, "int8" if int8 else "fp16" if half else "fp32")
    for key, text in sorted(facts.items()):
        graph.metadata_props.add(key=key, value=text)
    graph.doc_string = f"{model.arch.title} x{network.scale}: RGB in 0..1, NCHW, any height, width"

    def run(temporary: Path) -> Callable[[Pixels], Pixels]:
        return _session(temporary, facts)

    with _written(path) as temporary:
        _store(temporary, graph.SerializeToString(deterministic=True))
        bound = bound if bound is not None else _bound(half=half, int8=int8)
        measure = _root_mean_square if int8 else _largest
        difference = _compare(path, run(temporary), module, network, bound, measure)
        size_bytes = temporary.stat().st_size
    return Exported(path, size_bytes, sizes(network), difference, bound, opset)


def export_openvino(
    path: Path,
    network: Network,
    model: Model,
    *,
    half: bool = False,
    int8: bool = False,
    bound: float | None = None,
) -> Exported:
    """Write OpenVINO's ``.xml`` and, beside it, its ``.bin``; as `export_onnx`, which see.

    Raises:
        SrcliError: it cannot be exported, or computes something else.
    """
    assert not (half and int8)
    _check_graph(model)
    openvino: Any = import_openvino()
    graph = _openvino_graph(network.doored(), network, [-1, 3, -1, -1])
    if int8:
        eight_bits.quantise_openvino(graph, network)
        network = eight_bits.imitated(network)
    facts = _facts(network, model, "int8" if int8 else "fp16" if half else "fp32")
    for key, text in sorted(facts.items()):
        graph.set_rt_info(text, key.split("."))
    parts = _saved(graph, compress_to_fp16=half)
    compiled = _compiled(openvino.Core().read_model(*parts), network)
    bound = bound if bound is not None else _bound(half=half, int8=int8)
    run = _openvino_run(lambda pixels: compiled(pixels)[0], network)
    measure = _root_mean_square if int8 else _largest
    difference = _compare(path, run, network.doored(), network, bound, measure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, data in zip((path, path.with_suffix(".bin")), parts, strict=True):
            write_atomic(file, data)
    except OSError as exc:
        raise SrcliError(f"{path} cannot be written: {exc.strerror or exc}.") from exc
    size_bytes = sum(map(len, parts))
    return Exported(path, size_bytes, sizes(network), difference, bound)


def _check_graph(model: Model) -> None:
    if model.arch.tiling == "whole":
        raise SrcliError(
            f"{model.arch.title} is a different graph for each size of picture, and an export "
            "needs one for all.",
            "Export its weights: -o FILE.safetensors.",
        )


def _facts(network: Network, model: Model, stored_as: str) -> dict[str, str]:
    """What a graph's metadata say."""
    return {
        "srcli.model": model.name,
        "srcli.arch": model.arch.name,
        "srcli.scale": str(network.scale),
        "srcli.licence": model.licence,
        "srcli.source": model.source,
        "srcli.version": srcli.__version__,
        "srcli.weights": stored_as,
        "srcli.min_size": str(network.arch.min_size),
        "srcli.multiple": str(network.arch.multiple),
    }


def _bound(*, half: bool, int8: bool) -> float:
    return INT8_BOUND if int8 else HALF_BOUND if half else BOUND


def export_safetensors(
    path: Path,
    network: Network,
    model: Model,
    state: Mapping[str, Tensor],
    *,
    half: bool = False,
    provenance: Mapping[str, Any] | None = None,
    bound: float | None = None,
) -> Exported:
    """Write safetensors that srcli.weights.load_file reads without being told anything. Atomic.

    Args:
        path: the file; replaced if it exists.
        network: what ``state`` makes, on the CPU, in fp32.
        model: what it is.
        state: the tensors.
        half: store floating-point tensors as fp16.
        provenance: where the weights come from; None: the model's source and licence.
        bound: largest difference allowed; None: `BOUND` or `HALF_BOUND`.

    Raises:
        SrcliError: the weights do not fit fp16, or the file computes something else.
    """
    tensors = {name: _half(name, t) for name, t in state.items()} if half else dict(state)
    if provenance is None:
        provenance = {"model": model.name, "source": model.source, "licence": model.licence}
    with _written(path) as temporary:
        save_file(
            temporary,
            tensors,
            arch=model.arch.name,
            scale=network.scale,
            config=model.variant(network.scale).config,
            provenance=provenance,
            door=model.door,
        )
        found, variant, loaded = load_file(temporary)
        if variant.scale != network.scale or found.door != network.door:
            raise SrcliError(f"{path} was read back as another network; it was not kept.")
        again = Network(
            build(variant, found.arch, loaded), found.arch, found.door, variant.scale
        ).doored()

        def run(pixels: Pixels) -> Pixels:
            with torch.inference_mode():
                return again(torch.from_numpy(pixels)).numpy()  # type: ignore[no-any-return]

        module = network.doored()
        bound = bound if bound is not None else HALF_BOUND if half else BOUND
        difference = _compare(path, run, module, network, bound, _largest)
        size_bytes = temporary.stat().st_size
    return Exported(path, size_bytes, sizes(network), difference, bound)


def sizes(network: Network) -> tuple[tuple[int, int], ...]:
    """(height, width) of the pictures that an export is compared on."""
    least, multiple = network.arch.min_size, network.arch.multiple

    def side(n: int) -> int:
        return -(-max(n, least) // multiple) * multiple

    return tuple((side(h), side(w)) for h, w in SIZES)


def to_openvino(network: Network, *, int8: bool = False) -> dict[str, bytes]:
    """The network as srcli.engine.graphs keeps it, compared with the network here.

    (1, h, w, 3) RGB float32 in 0..1 to (1, h s, w s, 3), not clipped; h and w are free.

    Args:
        network: on the CPU, in fp32; its door becomes part of the graph.
        int8: as `export_onnx`.

    Raises:
        SrcliError: it cannot be converted, or computes something else.
    """
    # what is folded has other convolutions than those that have ranges
    module = network.module if int8 else folded(network.module)
    doored = replace(network, module=module).doored()
    graph = _openvino_graph(_Nhwc(doored), network, [1, -1, -1, 3])
    if int8:
        eight_bits.quantise_openvino(graph, network)
        network = eight_bits.imitated(network)
    compiled = _compiled(graph, network)

    def run(pixels: Pixels) -> Pixels:
        nhwc = pixels.transpose(0, 2, 3, 1)
        made = [compiled(np.ascontiguousarray(one[None]))[0] for one in nhwc]
        return np.concatenate(made).transpose(0, 3, 1, 2)

    bound, measure = _bound(half=False, int8=int8), _root_mean_square if int8 else _largest
    checked = _openvino_run(run, network)
    _compare("its graph", checked, network.doored(), network, bound, measure)
    facts = {"widest_bytes": profile(doored).widest_bytes}
    xml, constants = _saved(graph)
    return {
        graphs.GRAPH: xml,
        graphs.CONSTANTS: constants,
        graphs.FACTS: json.dumps(facts).encode(),
    }


def _openvino_graph(module: nn.Module, network: Network, shape: list[int]) -> Any:
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


def _compiled(graph: Any, network: Network) -> Any:
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


def _openvino_run(run: Callable[[Pixels], Pixels], network: Network) -> Callable[[Pixels], Pixels]:
    def checked(pixels: Pixels) -> Pixels:
        try:
            return run(pixels)
        except RuntimeError as exc:
            raise SrcliError(
                f"OpenVINO cannot run {network.arch.name} x{network.scale} at every size",
                "Use --backend torch.",
            ) from exc

    return checked


def _saved(graph: Any, *, compress_to_fp16: bool = False) -> tuple[bytes, bytes]:
    """OpenVINO's two files."""
    openvino: Any = import_openvino()
    with tempfile.TemporaryDirectory(prefix="srcli-openvino-") as folder:
        xml = Path(folder) / graphs.GRAPH
        openvino.save_model(graph, xml, compress_to_fp16=compress_to_fp16)
        return xml.read_bytes(), xml.with_name(graphs.CONSTANTS).read_bytes()


class _Nhwc(nn.Module):
    """A network that takes and gives pictures as they lie in memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        sr: Tensor = self.network(x.permute(0, 3, 1, 2))
        return sr.permute(0, 2, 3, 1)


# ------------------------------------------------------------------------------------- ONNX


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
        if not np.abs(values).max() <= _HALF_MAX:
            raise _too_large(tensor.name)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def _session(path: Path, facts: Mapping[str, str]) -> Callable[[Pixels], Pixels]:
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
    if session.get_modelmeta().custom_metadata_map != facts:
        raise SrcliError("The export has lost its metadata; it was not kept.")

    def run(pixels: Pixels) -> Pixels:
        try:
            (sr,) = session.run(["sr"], {"lr": pixels})
        except Exception as exc:  # as above
            raise SrcliError(f"onnxruntime cannot run the export: {exc}") from exc
        return np.asarray(sr, dtype=np.float32)

    return run


# --------------------------------------------------------------------------------- comparing


def _largest(difference: NDArray[np.float64]) -> float:
    return float(np.abs(difference).max())


def _root_mean_square(difference: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(difference).mean()))


def _compare(
    path: Path | str,
    run: Callable[[Pixels], Pixels],
    module: nn.Module,
    network: Network,
    bound: float,
    measure: Callable[[NDArray[np.float64]], float],
) -> float:
    """The difference of the two, the largest over pictures of all sizes.

    Raises:
        SrcliError: it is over the bound, or the sizes differ.
    """
    largest = 0.0
    for count, (height, width) in enumerate(sizes(network), 1):
        lr = np.stack([testcard(height, width, seed) for seed in range(count)])
        with torch.inference_mode():
            wanted = module(torch.from_numpy(lr)).numpy()
        got = run(lr)
        if got.shape != wanted.shape:
            raise SrcliError(
                f"The export makes {got.shape[2:]} of {height} x {width} pixels, where "
                f"{network.arch.name} makes {wanted.shape[2:]}; {path} was not kept."
            )
        # of white, or of what comes out if that is more: untrained networks know no white
        peak = max(1.0, float(np.abs(wanted).max()))
        difference = measure(got.astype(np.float64) - wanted) / peak
        if not difference <= bound:  # a NaN is none either
            raise SrcliError(
                f"At {height} x {width} pixels the export differs by {difference:.1e} from "
                f"{network.arch.name} x{network.scale} here, over the bound of {bound:g}; "
                f"{path} was not kept."
            )
        largest = max(largest, difference)
    return largest


# ------------------------------------------------------------------------------------- files


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise _too_large(name)
    return half


def _too_large(name: str) -> WeightsError:
    return WeightsError(
        f"{name} holds values over {_HALF_MAX:g}, which fp16 cannot hold.", "Export without --half."
    )


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """`replacing`, with the folder made and errors in srcli's words."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as exc:
        raise SrcliError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def _store(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def provenance_of(model: Model, metadata: Mapping[str, str], precision: str) -> dict[str, Any]:
    """What an export's metadata say of its origin: the file's own word first, if it has one."""
    try:
        said = json.loads(metadata.get("srcli.provenance", "{}"))
    except (ValueError, RecursionError):
        said = {}
    own = said if isinstance(said, dict) else {}
    identity = model.variants[0].identity if len(model.variants) == 1 else ""
    more = {"sha256": identity} if identity else {}
    return {
        **own,
        "exported_from": model.name,
        "source": model.source,
        "licence": model.licence,
        "stored_as": precision,
        **more,
    }
