"""Networks through OpenVINO, on the CPU. Once a network is converted, nothing here needs torch.

A network becomes a graph once, with torch, and lies in the cache folder from then on, by the digest
of its weights; OpenVINO keeps what it compiles beside it. The whole picture runs at once. A picture
that does not fit in memory so goes to srcli's PyTorch engine, which tiles.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import srcli
from srcli.catalog import Model
from srcli.engine import memory
from srcli.engine.result import Pixels, Report, peak, quantised
from srcli.engine.settings import Settings
from srcli.errors import SrcliError, UsageError
from srcli.quality.resize import RowResizer
from srcli.weights import WeightsOptions, tuned
from srcli.weights.cache import locked, replacing

if TYPE_CHECKING:
    from srcli.engine.passes import Network
    from srcli.engine.upscaler import Upscaler

log = logging.getLogger(__name__)

HINTS = {"fp32": "f32", "bf16": "bf16"}
STRIP_PIXELS = 2**20  # of the result that are finished and handed out at a time
# Of the widest layer's bytes, what a run of the whole picture takes: measured at most 3.5
# (LESRCNN, whose maps at full size are three at a time), and room for the pictures themselves.
WORKSPACE = 5
GREY = np.array([0.299, 0.587, 0.114], np.float32)


def is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def refusal(model: Model, settings: Settings) -> str | None:
    """Why a model cannot run so; None if it can."""
    if not is_installed():
        return "OpenVINO is not installed"
    if settings.device not in ("auto", "cpu"):
        return f"OpenVINO runs on the CPU here, not on {settings.device}"
    if settings.precision == "fp16":
        return "OpenVINO has no fp16 on a CPU"
    if settings.ensemble != 1:
        return "the ensemble runs in PyTorch only"
    if model.door.colour not in ("rgb", "bgr") or model.door.enlarged:
        return f"what srcli does at the door of {model.name} is not in a graph"
    return None


class Compiled:
    """One network at one native scale.

    Args:
        graph: the converted network's file.
        cache: folder for what OpenVINO compiles.
    """

    def __init__(self, graph: Path, cache: Path, scale: int, settings: Settings) -> None:
        openvino: Any = importlib.import_module("openvino")
        self.scale = scale
        core = openvino.Core()
        hints: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[_precision(settings)],
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(cache),
        }
        if settings.threads is not None:
            hints["INFERENCE_NUM_THREADS"] = settings.threads
        try:
            model = core.read_model(graph)
            self.widest_bytes = int(model.get_rt_info(["srcli", "widest_bytes"]).astype(str))
            self._core, self._model, self._hints = core, model, hints
        except RuntimeError as exc:
            raise SrcliError(
                f"OpenVINO cannot read {graph}: {exc}", f"Remove {graph.parent}, and try again."
            ) from exc
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, lr: Pixels) -> Pixels:
        """(1, 3, h, w) float32 in 0..1 to (1, 3, h s, w s), not clipped."""
        shape = tuple(lr.shape)
        if shape not in self._requests:
            self._requests.clear()  # one compiled shape at a time: each holds its maps
            # a fixed shape is compiled better than a free one
            model = self._model.clone()
            model.reshape(list(shape))
            compiled = self._core.compile_model(model, "CPU", self._hints)
            self._requests[shape] = compiled.create_infer_request()
        try:
            found = self._requests[shape].infer({0: lr}, share_inputs=True, share_outputs=True)
        except RuntimeError as exc:
            raise SrcliError(f"OpenVINO failed: {exc}", "Use --backend torch.") from exc
        result: Pixels = found[0]
        return result


class OpenVinoUpscaler:
    """Enlarges pictures with one model; what srcli.engine.upscaler.Upscaler is to PyTorch.

    Args:
        load: the network of a native scale, with torch; called if it was never converted.
        upscaler: the engine for pictures that do not fit in memory whole.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        options: WeightsOptions,
        load: Callable[[int], Network],
        upscaler: Callable[[], Upscaler],
    ) -> None:
        self.model, self.settings, self.options = model, settings, options
        self._load, self._upscaler = load, upscaler
        self._compiled: dict[int, Compiled] = {}
        self._torch: Upscaler | None = None

    @property
    def memory_bytes(self) -> int:
        return self.settings.memory_bytes or memory.default_limit_bytes()

    @property
    def _tiled(self) -> Upscaler:
        if self._torch is None:
            self._torch = self._upscaler()
        return self._torch

    def prepare(self, scales: Iterable[int]) -> None:
        """Convert the networks of these native scales if need be, and read them."""
        for scale in scales:
            self.compiled(scale)

    def compiled(self, scale: int) -> Compiled:
        if scale not in self._compiled:
            folder = self.options.cache_dir / "openvino"
            graph = folder / f"{self._key(scale)}.xml"
            if not (graph.is_file() and graph.with_suffix(".bin").is_file()):
                self._convert(scale, graph)
            self._compiled[scale] = Compiled(graph, folder, scale, self.settings)
        return self._compiled[scale]

    def _key(self, scale: int) -> str:
        """Names the weights, and the versions that made the graph of them."""
        weights = self.model.variant(scale).weights
        if weights is None:
            self._load(scale)  # which says that there are none
        assert weights is not None
        text = f"{weights.sha256} {srcli.__version__} {tuned.version('openvino')}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{tuned.name(self.model.name, scale)}-{digest}"

    def _convert(self, scale: int, graph: Path) -> None:
        from srcli.engine.export import to_openvino  # torch

        network = self._load(scale)
        try:
            graph.parent.mkdir(parents=True, exist_ok=True)
            with locked(graph, log.info, doing="converting"), replacing(graph) as temporary:
                xml = temporary.with_suffix(".xml")
                to_openvino(xml, network)
                os.replace(xml.with_suffix(".bin"), graph.with_suffix(".bin"))
                os.replace(xml, temporary)
        except OSError as exc:
            raise SrcliError(f"{graph} cannot be written: {exc.strerror or exc}.") from exc

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """About what whole pictures take; what the tiled engine takes if that is too much."""
        most = self._whole_bytes(lr_size, passes)
        return most if most <= self.memory_bytes else self._tiled.estimate_bytes(lr_size, passes)

    def _whole_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        height, width = lr_size
        most = 0
        for scale in passes:
            most = max(most, self.compiled(scale).widest_bytes * WORKSPACE * height * width)
            height, width = height * scale, width * scale
        return most + height * width * 3 * 4 * 3

    def strips(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        size: tuple[int, int],
        *,
        reserve_bytes: int = 0,
        on_progress: Callable[[float], None] = lambda _: None,
        report: Report | None = None,
    ) -> Iterator[Pixels]:
        """As Upscaler.strips."""
        report = report or Report()
        limit = self.memory_bytes - memory.resident_bytes() - reserve_bytes
        needed = self._whole_bytes((pixels.shape[0], pixels.shape[1]), passes)
        tiled = self.settings.tile not in (None, 0)
        if not passes or tiled or needed > limit:
            if passes and not tiled:
                report.note(
                    f"the whole picture in OpenVINO needs about {memory.size_text(needed)}, more "
                    f"than the {memory.size_text(max(limit, 0))} allowed: tiled, in PyTorch"
                )
            yield from self._tiled.strips(
                pixels,
                passes,
                size,
                reserve_bytes=reserve_bytes,
                on_progress=on_progress,
                report=report,
            )
            return
        report.device, report.precision, report.tiles = "cpu", _precision(self.settings), 1
        sr = pixels.astype(np.float32)
        sr *= np.float32(1 / peak(pixels.dtype))
        for scale in passes:
            sr = self._run(self.compiled(scale), sr)
        on_progress(1.0)
        yield from _finished(sr, pixels, size)

    def _run(self, compiled: Compiled, lr: Pixels) -> Pixels:
        """(h, w, 1 or 3) to (h s, w s, 3), padded where the network must have it."""
        arch, (height, width) = self.model.arch, lr.shape[:2]
        least, multiple = arch.min_size, arch.multiple
        more = [max(least, -(-n // multiple) * multiple) - n for n in (height, width)]
        if any(more):
            lr = np.pad(lr, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        nchw = np.broadcast_to(lr, (*lr.shape[:2], 3)).transpose(2, 0, 1)[None]
        sr = compiled(np.ascontiguousarray(nchw))[0].transpose(1, 2, 0)
        return sr[: height * compiled.scale, : width * compiled.scale]


def _precision(settings: Settings) -> str:
    return "fp32" if settings.precision == "auto" else settings.precision


def _finished(sr: Pixels, pixels: Pixels, size: tuple[int, int]) -> Iterator[Pixels]:
    """Float (height, width, 3) to strips as the input was: grey, resampled, rounded."""
    grey = pixels.shape[2] == 1
    native = sr.shape[0], sr.shape[1]
    resizer = None
    if native != size:
        channels = 1 if grey else 3
        resizer = RowResizer(native, size, dtype=np.float32, channels=channels, kernel="lanczos")
    white = np.float32(peak(pixels.dtype))
    step = max(1, STRIP_PIXELS // native[1])
    for top in range(0, native[0], step):
        band = sr[top : top + step]
        if grey:
            band = (band @ GREY)[:, :, None]
        if resizer is not None:
            band = resizer.push(np.ascontiguousarray(band))
        if len(band):
            band = np.clip(band, 0, 1)
            if pixels.dtype != np.float32:
                band = band * white
            yield quantised(np.ascontiguousarray(band), pixels.dtype)


def check(model: Model, settings: Settings) -> None:
    """Raises UsageError if the model cannot run so though it was asked for by name."""
    reason = refusal(model, settings)
    if reason is not None:
        hint = 'pip install "srcli[openvino]"' if not is_installed() else "use --backend torch"
        raise UsageError(reason, hint)
