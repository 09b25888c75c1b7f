"""When the packets of a stream are shown, from framecrc, ffmpeg's numbers for programs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from srcli.film.description import Film
from srcli.film.ffmpeg import Child, FFmpeg

# Not from the line's start: in a pipe that ffmpeg's messages go through too, it may come in the
# middle of one. A message so cut goes on in the next line.
_PACKET = re.compile(r"\d, *(-?\d+), *(-?\d+), *(-?\d+), *(\d+), *(0x[0-9a-f]{8})((?:,.*)?)$")
_TICK = re.compile(r"#tb \d+: (\d+/\d+)$")
_NO_TIME = -(2**63)


@dataclass(frozen=True)
class Timeline:
    """When the packets of a stream are shown, in ticks of ``tick`` seconds, in order of time.

    Attributes:
        keys: times of the key frames, in seconds.
        last: ticks that the last one is shown for; 0: unknown.
    """

    tick: Fraction
    times: tuple[int, ...]
    keys: frozenset[Fraction] = field(default=frozenset(), repr=False)
    last: int = 0

    def seconds(self) -> tuple[Fraction, ...]:
        """The times."""
        return tuple(self.tick * t for t in self.times)

    def ends(self, time: Fraction) -> Fraction:
        """When the frame shown at a time makes room for the next, or the film is over."""
        following = next((t for t in self.seconds() if t > time), None)
        return time + self.tick * self.last if following is None else following


def scan(film: Film, ffmpeg: FFmpeg) -> Timeline:
    """When the video's packets are shown; reads the whole file, and decodes nothing."""
    return packets(film.path, film.input, film.video, ffmpeg)


def packets(path: Path, source: tuple[str, ...], stream: int | str, ffmpeg: FFmpeg) -> Timeline:
    """When the packets of a stream are shown.

    Raises:
        MediaError: the file cannot be read.
    """
    asked = ["-copyts", *source, "-map", f"0:{stream}", "-c", "copy", "-f", "framecrc", "pipe:1"]
    tick, shown, keys = Fraction(1), [], []
    with Child(ffmpeg, asked) as child:
        for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip()
            if found := read_tick(line):
                tick = found
            elif (packet := read_packet(line)) is not None and packet.time is not None:
                shown.append((packet.time, packet.duration))
                if packet.key:
                    keys.append(packet.time)
        child.finish(f"{path} cannot be read")
    shown.sort()
    return Timeline(
        tick,
        tuple(time for time, _ in shown),
        frozenset(tick * t for t in keys),
        max(0, shown[-1][1]) if shown else 0,
    )


@dataclass(frozen=True)
class Packet:
    """A line of framecrc: presentation time in ticks (None: unknown), duration, size, checksum."""

    time: int | None
    duration: int
    size: int
    checksum: str
    key: bool


def read_packet(line: str) -> Packet | None:
    """A line of framecrc, or the end of one; None if it is something else."""
    found = _PACKET.search(line)
    if found is None:
        return None
    time = int(found[2])
    key = ", F=0x0" not in found[6]
    return Packet(None if time == _NO_TIME else time, int(found[3]), int(found[4]), found[5], key)


def read_tick(line: str) -> Fraction | None:
    """framecrc's line with the time base; None if it is something else."""
    found = _TICK.search(line)
    return Fraction(found[1]) if found else None
