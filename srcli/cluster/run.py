"""Doing the jobs on many workers: what srcli.jobs.run does on one, with the same events."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.catalog import Model
from srcli.cluster.ledger import DEATHS, Ledger
from srcli.cluster.session import Layout, LostError, Member, Session
from srcli.cluster.worker import Work
from srcli.engine.settings import Settings
from srcli.errors import SrcliError
from srcli.jobs.events import Done, Failed, Listener, Noted, Paced, Skipped, Summary
from srcli.jobs.plan import Job, Options
from srcli.media.atomic import sweep
from srcli.weights import Announce, Progress, WeightsOptions, locate

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

STOP_S = 5.0  # in which workers remove what is half-written
LOOK_S = 1.0  # between two looks at what there is to do, at most
PACE_S = 0.5  # between two words about the pace
ENOUGH = 3  # jobs that a worker has when it is given no more
IN_VAIN = 6  # losses in a row, and one for every worker, in which nothing was done


@dataclass(frozen=True)
class Cluster:
    """Where the work is to be done.

    Attributes:
        address: ``local``, ``auto``, or a Ray cluster's.
        workers: None: as many as there is room for.
    """

    address: str
    workers: int | None = None


def run(
    jobs: Sequence[Job],
    options: Options,
    model: Model,
    settings: Settings,
    cluster: Cluster,
    *,
    weights: WeightsOptions,
    state: Mapping[str, Tensor] | None = None,
    tell: Listener,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Do the jobs on a cluster's workers; a job that fails is told and the others go on.

    A worker that is lost is replaced and its unfinished jobs are done by others; a job over which
    three are lost is given up.

    Args:
        jobs: from srcli.jobs.plan.
        options: of the command.
        model, settings, weights, state, announce, progress: as srcli.engine.open.open_engine;
            threads and memory are each worker's.
        cluster: where.
        tell: called with every event, always from the calling thread.

    Returns:
        The counts.

    Raises:
        SrcliError: the cluster, or the model's weights, cannot be had.
    """
    summary = Summary()

    def report(event: Done | Failed | Skipped) -> None:
        summary.count(event)
        tell(event)

    todo = []
    for job in jobs:
        if job.skip:
            report(Skipped(job.source, job.target))
        elif job.failure is not None:
            report(Failed(job.source, job.failure.message, job.failure.hint))
        else:
            todo.append(job)
    if not todo:
        return summary
    if state is None and not model.is_resampler:
        _fetch(model, todo, weights, announce, progress)
    cores = (cluster.workers or 1) * (settings.threads or 1)
    session = Session(cluster.address, max(cores, os.cpu_count() or 1))
    try:
        layout = session.layout(cluster.workers, settings.threads, settings.device)
        work = Work(
            options,
            model,
            _settings(settings, layout, is_own=session.is_own),
            weights,
            state,
            None if all(map(_is_absolute, todo)) else Path.cwd(),
            layout.share,
        )
        crew = _Crew(session, work, layout, Ledger(todo, layout.workers), tell, report)
        try:
            crew.run()
        except BaseException:
            session.stop(crew.members, STOP_S)
            raise
        finally:
            crew.settle()
    finally:
        session.close()
        for folder in {job.target.parent for job in todo}:
            sweep(folder)  # of workers that were killed
    return summary


def _fetch(
    model: Model,
    jobs: Sequence[Job],
    options: WeightsOptions,
    announce: Announce | None,
    progress: Progress | None,
) -> None:
    """Have the weights on this machine before workers look for them, each on its own."""
    for scale in sorted({scale for job in jobs for scale in job.passes}):
        file = model.variant(scale).weights
        if file is not None:
            locate(
                file,
                options,
                model=model.name,
                licence=model.licence,
                announce=announce,
                progress=progress,
            )


def _settings(settings: Settings, layout: Layout, *, is_own: bool) -> Settings:
    """Of each worker."""
    memory_bytes = settings.memory_bytes
    if memory_bytes is not None and is_own:
        memory_bytes //= layout.workers
    device = settings.device
    if layout.cards and device.startswith("cuda"):
        device = "cuda"  # each sees its own card alone
    return replace(settings, threads=layout.threads, memory_bytes=memory_bytes, device=device)


def _is_absolute(job: Job) -> bool:
    return job.source.is_absolute() and job.target.is_absolute()


@dataclass
class _Pace:
    """What one worker, and those that took its place, has done."""

    since: float | None = None
    last: float = 0.0
    done: int = 0

    def per_second(self, now: float) -> float:
        return 0.0 if self.since is None else self.done / max(1e-3, now - self.since)


