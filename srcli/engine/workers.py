"""Tiles side by side: on a CPU one thread for each, instead of all threads for each operation.

Operations on tiles are short, and threads that share every one of them wait for each other at its
end: docs/performance.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Batch(Generic[T]):
    """Tasks under way, or, without threads, yet to be done."""

    def __init__(self, tasks: Sequence[Callable[[], T] | Future[T]]) -> None:
        self._tasks = tasks

    def results(self) -> Iterator[T]:
        """Of each task in order; waits for it."""
        for task in self._tasks:
            yield task.result() if isinstance(task, Future) else task()

    def cancel(self) -> None:
        """Forget what has not begun, and wait for what has."""
        for task in self._tasks:
            if isinstance(task, Future) and not task.cancel():
                task.exception()


class Workers:
    """Threads for tiles.

    Args:
        most: threads; 1: tasks are done in the calling thread, when their results are asked for.
    """

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self._pool = ThreadPoolExecutor(most, "tiles") if most > 1 else None
        self._own = threading.local()

    def start(self, tasks: Sequence[Callable[[], T]], at_once: int) -> Batch[T]:
        """Begin tasks; ``at_once`` of them share the cores."""
        if self._pool is None or at_once < 2:
            return Batch(tasks)
        share = max(1, self.most // at_once)
        return Batch([self._pool.submit(self._with_share, task, share) for task in tasks])

    def _with_share(self, task: Callable[[], T], share: int) -> T:
        if getattr(self._own, "share", None) != share:
            torch.set_num_threads(share)  # of this thread
            self._own.share = share
        return task()
