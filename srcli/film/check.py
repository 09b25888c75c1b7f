"""After the work: whether the film that was made has the frames, times and streams it should.

Every stream that is vouched for has been decoded for a moment, and attachments compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from srcli.errors import MediaError
from srcli.film.description import Film, Stream, file_input
from srcli.film.encoding import Encoding
from srcli.film.ffmpeg import Child, FFmpeg, script_path
from srcli.film.formats import layout_of
from srcli.film.packets import packets, read_packet
from srcli.film.probe import probe
from srcli.film.tracks import Track, describe

_FRAMES = "2"
_MARKS = {"Stereo 3D", "Spherical Mapping"}  # which the container keeps, or does not
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
        streams: those of its streams that could be decoded, by kind.
        doubts: what could not be made sure of.
    """

    frames: int
    first_s: float
    last_s: float
    shift_s: float
    worst_s: float
    duration_s: float | None
    source_s: float | None
    streams: tuple[str, ...]
    doubts: tuple[str, ...] = ()

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
    film: Film,
    tracks: Sequence[Track],
    encoding: Encoding,
    ffmpeg: FFmpeg,
    *,
    whole: bool = True,
) -> Check:
    """Compare a finished file with what was meant.

    Args:
        path: the file, still under a temporary name.
        name: its name in messages.
        expected: the frames' times in seconds.
        film: the source.
        tracks: what the file should hold of it.
        encoding: of its video.
        whole: all of the source was wanted, not a part.

    Raises:
        MediaError: a frame is missing or at another time, or a stream is missing or no longer what
            it was.
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
    if encoding.layout.alpha and not layout_of(found.pix_fmt).alpha:
        raise MediaError(f"{name} has lost its transparency")
    kinds = sorted(t.stream.kind for t in tracks if t.stream.kind != "data")
    made = sorted(s.kind for s in found.streams if s.kind != "data")
    if made != kinds:
        raise MediaError(f"{name} has the streams {', '.join(made)} in place of {', '.join(kinds)}")
    sure, doubts = {found.video}, []
    for track, stream in matched(tracks, found.streams):
        if track.stream.index == film.video or track.stream.kind == "data" or stream is None:
            continue
        if _verify(path, name, stream, film, track, ffmpeg, whole=whole):
            sure.add(stream.index)
        else:
            doubts.append(f"{describe(track.stream)} cannot be decoded, and is copied as it is")
    doubts += [f"{name}: the mark is lost" for name in sorted(_MARKS & film.beside - found.beside)]
    return Check(
        len(times),
        float(times[0]),
        float(times[-1]),
        float(shift),
        float(worst),
        found.duration_s,
        film.duration_s if whole else None,
        tuple(s.kind for s in found.streams if s.index in sure),
        tuple(doubts),
    )


def matched(tracks: Sequence[Track], made: Sequence[Stream]) -> list[tuple[Track, Stream | None]]:
    """Each track with the stream that came of it: the same of its kind, covers last."""
    pairs: list[tuple[Track, Stream | None]] = []
    for kind in ("video", "audio", "subtitle", "attachment", "data"):
        wanted = sorted(
            (t for t in tracks if t.stream.kind == kind), key=lambda t: t.stream.is_cover
        )
        found = sorted((s for s in made if s.kind == kind), key=lambda s: s.is_cover)
        pairs += [(t, found[k] if k < len(found) else None) for k, t in enumerate(wanted)]
    return pairs


def _verify(
    path: Path,
    name: Path,
    stream: Stream,
    film: Film,
    track: Track,
    ffmpeg: FFmpeg,
    *,
    whole: bool,
) -> bool:
    """Whether a stream of the result can be decoded, or is empty; False: no more than the source's.

    Raises:
        MediaError: that of the source can.
    """
    lost = MediaError(f"{name} has lost the contents of {describe(track.stream)}")
    made, source = file_input(path), film.input
    if stream.kind == "attachment":
        if _attached(made, stream, ffmpeg) != _attached(source, track.stream, ffmpeg):
            raise lost
        return True
    if decodes(made, stream, ffmpeg):
        return True
    if not decodes(source, track.stream, ffmpeg):
        return not packets(film.path, source, track.stream.index, ffmpeg).times
    if whole or _holds_something(path, stream, ffmpeg):
        raise lost
    return True  # nothing of it lies in the part


def _holds_something(path: Path, stream: Stream, ffmpeg: FFmpeg) -> bool:
    """Whether a stream has packets, other than those of two bytes that are the gaps of mov_text."""
    asked = [*file_input(path), "-map", f"0:{stream.index}", "-c", "copy"]
    with Child(ffmpeg, [*asked, "-f", "framecrc", "pipe:1"]) as child:
        lines = [line.decode(errors="replace").rstrip() for line in child.stdout]
        child.finish(f"{path} cannot be read")
    found = [p for p in map(read_packet, lines) if p is not None]
    return any(p.size > (2 if stream.codec == "mov_text" else 0) for p in found)


def has_contents(film: Film, stream: Stream, ffmpeg: FFmpeg) -> bool:
    """Whether something can be decoded from a stream of the source, or it is empty anyway."""
    if decodes(film.input, stream, ffmpeg):
        return True
    return not packets(film.path, film.input, stream.index, ffmpeg).times


def decodes(source: Sequence[str], stream: Stream, ffmpeg: FFmpeg) -> bool:
    """Whether something comes out of a stream's first packets.

    Args:
        source: how ffmpeg is told to read the file.
    """
    kind = stream.kind[0]  # v, a, s: as ffmpeg has it
    ways: tuple[tuple[str, ...], ...] = ((),)
    if stream.kind == "subtitle":  # either text or pictures; only an encoder makes ffmpeg decode
        ways = (("-c:s", "text"), ("-c:s", "dvdsub"))
    for way in ways:
        asked = [*source, "-map", f"0:{stream.index}", *way, f"-frames:{kind}", _FRAMES]
        with Child(ffmpeg, [*asked, "-f", "framecrc", "pipe:1"]) as child:
            lines = [line.decode(errors="replace").rstrip() for line in child.stdout]
        if any(packet.size for packet in map(read_packet, lines) if packet is not None):
            return True
    return False


def _attached(source: Sequence[str], stream: Stream, ffmpeg: FFmpeg) -> bytes:
    """An attached file."""
    with tempfile.TemporaryDirectory(prefix="srcli-") as folder:
        path = Path(folder) / "attached"
        dump = [f"-dump_attachment:{stream.index}", script_path(path)]
        with Child(ffmpeg, [*dump, *source, "-t", "0", "-f", "null", "-"]) as child:
            child.stdout.read()  # its status says only that there was nothing to write
        return path.read_bytes() if path.exists() else b""
