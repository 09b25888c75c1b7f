"""A whole benchmark: the machine's limits, then all setups of each network and size."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from srcli.bench.child import first_picture
from srcli.bench.cost import cost
from srcli.bench.machine import Limits, measure_limits
from srcli.bench.measure import Row, agreement, alternate
from srcli.bench.runners import (
    BASELINES,
    Exports,
    Runner,
    Setup,
    baseline_runner,
    eager_runner,
    engine_runner,
    plain_run,
)
from srcli.catalog import Model
from srcli.engine.open import open_engine
from srcli.engine.pytorch.device import DTYPES, choose_device, make_exact
from srcli.engine.pytorch.network import Network
from srcli.engine.result import Pixels
from srcli.engine.settings import Settings, openvino_device
from srcli.engine.testcard import testcard
from srcli.errors import SrcliError
from srcli.weights import Announce, Progress, WeightsOptions, build, load, new_network, tuned

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to measure: every combination.

    Attributes:
        models: with a native scale each.
        sizes: (height, width) of LR pictures.
        backends, precisions, threads, tiles: of srcli's own runs, as Settings.
        runs: timed runs of each.
        baselines: the bare networks besides.
        first: processes started for the first picture and the peak of memory; 0: none.
        settings: the rest: device, memory.
    """

    models: Sequence[tuple[Model, int]]
    sizes: Sequence[tuple[int, int]]
    backends: Sequence[str]
    precisions: Sequence[str]
    threads: Sequence[int]
    tiles: Sequence[int | None] = (None,)
    runs: int = 5
    baselines: bool = False
    first: int = 1
    settings: Settings = field(default_factory=Settings)

    @property
    def torch_device(self) -> torch.device:
        """Where PyTorch computes; beside OpenVINO's own devices on the CPU."""
        name = self.settings.device
        return choose_device("cpu" if name != "auto" and openvino_device(name) else name)

    def setups(self, model: Model, scale: int, size: tuple[int, int]) -> list[Setup]:
        """Of one group. OpenVINO chooses its own tiles and knows no fp16 on a CPU; int8 is its
        alone. On a card only PyTorch is a baseline, in every precision."""
        on_cpu = self.torch_device.type == "cpu"
        own = [
            Setup(model.name, scale, size, backend, precision, threads, tile)
            for threads, backend, precision, tile in itertools.product(
                self.threads, self.backends, self.precisions, self.tiles
            )
            if (backend != "openvino" and precision != "int8")
            or (backend == "openvino" and tile is None and precision != "fp16")
        ]
        bare = [
            Setup(model.name, scale, size, backend, precision, threads, baseline=True)
            for threads, backend, precision in itertools.product(
                self.threads, BASELINES if on_cpu else BASELINES[:1], self.precisions
            )
            if (not on_cpu and precision in DTYPES)
            or precision == "fp32"
            or (backend == "openvino" and precision == "bf16")
        ]
        return own + (bare if self.baselines else [])


@dataclass(frozen=True)
class Skipped:
    """A setup that cannot run here, and why."""

    setup: Setup
    error: str


@dataclass(frozen=True)
class Result:
    """What came out; ``limits`` by thread count."""

    limits: Mapping[int, Limits]
    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]


