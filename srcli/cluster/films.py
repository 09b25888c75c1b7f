"""A film whose segments are made by many workers: shared out, put in order, joined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

from srcli.cluster.parts import Part
from srcli.engine.engine import Engine
from srcli.errors import SrcliError
from srcli.film.parts import Made, check_joint, spans, within
from srcli.film.plan import FilmPlan
from srcli.film.segments import Work
from srcli.film.upscale import FilmRun, film_key
from srcli.jobs.events import Done, Failed, FilmProgressed, Listener, Noted, Started
from srcli.jobs.failures import failure_of
from srcli.jobs.films import film_done, identity_of
from srcli.jobs.job import Job, Options
from srcli.media.atomic import make_folder


class SharedFilm:
    """One film, from its parts to its file.

    The journal is that of a film on one machine, which goes on from it and which it goes on from: a
    part is written down when all parts before it are.

    Args:
        job: of a film that goes into a film.
        options: of the command.
        engine: as the workers' are; nothing is computed with it.
        tell: called with every event but the last, from the calling thread.

    Raises:
        SrcliError: it cannot be read, or another srcli makes it.
    """

    def __init__(self, job: Job, options: Options, engine: Engine, tell: Listener) -> None:
        assert isinstance(job.film, FilmPlan)
        self.job, self._plan, self._options, self._tell = job, job.film, options, tell
        self._began = time.monotonic()
        self._made: dict[int, Made] = {}  # that wait for those before them
        self._is_begun = False
        self.is_over = False
        make_folder(job.target.parent)
        key = film_key(self._plan, job.passes, identity_of(options.model, job.passes, engine))
        self._work = Work(job.target, key).__enter__()
        try:
            self._run = FilmRun(self._plan, self._work, self._note)
            self._spans = spans(self._run.timeline, self._run.cut, self._work.segments)
        except BaseException as exc:
            self._work.__exit__(type(exc), exc, exc.__traceback__)
            raise
        self._resumed = sum(len(s.times) for s in self._work.segments)
        self._run.report.resumed = self._run.report.frames = self._resumed
        self._total = self._resumed + sum(span.n_frames for span in self._spans)

    @staticmethod
    def fits(job: Job) -> bool:
        """Whether a job is a film of which several can make parts."""
        return isinstance(job.film, FilmPlan) and not job.film.film.is_sequence

    def parts(self) -> Iterator[Part]:
        """What is to be made, in order."""
        for span in self._spans:
            yield Part(self.job, span, within(self._run.timeline, span))

    def begin(self, number: int, total: int) -> None:
        """Tell that it is begun, the first time."""
        if self._is_begun:
            return
        self._is_begun = True
        job = self.job
        self._tell(Started(job.source, job.lr_size, job.sr_size, number, total))
        for note in self._plan.notes:
            self._note(note)
        if self._work.stale:
            self._note("settings or input changed since it was stopped: it starts again")
        if self._resumed:
            self._note(f"continues after the {self._resumed} finished frames")

    def take(self, made: Made) -> Done | Failed | None:
        """Take a part in; the film's end, if it was the last one that was missing."""
        if self.is_over:
            made.file.unlink(missing_ok=True)
            return None
        self._made[made.span.number] = made
        try:
            while (following := self._made.pop(len(self._work.segments), None)) is not None:
                self._add(following)
            if len(self._work.segments) < (self._spans[-1].number + 1 if self._spans else 0):
                return None
            return self.finish()
        except Exception as exc:
            return self.fail(failure_of(exc, self.job.source))

    def finish(self) -> Done | Failed:
        """All parts are there."""
        try:
            self._run.finish()
        except Exception as exc:
            return self.fail(failure_of(exc, self.job.source))
        self.is_over = True
        self._work.__exit__(None, None, None)
        seconds = time.monotonic() - self._began
        return film_done(self.job, self._options, self._run.report, seconds)

    def fail(self, why: SrcliError) -> Failed:
        """It cannot be done; what is finished of it is kept."""
        self.close()
        return Failed(self.job.source, why.message, why.hint)

    def close(self) -> None:
        """Give it up for now; what is finished of it is kept."""
        if not self.is_over:
            self.is_over = True
            self._work.__exit__(SrcliError, None, None)

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run has made all parts."""
        return not self._spans

    def _add(self, made: Made) -> None:
        segments = self._work.segments
        if segments:
            check_joint(self._plan, segments[-1], made)
        self._work.add(made.file, made.tick, made.times, made.checksum, self._plan.ffmpeg)
        report, part = self._run.report, made.report
        report.frames += part.frames
        report.repeated += part.repeated
        report.decode_s += part.decode_s
        report.encode_s += part.encode_s
        report.colour_s += part.colour_s
        report.network_s += part.network_s
        report.engine.tiles = max(report.engine.tiles, part.engine.tiles)
        report.engine.device, report.engine.precision = part.engine.device, part.engine.precision
        report.engine.spilled_bytes = max(report.engine.spilled_bytes, part.engine.spilled_bytes)
        elapsed = max(1e-3, time.monotonic() - self._began)
        fps = (report.frames - self._resumed) / elapsed
        place_s = Fraction(made.tick) * made.times[-1]
        total = max(self._total, report.frames)
        self._tell(
            FilmProgressed(
                self.job.source,
                report.frames,
                total,
                fps,
                (total - report.frames) / max(fps, 1e-6),
                float(place_s),
                self._work.n_bytes,
            )
        )

    def _note(self, text: str) -> None:
        self._tell(Noted(self.job.source, text))
