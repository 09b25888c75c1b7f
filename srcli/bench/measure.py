"""Timing: all runners take turns, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srcli.bench.child import Child
from srcli.bench.cost import Cost
from srcli.bench.machine import Limits
from srcli.bench.runners import Runner, Setup
from srcli.engine.result import Pixels
from srcli.quality.metrics import psnr

LUMA = np.array([65.481, 128.553, 24.966])  # BT.601, of 0..1 to 0..219


@dataclass(frozen=True)
class Row:
    """What came out for one setup.

    Attributes:
        times_s: of each run, in order.
        agreement_db: of the luma with what the plain network makes in fp32, as a PSNR; infinity if
            equal. It says nothing about quality.
        limits: of the machine, with as many threads.
        first: of a process of its own; None if that was not asked for.
        notes: what the engine had to say.
    """

    setup: Setup
    cost: Cost
    times_s: tuple[float, ...]
    agreement_db: float
    limits: Limits
    first: Child | None = None
    notes: tuple[str, ...] = ()

    @property
    def median_s(self) -> float:
        return statistics.median(self.times_s)

    @property
    def spread_s(self) -> tuple[float, float]:
        """The quartiles; the extremes of fewer than four runs."""
        if len(self.times_s) < 4:
            return min(self.times_s), max(self.times_s)
        low, _, high = statistics.quantiles(self.times_s, n=4, method="inclusive")
        return low, high

    @property
    def megapixels_per_s(self) -> float:
        """Of the result."""
        height, width = self.setup.size
        return height * width * self.setup.scale**2 / self.median_s / 1e6

    @property
    def limit_s(self) -> float | None:
        """The multiply-adds at the speed of a matrix product; None: not measured."""
        gflops = self.limits.gflops.get(self.setup.precision)
        return None if gflops is None else 2 * self.cost.multiply_adds / gflops / 1e9

    @property
    def share_of_limit(self) -> float | None:
        """1: as fast as a matrix product of as many multiply-adds."""
        return None if self.limit_s is None else self.limit_s / self.median_s

    def as_json(self) -> dict[str, Any]:
        """One flat object; infinity and what was not measured are null."""
        setup, (low, high) = self.setup, self.spread_s
        return {
            "model": setup.model,
            "scale": setup.scale,
            "lr_size": list(setup.size),
            "backend": setup.backend,
            "baseline": setup.baseline,
            "precision": setup.precision,
            "threads": setup.threads,
            "tile": setup.tile,
            "runs": len(self.times_s),
            "median_s": self.median_s,
            "quartile_low_s": low,
            "quartile_high_s": high,
            "megapixels_per_s": self.megapixels_per_s,
            "limit_s": self.limit_s,
            "share_of_limit": self.share_of_limit,
            "agreement_db": self.agreement_db if np.isfinite(self.agreement_db) else None,
            "parameters": self.cost.parameters,
            "multiply_adds": self.cost.multiply_adds,
            "first_picture_s": self.first.seconds if self.first else None,
            "peak_memory_bytes": self.first.peak_bytes if self.first else None,
            "notes": list(self.notes),
        }


def alternate(
    runners: Sequence[Runner], runs: int, on_run: Callable[[Runner], None] = lambda _: None
) -> tuple[list[list[float]], list[Pixels]]:
    """Time every runner so many times, in turns, after one run that does not count.

    Returns:
        The times of each runner in seconds, and what its first run made.
    """
    made = []
    for runner in runners:
        runner.prepare()
        made.append(runner.pixels(runner.run()))
        on_run(runner)
    times: list[list[float]] = [[] for _ in runners]
    for _ in range(runs):
        for runner, own in zip(runners, times, strict=True):
            runner.prepare()
            started = time.perf_counter()
            runner.run()
            own.append(time.perf_counter() - started)
            on_run(runner)
    return times, made


def agreement(sr: Pixels, reference: Pixels, crop_border: int) -> float:
    """How alike two float pictures (h, w, 3) in about 0..1 are: PSNR of the luma, dB."""
    inside = (slice(crop_border, -crop_border or None),) * 2
    y, wanted = (np.clip(p[inside], 0, 1).astype(np.float64) @ LUMA for p in (sr, reference))
    return psnr(y, wanted, 255)
