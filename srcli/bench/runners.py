"""What is timed: srcli's engine in a given setting, and the same network run the plain ways.

A runner maps float32 pixels (h, w, 3) in 0..1 to (h s, w s, 3). srcli's runs do all that an
upscale does between the decoder and the writer; a baseline runs the bare network, from and to its
own layout, which is turned to pixels outside of the time.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from srcli.bench.cost import Cost
from srcli.bench.eager import Eager
from srcli.catalog import Model
from srcli.engine.export import export_onnx
from srcli.engine.open import open_engine
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.pytorch.network import Network
from srcli.engine.result import Pixels, Report
from srcli.engine.settings import Backend, Precision, Settings
from srcli.errors import SrcliError
from srcli.weights import WeightsOptions

Baseline = Literal["eager", "onnxruntime", "openvino"]
BASELINES: tuple[Baseline, ...] = ("eager", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Setup:
    """One line of the table.

    Attributes:
        model, scale: name and native scale.
        size: (height, width) of the LR picture.
        backend: of srcli, or the baseline's name.
        baseline: the bare network, not srcli's engine.
        tile: as Settings.
    """

    model: str
    scale: int
    size: tuple[int, int]
    backend: str
    precision: str
    threads: int
    tile: int | None = None
    baseline: bool = False


@dataclass(frozen=True)
class Runner:
    """Something to time.

    Attributes:
        prepare: called before each timed run, outside of the time.
        run: the timed work.
        pixels: what ``run`` returned, as (h, w, 3) float32.
        report: srcli's own, of the last run; None for a baseline.
    """

    setup: Setup
    cost: Cost
    prepare: Callable[[], None]
    run: Callable[[], Any]
    pixels: Callable[[Any], Pixels]
    report: Report | None = None


def engine_runner(
    setup: Setup,
    model: Model,
    settings: Settings,
    weights: WeightsOptions,
    cost: Cost,
    lr: Pixels,
    *,
    state: Mapping[str, torch.Tensor] | None = None,
) -> Runner:
    """srcli itself. Its weights are loaded here, unless ``state`` has them.

    Raises:
        SrcliError: it cannot run so.
    """
    chosen = replace(
        settings,
        backend=cast("Backend", setup.backend),
        precision=cast("Precision", setup.precision),
        threads=setup.threads,
        tile=setup.tile,
    )
    engine = open_engine(model, chosen, weights=weights, state=state)
    engine.prepare([setup.scale])
    report = Report()
    size = lr.shape[0] * setup.scale, lr.shape[1] * setup.scale

    def run() -> Pixels:
        report.notes.clear()
        return np.concatenate(list(engine.strips(lr, (setup.scale,), size, report=report)))

    return Runner(setup, cost, lambda: None, run, lambda sr: sr, report)


def plain_run(network: Network, lr: Pixels) -> Pixels:
    """What eager PyTorch makes of the whole picture in fp32: what all others are held against."""
    with torch.inference_mode():
        return _hwc(network.adapted()(torch.from_numpy(_nchw(lr))).numpy())


def eager_runner(
    setup: Setup,
    model: Model,
    state: Mapping[str, torch.Tensor] | None,
    environment: Mapping[str, str],
    cost: Cost,
    lr: Pixels,
    device: torch.device,
) -> Runner:
    """PyTorch as a user of the authors' code has it: whole picture, default layout.

    Raises:
        SrcliError: its process failed.
    """
    child = Eager(
        model,
        setup.scale,
        setup.threads,
        state,
        _nchw(lr),
        environment,
        str(device),
        setup.precision,
    )
    return Runner(setup, cost, lambda: None, child.run, lambda _: _hwc(child.result()))


def onnx_runner(setup: Setup, file: Path, cost: Cost, lr: Pixels) -> Runner:
    """ONNX Runtime on an exported network."""
    onnxruntime: Any = importlib.import_module("onnxruntime")  # has no annotations
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    array = _nchw(lr)
    return Runner(setup, cost, lambda: None, lambda: session.run(["sr"], {"lr": array})[0], _hwc)


def openvino_runner(setup: Setup, file: Path, cost: Cost, lr: Pixels) -> Runner:
    """OpenVINO on an exported network."""
    openvino: Any = import_openvino()
    array = _nchw(lr)
    hints = {
        "INFERENCE_NUM_THREADS": setup.threads,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[setup.precision],
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    graph = core.read_model(file)
    graph.reshape(list(array.shape))
    compiled = core.compile_model(graph, "CPU", hints)
    request = compiled.create_infer_request()
    return Runner(
        setup,
        cost,
        lambda: None,
        lambda: request.infer({0: array}, share_inputs=True, share_outputs=True)[0],
        lambda sr: _hwc(np.array(sr)),
    )


class Exports:
    """Networks as ONNX in a temporary folder, each written once."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="srcli-bench-")
        self._files: dict[tuple[str, int], Path] = {}

    def __enter__(self) -> Exports:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def file(self, network: Network, model: Model) -> Path:
        """Raises SrcliError if the network cannot be exported."""
        key = model.name, network.scale
        if key not in self._files:
            path = Path(self._folder.name) / f"{len(self._files)}.onnx"
            export_onnx(path, network, model)
            self._files[key] = path
        return self._files[key]


def baseline_runner(
    setup: Setup, network: Network, model: Model, exports: Exports, cost: Cost, lr: Pixels
) -> Runner:
    """ONNX Runtime or OpenVINO on the exported network.

    Raises:
        SrcliError: its packages are not installed, or the network cannot be exported.
    """
    for package in ("onnx", "onnxruntime", setup.backend):
        if importlib.util.find_spec(package) is None:
            raise SrcliError(f"{package} is not installed", 'pip install "srcli[onnx,openvino]"')
    file = exports.file(network, model)
    make = onnx_runner if setup.backend == "onnxruntime" else openvino_runner
    return make(setup, file, cost, lr)


def _nchw(lr: Pixels) -> Pixels:
    return np.ascontiguousarray(lr.transpose(2, 0, 1)[None])


def _hwc(sr: Pixels) -> Pixels:
    pixels: Pixels = sr[0].transpose(1, 2, 0)
    return pixels
