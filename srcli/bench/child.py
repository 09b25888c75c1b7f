"""A whole `srcli upscale` in a process of its own: time to a first picture, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from srcli.bench.runners import Setup
from srcli.engine.result import Pixels
from srcli.errors import SrcliError


@dataclass(frozen=True)
class Child:
    """Attributes:
    seconds: from the start of the interpreter to its end, a PNG written.
    peak_bytes: most resident memory; None where the system does not say.
    """

    seconds: float
    peak_bytes: int | None


def first_picture(
    setup: Setup, lr: Pixels, environment: Mapping[str, str], *, device: str = "auto", runs: int = 1
) -> Child:
    """Enlarge one PNG through the command line; the median time of so many processes.

    Args:
        setup: srcli's own, no baseline.
        lr: float32 (h, w, 3) in 0..1.
        environment: of the process.

    Raises:
        SrcliError: it failed.
    """
    assert not setup.baseline
    with tempfile.TemporaryDirectory(prefix="srcli-bench-") as folder:
        source, target = Path(folder) / "lr.png", Path(folder) / "sr.png"
        Image.fromarray(np.rint(lr * 255).astype(np.uint8)).save(source)
        command = [sys.executable, "-m", "srcli", "upscale", str(source), "-o", str(target)]
        command += ["-m", setup.model, "-x", str(setup.scale), "--overwrite", "--quiet"]
        command += ["--device", device, "--backend", setup.backend]
        command += ["--precision", setup.precision, "--threads", str(setup.threads)]
        command += ["--tile", "auto" if setup.tile is None else str(setup.tile)]
        found = [_run(command, environment) for _ in range(runs)]
    peaks = [c.peak_bytes for c in found if c.peak_bytes is not None]
    return Child(sorted(c.seconds for c in found)[runs // 2], max(peaks, default=None))


def _run(command: list[str], environment: Mapping[str, str]) -> Child:
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(environment), stdout=said, stderr=said)
        peak_bytes = None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        else:
            process.wait()
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise SrcliError(f"a first picture failed: {text or process.returncode}")
    return Child(seconds, peak_bytes)
