"""Plain eager PyTorch in a process of its own: what a user of the authors' code gets.

In srcli's own process it would profit from what srcli does there: memory that is freed is kept, and
fresh pages cost eager PyTorch half of its time.

``python -m srcli.bench.eager MODEL SCALE THREADS DEVICE PRECISION FOLDER`` reads ``lr.npy``
(1, 3, h, w) and, for weights that no file of the catalogue has, ``state.safetensors``. For each
line ``run`` that it is sent, it runs the network and answers; for ``save`` it writes the last
result as ``sr.npy``. On a card pictures stay there: what is timed is the network alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from srcli import catalog
from srcli.catalog import Model
from srcli.engine.pytorch.device import DTYPES, make_exact
from srcli.engine.pytorch.network import Network
from srcli.engine.result import Pixels
from srcli.errors import SrcliError
from srcli.weights import WeightsOptions, build, load
from srcli.weights.format import pack, unpack
from srcli.weights.user_models import with_own_models


class Eager:
    """The process; it ends with this object.

    Args:
        state: the network's weights, if the catalogue names none.
        lr: (1, 3, h, w), RGB in 0..1.
        environment: of the process; its catalogue and weights are these.
        device, precision: in which all of the network computes.

    Raises:
        SrcliError: it did not start.
    """

    def __init__(
        self,
        model: Model,
        scale: int,
        threads: int,
        state: Mapping[str, torch.Tensor] | None,
        lr: Pixels,
        environment: Mapping[str, str],
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="srcli-bench-")
        folder = Path(self._folder.name)
        np.save(folder / "lr.npy", lr)
        if state is not None:
            (folder / "state.safetensors").write_bytes(pack(state, {}))
        command = [sys.executable, "-m", "srcli.bench.eager"]
        command += [model.name, str(scale), str(threads), device, precision, str(folder)]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self._answer()

    def run(self) -> None:
        """The network once."""
        self._ask("run")

    def result(self) -> Pixels:
        """(1, 3, h s, w s) of the last run."""
        self._ask("save")
        sr: Pixels = np.load(Path(self._folder.name) / "sr.npy")
        return sr

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone, and what it said is told
            print(what, file=self._process.stdin, flush=True)
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "done":
            self._process.wait()
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            said = lines[-1] if lines else f"exit code {self._process.returncode}"
            raise SrcliError(f"eager PyTorch failed in a process of its own: {said}")

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.communicate()
            self._said.close()


def main(name: str, scale: int, threads: int, on: str, precision: str, folder: Path) -> None:
    """What the process does."""
    device = torch.device(on)
    torch.set_num_threads(threads)
    make_exact()
    catalog.extend(with_own_models)
    model = catalog.get(name)
    file = folder / "state.safetensors"
    if file.is_file():
        module = build(model.variant(scale), model.arch, unpack(file.read_bytes()))
    else:
        module = load(model, scale, WeightsOptions.from_environment())
    module = module.eval().to(device, DTYPES[precision])
    adapted = Network(module, model.arch, model.preprocessing, scale).adapted()
    lr = torch.from_numpy(np.load(folder / "lr.npy")).to(device)
    sr = torch.empty(0)
    _say_done()
    for line in sys.stdin:
        if line.strip() == "save":
            np.save(folder / "sr.npy", sr.cpu().numpy())
        else:
            with torch.inference_mode():
                sr = adapted(lr)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        _say_done()


def _say_done() -> None:
    print("done", flush=True)  # noqa: T201 - to the process that started this one


if __name__ == "__main__":
    _, name, scale, threads, device, precision, folder = sys.argv
    main(name, int(scale), int(threads), device, precision, Path(folder))
