"""Doing the jobs on many workers: what srcli.jobs.run does on one, with the same events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.catalog import Model
from srcli.cluster.films import SharedFilm
from srcli.cluster.hub import Layout, Lost, Wanted
from srcli.cluster.ledger import DEATHS, Item, Ledger
from srcli.cluster.parts import MadePart, Part
from srcli.cluster.session import BrokenError, Session
from srcli.cluster.worker import Work
from srcli.engine.settings import Settings
from srcli.errors import SrcliError
from srcli.jobs.events import (
    Done,
    Event,
    Failed,
    Listener,
    Noted,
    Paced,
    Skipped,
    Started,
    Summary,
)
from srcli.jobs.failures import failure_of
from srcli.jobs.job import Job, Options
from srcli.jobs.plan import Plan
from srcli.media.atomic import sweep
from srcli.weights import Announce, Progress, WeightsOptions, locate

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.engine import Engine

log = logging.getLogger(__name__)

STOP_S = 5.0  # in which workers remove what is half-written
LOOK_S = 1.0  # between two looks at what there is to do, at most
WAIT_S = 60.0  # for the first worker, until a word about it
PACE_S = 0.5  # between two words about the pace
ENOUGH = 3  # jobs that a worker has when it is given no more
IN_VAIN = 6  # losses in a row, and one for every worker, in which nothing was done


def run(
    plan: Plan,
    options: Options,
    model: Model,
    settings: Settings,
    cluster: Wanted,
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
        plan: what is to be done. Workers read the headers of what is known by name alone.
        options: of the command.
        model, settings, weights, state, announce, progress: as srcli.engine.open.open_engine; the
            memory of our own cluster's workers is that of the settings, shared.
        cluster: where, and how many workers.
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

    def report_over(jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.skip:
                report(Skipped(job.source, job.target))
            elif job.failure is not None:
                report(Failed(job.source, job.failure.message, job.failure.hint))

    report_over(plan.over())
    if not plan.total:
        return summary
    if state is None and not model.is_resampler:
        _fetch(model, plan.scales, weights, announce, progress)
    folders: set[Path] = set()
    films: dict[Path, SharedFilm] = {}

    def items() -> Iterator[Item | list[Part]]:
        for item in plan.todo():
            one = plan.inspect(item) if plan.is_for_us(item) else item
            if one.target is not None:
                folders.add(one.target.parent)
            if layout.workers < 2 or not isinstance(one, Job) or not SharedFilm.fits(one):
                yield one
                continue
            try:
                film = SharedFilm(one, options, engine(), tell)
            except Exception as exc:
                yield replace(one, failure=failure_of(exc, one.source))
                continue
            if film.is_complete:  # but for the last step
                film.begin(plan.total, plan.total)
                report(film.finish())
            else:
                films[one.source] = film
            yield list(film.parts())

    def engine() -> Engine:
        """Like those of the workers; its weights are not loaded."""
        from srcli.engine.open import open_engine

        how = _settings(settings, layout, is_own=cluster.is_own)
        return open_engine(model, how, weights=weights, state=state)

    session = Session(cluster)
    try:
        layout = session.layout
        work = Work(
            options,
            model,
            _settings(settings, layout, is_own=cluster.is_own),
            weights,
            state,
            folder=None if plan.is_absolute else Path.cwd(),
            share=layout.share,
        )
        ledger = Ledger(items(), layout.workers, plan.total)
        crew = _Crew(session, work, ledger, films, tell, report, report_over)
        try:
            crew.run()
        except BaseException:
            session.stop(STOP_S)
            raise
        finally:
            crew.settle()
    finally:
        session.close()
        for film in films.values():
            film.close()
        for folder in folders:
            sweep(folder)  # of workers that were killed
    return summary


def _fetch(
    model: Model,
    scales: Sequence[int],
    options: WeightsOptions,
    announce: Announce | None,
    progress: Progress | None,
) -> None:
    """Have the weights on this machine before workers look for them, each on its own."""
    for scale in scales:
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
        ledger: Ledger,
        films: dict[Path, SharedFilm],
        tell: Listener,
        report: Callable[[Done | Failed | Skipped], None],
        report_over: Callable[[Iterable[Job]], None],
    ) -> None:
        self._session, self._work, self._ledger = session, work, ledger
        self._films = films  # that are made in parts, until they are over
        self._tell, self._report, self._report_over = tell, report, report_over
        self._paces = [_Pace() for _ in range(session.layout.workers)]
        self._called: set[int] = set()  # places for which there is a worker, or will be
        self._ready: set[int] = set()  # those of them whose worker is there
        self._in_vain = 0
        self._paced_s = 0.0
        self._begun_s = time.monotonic()  # to wait for a worker

    def run(self) -> None:
        """Until every job is over."""
        while True:
            self._report_over(self._ledger.passed())
            if not self._ledger.left:
                return
            try:
                for place in range(len(self._paces)):
                    if place in self._ready:
                        self._hand_out(place)
                    elif place not in self._called and len(self._called) < self._ledger.left:
                        self._session.start(place, self._work)
                        self._called.add(place)
                for place, news in self._session.news(LOOK_S):
                    if isinstance(news, Lost):
                        self._lose(place, news.why)
                    else:
                        self._ready.add(place)
                        self._hear(place, news)
            except BrokenError:
                self._begin_again()
            self._show_pace()
            self._show_waiting()

    def _hand_out(self, place: int) -> None:
        """The next group, shortly before the last one ends."""
        if self._ledger.holds(place) >= ENOUGH:
            return
        if group := self._ledger.take(place):
            pace = self._paces[place]
            pace.since = pace.since or time.monotonic()
            self._session.give(place, group)

    def _hear(self, place: int, events: Sequence[tuple[int, Event | MadePart]]) -> None:
        for index, event in events:
            heard = self._ledger.heard(place, index, event)
            if isinstance(heard, Done | Failed | Skipped | MadePart):
                self._in_vain = 0
                self._paces[place].done += 1
                self._paces[place].last = time.monotonic()
            source = getattr(event, "source", None)
            film = None if source is None else self._films.get(source)
            if heard is None:
                continue
            if isinstance(heard, MadePart):
                if film is not None and (ended := film.take(heard.made)) is not None:
                    self._end_film(film, ended)
            elif isinstance(heard, Failed) and film is not None:
                film.close()
                self._end_film(film, heard)
            elif isinstance(heard, Done | Failed | Skipped):
                self._report(heard)
            elif isinstance(heard, Started) and film is not None:
                film.begin(heard.number, heard.total)
            else:
                self._tell(heard)

    def _end_film(self, film: SharedFilm, ended: Done | Failed) -> None:
        del self._films[film.job.source]
        self._ledger.drop(film.job.source)
        self._report(ended)

    def _lose(self, place: int, why: str) -> None:
        """A worker is gone; its jobs are given back."""
        log.debug("worker %d is lost: %s", place + 1, why)
        self._count_loss(why)
        self._called.discard(place)
        self._ready.discard(place)
        held = self._give_back(place)
        others = f"; its {held} inputs go to other workers" if held else ""
        self._tell(Noted(None, f"worker {place + 1} was lost{others}"))

    def _begin_again(self) -> None:
        """The whole cluster is gone: our own is started again."""
        why = "no machine of the Ray cluster answers any more"
        if not self._session.wanted.is_own:
            raise SrcliError(why, "when it is back, run the same command with --skip-existing")
        self._count_loss(why)
        for place in self._called:
            self._give_back(place)
        self._called.clear()
        self._ready.clear()
        self._tell(Noted(None, "Ray has stopped and is started again"))
        self._session.begin_again()
        self._begun_s = time.monotonic()

    def _count_loss(self, why: str) -> None:
        self._in_vain += 1
        if self._in_vain > IN_VAIN + len(self._paces):
            raise SrcliError(
                f"workers are lost one after the other, and nothing is done: {why}",
                "they may have too little memory: use fewer with --workers, or see Ray's logs",
            )

    def _give_back(self, place: int) -> str:
        """A place's jobs wait again, or are given up; how many there were, in words."""
        held, given_up = self._ledger.lost(place)
        for item in given_up:
            error = f"{item.source}: {DEATHS} workers were lost over it, one after the other"
            failed = Failed(
                item.source, error, "it may need too much memory: try a smaller --memory or --tile"
            )
            film = self._films.get(item.source)
            if film is not None:
                film.close()
                self._end_film(film, failed)
            elif not isinstance(item, Part):
                self._report(failed)
        n_parts = sum(isinstance(item, Part) for item in held)
        counts = _counted(len(held) - n_parts, "picture"), _counted(n_parts, "segment")
        return " and ".join(filter(None, counts))

    def _show_pace(self) -> None:
        now = time.monotonic()
        if now - self._paced_s >= PACE_S:
            self._paced_s = now
            self._tell(Paced(tuple(pace.per_second(now) for pace in self._paces)))

    def _show_waiting(self) -> None:
        if not self._ready and time.monotonic() - self._begun_s > WAIT_S:
            self._begun_s = time.monotonic()
            self._tell(
                Noted(None, "no worker has started yet; does the cluster have room for one?")
            )

    def settle(self) -> None:
        """A last word: how much each place has done."""
        if sum(pace.done for pace in self._paces) < 2:
            return
        said = ", ".join(
            f"{pace.done} by worker {place + 1} ({pace.per_second(pace.last):.2f} a second)"
            for place, pace in enumerate(self._paces)
        )
        self._tell(Noted(None, f"{said}"))


def _counted(n: int, what: str) -> str:
    """Empty of none."""
    return "" if n == 0 else f"1 {what}" if n == 1 else f"{n} {what}s"
