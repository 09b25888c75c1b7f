"""A film from its file to the enlarged one: decode, enlarge and encode overlap."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from srcli.engine.engine import Engine
from srcli.engine.result import Report
from srcli.errors import MediaError
from srcli.film.check import Check, check
from srcli.film.decode import LEAD_S, Decoder, Frame
from srcli.film.encode import Encoder
from srcli.film.ffmpeg import FFmpeg, script_path
from srcli.film.formats import layout_of
from srcli.film.frames import Enlarged, FrameUpscaler, Prepared, conversions
from srcli.film.mux import Cut, mux
from srcli.film.options import FilmOptions
from srcli.film.packets import Timeline, scan
from srcli.film.plan import WAITING, FilmPlan
from srcli.film.segments import (
    LEAST_FRAMES,
    LEAST_S,
    MOST_FRAMES,
    MOST_S,
    Segment,
    Work,
    digest,
    key_of,
    work_folder,
)
from srcli.film.sequences import files_of
from srcli.film.stages import Ahead, Behind
from srcli.media.atomic import make_folder, plain_errors, sync_folder
from srcli.media.remote import UrlPath
from srcli.media.target import open_file

Note = Callable[[str], None]


@dataclass(frozen=True)
class Moment:
    """How far a film is.

    Attributes:
        frames: that are done, of ``total``.
        resumed: those of them that an earlier run had done.
        position_s: when the last of them is shown.
        n_bytes: encoded so far.
    """

    frames: int
    total: int
    resumed: int
    position_s: float
    n_bytes: int


@dataclass
class FilmReport:
    """What was done, and the seconds that each stage kept the others waiting.

    Attributes:
        frames: in the result.
        resumed: those that an earlier run had made.
        repeated: those equal to the one before, and not computed again.
        decode_s, encode_s: the network waited for frames, or for room.
        colour_s: between samples and RGB, by threads beside the network's.
        network_s: enlarging.
        check: of the finished file.
    """

    frames: int = 0
    resumed: int = 0
    repeated: int = 0
    decode_s: float = 0.0
    encode_s: float = 0.0
    colour_s: float = 0.0
    network_s: float = 0.0
    n_bytes: int = 0
    check: Check | None = None
    engine: Report = field(default_factory=Report)

    def as_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "resumed_frames": self.resumed,
            "repeated_frames": self.repeated,
            "output_bytes": self.n_bytes,
            "stage_seconds": {
                "decode": round(self.decode_s, 3),
                "network": round(self.network_s, 3),
                "colour": round(self.colour_s, 3),
                "encode": round(self.encode_s, 3),
            },
            "check": None if self.check is None else self.check.as_json(),
        }


@dataclass(frozen=True)
class _Enlarged:
    """A frame behind the network; one that repeats another has what that has."""

    frame: Frame
    enlarged: Enlarged


@dataclass(frozen=True)
class _Encoded:
    """A frame on its way to the encoder."""

    frame: Frame
    raw: bytes


class Segments(Protocol):
    """Where finished segments go."""

    segments: list[Segment]
    n_bytes: int
    folder: Path

    def part(self) -> Path: ...
    def add(
        self, part: Path, tick: Fraction, times: Sequence[int], checksum: str, ffmpeg: FFmpeg
    ) -> None: ...
    def listing(self) -> Path: ...


class _Cut:
    """The segment ends here."""


def upscale_film(
    plan: FilmPlan,
    engine: Engine,
    passes: Sequence[int],
    *,
    identity: str,
    on_progress: Callable[[Moment], None] = lambda _: None,
    note: Note = lambda _: None,
) -> FilmReport:
    """Make the film; it gets its name when it is complete and checked.

    Args:
        engine, passes: what enlarges, see Engine.strips.
        identity: stands for the model, its weights and how it computes.
        on_progress: called after each frame.
        note: called with what the user should know.

    Raises:
        MediaError: the film cannot be read, encoded or written. Finished segments are kept, and
            the same call goes on from them.
        ResourceError: the disk is full; as above.
    """
    make_folder(plan.target.parent)
    with Work(plan.target, film_key(plan, passes, identity)) as work:
        if work.stale:
            note("settings or input changed since it was stopped: it starts again")
        run = FilmRun(plan, work, note)
        run.report.resumed = sum(len(s.times) for s in work.segments)
        if run.report.resumed:
            note(f"continues after the {run.report.resumed} finished frames")
        try:
            run.enlarge(engine, passes, on_progress)
            run.finish()
        except (KeyboardInterrupt, SystemExit):
            if finished := sum(len(s.times) for s in work.segments):
                note(f"stopped; the same command continues after the {finished} finished frames")
            else:
                note(
                    "stopped before its first segment was finished, so that nothing of it was kept"
                )
            raise
    return run.report


class FilmRun:
    """One film's work, or that on a part of it.

    Args:
        plan: of the film.
        work: where its segments are.
        note: called with what the user should know.
        timeline: of the film, if it is known.
    """

    def __init__(
        self, plan: FilmPlan, work: Segments, note: Note, timeline: Timeline | None = None
    ) -> None:
        self.plan, self.work, self.note = plan, work, note
        self.report = FilmReport()
        self.timeline = timeline or scan(plan.film, plan.ffmpeg)
        self.cut = absolute_cut(plan.options, self.timeline)
        film, options = plan.film, plan.encoding.layout
        self.before, self.after, self.colour = conversions(
            layout_of(film.pix_fmt), options, film.colour, film.size, plan.sr_size
        )
        self.current: Path | None = None  # the segment that is being written
        self.told: set[str] = set()
        self.before_s = self.after_s = 0.0  # of colours, by the two threads beside the network

    def enlarge(
        self, engine: Engine, passes: Sequence[int], on_progress: Callable[[Moment], None]
    ) -> None:
        """All frames that are not finished, into segments."""
        plan, report = self.plan, self.report
        upscaler = FrameUpscaler(
            engine,
            passes,
            plan.sr_size,
            self.before,
            self.after,
            reserve_bytes=plan.frames_bytes,
            alpha=plan.options.alpha,
        )
        report.engine.on_note = self._note_once
        total = n_wanted(self.timeline, self.cut)
        done, in_segment = report.resumed, 0
        enlarged: Enlarged | None = None

        def converted(items: Iterator[_Enlarged | _Cut]) -> None:
            """Samples of what the network made, on their way to the encoder."""
            last, raw = None, b""
            for item in items:
                if isinstance(item, _Cut):
                    encoder.put(item)
                    continue
                if item.enlarged is not last:
                    began = time.perf_counter()
                    last, raw = item.enlarged, upscaler.raw(item.enlarged)
                    self.after_s += time.perf_counter() - began
                encoder.put(_Encoded(item.frame, raw))

        with (
            Ahead(self._prepared(upscaler), WAITING) as frames,
            Behind(self._encode, WAITING) as encoder,
            Behind(converted, 1) as converter,
        ):
            clock = began = time.perf_counter()
            for frame, prepared in frames:
                clock, spent = time.perf_counter(), time.perf_counter() - clock
                report.decode_s += spent
                if in_segment and self._ends_before(frame, in_segment, clock - began):
                    converter.put(_Cut())
                    in_segment, began = 0, clock
                if prepared is None:
                    report.repeated += 1
                else:
                    enlarged = upscaler.enlarged(prepared, report.engine)
                    clock, spent = time.perf_counter(), time.perf_counter() - clock
                    report.network_s += spent
                assert enlarged is not None, "the first frame repeats none"
                converter.put(_Enlarged(frame, enlarged))
                clock, spent = time.perf_counter(), time.perf_counter() - clock
                report.encode_s += spent
                done, in_segment = done + 1, in_segment + 1
                on_progress(
                    Moment(
                        done,
                        max(done, total),
                        report.resumed,
                        float(frame.seconds),
                        self._n_bytes(),
                    )
                )
        report.encode_s += time.perf_counter() - clock
        report.colour_s += self.before_s + self.after_s
        report.frames = done
        if done == 0:
            raise MediaError(f"{plan.film.path} has no frames to upscale")

    def finish(self) -> None:
        """The other streams, the check, and the name."""
        plan, segments = self.plan, self.work.segments
        tick = Fraction(segments[0].tick)
        shift = self.cut.start or 0
        expected = [tick * t - shift for s in segments for t in s.times]
        end = self.timeline.ends(expected[-1] + shift)
        if self.cut.end is not None:
            end = min(end, self.cut.end)
        target = open_file(plan.target)
        try:
            mux(
                plan.film,
                self.work.listing(),
                target.part,
                plan.extension,
                tracks=plan.tracks,
                encoding=plan.encoding,
                colour=self.colour,
                tick=tick,
                cut=self.cut,
                ffmpeg=plan.ffmpeg,
                last=(expected[-1], end - shift) if end - shift > expected[-1] else None,
            )
            found = check(
                target.part,
                plan.target,
                expected,
                plan.film,
                plan.tracks,
                plan.encoding,
                plan.ffmpeg,
                whole=self.cut == Cut() and not plan.film.is_sequence,
            )
            self.report.check = found
            for doubt in found.doubts:
                self.note(doubt)
            if found.shortened_s:
                self.note(
                    f"the source claims to last {found.source_s:.1f} s, but it ends after "
                    f"{found.duration_s:.1f} s, and so does the result"
                )
            if found.shift_s:
                self.note(
                    f"all streams begin {found.shift_s:.3f} s later than in the "
                    "source, because the file cannot hold times before 0"
                )
            self.report.n_bytes = target.part.stat().st_size
            target.commit()
        except BaseException:
            target.abort()
            raise
        if not isinstance(plan.target, UrlPath):
            with plain_errors(str(plan.target), plan.target.parent):
                sync_folder(plan.target.parent)

    def _prepared(self, upscaler: FrameUpscaler) -> Generator[tuple[Frame, Prepared | None]]:
        """Each frame as the network is given it, None if it equals the one before; by a thread of
        its own."""
        last: Frame | None = None
        with closing(self._frames()) as frames:
            for frame in frames:
                if last is not None and frame.data == last.data:
                    yield frame, None
                else:
                    began = time.perf_counter()
                    planes = frame.planes(self.before.layout, self.plan.film.size)
                    prepared = upscaler.prepared(planes)
                    self.before_s += time.perf_counter() - began
                    yield frame, prepared
                last = frame

    def _frames(self) -> Generator[Frame]:
        """The frames that are wanted and not finished."""
        if self.work.segments:
            last = self.work.segments[-1]
            place = Fraction(last.tick) * last.times[-1]
            for start_s in (float(place) - LEAD_S, None):
                if start_s is not None and start_s <= float(self.timeline.seconds()[0]):
                    continue
                found = False
                for frame in self._decoded(start_s):
                    if found:
                        yield frame
                    elif frame.seconds == place and frame.checksum == last.checksum:
                        found = True
                    elif frame.seconds > place:
                        break  # what was decoded from a key frame on is not the same film
                if found:
                    return
            raise MediaError(
                f"{self.plan.film.path} decodes differently from when the work was stopped",
                f"remove {work_folder(self.plan.target)} to start again",
            )
        start_s = None if self.cut.start is None else float(self.cut.start) - LEAD_S
        if start_s is not None and start_s <= float(self.timeline.seconds()[0]):
            start_s = None
        yield from self._decoded(start_s)

    def _decoded(self, start_s: float | None) -> Generator[Frame]:
        film = self.plan.film
        with Decoder(
            film, self.plan.ffmpeg, start_s=start_s, deinterlace=film.interlaced
        ) as decoder:
            for frame in decoder:
                if self.cut.start is not None and frame.seconds < self.cut.start:
                    continue
                if self.cut.end is not None and frame.seconds >= self.cut.end:
                    return
                yield frame
            if decoder.complaints and start_s is None:
                said = decoder.complaints
                more = f", and {len(said) - 1} more" if len(said) > 1 else ""
                self.note(f"the source is damaged ({said[0]}{more}); what could be decoded is kept")
            if decoder.repaired:
                self.note(
                    f"{decoder.repaired} frames were not later than the "
                    "frame before; they follow it "
                    "at once"
                )

    def _ends_before(self, frame: Frame, n: int, spent_s: float) -> bool:
        """Whether a segment of n frames ends before this frame: at key frames, if they come."""
        if n >= MOST_FRAMES or spent_s >= MOST_S:
            return True
        long_enough = n >= LEAST_FRAMES or spent_s >= LEAST_S
        return long_enough and frame.seconds in self.timeline.keys

    def _encode(self, items: Iterator[_Encoded | _Cut]) -> None:
        """Segments from frames; run by a thread of its own."""
        while self._encode_one(items):
            pass

    def _encode_one(self, items: Iterator[_Encoded | _Cut]) -> bool:
        """One segment; False if nothing follows it."""
        first = next(items, None)
        if first is None:
            return False
        assert isinstance(first, _Encoded)
        plan, tick = self.plan, first.frame.tick
        part = self.current = self.work.part()
        times, checksum, more = [first.frame.time], first.frame.checksum, False
        with Encoder(
            part, plan.encoding, plan.sr_size, tick, self.colour, plan.film.sar, plan.ffmpeg
        ) as encoder:
            encoder.write(first.frame.time, first.raw)
            for item in items:
                if isinstance(item, _Cut):
                    more = True
                    break
                encoder.write(item.frame.time, item.raw)
                times.append(item.frame.time)
                checksum = item.frame.checksum
            encoder.finish()
        self.current = None
        self.work.add(part, tick, times, checksum, plan.ffmpeg)
        return more

    def _n_bytes(self) -> int:
        n_bytes, current = self.work.n_bytes, self.current
        if current is not None:
            with suppress(OSError):
                n_bytes += current.stat().st_size
        return n_bytes

    def _note_once(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.note(text)


def absolute_cut(options: FilmOptions, timeline: Timeline) -> Cut:
    """The wanted part in the film's own time.

    Raises:
        MediaError: nothing lies in it.
    """
    if not timeline.times:
        return Cut()
    first = timeline.seconds()[0]
    start = None if not options.start else first + options.start
    end = None if options.end is None else first + options.end
    cut = Cut(start, end)
    if n_wanted(timeline, cut) == 0:
        raise MediaError(
            "no frame lies between --start and --end",
            f"the film lasts {float(timeline.ends(timeline.seconds()[-1]) - first):.3f} s",
        )
    return cut


def n_wanted(timeline: Timeline, cut: Cut) -> int:
    """How many packets' times lie in the part."""
    low = cut.start if cut.start is not None else timeline.seconds()[0] if timeline.times else 0
    return sum(low <= t and (cut.end is None or t < cut.end) for t in timeline.seconds())


def film_key(plan: FilmPlan, passes: Sequence[int], identity: str) -> str:
    """Stands for all that the segments of a film depend on."""
    film = plan.film
    files = files_of(film.path) if film.is_sequence else [film.file]
    of_copy = None if film.copy is None else script_path(film.file)
    return key_of(
        {
            "input": [digest(path) for path in files],
            "read": [str(film.path) if said == of_copy else said for said in film.input],
            "cut": [plan.options.start, plan.options.end],
            "identity": identity,
            "passes": list(passes),
            "size": plan.sr_size,
            "layout": plan.encoding.layout.name,
            "encoding": plan.encoding.arguments,
            "tracks": [(t.stream.index, t.encoder, t.options) for t in plan.tracks],
            "alpha": plan.options.alpha,
            "ffmpeg": plan.ffmpeg.version,
        }
    )
