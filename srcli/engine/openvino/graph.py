"""One network that OpenVINO runs, and what is kept of it in the cache folder. No torch.

A converted network is one file, named after what it was made of. Beside it lies what OpenVINO
compiled of it for each size of picture, which starts five times faster than compiling again.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from srcli.engine.openvino.graph_files import (
    COMPILED,
    CONSTANTS,
    FACTS,
    GRAPH,
    REFUSED,
    DamagedError,
    Parts,
    pack,
    unpack,
)
from srcli.engine.openvino.importing import import_openvino
from srcli.engine.result import Pixels
from srcli.errors import SrcliError
from srcli.weights import Announce
from srcli.weights.cache import locked, scratch_dir, why_not_writable, write_atomic

log = logging.getLogger(__name__)

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # int8: of what is not quantised
MOST_COMPILED_BYTES = 256 * 2**20  # on disk; the oldest go first
FIXED_SIZES = 3  # of pictures in one run that are worth compiling for each


class NoGraphError(SrcliError):
    """OpenVINO cannot have this network, or computes something else of it."""


class Graph:
    """One network at one native scale.

    Args:
        name: of its file, without ending; stands for all that the file depends on.
        folder: of the cache; another of this process alone is used if it cannot be written.
        convert: makes the parts `GRAPH`, `CONSTANTS` and `FACTS`; slow. Or only `FACTS`, which say
            why there is nothing more (`refusal`).
        precision, threads: as Settings; fp32, bf16 or int8.
        device: OpenVINO's name of it.
        compiled_for: stands for the processor.
        say: told what takes time.

    Raises:
        NoGraphError: the network cannot be converted.
    """

    def __init__(
        self,
        name: str,
        scale: int,
        folder: Path,
        convert: Callable[[], Parts],
        *,
        precision: str,
        device: str,
        threads: int | None,
        compiled_for: str,
        say: Announce,
    ) -> None:
        self.scale, self.convert, self.say = scale, convert, say
        self.device = device
        self.suffix = f"{precision}-{compiled_for}" + ("" if device == "CPU" else f"-{device}")
        if not _is_there(folder / f"{name}.graph") and why_not_writable(folder) is not None:
            folder = scratch_dir()
        self.path = folder / f"{name}.graph"
        self.hints: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if device == "CPU":
            # processes of one thread each would all be bound to the first core
            self.hints["ENABLE_CPU_PINNING"] = False
            if threads is not None:
                self.hints["INFERENCE_NUM_THREADS"] = threads
        (packed,) = self._parts(FACTS)
        facts = json.loads(packed)
        if REFUSED in facts:
            raise NoGraphError(facts[REFUSED], "Use --backend torch.")
        self.widest_bytes = int(facts["widest_bytes"])  # as srcli.engine.pytorch.profile has it
        self._sizes: set[tuple[int, int]] = set()
        self._ready: tuple[tuple[int, int] | None, Any] | None = None

    def is_ready(self, size: tuple[int, int]) -> bool:
        """True if a picture of this (height, width) needs no memory that is not taken already."""
        return self._ready is not None and self._ready[0] == size

    def release(self) -> None:
        """Free the maps of the last picture."""
        self._ready = None

    def __call__(self, lr: Pixels) -> Pixels:
        """(h, w, 3) float32, RGB in 0..1, to (h s, w s, 3), not clipped."""
        openvino: Any = import_openvino()
        height, width = lr.shape[:2]
        sr = np.empty((1, height * self.scale, width * self.scale, 3), np.float32)
        request = self._request((height, width))
        try:
            # its own buffer would be overwritten by the next picture
            request.set_output_tensor(openvino.Tensor(sr, shared_memory=True))
            request.infer({0: lr[None]}, share_inputs=True, share_outputs=True)
        except RuntimeError as exc:
            raise SrcliError(f"OpenVINO failed: {exc}", "Use --backend torch.") from exc
        result: Pixels = sr[0]
        return result

    def _request(self, size: tuple[int, int]) -> Any:
        """What runs pictures of this size; one at a time is held, for each holds its maps."""
        self._sizes.add(size)
        free = len(self._sizes) > FIXED_SIZES
        if self._ready is None or self._ready[0] != (None if free else size):
            self._ready = None
            compiled = self._compiled(None if free else size)
            self._ready = None if free else size, compiled.create_infer_request()
        return self._ready[1]

    def _compiled(self, size: tuple[int, int] | None) -> Any:
        """The network for pictures of one size, which is faster by up to a tenth, or of any."""
        openvino: Any = import_openvino()
        core = openvino.Core()
        text = "any" if size is None else f"{size[1]}x{size[0]}"
        path = self.path.with_name(f"{self.path.stem}-{text}-{self.suffix}.compiled")
        try:
            (blob,) = unpack(path, COMPILED)
            path.touch()  # the last to go
            return core.import_model(blob, self.device, self.hints)
        except FileNotFoundError:
            pass
        except (DamagedError, RuntimeError, OSError) as exc:
            log.info("%s is of no use (%s): compiled again", path, exc)
        xml, constants = self._parts(GRAPH, CONSTANTS)
        try:
            model = core.read_model(xml, constants)
            model.reshape([1, *(size or (-1, -1)), 3])
            compiled = core.compile_model(model, self.device, self.hints)
        except RuntimeError as exc:
            raise SrcliError(
                f"OpenVINO cannot compile {self.path}: {exc}",
                "Remove that file and try again, or use --backend torch.",
            ) from exc
        out = io.BytesIO()
        compiled.export_model(out)
        try:
            write_atomic(path, pack({COMPILED: out.getvalue()}))
            _prune(path.parent, MOST_COMPILED_BYTES)
        except (OSError, SrcliError) as exc:
            log.info("%s cannot be kept: %s", path, exc)
        return compiled

    def _parts(self, *names: str) -> list[bytes]:
        """Of the file, which is made if it is not there or damaged."""
        try:
            return unpack(self.path, *names)
        except FileNotFoundError:
            pass
        except DamagedError as exc:
            self.say(f"{self.path} is damaged ({exc}): converted again.")
        with locked(self.path, self.say, doing="converting"):
            try:
                return unpack(self.path, *names)  # another process was faster
            except (FileNotFoundError, DamagedError):
                parts = self.convert()
            try:
                write_atomic(self.path, pack(parts))
            except OSError as exc:
                text = f"{self.path} cannot be written: {exc.strerror or exc}."
                raise SrcliError(text) from exc
        return [parts[name] for name in names]


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # of a folder that is not ours to enter
        return False


def _prune(folder: Path, most_bytes: int) -> None:
    """Remove the compiled networks that were not used for longest, down to so many bytes."""
    found = sorted(((p.stat(), p) for p in folder.glob("*.compiled")), key=lambda f: f[0].st_mtime)
    total = sum(stat.st_size for stat, _ in found)
    for stat, path in found[:-1]:
        if total <= most_bytes:
            break
        path.unlink(missing_ok=True)
        total -= stat.st_size