def bench(
    request: Request,
    weights: WeightsOptions,
    environment: Mapping[str, str],
    *,
    tell: Tell = lambda _: None,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Result:
    """Measure.

    Args:
        weights: where they come from.
        environment: of the processes for eager PyTorch and first pictures.
        tell: called with a line about each step.
        announce, progress: told about downloads.

    Raises:
        SrcliError: weights are not to be had.
    """
    make_exact()
    device = request.torch_device
    known = [name for name in ("fp32", *request.precisions) if name in DTYPES]
    dtypes = {name: DTYPES[name] for name in dict.fromkeys(known)}
    if device.type == "cpu":
        dtypes.pop("fp16", None)  # no CPU multiplies it at speed; the measurement would take ages
    before = torch.get_num_threads()
    rows: list[Row] = []
    skipped: list[Skipped] = []
    try:
        tell("limits of this machine")
        limits = {n: measure_limits(n, dtypes, device) for n in request.threads}
        with Exports() as exports:
            for model, scale in request.models:
                state = None
                if model.variant(scale).weights is None:
                    state = _random_state(model, scale)
                    module = build(model.variant(scale), model.arch, state)
                else:
                    module = load(model, scale, weights, announce=announce, progress=progress)
                network = Network(module.eval(), model.arch, model.preprocessing, scale)
                for size in request.sizes:
                    group = _Group(
                        request, network, model, size, weights, state, environment, exports, tell
                    )
                    skipped += group.skipped
                    rows += group.rows(limits)
                    del group
                    gc.collect()
    finally:
        torch.set_num_threads(before)
    return Result(limits, tuple(rows), tuple(skipped))


def _random_state(model: Model, scale: int) -> dict[str, torch.Tensor]:
    """What a network costs does not depend on its weights: those of a constructor will do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_network(model.variant(scale), model.arch).state_dict()


class _Group:
    """All setups of one network and size; they take turns."""

    def __init__(
        self,
        request: Request,
        network: Network,
        model: Model,
        size: tuple[int, int],
        weights: WeightsOptions,
        state: Mapping[str, torch.Tensor] | None,
        environment: Mapping[str, str],
        exports: Exports,
        tell: Tell,
    ) -> None:
        self.request, self.model, self.size, self.tell = request, model, size, tell
        self.network, self.weights, self.state = network, weights, state
        self.environment = environment
        self.lr = np.ascontiguousarray(testcard(*size, seed=0).transpose(1, 2, 0))
        self.cost = cost(network, size, model.variant(network.scale).parameters)
        self.skipped: list[Skipped] = []
        self.runners: list[Runner] = []
        for setup in request.setups(model, network.scale, size):
            try:
                self.runners.append(self._runner(setup, exports))
            except SrcliError as exc:
                self.skipped.append(Skipped(setup, exc.message))

    def _runner(self, setup: Setup, exports: Exports) -> Runner:
        self.tell(f"{setup.model} x{setup.scale} {setup.backend} {setup.precision}: loading")
        if setup.backend == "eager":
            return eager_runner(
                setup,
                self.model,
                self.state,
                self.environment,
                self.cost,
                self.lr,
                self.request.torch_device,
            )
        if setup.baseline:
            return baseline_runner(setup, self.network, self.model, exports, self.cost, self.lr)
        settings = self.request.settings
        return engine_runner(
            setup, self.model, settings, self.weights, self.cost, self.lr, state=self.state
        )

    def _reference(self) -> Pixels:
        """The plain network on the whole picture in fp32; the engine's if it needs more."""
        scale, preprocessing = self.network.scale, self.network.preprocessing
        if preprocessing.colour in ("rgb", "bgr") and not preprocessing.enlarged:
            return plain_run(self.network, self.lr)
        settings = Settings(device="cpu", precision="fp32", backend="torch", tile=0)
        engine = open_engine(self.model, settings, weights=self.weights, state=self.state)
        size = self.size[0] * scale, self.size[1] * scale
        return np.concatenate(list(engine.strips(self.lr, (scale,), size)))

    def rows(self, limits: Mapping[int, Limits]) -> list[Row]:
        """Raises SrcliError if a process for a first picture fails."""
        request = self.request
        reference = self._reference()
        turns = itertools.count(1)
        total = len(self.runners) * (request.runs + 1)

        def on_run(runner: Runner) -> None:
            setup = runner.setup
            height, width = setup.size
            self.tell(f"{setup.model} x{setup.scale} {width}x{height}: {next(turns)} of {total}")

        times, made = alternate(self.runners, request.runs, on_run)
        said = () if self.state is None else ("random weights: it has none to download",)
        rows = [
            Row(
                runner.setup,
                runner.cost,
                tuple(own),
                agreement(sr, reference, runner.setup.scale),
                limits[runner.setup.threads],
                notes=said if runner.report is None else (*said, *runner.report.notes),
            )
            for runner, own, sr in zip(self.runners, times, made, strict=True)
        ]
        return [self._with_first(row) for row in rows]

    def _with_first(self, row: Row) -> Row:
        request = self.request
        if not request.first or row.setup.baseline or self.state is not None:
            return row
        setup = row.setup
        self.tell(f"{setup.model} x{setup.scale} {setup.backend} {setup.precision}: first picture")
        device = request.settings.device
        first = first_picture(setup, self.lr, self.environment, device=device, runs=request.first)
        return replace(row, first=first)


def best(rows: Sequence[Row]) -> dict[tuple[str, int], tuned.Choice]:
    """For each network at each scale, the fastest of srcli's own setups at the largest size.

    A row with notes did not run as its setup says (too little memory, fp16 overflowed).
    """
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        if row.setup.baseline or row.notes:
            continue
        key = row.setup.model, row.setup.scale
        other = found.get(key)
        if other is None or _rank(row) < _rank(other):
            found[key] = row
    return {
        key: tuned.Choice(
            row.setup.backend,
            row.setup.precision,
            row.setup.threads,
            row.setup.tile,
            round(row.median_s * 1e3, 3),
            row.setup.size,
        )
        for key, row in found.items()
    }


def _rank(row: Row) -> tuple[int, float]:
    return -row.setup.size[0] * row.setup.size[1], row.median_s
