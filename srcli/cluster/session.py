"""The workers, as the command sees them: numbered places, what is given to them and what they tell.

Ray itself is in a process of its own (srcli.cluster.hub).
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence

from srcli.cluster.hub import (
    Command,
    Give,
    Layout,
    Lost,
    News,
    Reported,
    Start,
    StartError,
    Stop,
    Wanted,
    serve,
)
from srcli.cluster.ledger import Item
from srcli.cluster.parts import MadePart
from srcli.cluster.worker import Work, Worker
from srcli.errors import SrcliError
from srcli.jobs.events import Event

log = logging.getLogger(__name__)

STARTS = 4  # in vain, one after the other
END_S = 2.0  # in which workers that have nothing to do end
CLOSE_S = 15.0  # in which Ray ends


class BrokenError(Exception):
    """Ray, or the last machine, is gone."""


class Session:
    """A cluster and its workers.

    Args:
        wanted: which cluster, how many workers.

    Raises:
        SrcliError: there is no such cluster, or it does not start.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.layout = self._begin()

    def _begin(self) -> Layout:
        failure = StartError("Ray cannot be started")
        for _ in range(STARTS):
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._hub = context.Process(target=serve, args=(theirs, self.wanted), daemon=True)
            with _deaf():
                self._hub.start()
            theirs.close()
            try:
                first = self._receive()
            except (BrokenError, StartError) as exc:
                log.debug("Ray has not begun", exc_info=True)
                failure = exc if isinstance(exc, StartError) else failure
                self.close()
                continue
            except SrcliError:
                self.close()
                raise
            except BaseException:  # Ctrl-C, and it may be beginning still
                self._hub.kill()
                self.close()
                raise
            assert isinstance(first, Layout), first
            return first
        raise failure

    def begin_again(self) -> None:
        """Anew, where everything has broken down; there are no workers then."""
        self.close()
        self._begin()

    def start(self, place: int, work: Work) -> None:
        """Have a worker at a place; it may take a while to be there, and tells something then."""
        self._send(Start(place, pickle.dumps(work)))

    def give(self, place: int, group: Sequence[tuple[int, Item]]) -> None:
        """Hand a group to the worker at a place."""
        self._send(Give(place, pickle.dumps(group)))

    def news(
        self, timeout_s: float
    ) -> Iterator[tuple[int, Sequence[tuple[int, Event | MadePart]] | Lost]]:
        """What has come by then: of places, what their workers tell, or that they are lost.

        Raises:
            BrokenError: everything is gone.
            SrcliError: what ends the run: a worker cannot have its engine.
        """
        while self._pipe.poll(timeout_s):
            timeout_s = 0
            news = self._receive()
            if isinstance(news, Lost):
                yield news.place, news
            elif isinstance(news, Reported):
                yield news.place, Worker.unpacked(news.events)

    def stop(self, seconds: float) -> None:
        """Let the workers remove what is half-written, and end."""
        with contextlib.suppress(BrokenError):
            self._send(Stop(seconds))

    def close(self) -> None:
        """Leave the cluster; one of our own ends, with all its processes."""
        self.stop(END_S)
        self._hub.join(CLOSE_S)
        if self._hub.is_alive():
            self._hub.kill()
            self._hub.join()
        self._pipe.close()

    def _send(self, command: Command) -> None:
        try:
            self._pipe.send(command)
        except OSError as exc:
            raise BrokenError from exc

    def _receive(self) -> News:
        try:
            news: News = self._pipe.recv()
        except (EOFError, OSError) as exc:
            raise BrokenError from exc
        if isinstance(news, SrcliError):
            raise news
        return news


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """A process that begins meanwhile does not hear Ctrl-C, not even while it begins."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
