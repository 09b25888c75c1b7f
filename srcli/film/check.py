"""After the work: whether the film that was made has the frames, times and streams it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from srcli.errors import MediaError
from srcli.film.ffmpeg import FFmpeg
from srcli.film.probe import Stream, file_input, packets, probe

_ROUGHLY_S = 0.5  # headers also count what is decoded before it is shown, and rounded


@dataclass(frozen=True)
class Check:
    """What was found, in seconds.

    Attributes:
        frames: in the result, as many as were decoded.
        first_s, last_s: when the first and last frame of the result are shown.
        shift_s: by how much the container moved the whole film: streams that begin before 0.
        worst_s: the greatest difference of a frame's time besides that.
        duration_s: of the file.
        source_s: the same of the source; None: unknown, or only a part was wanted.
        streams: its streams, by kind.
    """

    frames: int
    first_s: float
    last_s: float
    shift_s: float
    worst_s: float
    duration_s: float | None
    source_s: float | None
    streams: tuple[str, ...]

    @property
    def shortened_s(self) -> float:
        """Seconds that the source's header promises and the result does not have; 0: about none."""
        if self.duration_s is None or self.source_s is None:
            return 0.0
        missing = self.source_s - self.duration_s
        return missing if missing > max(_ROUGHLY_S, 0.001 * self.source_s) else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "first_s": round(self.first_s, 6),
            "last_s": round(self.last_s, 6),
            "shift_s": round(self.shift_s, 6),
            "worst_s": round(self.worst_s, 6),
            "duration_s": self.duration_s,
            "source_duration_s": self.source_s,
            "streams": list(self.streams),
        }


def check(
    path: Path,
    name: Path,
    expected: Sequence[Fraction],
    streams: Sequence[Stream],
    source_s: float | None,
    ffmpeg: FFmpeg,
) -> Check:
    """Compare a finished file with what was meant.

    Args:
        path: the file, still under a temporary name.
        name: its name in messages.
        expected: the frames' times in seconds.
        streams: what it should hold.
        source_s: how long the source says it lasts.

    Raises:
        MediaError: a frame is missing or at another time, or a stream is.
    """
    found = probe(path, ffmpeg)
    timeline = packets(path, file_input(path), found.video, ffmpeg)
    times = timeline.seconds()
    if len(times) != len(expected):
        raise MediaError(f"{name} has {len(times)} frames in place of {len(expected)}")
    shift = times[0] - expected[0]
    worst = max(abs(a - b - shift) for a, b in zip(times, expected, strict=True))
    if abs(shift) <= timeline.tick:  # the container's rounding, and no shift
        shift, worst = Fraction(0), max(abs(a - b) for a, b in zip(times, expected, strict=True))
    if worst > timeline.tick:
        raise MediaError(f"{name} has a frame {float(worst):.4f} s from where it should be")
    kinds = sorted(s.kind for s in streams if s.kind != "data")
    made = sorted(s.kind for s in found.streams if s.kind != "data")
    if made != kinds:
        raise MediaError(f"{name} has the streams {', '.join(made)} in place of {', '.join(kinds)}")
    return Check(
        len(times),
        float(times[0]),
        float(times[-1]),
        float(shift),
        float(worst),
        found.duration_s,
        source_s,
        tuple(s.kind for s in found.streams),
    )
