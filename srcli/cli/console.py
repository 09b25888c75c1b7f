"""Events to what a person or a script sees: progress and words on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcli.cli.screen import duration_text
from srcli.cli.streams import OutputError, one_line, print_json
from srcli.engine.settings import LEAST_MEMORY_BYTES
from srcli.film.sequences import is_pattern, numbered
from srcli.jobs.events import (
    Done,
    Event,
    Failed,
    FilmProgressed,
    LeftOut,
    Noted,
    Paced,
    Progressed,
    Skipped,
    Started,
    Suggested,
    Summary,
)
from srcli.jobs.inputs import STREAM
from srcli.jobs.job import Job
from srcli.jobs.plan import Plan
from srcli.sizes import size_text

PROGRESS_S = 1.0  # between two lines about a film's progress, for programs
LINE_S = 60.0  # and for people, where there is no bar
MOST_NAMED = 3  # files in one line
LEAST_TOLD_S = 0.00005  # that a frame's time is off


class Console:
    """Shows one run's events.

    Args:
        as_json: one JSON object per line on stdout instead of text.
        quiet: neither progress nor results; failures only.
        results: whether stdout is for results; a picture may want it.
    """

    def __init__(self, *, as_json: bool, quiet: bool, results: bool = True) -> None:
        self.as_json, self.quiet, self.results = as_json, quiet, results
        self._bar = None if quiet or not sys.stderr.isatty() else _Bar()
        self._told_s = 0.0  # when progress was last printed as JSON
        self._spoken_s: dict[Path, float] = {}  # when of each film that is in work
        self._flawed: Path | None = None  # the first damaged picture; of the others the number
        self._n_flawed = 0
        self._failed: list[str] = []  # the first few
        self.lost: OutputError | None = None  # why results cannot be printed any more

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, event: Event) -> None:
        if self._bar is not None:
            self._bar.show(event)
        self._n_flawed += isinstance(event, Done) and event.suggested is not None
        if isinstance(event, Done | Failed | Skipped):
            self._spoken_s.pop(event.source, None)
            if self.as_json:
                self._result(event.as_json())
            elif isinstance(event, Done) and self.results and not self.quiet:
                self._result(_line(event))
        if isinstance(event, FilmProgressed):
            self._progress(event)
        if isinstance(event, Failed):
            if len(self._failed) < MOST_NAMED:
                self._failed.append(_input(event.source))
            named = str(event.source) in event.error or event.source == STREAM
            name = "" if named else f"{_input(event.source)}: "
            self.say(name + event.error + (f" ({event.hint})" if event.hint else ""))
        elif isinstance(event, Skipped) and not self.quiet:
            self.say(f"{event.target} exists, skipped")
        elif isinstance(event, Noted) and not self.quiet:
            self.say(f"{_input(event.source)}: {event.text}" if event.source else event.text)
        elif isinstance(event, Suggested) and not self.quiet and self._flawed is None:
            self._flawed = event.source
            self.say(f"{_input(event.source)}: {event.text}")
        elif isinstance(event, LeftOut) and not self.quiet:
            self.say(_left_out(event))

    def planned(
        self, job: Job, model: str, memory_bytes: int, limit_bytes: int, seconds: float | None
    ) -> None:
        """One line of --dry-run; ``seconds``: about how long it will take, if that is known."""
        (h, w), (sr_h, sr_w) = job.lr_size, job.sr_size
        if self.as_json:
            fields = {
                "event": "planned",
                "input": str(job.source),
                "output": str(job.target),
                "model": model,
                "passes": list(job.passes),
                "lr_size": [h, w],
                "sr_size": [sr_h, sr_w],
                "memory_bytes": memory_bytes,
                "memory_limit_bytes": limit_bytes,
                "seconds": None if seconds is None else round(seconds, 3),
            }
            self._result(fields)
            return
        steps = "".join(f", x{s}" for s in job.passes)
        spill = ", the rest in a temporary file" if memory_bytes > limit_bytes else ""
        memory = size_text(min(memory_bytes, max(limit_bytes, LEAST_MEMORY_BYTES)))
        self._result(
            f"{_input(job.source)} -> {_output(job.target, _previews(job))}  "
            f"{w}x{h} to {sr_w}x{sr_h}, {model}{steps}, about {memory} of memory{spill}"
            + ("" if seconds is None else f", about {duration_text(seconds)}")
        )

    def _progress(self, event: FilmProgressed) -> None:
        """A film's progress, where no bar shows it: not for every frame."""
        now = time.monotonic()
        if self.as_json:
            if now - self._told_s >= PROGRESS_S or event.frames == event.total:
                self._told_s = now
                self._result(event.as_json())
        # nothing yet of the first frame: its speed says little
        elif now - self._spoken_s.setdefault(event.source, now) >= LINE_S:
            self._spoken_s[event.source] = now
            if self._bar is None and not self.quiet:
                self.say(f"{_input(event.source)}: {film_numbers(event)}")

    def _result(self, result: str | Mapping[str, Any]) -> None:
        """One line on stdout. Where it takes no more, that is said once and the work goes on."""
        try:
            if isinstance(result, str):
                print(one_line(result), flush=True)
            else:
                print_json(result)
        except OutputError as exc:
            self.lost = exc
            self.say(f"{exc.message}; the work continues")

    def say(self, text: str) -> None:
        """One line on stderr."""
        text = one_line(text)
        if self._bar is not None:
            self._bar.say(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def downloading(self, done_bytes: int, total_bytes: int) -> None:
        """Progress of a download."""
        if self._bar is not None:
            self._bar.download(done_bytes, total_bytes)

    def announce(self, text: str) -> None:
        """A line that quiet leaves out."""
        if not self.quiet:
            self.say(text)

    def summary(self, summary: Summary) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self.as_json:
            self._result(summary.as_json())
        elif summary.done + summary.skipped + summary.failed > 1 and not self.quiet:
            parts = [f"{summary.done} done"]
            parts += [f"{summary.skipped} skipped"] if summary.skipped else []
            parts += [f"{summary.failed} failed: {self._failures(summary)}"] * bool(summary.failed)
            self.say(", ".join(parts))
        if self._flawed is not None and self._n_flawed > 1:
            flaws = f"{self._n_flawed} pictures have flaws like {self._flawed}"
            self.say(f"{flaws}; -m photo removes most of them")

    def _failures(self, summary: Summary) -> str:
        """The first of what failed by name, as their lines may have scrolled away."""
        more = summary.failed - len(self._failed)
        return ", ".join(self._failed) + (f" and {more} more" if more else "")


def opening(plan: Plan, model: str, scale: float | None, library: str | None) -> str:
    """The first line: what is to be done, and with what.

    Args:
        plan: of which something is to be done.
        library: what runs the network; None: there is none.
    """
    failures = _counted(plan.n_failures, "input")
    return _to_be_done(plan, model, scale, library) + (failures and f"; {failures} cannot be used")


def _to_be_done(plan: Plan, model: str, scale: float | None, library: str | None) -> str:
    what = model + ("" if scale is None else f" x{scale:g}")
    what += "" if library is None else f" with {library}"
    jobs = plan.inspected
    if jobs is None:  # there are too many to look at them all before work begins
        counts = _counted(plan.total - plan.n_films, "picture"), _counted(plan.n_films, "film")
        return f"{what}: {', and '.join(filter(None, counts))}"
    if len(jobs) == 1:
        (h, w), (sr_h, sr_w) = jobs[0].lr_size, jobs[0].sr_size
        return f"{what}: {_input(jobs[0].source)}, {w}x{h} to {sr_w}x{sr_h}"
    parts = []
    pictures = [job for job in jobs if job.film is None]
    if pictures:
        before = sum(job.lr_size[0] * job.lr_size[1] * job.n_frames for job in pictures)
        after = sum(job.sr_size[0] * job.sr_size[1] * job.n_frames for job in pictures)
        count = _counted(len(pictures), "picture")
        sizes = f"{before:,} pixels before and {after:,}"
        if min(before, after) >= 100_000:
            sizes = f"{before / 1e6:,.1f} megapixels before and {after / 1e6:,.1f}"
        together = "together " if len(pictures) > 1 else ""
        parts.append(f"{count}, {together}{sizes} after")
    if n_films := len(jobs) - len(pictures):
        parts.append(_counted(n_films, "film"))
    return f"{what}: {', and '.join(parts)}"


def _input(path: Path) -> str:
    return "standard input" if path == STREAM else str(path)


def _output(path: Path, n_pictures: int | None) -> str:
    """What is written, by names that files have; of numbered pictures the first and the last.

    Args:
        n_pictures: of numbered pictures; None: nobody knows yet.
    """
    if path == STREAM:
        return "standard output"
    if not is_pattern(path):
        return str(path)
    first = str(numbered(path, 1))
    if n_pictures is None:
        return f"{first} and so on"
    return first if n_pictures == 1 else f"{first} to {numbered(path, n_pictures).name}"


def _previews(job: Job) -> int | None:
    """How many pictures show what a film would become; None if it is to become something else."""
    return None if job.film is None else job.film.options.preview


def _counted(n: int, what: str) -> str:
    """Empty of none."""
    return "" if n == 0 else f"1 {what}" if n == 1 else f"{n} {what}s"


def _left_out(event: LeftOut) -> str:
    """The first few of them by name."""
    names = [path.name for path in event.paths]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return (
        f"{event.source}: {files} left out, because they look like earlier results: "
        f"{', '.join(names[:MOST_NAMED])}{more} (to enlarge them all the same, name them)"
    )


def _line(done: Done) -> str:
    h, w = done.sr_size
    tiles = f", {done.tiles} tiles" if done.tiles > 1 else ""
    if done.film is not None:
        frames = _counted(done.film["frames"], "frame")
        tiles = f", {frames}"
        if (found := done.film["check"]) is not None:
            tiles = f"; checked: {frames}, {_timing(found['worst_s'])}, "
            tiles += _counted(len(found["streams"]), "stream")
    output = _output(done.target, None if done.film is None else done.film["frames"])
    return f"{_input(done.source)} -> {output}  {w}x{h}, {done.seconds:.1f} s{tiles}"


def _timing(worst_s: float) -> str:
    """How near to their times the frames of a film are."""
    if worst_s < LEAST_TOLD_S:
        return "each at its time"
    return f"each within {worst_s * 1000:.1f} ms of its time"


def film_numbers(event: FilmProgressed) -> str:
    """What stands beside a film's bar; each number with its name."""
    return (
        f"{event.frames}/{event.total} frames, {event.fps:.2f} frames/s, {left(event.eta_s)}, "
        f"{event.output_bytes / 1e6:.1f} MB so far"
    )


def left(seconds: float) -> str:
    """Time that something still takes: ``1:05 left``, ``2:00:00 left``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


class _Bar:
    """Progress bars on a terminal: one for the picture, one for the batch."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[speed]}"),
            console=RichConsole(stderr=True),
            transient=True,
        )
        self._picture: Any = None
        self._batch: Any = None
        self._download: Any = None
        self._since, self._megapixels = 0.0, 0.0
        self._is_paced = False  # many at a time
        self._progress.start()

    def show(self, event: Event) -> None:
        if isinstance(event, Started):
            if event.total > 1 and self._batch is None:
                self._batch = self._progress.add_task("all", total=event.total, speed="")
            if self._batch is not None and not self._is_paced:
                done = f"{event.number - 1} of {event.total} done"
                self._progress.update(self._batch, speed=done)
            if self._picture is not None:
                self._progress.remove_task(self._picture)
            self._picture = self._progress.add_task(event.source.name, total=1.0, speed="")
            self._since = time.perf_counter()
            self._megapixels = event.sr_size[0] * event.sr_size[1] / 1e6
        elif isinstance(event, Progressed) and self._picture is not None:
            elapsed = max(1e-3, time.perf_counter() - self._since)
            speed = f"{self._megapixels * event.share / elapsed:.2f} MP/s"
            if event.share > 0:
                speed += f", {left(elapsed * (1 - event.share) / event.share)}"
            self._progress.update(self._picture, completed=event.share, speed=speed)
        elif isinstance(event, FilmProgressed) and self._picture is not None:
            share = event.frames / event.total
            self._progress.update(self._picture, completed=share, speed=film_numbers(event))
        elif isinstance(event, Paced) and self._batch is not None:
            self._is_paced = True
            each = " + ".join(f"{rate:.2f}" for rate in event.per_second)
            self._progress.update(self._batch, speed=f"{each} a second")
        elif isinstance(event, Done | Failed) and self._batch is not None:
            self._progress.advance(self._batch)

    def download(self, done_bytes: int, total_bytes: int) -> None:
        if self._download is None:
            self._download = self._progress.add_task("download", speed="")
        size = f"{done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB"
        self._progress.update(self._download, completed=done_bytes, total=total_bytes, speed=size)
        if done_bytes >= total_bytes:
            self._progress.remove_task(self._download)
            self._download = None

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        self._progress.stop()
