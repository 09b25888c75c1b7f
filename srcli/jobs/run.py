"""Doing the jobs: while the network works on one picture, the next is read and the last written."""

from __future__ import annotations

import contextlib
import io
import queue
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence as List
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np

from srcli.engine.open import Engine
from srcli.engine.result import Pixels, Report
from srcli.errors import ResourceError, SrcliError
from srcli.jobs.enlarge import enlarge
from srcli.jobs.events import Done, Failed, Listener, Noted, Progressed, Skipped, Started, Summary
from srcli.jobs.inputs import STREAM
from srcli.jobs.plan import Job, Options, decoded_bytes, written_bytes
from srcli.media.atomic import make_folder
from srcli.media.formats import FORMATS
from srcli.media.gif import palette_of
from srcli.media.image import Frame, Picture, read, read_frames
from srcli.media.write import Page, Sequence, Writer, open_writer

STRIPS_WAITING = 2  # between the network and the writer
READ_AHEAD_SHARE = 8  # the next picture is read early if it takes at most an eighth of the memory


def run(
    jobs: List[Job],
    options: Options,
    engine: Engine,
    *,
    tell: Listener,
) -> Summary:
    """Do the jobs in order; a job that fails is told and the others go on.

    Args:
        jobs: from srcli.jobs.plan.
        options: of the command.
        engine: what enlarges.
        tell: called with every event, always from the calling thread.

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

    todo = [job for job in jobs if not job.skip and job.failure is None]
    for job in jobs:
        if job.skip:
            report(Skipped(job.source, job.target))
        elif job.failure is not None:
            report(_failed(job, job.failure))
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        ahead: Future[_Opened] | None = None
        if todo and todo[0].film is None:
            ahead = reading.submit(_open, todo[0], options)
        # weights that cannot be had end the run, not picture after picture
        engine.prepare(sorted({scale for job in todo for scale in job.passes}))
        last: _Output | None = None
        for number, job in enumerate(todo, 1):
            following = todo[number] if number < len(todo) else None
            if job.film is not None:
                if last is not None:
                    report(last.result())
                    last = None
                report(_film(job, options, engine, tell, (number, len(todo))))
                continue
            if following is not None and following.film is not None:
                following = None
            opening, ahead = ahead or reading.submit(_open, job, options), None
            output: _Output | None = None
            try:
                started = time.perf_counter()
                tell(Started(job.source, job.lr_size, job.sr_size, number, len(todo)))
                opened = opening.result()
                reserve = _writing_bytes(job, memory_bytes)
                output = _Output(job, opened, options, started)
                for note in (*opened.first.picture.notes, *output.writer.notes):
                    tell(Noted(job.source, note))
                output.start(writing)
                frame: Frame | None = opened.first
                for index in range(job.n_frames):
                    coming: Future[Frame | None] | None = None
                    if index + 1 < job.n_frames:
                        coming = reading.submit(next, opened.others, None)
                        ahead_bytes = decoded_bytes(job)
                    elif following and decoded_bytes(following) * READ_AHEAD_SHARE <= memory_bytes:
                        ahead = reading.submit(_open, following, options)
                        ahead_bytes = decoded_bytes(following)
                    else:
                        ahead_bytes = 0
                    assert frame is not None, "reading counts the frames"
                    _fill(output, frame, index, engine, reserve + ahead_bytes, tell)
                    frame = coming.result() if coming else None
                output.finish()
            except Exception as exc:
                if output is not None:
                    output.abort()
                report(_failed(job, exc))
                output = None
            except BaseException:  # interrupted: nothing half-written stays
                if output is not None:
                    output.abort()
                raise
            if last is not None:
                report(last.result())
            last = output
        if last is not None:
            report(last.result())
    return summary


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
        output.put(_Begin(_page(frame.picture, job, sr_size), frame.seconds))
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


@dataclass(frozen=True)
class _Opened:
    """A source whose first picture is decoded; and of a GIF to be written, its palette."""

    first: Frame
    others: Iterator[Frame]
    palette: bytes | None


def _open(job: Job, options: Options) -> _Opened:
    palette = None
    if job.n_frames > 1 and job.format == "gif":
        pictures = (frame.picture for frame in _frames(job, options))
        palette = palette_of(((p.pixels, p.alpha) for p in pictures), enlarged=False)
    frames = _frames(job, options)
    return _Opened(next(frames), frames, palette)


def _frames(job: Job, options: Options) -> Iterator[Frame]:
    source = job.source if job.data is None else io.BytesIO(job.data)
    if job.n_frames == 1:
        one = read(source, job.info, options.max_pixels, depth=job.depth)
        yield Frame(_prepared(one, job, options))
        return
    for frame in read_frames(source, job.info, options.max_pixels, depth=job.depth):
        yield replace(frame, picture=_prepared(frame.picture, job, options))


def _prepared(picture: Picture, job: Job, options: Options) -> Picture:
    if options.strip_metadata:
        picture = replace(picture, metadata=picture.metadata.stripped())
    if job.depth == 16 and picture.bits == 8:
        alpha = picture.alpha
        picture = replace(
            picture,
            pixels=_deepened(picture.pixels),
            alpha=None if alpha is None else _deepened(alpha),
        )
    return picture


def _page(picture: Picture, job: Job, sr_size: tuple[int, int]) -> Page:
    channels: Literal[1, 3] = 1 if picture.pixels.shape[2] == 1 else 3
    # pages, but not an animation's frames, differ in kind
    alpha = job.alpha if job.n_frames == 1 else job.alpha and picture.alpha is not None
    return Page(sr_size, channels, alpha, picture.bits, picture.metadata)


def _deepened(samples: Pixels) -> Pixels:
    """8 bits as 16: 255 becomes 65535."""
    return samples.astype(np.uint16) * np.uint16(257)


def _writing_bytes(job: Job, memory_bytes: int) -> int:
    """Memory that writing takes; refused if a format that cannot stream needs too much."""
    entry, n_bytes = FORMATS[job.format], written_bytes(job)
    if not entry.streams and n_bytes > memory_bytes:
        raise ResourceError(
            f"writing {job.sr_size[1]} x {job.sr_size[0]} pixels as {entry.title} takes "
            f"{n_bytes / 2**30:.1f} GiB of memory, more than the {memory_bytes / 2**30:.1f} GiB "
            "allowed",
            "write .png or .tif, which go to disk strip by strip, or allow more with --memory",
        )
    return n_bytes


class _AbortedError(Exception):
    """The picture was given up; what was written of it is removed."""


def _sequence(job: Job, opened: _Opened, page: Page) -> Sequence | None:
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

    def __init__(self, job: Job, opened: _Opened, options: Options, started: float) -> None:
        assert job.info is not None
        self.job, self.options, self.started = job, options, started
        self.report = Report()
        if job.target != STREAM:
            make_folder(job.target.parent)
        page = _page(opened.first.picture, job, job.sr_size)
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
        )


def _failed(job: Job, error: Exception) -> Failed:
    if isinstance(error, SrcliError):
        return Failed(job.source, error.message, error.hint)
    from srcli.engine.tiling import is_out_of_memory  # torch, which OpenVINO does without

    if is_out_of_memory(error):
        return Failed(job.source, "memory ran out", "allow less with --memory, or a smaller --tile")
    return Failed(job.source, f"unexpected {type(error).__name__}: {error}", None)
