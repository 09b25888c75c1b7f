"""What happens during a run, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Started:
    """Work on a picture begins; ``number`` of ``total`` that are to be done."""

    source: Path
    lr_size: tuple[int, int]
    sr_size: tuple[int, int]
    number: int
    total: int


@dataclass(frozen=True)
class Progressed:
    """``share`` (0..1) of the network's work on the picture is done."""

    source: Path
    share: float


@dataclass(frozen=True)
class FilmProgressed:
    """``frames`` of a film's ``total`` are done.

    Attributes:
        fps: frames per second of this run.
        eta_s: seconds that the rest takes at that.
        position_s: when the last of them is shown.
        output_bytes: encoded so far.
    """

    source: Path
    frames: int
    total: int
    fps: float
    eta_s: float
    position_s: float
    output_bytes: int

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "progress",
            "input": str(self.source),
            "frames": self.frames,
            "total_frames": self.total,
            "fps": round(self.fps, 3),
            "eta_s": round(self.eta_s, 1),
            "position_s": round(self.position_s, 3),
            "output_bytes": self.output_bytes,
        }


@dataclass(frozen=True)
class Paced:
    """How fast each of several workers is: jobs done a second."""

    per_second: tuple[float, ...]


@dataclass(frozen=True)
class Noted:
    """Something worth a word that is not an error."""

    source: Path | None
    text: str


@dataclass(frozen=True)
class Suggested:
    """A picture is plainly damaged, and nobody chose the model.

    Attributes:
        damage: what is said of it: "has much noise".
    """

    source: Path
    damage: str

    @property
    def text(self) -> str:
        return f"{self.damage}, and such flaws are enlarged too; -m photo removes most of them"


@dataclass(frozen=True)
class Done:
    """A picture or film lies finished under its name; ``film``: more about a film.

    ``suggested``: what was suggested for it.
    """

    source: Path
    target: Path
    model: str
    scale: float
    lr_size: tuple[int, int]
    sr_size: tuple[int, int]
    seconds: float
    tiles: int
    device: str
    precision: str
    spilled_bytes: int
    film: Mapping[str, Any] | None = None
    suggested: Suggested | None = None

    def as_json(self) -> dict[str, Any]:
        notes = {} if self.suggested is None else {"notes": [self.suggested.text]}
        whole = round(self.scale)
        return {
            "event": "done",
            "input": str(self.source),
            "output": str(self.target),
            "model": self.model,
            "scale": whole if abs(self.scale - whole) < 1e-9 else round(self.scale, 6),
            "lr_size": list(self.lr_size),
            "sr_size": list(self.sr_size),
            "seconds": round(self.seconds, 3),
            "tiles": self.tiles,
            "device": self.device,
            "precision": self.precision,
            "spilled_bytes": self.spilled_bytes,
            **(self.film or {}),
            **notes,
        }


@dataclass(frozen=True)
class Failed:
    """A picture could not be done; the others go on."""

    source: Path
    error: str
    hint: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "failed",
            "input": str(self.source),
            "error": self.error,
            "hint": self.hint,
        }


@dataclass(frozen=True)
class Skipped:
    """The output was there already."""

    source: Path
    target: Path

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "skipped",
            "input": str(self.source),
            "output": str(self.target),
            "reason": "the output exists",
        }


@dataclass(frozen=True)
class LeftOut:
    """Files in a folder, or matching a pattern, that are named like outputs of others there."""

    source: Path
    paths: tuple[Path, ...]


@dataclass
class Summary:
    """Counts of a run; owns its exit code."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    left_out: int = 0

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def count(self, event: Event) -> None:
        self.done += isinstance(event, Done)
        self.skipped += isinstance(event, Skipped)
        self.failed += isinstance(event, Failed)
        self.left_out += len(event.paths) if isinstance(event, LeftOut) else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "summary",
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "left_out": self.left_out,
        }


Event = (
    Started
    | Progressed
    | FilmProgressed
    | Paced
    | Noted
    | Suggested
    | LeftOut
    | Done
    | Failed
    | Skipped
)
Listener = Callable[[Event], None]
