"""Two bounded queues with a thread each: what comes before the network, and what comes after."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class _End:
    """Nothing more comes."""


class Ahead(Generic[T]):
    """Items of a generator, made by a thread of its own, at most ``n`` of them waiting.

    To be used in a ``with`` statement; leaving it closes the generator. What the generator raises
    is raised where the items are taken.
    """

    def __init__(self, items: Generator[T], n: int) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(n)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as exc:
            self._error = exc
        finally:
            self._items.close()
            self._put(_End())

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                if self._error is not None:
                    raise self._error
                return
            yield item


class Behind(Generic[T]):
    """A thread that is given items, at most ``n`` of them waiting.

    To be used in a ``with`` statement. Leaving it normally waits until all is done; leaving it by
    an exception makes the thread's source of items raise ``AbortedError``.

    Args:
        work: run by the thread; takes the iterator of the items.
    """

    def __init__(self, work: Callable[[Iterator[T]], None], n: int) -> None:
        self._work = work
        self._queue: queue.Queue[T | _End] = queue.Queue(n)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def __enter__(self) -> Behind[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._put(_End())
        else:
            self._stopped.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hand over an item; raises what stopped the thread."""
        if not self._put(item) and self._error is not None:
            raise self._error

    def _put(self, item: T | _End) -> bool:
        while self._thread.is_alive():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _run(self) -> None:
        try:
            self._work(self._taken())
        except AbortedError:
            pass
        except BaseException as exc:
            self._error = exc

    def _taken(self) -> Iterator[T]:
        while True:
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                if self._stopped.is_set():
                    raise AbortedError from None
                continue
            if self._stopped.is_set():
                raise AbortedError
            if isinstance(item, _End):
                return
            yield item


class AbortedError(Exception):
    """The work behind was given up."""
