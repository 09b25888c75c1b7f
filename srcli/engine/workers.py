"""Tiles side by side: on a CPU one thread for each, instead of all threads for each operation.

Operations on tiles are short: threads that share every one of them wait for each other at its end.
Measured with BCRN on 2 cores: 1.3 times as fast as all threads on one tile after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Batch(Generic[T]):
    """What came of some tasks, in their order; ``results`` waits for each."""

    def __init__(self, tasks: Iterable[Callable[[], T] | Future[T]]) -> None:
        self._tasks = list(tasks)

    def results(self) -> Iterable[T]:
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
        most: threads; 1: tasks run in the calling thread, when their result is asked for.
    """

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self._pool = ThreadPoolExecutor(most, "tiles") if most > 1 else None
        self._own = threading.local()

    def start(self, tasks: Iterable[Callable[[], T]], side_by_side: int) -> Batch[T]:
        """Begin tasks, of which about so many run at a time, with the cores shared among them."""
        if self._pool is None or side_by_side < 2:
            return Batch(tasks)
        share = max(1, self.most // side_by_side)
        before = torch.get_num_threads()
        batch: Batch[T] = Batch(
            [self._pool.submit(self._with_share, task, share) for task in tasks]
        )
        torch.set_num_threads(before)
        return batch

    def _with_share(self, task: Callable[[], T], share: int) -> T:
        if getattr(self._own, "share", None) != share:
            torch.set_num_threads(share)  # of this thread; new threads begin with it, too
            self._own.share = share
        return task()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
