"""A network on whole pictures of one size, again and again: recorded once on CUDA, then replayed.

A small network is hundreds of short kernels, which a CUDA graph starts all at once. Frames of films
and pictures of one size in a folder are where this pays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from srcli.engine.pytorch.tiling import is_out_of_memory

MOST = 3  # recordings that are kept: each holds the memory of its maps

Network = Callable[[Tensor], Tensor]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    rgb: Tensor
    sr: Tensor


class Recorded:
    """Runs a network; on CUDA, a size that comes again is recorded.

    Args:
        network: takes and gives (1, 3, h, w) on its own device.
        records: whether to; False: just runs it.
    """

    def __init__(self, network: Network, records: bool) -> None:
        self.network, self.records = network, records
        self._lock = threading.Lock()
        self._seen: dict[tuple[int, ...], _Recording | None] = {}  # oldest first; None: only seen
        self._refused: set[tuple[int, ...]] = set()

    def has(self, size: tuple[int, int]) -> bool:
        """Whether pictures of this (height, width) need no more memory than they have."""
        return self._seen.get((1, 3, *size)) is not None

    def clear(self) -> None:
        """Give all recordings' memory back."""
        self._seen.clear()

    def __call__(self, rgb: Tensor) -> Tensor:
        if not self.records:
            return self.network(rgb)
        with self._lock:
            recording = self._recording(rgb)
            if recording is None:
                return self.network(rgb)
            recording.rgb.copy_(rgb)
            recording.graph.replay()
            return recording.sr.clone()  # the next replay writes over it

    def _recording(self, rgb: Tensor) -> _Recording | None:
        key = tuple(rgb.shape)
        if key in self._refused:
            return None
        if key not in self._seen:  # the first of its size may stay the only one
            while len(self._seen) >= MOST:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return None
        recording = self._seen.pop(key)
        if recording is None:
            try:
                recording = _record(self.network, rgb)
            except RuntimeError as error:
                self._refused.add(key)
                if is_out_of_memory(error):
                    self.clear()
                log.info("not recorded for pictures of %s: %s", key[2:], error)
                return None
        self._seen[key] = recording
        return recording


def _record(network: Network, rgb: Tensor) -> _Recording:
    rgb = rgb.clone(memory_format=torch.preserve_format)
    now = torch.cuda.current_stream(rgb.device)
    aside: Any = torch.cuda.Stream(rgb.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(now)
    with torch.cuda.stream(aside):
        network(rgb)  # libraries take their working memory before anything is recorded
    now.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=aside):
        sr = network(rgb)
    return _Recording(graph, rgb, sr)
