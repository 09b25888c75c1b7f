"""What goes to a worker of a film, and what comes back. No torch, of which the hub has no need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.jobs.job import Job

if TYPE_CHECKING:
    from srcli.film.packets import Timeline
    from srcli.film.parts import Made, Span


@dataclass(frozen=True)
class Part:
    """One segment of a film, to be made by one worker."""

    job: Job
    span: Span
    timeline: Timeline

    @property
    def source(self) -> Path:
        return self.job.source

    @property
    def target(self) -> Path:
        return self.job.target


@dataclass(frozen=True)
class MadePart:
    """What a worker tells of a part that is done."""

    source: Path
    made: Made
