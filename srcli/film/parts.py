"""A film in parts that are made apart from each other, each of them one segment."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

from srcli.engine.engine import Engine
from srcli.errors import MediaError
from srcli.film.decode import LEAD_S, Frame
from srcli.film.ffmpeg import FFmpeg
from srcli.film.mux import Cut
from srcli.film.packets import Timeline
from srcli.film.plan import FilmPlan
from srcli.film.segments import LEAST_FRAMES, MOST_FRAMES, Segment, work_folder
from srcli.film.upscale import FilmReport, FilmRun, Moment, Note
from srcli.media.atomic import part_of
from srcli.media.remote import UrlPath
from srcli.media.scratch import new_folder


@dataclass(frozen=True)
class Span:
    """Frames that are shown from ``start_s`` on and before ``end_s``.

    Attributes:
        number: of the segment, from 0.
        start_s, end_s: None: where the film, or what is wanted of it, begins or ends.
        n_frames: about how many they are.
    """

    number: int
    start_s: Fraction | None
    end_s: Fraction | None
    n_frames: int


@dataclass(frozen=True)
class Made:
    """A span's segment, in a file.

    Attributes:
        file: in the film's work folder; here, it gets its name when it is taken in.
        tick, times, checksum: as of a Segment.
        before: checksum of the source's frame before the first one; None: it was not decoded.
        report: what was done.
    """

    span: Span
    file: Path
    tick: Fraction
    times: tuple[int, ...]
    checksum: str
    before: str | None
    report: FilmReport


def spans(timeline: Timeline, cut: Cut, segments: Sequence[Segment] = ()) -> list[Span]:
    """What is left of a film, cut where one machine alone would end its segments.

    Args:
        timeline: of the film.
        cut: what is wanted of it.
        segments: that are finished.
    """
    done_s = Fraction(segments[-1].tick) * segments[-1].times[-1] if segments else None
    wanted = [
        t
        for t in timeline.seconds()
        if (cut.start is None or t >= cut.start)
        and (cut.end is None or t < cut.end)
        and (done_s is None or t > done_s)
    ]
    starts: list[int] = []
    for k, t in enumerate(wanted):
        n = k - starts[-1] if starts else MOST_FRAMES
        if n >= MOST_FRAMES or (n >= LEAST_FRAMES and t in timeline.keys):
            starts.append(k)
    found: list[Span] = []
    if not wanted:
        return found
    for k, (first, following) in enumerate(zip(starts, [*starts[1:], len(wanted)], strict=True)):
        is_first = k == 0 and done_s is None
        found.append(
            Span(
                len(segments) + k,
                None if is_first else wanted[first],
                None if following == len(wanted) else wanted[following],
                following - first,
            )
        )
    return found


def within(timeline: Timeline, span: Span) -> Timeline:
    """What a span needs to know of a film's times: the film's first one, and its own."""
    tick = timeline.tick
    times = [
        t
        for t in timeline.times[1:]
        if (span.start_s is None or tick * t >= span.start_s)
        and (span.end_s is None or tick * t < span.end_s)
    ]
    return Timeline(tick, (timeline.times[0], *times))


def make(
    plan: FilmPlan,
    timeline: Timeline,
    span: Span,
    engine: Engine,
    passes: Sequence[int],
    *,
    on_progress: Callable[[Moment], None] = lambda _: None,
    note: Note = lambda _: None,
) -> Made:
    """Make one span's segment, into the film's work folder.

    Raises:
        MediaError, ResourceError: as upscale_film.
    """
    with _One(plan, span) as segments:
        run = _SpanRun(plan.here(), timeline, span, segments, note)
        run.enlarge(engine, passes, on_progress)
        tick, times, checksum = segments.made()
        file = segments.keep()
    return Made(span, file, tick, times, checksum, run.before_it, run.report)


class _One:
    """Where the one segment of a span goes: into the work folder, wherever that is.

    To be used in a ``with`` statement.
    """

    def __init__(self, plan: FilmPlan, span: Span) -> None:
        self.segments: list[Segment] = []
        self.n_bytes = 0
        self._target = work_folder(plan.target)
        self._elsewhere = isinstance(self._target, UrlPath)
        self.folder = new_folder() if self._elsewhere else self._target
        self._file = part_of(self.folder / f"{span.number:06d}.nut")
        # of a part that two workers have made, one counts; here, it is given its name then
        self._name = f"{span.number:06d}.{secrets.token_hex(4)}.nut"
        self._made: tuple[Fraction, tuple[int, ...], str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._elsewhere:
            shutil.rmtree(self.folder, ignore_errors=True)

    def part(self) -> Path:
        return self._file

    def add(
        self, part: Path, tick: Fraction, times: Sequence[int], checksum: str, ffmpeg: FFmpeg
    ) -> None:
        self._made = tick, tuple(times), checksum

    def made(self) -> tuple[Fraction, tuple[int, ...], str]:
        """What was added."""
        assert self._made is not None
        return self._made

    def keep(self) -> Path:
        """The file, where whoever puts the film together finds it."""
        there = self._target / self._name
        if not isinstance(there, UrlPath):
            return self._file
        there.put(self._file)
        return there

    def listing(self) -> Path:
        raise AssertionError("a part is not joined")


class _SpanRun(FilmRun):
    """The work on one span."""

    def __init__(
        self, plan: FilmPlan, timeline: Timeline, span: Span, segments: _One, note: Note
    ) -> None:
        super().__init__(plan, segments, note, timeline)
        self.span = span
        self.before_it: str | None = None

    def _frames(self) -> Generator[Frame]:
        start_s, end_s = self.span.start_s, self.span.end_s
        if start_s is None:
            frames = super()._frames()
        else:
            from_s = float(start_s) - LEAD_S
            is_whole = from_s <= float(self.timeline.seconds()[0])
            frames = self._decoded(None if is_whole else from_s)
        for frame in frames:
            if end_s is not None and frame.seconds >= end_s:
                frames.close()
                return
            if start_s is not None and frame.seconds < start_s:
                self.before_it = frame.checksum
            else:
                yield frame

    def _ends_before(self, frame: Frame, n: int, spent_s: float) -> bool:
        return False


def check_joint(plan: FilmPlan, before: Segment, made: Made) -> None:
    """That a part goes on with the very frame that follows the part before it.

    Raises:
        MediaError: decoding does not give the same frames from every place of the film.
    """
    if made.before is not None and made.before != before.checksum:
        raise MediaError(
            f"{plan.film.path} does not decode the same from each of its key frames",
            "leave out --cluster: the film is then decoded in one piece",
        )
