"""What this machine can do at most: a matrix product and a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIDE = 1536  # of the matrices: 9 MB each in fp32, over what the library needs to run at its best
COPY_BYTES = 256 * 2**20  # over the caches


@dataclass(frozen=True)
class Limits:
    """Of the CPU or a device; the best of several tries.

    Attributes:
        gflops: of a square matrix product, by precision; a multiply-add counts as two.
        copy_gb_s: of a copy in memory, 10^9 bytes read and as many written counted once.
    """

    threads: int
    gflops: dict[str, float]
    copy_gb_s: float


def measure_limits(
    threads: int,
    dtypes: dict[str, torch.dtype],
    device: torch.device,
    *,
    seconds: float = 0.3,
    side: int = SIDE,
    copy_bytes: int = COPY_BYTES,
) -> Limits:
    """A matrix product in each precision and a copy, each for about so many seconds."""
    torch.set_num_threads(threads)
    gflops = {}
    with torch.inference_mode():
        for name, dtype in dtypes.items():
            a = torch.randn(side, side, device=device).to(dtype)
            b, out = a.clone(), torch.empty_like(a)
            best = _best(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device, seconds)  # type: ignore[misc]
            gflops[name] = 2 * side**3 / best / 1e9
        source = torch.ones(copy_bytes // 4, device=device)
        target = torch.empty_like(source)
        best = _best(lambda: target.copy_(source), device, seconds)
    return Limits(threads, gflops, source.nbytes / best / 1e9)


def _best(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    best, ends = float("inf"), time.perf_counter() + seconds
    work()
    while True:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now >= ends:
            return best
