"""One worker: an open engine, the groups that it is given, and what it tells of them.

Ray makes it an actor; nothing here knows of Ray.
"""

from __future__ import annotations

import os
import pickle
import platform
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import __version__
from srcli.catalog import Model
from srcli.cluster.ledger import Item
from srcli.cluster.parts import MadePart, Part
from srcli.engine import memory
from srcli.engine.settings import Settings
from srcli.errors import SrcliError
from srcli.jobs.events import (
    Event,
    Failed,
    FilmProgressed,
    LeftOut,
    Noted,
    Paced,
    Progressed,
    Started,
)
from srcli.jobs.failures import failure_of
from srcli.jobs.job import Job, Options
from srcli.media import scratch
from srcli.weights import WeightsOptions

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.engine import Engine

WAIT_S = 1.0  # until an empty answer
FILM_S = 0.5  # between two words about a film's progress


@dataclass(frozen=True)
class Work:
    """What all workers need to know.

    Attributes:
        options: of the command.
        model, settings, weights, state: as srcli.engine.open.open_engine.
        folder: from which relative names are meant; None: there are none.
        version: of the srcli that asks; one machine's is everybody's.
        share: workers on one machine, which share its memory.
    """

    options: Options
    model: Model
    settings: Settings
    weights: WeightsOptions
    state: Mapping[str, Tensor] | None = None
    version: str = __version__
    folder: Path | None = None
    share: int = 1


class _StoppedError(BaseException):
    """The run is over; what is half-written is removed."""


class Worker:
    """Does groups of jobs, one after the other, in a thread of its own.

    Args:
        work: a Work, pickled. So is all that comes and goes: who passes it on need not know it.
    """

    def __init__(self, work: bytes) -> None:
        self._packed = work
        self._groups: queue.SimpleQueue[Sequence[tuple[int, Item]]] = queue.SimpleQueue()
        self._events: list[tuple[int, Event | MadePart]] = []
        self._news = threading.Condition()
        self._is_new = True  # it has not said yet that it is there
        self._failure: SrcliError | None = None
        self._stopping = False
        self._film_s = 0.0  # when a film's progress was last told
        self._thread = threading.Thread(target=self._run, name="work", daemon=True)
        self._thread.start()

    def work(self, group: bytes) -> None:
        """Take jobs, each with its index; they are done after what was taken before."""
        self._groups.put(pickle.loads(group))

    def take_events(self) -> bytes:
        """What has happened since, for ``unpacked``; waits a while for something."""
        with self._news:
            self._news.wait_for(lambda: self._events or self._failure or self._is_new, WAIT_S)
            self._is_new = False
            events, self._events = self._events, []
            return pickle.dumps(events or self._failure or [])

    @staticmethod
    def unpacked(events: bytes) -> Sequence[tuple[int, Event | MadePart]]:
        """Events, each with its job's index.

        Raises:
            SrcliError: the worker cannot have its engine, which ends the run.
        """
        found: Sequence[tuple[int, Event | MadePart]] | SrcliError = pickle.loads(events)
        if isinstance(found, SrcliError):
            raise found
        return found

    def stop(self) -> None:
        """Give up what is being done; answers when nothing half-written is left."""
        self._stopping = True
        self._groups.put(())
        self._thread.join()
        scratch.clear()

    def _run(self) -> None:
        try:
            work: Work = pickle.loads(self._packed)
            if work.version != __version__:
                raise SrcliError(
                    f"{platform.node()}, a machine of the cluster, has srcli {__version__}, and "
                    f"this one {work.version}",
                    "every machine of the cluster needs the same srcli",
                )
            if work.folder is not None:
                _enter(work.folder)
            from srcli.engine.open import open_engine
            from srcli.jobs.run import run

            settings = work.settings
            if settings.memory_bytes is None:
                free = memory.available_bytes() // 2 // work.share
                settings = replace(settings, memory_bytes=memory.resident_bytes() + free)
            engine = open_engine(work.model, settings, weights=work.weights, state=work.state)
            while not self._stopping:
                group = []
                for k, item in self._groups.get():
                    if isinstance(item, Part):
                        self._make(k, item, engine)
                    else:
                        group.append((k, item))
                index = {item.source: k for k, item in group}
                # the scales of what has not been looked at yet are had when they are known
                scales = {s for _, item in group if isinstance(item, Job) for s in item.passes}
                run(
                    [item for _, item in group],
                    work.options,
                    engine,
                    total=len(group),
                    scales=sorted(scales),
                    tell=lambda event, index=index: self._tell(index, event),  # type: ignore[misc]
                )
        except _StoppedError:
            pass
        except Exception as exc:
            with self._news:
                self._failure = failure_of(exc, Path())
                self._news.notify()

    def _make(self, k: int, part: Part, engine: Engine) -> None:
        """A segment of a film."""
        from srcli.film.parts import make
        from srcli.film.plan import FilmPlan

        job = part.job
        assert isinstance(job.film, FilmPlan)

        def tell(event: Event | MadePart) -> None:
            if self._stopping:
                raise _StoppedError
            with self._news:
                self._events.append((k, event))
                self._news.notify()

        def moved(_: object) -> None:
            if self._stopping:
                raise _StoppedError

        tell(Started(part.source, job.lr_size, job.sr_size, 1, 1))
        notes: list[str] = []  # other threads have notes too
        try:
            made = make(
                job.film,
                part.timeline,
                part.span,
                engine,
                job.passes,
                on_progress=moved,
                note=notes.append,
            )
        except Exception as exc:
            failure = failure_of(exc, part.source)
            tell(Failed(part.source, failure.message, failure.hint))
            return
        for note in notes:
            tell(Noted(part.source, note))
        tell(MadePart(part.source, made))

    def _tell(self, index: Mapping[Path, int], event: Event) -> None:
        if self._stopping:
            raise _StoppedError
        if isinstance(event, Progressed | Paced | LeftOut) or event.source is None:
            return  # of many pictures at a time, the whole is shown
        if isinstance(event, FilmProgressed):
            now = time.monotonic()
            if now - self._film_s < FILM_S and event.frames < event.total:
                return
            self._film_s = now
        with self._news:
            self._events.append((index[event.source], event))
            self._news.notify()


def _enter(folder: Path) -> None:
    """Names are meant from there."""
    try:
        os.chdir(folder)
    except OSError as exc:
        raise SrcliError(
            f"{platform.node()}, a machine of the cluster, cannot use the folder {folder}: "
            f"{exc.strerror}",
            "all machines need the same folder: a shared one, or absolute paths in one",
        ) from exc
