"""Progress and words on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srcli.quality.candidates import Run
    from srcli.weights import Progress


def duration_text(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Screen:
    """Progress and words on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.progress: Any = None
        self.task: Any = None
        self.since = time.perf_counter()
        self.title = ""
        self.n_done, self.total = 0, 0
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=RichConsole(stderr=True),
            transient=True,
        )

    def __enter__(self) -> Screen:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()

    def start(self, run: Run, number: int, runs: Sequence[Run]) -> None:
        self.title = f"{run.model.name} x{run.scale} {run.benchmark.name}"
        if self.progress is not None:
            if self.task is None:
                self.total = sum(len(r.benchmark.pairs) for r in runs)
                self.task = self.progress.add_task(self.title, total=self.total, numbers="")
            self.progress.update(self.task, description=self.title)

    def advance(self, name: str) -> None:
        if self.progress is not None:
            self.n_done += 1
            left = (time.perf_counter() - self.since) / self.n_done * (self.total - self.n_done)
            numbers = f"{self.n_done} of {self.total} pictures, {duration_text(left)} left"
            title = f"{self.title} {name}"
            self.progress.update(self.task, advance=1, description=title, numbers=numbers)

    @contextmanager
    def fetching(self, what: str) -> Iterator[Any]:
        """A bar for a download, which appears with its first byte."""
        if self.progress is None:
            yield None
            return
        task: Any = None

        def move(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = self.progress.add_task(what, total=total, numbers="")
            numbers = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
            self.progress.update(task, completed=done, total=total, numbers=numbers)

        try:
            yield move
        finally:
            if task is not None:
                self.progress.remove_task(task)

    def say(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def announce(self, text: str) -> None:
        """A line that quiet leaves out."""
        if not self.quiet:
            self.say(text)


def say(line: str) -> None:
    """One line on stderr."""
    print(line, file=sys.stderr, flush=True)


def hush(line: str) -> None:
    """Says nothing."""


@contextmanager
def downloading(file: str, quiet: bool) -> Iterator[tuple[Progress | None, Any]]:
    """A bar on stderr if that is a terminal, and how to say a line beside it."""
    if quiet or not sys.stderr.isatty():
        yield None, hush if quiet else say
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(
        *columns, TransferSpeedColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task(file, total=None)

        def move(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        def beside(line: str) -> None:
            bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield move, beside
