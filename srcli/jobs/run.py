"""Doing the jobs: while the network works on one picture, the next is read and the last written."""

from __future__ import annotations

import contextlib
import queue
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as List
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from srcli.engine.engine import Engine
from srcli.engine.result import Pixels, Report
from srcli.errors import ResourceError
from srcli.jobs.enlarge import enlarge
from srcli.jobs.events import (
    Done,
    Failed,
    Listener,
    Noted,
    Progressed,
    Skipped,
    Started,
    Suggested,
    Summary,
)
from srcli.jobs.failures import failure_of
from srcli.jobs.inputs import STREAM
from srcli.jobs.inspect import NamedInput, inspect_input
from srcli.jobs.job import Job, Options, decoded_bytes, written_bytes
from srcli.jobs.prefetch import SHARE, Opened, Reader
from srcli.media.atomic import make_folder
from srcli.media.formats import FORMATS
from srcli.media.image import Frame, Picture
from srcli.media.write import Page, Sequence, Writer, open_writer
from srcli.sizes import sizes_apart

STRIPS_WAITING = 2  # between the network and the writer


def run(
    jobs: Iterable[Job | NamedInput],
    options: Options,
    engine: Engine,
    *,
    tell: Listener,
    inspect: Callable[[Job | NamedInput], Job] | None = None,
    total: int | None = None,
    scales: List[int] | None = None,
) -> Summary:
    """Do the jobs in order; a job that fails is told and the others go on.

    Args:
        jobs: what is to be done; what is known by name alone is looked at in its turn.
        options: of the command.
        engine: what enlarges.
        tell: called with every event, always from the calling thread.
        inspect: makes a job of what is known by name; called by other threads.
        total: how many are to be done; None: the jobs tell.
        scales: native scales that will be needed, as far as is known; None: the jobs tell.

    Returns:
        The counts.

    Raises:
        WeightsError, ResourceError: the model's weights cannot be had.
    """
    summary = Summary()
    memory_bytes = engine.memory_bytes

    def report(event: Done | Failed | Skipped) -> None:
        summary.count(event)
        tell(event)

    def report_over(job: Job) -> bool:
        if job.skip:
            report(Skipped(job.source, job.target))
        elif job.failure is not None:
            report(_failed(job, job.failure))
        return job.skip or job.failure is not None

    if total is None or scales is None:
        jobs = list(jobs)
        known = [job for job in jobs if isinstance(job, Job)]
        jobs = [job for job in jobs if not isinstance(job, Job) or not report_over(job)]
        total = len(jobs)
        todo = [job for job in known if not job.skip and job.failure is None]
        scales = sorted({scale for job in todo for scale in job.passes})
    with (
        ThreadPoolExecutor(options.jobs, "read") as reading,
        ThreadPoolExecutor(options.jobs, "write") as writing,
    ):
        reader = Reader(
            reading,
            jobs,
            inspect or (lambda job: inspect_input(job, options)),
            options,
            memory_bytes,
        )
        with contextlib.suppress(Exception):  # its turn comes, and tells
            reader.read_ahead()
        # weights that cannot be had end the run, not picture after picture
        prepared = set(scales)
        engine.prepare(sorted(prepared))
        number = 0
        unfinished: deque[_Output] = deque()  # handed to the writers, in order

        def settle(most: int, most_bytes: int) -> None:
            """Wait until at most so many are being written, and they hold no more than that."""
            while unfinished and (len(unfinished) > most or _held_bytes(unfinished) > most_bytes):
                first = unfinished.popleft()
                result = first.result()
                for note in first.later_notes():
                    tell(Noted(first.job.source, note))
                report(result)

        while (job := reader.next()) is not None:
            if report_over(job):
                continue
            if not prepared.issuperset(job.passes):
                engine.prepare(sorted({*job.passes} - prepared))
                prepared.update(job.passes)
            number += 1
            if job.film is not None:
                settle(0, 0)
                report(_film(job, options, engine, tell, (number, total)))
                continue
            made: _Output | None = None
            try:
                made = _picture(
                    job,
                    reader,
                    writing,
                    options,
                    engine,
                    tell,
                    (number, total),
                    memory_bytes=memory_bytes,
                    held_bytes=_held_bytes(unfinished),
                )
            except Exception as exc:
                report(_failed(job, exc))
            except BaseException:  # interrupted
                settle(0, 0)  # what is complete is told
                raise
            settle(options.jobs - 1, memory_bytes // SHARE)
            if made is not None:
                unfinished.append(made)
        settle(0, 0)
    return summary


def _held_bytes(outputs: Iterable[_Output]) -> int:
    """Memory that writers hold."""
    return sum(written_bytes(output.job) for output in outputs)


def _film(
    job: Job, options: Options, engine: Engine, tell: Listener, number: tuple[int, int]
) -> Done | Failed:
    """A film, whose frames overlap among themselves."""
    from srcli.jobs.films import run_film  # torch

    tell(Started(job.source, job.lr_size, job.sr_size, *number))
    try:
        return run_film(job, options, engine, tell)
    except Exception as exc:
        return _failed(job, exc)


def _picture(
    job: Job,
    reader: Reader,
    writing: ThreadPoolExecutor,
    options: Options,
    engine: Engine,
    tell: Listener,
    number: tuple[int, int],
    *,
    memory_bytes: int,
    held_bytes: int,
) -> _Output:
    """A picture, or the frames of an animation, enlarged, while another thread writes it.

    Whatever is raised, nothing half-written stays.

    Args:
        number: of this job, of how many.
        memory_bytes: allowed for everything.
        held_bytes: that the pictures before, still being written, take of it.
    """
    opening = reader.take()
    started = time.perf_counter()
    tell(Started(job.source, job.lr_size, job.sr_size, *number))
    opened = opening.result()
    reserve_bytes = _writing_bytes(job, memory_bytes) + held_bytes
    output = _Output(job, opened, options, started)
    try:
        notes = (*opened.first.picture.notes, *output.writer.notes)
        for note in notes:
            tell(Noted(job.source, note))
        if output.suggested is not None:
            tell(output.suggested)
        output.start(writing)
        said = set(notes)
        frame: Frame | None = opened.first
        for index in range(job.n_frames):
            coming: Future[Frame | None] | None = None
            ahead_bytes = 0
            if index + 1 < job.n_frames:
                coming = reader.following(opened)
                ahead_bytes = decoded_bytes(job)
            else:
                reader.read_ahead()
            ahead_bytes += reader.held_bytes
            assert frame is not None, "reading counts the frames"
            for note in frame.picture.notes:
                if note not in said:
                    tell(Noted(job.source, f"page {index + 1}: {note}"))
                    said.add(note)
            _fill(output, frame, index, engine, reserve_bytes + ahead_bytes, tell)
            frame = coming.result() if coming else None
        output.finish()
    except BaseException:
        output.abort()
        raise
    return output


def _fill(
    output: _Output,
    frame: Frame,
    index: int,
    engine: Engine,
    reserve_bytes: int,
    tell: Listener,
) -> None:
    """The network's work on one picture, or frame, strip by strip to the writer."""
    job = output.job
    lr_size = frame.picture.pixels.shape[:2]
    sr_size = job.sr_size if lr_size == job.lr_size else output.options.sr_size(lr_size)
    if job.n_frames > 1:
        output.put(_Begin(_page(frame.picture, job, output.options, sr_size), frame.seconds))
    output.report.on_note = lambda text: tell(Noted(job.source, text)) if index == 0 else None
    for strip in enlarge(
        frame.picture,
        engine,
        job.passes,
        sr_size,
        alpha=output.options.alpha,
        reserve_bytes=reserve_bytes,
        on_progress=lambda share: tell(Progressed(job.source, (index + share) / job.n_frames)),
        report=output.report,
    ):
        output.put(strip)


def _page(picture: Picture, job: Job, options: Options, sr_size: tuple[int, int]) -> Page:
    channels: Literal[1, 3, 4] = 1 if picture.pixels.shape[2] == 1 else 3
    if picture.black is not None:
        channels = 4
    alpha = job.alpha
    if job.n_frames > 1:  # pages, but not an animation's frames, differ in kind
        alpha = picture.alpha is not None and options.alpha != "discard"
    return Page(sr_size, channels, alpha, picture.bits, picture.metadata)


def _writing_bytes(job: Job, memory_bytes: int) -> int:
    """Memory that writing takes; refused if a format that cannot stream needs too much."""
    entry, n_bytes = FORMATS[job.format], written_bytes(job)
    if not entry.streams and n_bytes > memory_bytes:
        takes, allowed = sizes_apart(n_bytes, memory_bytes)
        raise ResourceError(
            f"writing {job.sr_size[1]} x {job.sr_size[0]} pixels as {entry.title} takes {takes} "
            f"of memory, more than the {allowed} allowed",
            "write .png or .tif, which go to disk strip by strip, or allow more with --memory",
        )
    return n_bytes


class _AbortedError(Exception):
    """The picture was given up; what was written of it is removed."""


def _sequence(job: Job, opened: Opened, page: Page) -> Sequence | None:
    if job.n_frames == 1:
        return None
    assert job.info is not None
    n_bytes = job.n_frames * page.n_bytes
    return Sequence(job.n_frames, job.info.plays, opened.palette, n_bytes)


@dataclass(frozen=True)
class _Begin:
    page: Page
    seconds: Fraction | None


@dataclass(frozen=True)
class _End:
    whole: bool


class _Output:
    """A picture on its way to its file, written by another thread."""

    def __init__(self, job: Job, opened: Opened, options: Options, started: float) -> None:
        assert job.info is not None
        self.job, self.options, self.started = job, options, started
        found = opened.damage
        self.suggested = None if found is None else Suggested(job.source, found)
        self.report = Report()
        if job.target != STREAM:
            make_folder(job.target.parent)
        page = _page(opened.first.picture, job, options, job.sr_size)
        self.writer = open_writer(
            sys.stdout.buffer if job.target == STREAM else job.target,
            size=page.size,
            channels=page.channels,
            alpha=page.alpha,
            bits=page.bits,
            metadata=page.metadata,
            format=job.format,
            quality=options.quality,
            lossless=options.lossless,
            sequence=_sequence(job, opened, page),
        )
        self._n_told = len(self.writer.notes)
        self._strips: queue.Queue[Pixels | _Begin | _End] = queue.Queue(STRIPS_WAITING)
        self._written: Future[float] = Future()

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Begin to write. Interrupted on the way in, the writer still finds its end queued."""
        self._written = pool.submit(self._write, self.writer)

    def _write(self, writer: Writer) -> float:
        with writer:
            while True:
                item = self._strips.get()
                if isinstance(item, _End):
                    if not item.whole:
                        raise _AbortedError
                    break
                if isinstance(item, _Begin):
                    writer.begin(item.page, item.seconds)
                else:
                    writer.rows(item)
        return time.perf_counter()

    def finish(self) -> None:
        """No more strips: the file is completed while the next picture is worked on."""
        self.put(_End(whole=True))

    def put(self, item: Pixels | _Begin | _End) -> None:
        """Hand a strip to the writer; raises what stopped the writer."""
        while not self._written.done():
            try:
                self._strips.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        self._written.result()

    def abort(self) -> None:
        """Give the picture up and wait until its temporary file is gone."""
        while True:
            try:
                self._strips.put(_End(whole=False), timeout=0.1)
                break
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._strips.get_nowait()
        if self._written.running() or self._written.done():
            self._written.exception()

    def later_notes(self) -> tuple[str, ...]:
        """What the writer had to say of later pages."""
        return self.writer.notes[self._n_told :]

    def result(self) -> Done | Failed:
        """Wait for the file."""
        job = self.job
        try:
            ended = self._written.result()
        except Exception as exc:
            return _failed(job, exc)
        return Done(
            job.source,
            job.target,
            self.options.model.name,
            self.options.scale or job.scale,
            job.lr_size,
            job.sr_size,
            ended - self.started,
            self.report.tiles,
            self.report.device,
            self.report.precision,
            self.report.spilled_bytes,
            suggested=self.suggested,
        )


def _failed(job: Job, error: Exception) -> Failed:
    failure = failure_of(error, job.source)
    return Failed(job.source, failure.message, failure.hint)
