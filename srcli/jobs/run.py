"""Doing the jobs: while the network works on one picture, the next is read and the last written."""

from __future__ import annotations

import contextlib
import io
import queue
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from srcli.engine.open import Engine
from srcli.engine.result import Pixels, Report
from srcli.errors import MediaError, ResourceError, SrcliError
from srcli.jobs.enlarge import enlarge
from srcli.jobs.events import Done, Failed, Listener, Noted, Progressed, Skipped, Started, Summary
from srcli.jobs.inputs import STREAM
from srcli.jobs.plan import Job, Options, decoded_bytes, written_bytes
from srcli.media.formats import FORMATS
from srcli.media.image import Picture, read
from srcli.media.metadata import Metadata
from srcli.media.write import Writer, open_writer

STRIPS_WAITING = 2  # between the network and the writer
READ_AHEAD_SHARE = 8  # the next picture is read early if it takes at most an eighth of the memory


def run(
    jobs: Sequence[Job],
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
        ahead: Future[Picture] | None = reading.submit(_read, todo[0], options) if todo else None
        # weights that cannot be had end the run, not picture after picture
        engine.prepare(sorted({scale for job in todo for scale in job.passes}))
        last: _Output | None = None
        for number, job in enumerate(todo, 1):
            following = todo[number] if number < len(todo) else None
            picture, ahead = ahead or reading.submit(_read, job, options), None
            output: _Output | None = None
            try:
                started = time.perf_counter()
                tell(Started(job.source, job.lr_size, job.sr_size, number, len(todo)))
                decoded = picture.result()
                for note in decoded.notes:
                    tell(Noted(job.source, note))
                reserve = _writing_bytes(job, memory_bytes)
                if following and decoded_bytes(following) * READ_AHEAD_SHARE <= memory_bytes:
                    ahead = reading.submit(_read, following, options)
                    reserve += decoded_bytes(following)
                output = _Output(job, decoded, options, started)
                output.start(writing)
                _fill(output, decoded, engine, reserve, tell)
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


def _fill(
    output: _Output, picture: Picture, engine: Engine, reserve_bytes: int, tell: Listener
) -> None:
    """The network's work on one picture, strip by strip to the writer."""
    job = output.job

    def note(text: str) -> None:
        tell(Noted(job.source, text))

    for text in output.writer.notes:
        note(text)
    output.report.on_note = note
    for strip in enlarge(
        picture,
        engine,
        job.passes,
        job.sr_size,
        alpha=output.options.alpha,
        reserve_bytes=reserve_bytes,
        on_progress=lambda share: tell(Progressed(job.source, share)),
        report=output.report,
    ):
        output.put(strip)
    output.finish()


def _read(job: Job, options: Options) -> Picture:
    source = job.source if job.data is None else io.BytesIO(job.data)
    picture = read(source, job.info, options.max_pixels, depth=job.depth)
    if options.strip_metadata:
        picture = replace(picture, metadata=Metadata(icc=picture.metadata.icc))
    if job.depth == 16 and picture.bits == 8:
        alpha = picture.alpha
        picture = replace(
            picture,
            pixels=_deepened(picture.pixels),
            alpha=None if alpha is None else _deepened(alpha),
        )
    return picture


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


@dataclass(frozen=True)
class _End:
    whole: bool


class _Output:
    """A picture on its way to its file, written by another thread."""

    def __init__(self, job: Job, picture: Picture, options: Options, started: float) -> None:
        assert job.info is not None
        self.job, self.options, self.started = job, options, started
        self.report = Report()
        if job.target != STREAM:
            self._make_folder(job.target.parent)
        channels: Literal[1, 3] = 1 if picture.pixels.shape[2] == 1 else 3
        self.writer = open_writer(
            sys.stdout.buffer if job.target == STREAM else job.target,
            size=job.sr_size,
            channels=channels,
            alpha=job.alpha,
            bits=picture.bits,
            metadata=picture.metadata,
            format=job.format,
            quality=options.quality,
            lossless=options.lossless,
        )
        self._strips: queue.Queue[Pixels | _End] = queue.Queue(STRIPS_WAITING)
        self._written: Future[float] = Future()

    def start(self, pool: ThreadPoolExecutor) -> None:
        """Begin to write. Interrupted on the way in, the writer still finds its end queued."""
        self._written = pool.submit(self._write, self.writer)

    @staticmethod
    def _make_folder(folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise MediaError(f"cannot make the folder {folder}: {exc.strerror}") from exc

    def _write(self, writer: Writer) -> float:
        with writer:
            while True:
                item = self._strips.get()
                if isinstance(item, _End):
                    if not item.whole:
                        raise _AbortedError
                    break
                writer.rows(item)
        return time.perf_counter()

    def finish(self) -> None:
        """No more strips: the file is completed while the next picture is worked on."""
        self.put(_End(whole=True))

    def put(self, item: Pixels | _End) -> None:
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