class _Crew:
    """The workers of one run, numbered by their places; a lost one's place is taken by another."""

    def __init__(
        self,
        session: Session,
        work: Work,
        layout: Layout,
        ledger: Ledger,
        tell: Listener,
        report: Callable[[Done | Failed], None],
    ) -> None:
        self._session, self._work, self._layout = session, work, layout
        self._ledger, self._tell, self._report = ledger, tell, report
        self._places: dict[int, Member] = {}
        self._paces = [_Pace() for _ in range(layout.workers)]
        self._in_vain = 0
        self._paced_s = 0.0

    @property
    def members(self) -> list[Member]:
        return list(self._places.values())

    def run(self) -> None:
        """Until every job is over."""
        while self._ledger.left:
            self._fill()
            place_of = {id(member): place for place, member in self._places.items()}
            answered = self._session.wait(self.members, LOOK_S)
            for member in answered:
                self._hear(place_of[id(member)], member)
            if not answered and not self._session.is_alive:
                self._break_down()
            self._show_pace()

    def _fill(self) -> None:
        """Every place has a worker, and every worker enough to do."""
        for place in range(self._layout.workers):
            member = self._places.get(place)
            if member is not None:
                self._hand_out(place, member)
            elif len(self._places) < self._ledger.left:
                self._places[place] = self._session.start(self._work, self._layout)

    def _hand_out(self, place: int, member: Member) -> None:
        """The next group, shortly before the last one ends."""
        if not member.is_ready or self._ledger.holds(place) >= ENOUGH:
            return
        if group := self._ledger.take(place):
            pace = self._paces[place]
            pace.since = pace.since or time.monotonic()
            member.work(group)

    def _hear(self, place: int, member: Member) -> None:
        """What a worker has to tell, or that it is gone."""
        try:
            told = member.told()
        except LostError as exc:
            log.debug("worker %d is lost: %s", place + 1, exc)
            self._lose(place, str(exc))
            return
        for index, event in told:
            heard = self._ledger.heard(place, index, event)
            if isinstance(heard, Done | Failed):
                self._in_vain = 0
                self._paces[place].done += 1
                self._paces[place].last = time.monotonic()
                self._report(heard)
            elif heard is not None:
                self._tell(heard)
        self._hand_out(place, member)

    def _lose(self, place: int, why: str) -> None:
        """A worker is gone; its jobs are given back."""
        self._count_loss(why)
        self._places.pop(place).kill()
        n_held = self._give_back(place)
        others = "" if n_held == 0 else f"; {_pictures(n_held)} of its own go to others"
        self._tell(Noted(None, f"worker {place + 1} was lost{others}"))

    def _break_down(self) -> None:
        """The whole cluster is gone: our own is started again."""
        why = "no machine of the Ray cluster answers any more"
        if not self._session.is_own:
            raise SrcliError(why, "when it is there again, the same command with --skip-existing")
        self._count_loss(why)
        places = list(self._places)
        self._places.clear()
        n_held = sum(self._give_back(place) for place in places)
        self._tell(Noted(None, f"Ray has stopped and starts again; {_pictures(n_held)} go on"))
        self._session.begin_again()

    def _count_loss(self, why: str) -> None:
        self._in_vain += 1
        if self._in_vain > IN_VAIN + self._layout.workers:
            raise SrcliError(
                f"workers are lost one after the other, and nothing is done: {why}",
                "their memory may not suffice: take fewer with --workers, or see Ray's logs",
            )

    def _give_back(self, place: int) -> int:
        """A place's jobs wait again, or are given up; how many there were."""
        held, given_up = self._ledger.lost(place)
        for job in given_up:
            error = f"{job.source}: {DEATHS} workers were lost over it, one after the other"
            self._report(Failed(job.source, error, "its memory may not suffice: --memory, --tile"))
        return len(held)

    def _show_pace(self) -> None:
        now = time.monotonic()
        if now - self._paced_s >= PACE_S:
            self._paced_s = now
            self._tell(Paced(tuple(pace.per_second(now) for pace in self._paces)))

    def settle(self) -> None:
        """A last word: how much each place has done."""
        if sum(pace.done for pace in self._paces) < 2:
            return
        said = ", ".join(
            f"{pace.done} by worker {place + 1} ({pace.per_second(pace.last):.2f} a second)"
            for place, pace in enumerate(self._paces)
        )
        self._tell(Noted(None, f"{said}"))


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n} pictures"
