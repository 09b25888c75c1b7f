"""A whole `srcli upscale` in a process of its own: time to a first picture, and memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from srcli.bench.runners import Setup
from srcli.engine.result import Pixels
from srcli.errors import SrcliError

LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Child:
    """Attributes:
    seconds: from the start of the interpreter to its end, a PNG written.
    peak_bytes: most resident memory of that process alone; None where the system does not say.
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
        found = [run_alone(command, environment) for _ in range(runs)]
    peaks = [c.peak_bytes for c in found if c.peak_bytes is not None]
    return Child(sorted(c.seconds for c in found)[runs // 2], max(peaks, default=None))


def run_alone(command: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Run a command to its end, in a process that inherits none of this one's memory.

    Raises:
        SrcliError: it failed; with what it printed.
    """
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), *command]
    done = subprocess.run(launcher, env=dict(environment), capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode != 0:
        raise SrcliError(f"a process cannot be started: {said or done.returncode}")
    seconds, peak, code = done.stdout.split()
    if int(code) != 0:
        raise SrcliError(f"a first picture failed: {said or int(code)}")
    return Child(float(seconds), None if peak == b"-" else int(peak))
