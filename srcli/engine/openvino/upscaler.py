"""Networks through OpenVINO, on the CPU. Once a network is converted, nothing here needs torch.

The whole picture runs at once. One that does not fit in memory so goes to srcli's PyTorch engine,
which tiles.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load

import srcli
from srcli.catalog import Model
from srcli.engine import memory
from srcli.engine.engine import Engine
from srcli.engine.openvino import graph_files
from srcli.engine.openvino.graph import Graph, NoGraphError
from srcli.engine.openvino.graph_files import Parts
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.resampler import Resampler
from srcli.engine.result import GREY, Pixels, Report, native_size, pass_shares, peak, quantised
from srcli.engine.settings import MARGIN, Settings, openvino_device
from srcli.errors import SrcliError
from srcli.quality.resize import RowResizer
from srcli.weights import Announce, bundled_path, tuned
from srcli.weights.cache import read_bundled

if TYPE_CHECKING:
    from srcli.engine.pytorch.network import Network
    from srcli.engine.pytorch.upscaler import Upscaler

log = logging.getLogger(__name__)

STRIP_PIXELS = 2**18  # of the result that are finished and handed out at a time
# Of the widest layer's bytes, what a run of the whole picture takes at most, and room for the
# pictures themselves; a test measures it.
WORKSPACE = 5
LITTLE_BYTES = 32 * 2**20  # always fits: to ask the system takes longer than a small picture


@cache
def multiplies_bf16(device: str) -> bool:
    """Whether OpenVINO computes in bf16 there; where it does not, it takes fp32 in silence."""
    openvino: Any = import_openvino()
    return "BF16" in openvino.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")


def packaged(model: Model, scale: int) -> Parts | None:
    """The converted network of weights in the package, which is there with them; else None."""
    weights = model.variant(scale).weights
    if weights is None or not weights.bundled:
        return None
    path = bundled_path(weights).with_suffix(".graph")
    names = (graph_files.GRAPH, graph_files.FACTS, graph_files.PLACES, graph_files.OTHERS)
    try:
        parts = dict(zip(names, graph_files.unpack(path, *names), strict=True))
    except (FileNotFoundError, graph_files.DamagedError) as exc:
        log.info("%s is of no use: %s", path, exc)
        return None
    if json.loads(parts[graph_files.FACTS])["weights"] != weights.sha256:
        return None
    arrays = load(read_bundled(weights))
    return graph_files.together(parts, {name: array.tobytes() for name, array in arrays.items()})


class OpenVinoUpscaler:
    """Enlarges pictures with one model; what srcli.engine.pytorch.upscaler.Upscaler is to PyTorch.

    Args:
        folder: of the cache.
        load: the network of a native scale, with torch; called if it was never converted.
        upscaler: makes the engine for pictures that do not fit in memory whole.
        say: told what takes time.
        asked: OpenVINO was asked for by name: a network that it cannot have is an error. Otherwise
            that network goes to PyTorch.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        folder: Path,
        load: Callable[[int], Network],
        upscaler: Callable[[], Upscaler],
        say: Announce = log.info,
        *,
        asked: bool = True,
    ) -> None:
        self.model, self.settings, self.folder, self.asked = model, settings, folder, asked
        self.precision = "fp32" if settings.precision == "auto" else settings.precision
        self.device = openvino_device(settings.device) or "CPU"
        self._load, self._upscaler, self._say = load, upscaler, say
        self._graphs: dict[int, Graph] = {}
        self._torch: Upscaler | None = None
        memory.reuse_freed()

    @property
    def identity(self) -> str:
        where = "" if self.device == "CPU" else f" {self.device}"
        version = tuned.version("openvino")
        return f"openvino {version}{where} {self.precision} {self.settings.border}"

    @property
    def memory_bytes(self) -> int:
        return self.settings.memory_bytes or memory.default_limit_bytes()

    def prepare(self, scales: Iterable[int]) -> None:
        """Convert the networks of these native scales if need be."""
        scales = tuple(scales)
        if not self._has(scales):
            self._tiled.prepare(scales)

    def _has(self, passes: Iterable[int]) -> bool:
        """True if OpenVINO runs these passes, all of them; False if PyTorch is to."""
        try:
            for scale in passes:
                self.graph(scale)
        except NoGraphError:
            if self.asked:
                raise
            return False
        return True

    def graph(self, scale: int) -> Graph:
        """The network of a native scale.

        Raises:
            NoGraphError: OpenVINO cannot have it.
        """
        if scale not in self._graphs:
            self._graphs[scale] = Graph(
                self._name(scale),
                scale,
                self.folder,
                lambda: self._convert(scale),
                precision=self.precision,
                device=self.device,
                threads=self.settings.threads,
                compiled_for=hashlib.sha256(tuned.processor().encode()).hexdigest()[:8],
                say=self._say,
            )
        return self._graphs[scale]

    def _name(self, scale: int) -> str:
        """Stands for the weights, what is made of them, and the versions that did it."""
        variant = self.model.variant(scale)
        if variant.weights is None:
            self._load(scale)  # which says that there are none
        of = (
            variant.parts,
            sorted(variant.config.items()),
            self.model.preprocessing,
            self.model.arch,
            srcli.__version__,
            tuned.version("openvino"),
            *(["int8"] if self.precision == "int8" else []),
        )
        digest = hashlib.sha256(repr(of).encode()).hexdigest()[:16]
        return f"{tuned.name(self.model.name, scale)}-{digest}"

    def _convert(self, scale: int) -> Parts:
        parts = None if self.precision == "int8" else packaged(self.model, scale)
        if parts is not None:
            return parts
        from srcli.engine.openvino.convert import convert  # torch
        from srcli.engine.pytorch.int8 import convolutions

        network, int8 = self._load(scale), self.precision == "int8"
        if int8:
            convolutions(network)  # says at once if the weights are not for eight bits
        self._say(f"Converting {self.model.name} x{scale} for OpenVINO, once.")
        try:
            return convert(network, int8=int8)
        except SrcliError as exc:
            if self.asked:
                raise
            return graph_files.refused(exc.message)

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """About what whole pictures take; what the tiled engine takes if that is too much."""
        if not self._has(passes):
            return self._tiled.estimate_bytes(lr_size, passes)
        most = self._whole_bytes(lr_size, passes)
        return most if most <= self.memory_bytes else self._tiled.estimate_bytes(lr_size, passes)

    def _whole_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """What a picture takes besides what is held already."""
        height, width = lr_size
        most = 0
        for scale in passes:
            graph, size = self.graph(scale), self._padded((height, width))
            if not graph.is_ready(size):
                most = max(most, graph.widest_bytes * WORKSPACE * size[0] * size[1])
            height, width = height * scale, width * scale
        return most + height * width * 3 * 4 * 2

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
        other: Engine | None = None
        if not passes:
            other = Resampler("lanczos", self.settings.memory_bytes)
        elif not self._fits((pixels.shape[0], pixels.shape[1]), passes, reserve_bytes, report):
            other = self._tiled
        if other is not None:
            yield from other.strips(
                pixels,
                passes,
                size,
                reserve_bytes=reserve_bytes,
                on_progress=on_progress,
                report=report,
            )
            return
        report.device, report.precision = "cpu", self.precision
        if self.device != "CPU":
            report.device = self.settings.device
        if self.precision == "bf16" and not multiplies_bf16(self.device):
            report.precision = "fp32"
            report.note("this processor cannot compute in bf16: fp32 is used")
        sr = pixels.astype(np.float32)
        sr *= np.float32(1 / peak(pixels.dtype))
        done = 0.0
        for scale, share in zip(passes, pass_shares(passes), strict=True):
            sr = self._enlarged(sr, scale)
            report.tiles += 1
            done += share
            on_progress(min(1.0, done))
        yield from _finished(sr, pixels, native_size(pixels, passes), size)

    def _fits(
        self, lr_size: tuple[int, int], passes: Sequence[int], reserve_bytes: int, report: Report
    ) -> bool:
        """True if the picture may be run whole; else the report says so."""
        if not self._has(passes):
            return False
        sizes = {self._padded(lr_size)} if len(passes) == 1 else set()
        for graph in self._graphs.values():
            if not any(graph.is_ready(size) for size in sizes):
                graph.release()
        needed = self._whole_bytes(lr_size, passes)
        if needed <= LITTLE_BYTES:
            return True
        limit = self.memory_bytes - memory.taken_bytes() - reserve_bytes
        if needed <= limit:
            return True
        report.note(
            f"the whole picture would take OpenVINO {memory.too_much(needed, limit)}: PyTorch "
            "works through it in tiles instead"
        )
        return False

    @property
    def _tiled(self) -> Upscaler:
        if self._torch is None:
            self._torch = self._upscaler()
        return self._torch

    @property
    def _margin(self) -> int:
        return MARGIN if self.settings.border == "reflect" else 0

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that the network runs on for a picture of this size."""
        arch = self.model.arch
        height, width = (
            max(arch.min_size, -(-(n + 2 * self._margin) // arch.multiple) * arch.multiple)
            for n in size
        )
        return height, width

    def _enlarged(self, lr: Pixels, scale: int) -> Pixels:
        """(h, w, 1 or 3) to (h s, w s, 3)."""
        (height, width), margin = lr.shape[:2], self._margin
        if margin:
            lr = np.pad(lr, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
        padded = self._padded((height, width))
        more = [n - now for n, now in zip(padded, lr.shape[:2], strict=True)]
        if any(more):
            lr = np.pad(lr, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        if lr.shape[2] == 1:
            lr = np.repeat(lr, 3, axis=2)
        sr = self.graph(scale)(np.ascontiguousarray(lr))
        start = margin * scale
        return sr[start : start + height * scale, start : start + width * scale]


def _finished(
    sr: Pixels, pixels: Pixels, native: tuple[int, int], size: tuple[int, int]
) -> Iterator[Pixels]:
    """Float (height, width, 3) to strips as the input was: grey, resampled, rounded."""
    grey, white = pixels.shape[2] == 1, np.float32(peak(pixels.dtype))
    resizer = None
    if native != size:
        channels = 1 if grey else 3
        resizer = RowResizer(native, size, dtype=np.float32, channels=channels, kernel="lanczos")
    step = max(1, STRIP_PIXELS // native[1])
    for top in range(0, native[0], step):
        band = sr[top : top + step]
        if grey:
            band = (band @ np.array(GREY, np.float32))[:, :, None]
        if resizer is not None:
            band = resizer.push(np.ascontiguousarray(band))
        if len(band):
            band = np.clip(band, 0, 1, out=band)
            if white != 1:
                band *= white
            yield quantised(band, pixels.dtype)
