"""Which streams a film's result will have and in what form, tried before work begins."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from srcli.errors import MediaError, SrcliError, UsageError
from srcli.film.check import decodes, has_contents, matched
from srcli.film.description import Colour, Film, Stream, file_input
from srcli.film.encode import Encoder
from srcli.film.encoding import Encoding
from srcli.film.ffmpeg import FFmpeg
from srcli.film.mux import Cut, mux
from srcli.film.options import FilmOptions, Treatment
from srcli.film.probe import list_streams
from srcli.film.tracks import (
    Track,
    alternative_name,
    alternatives,
    converted_alternatives,
    describe,
)

_TRIAL_S = "0.5"
_TRIAL_RATE = Fraction(25)


def choose_streams(
    film: Film, extension: str, encoding: Encoding, options: FilmOptions, ffmpeg: FFmpeg
) -> tuple[tuple[Track, ...], list[str]]:
    """Which streams the result will have, tried on the film's first moments.

    It also shows that the encoder works with its options. What is seen, heard or read is never
    left out unless the user says so; what stands beside it (attachments, covers, data) is, with
    a line that says what would keep it.

    Returns:
        The streams, and what to tell the user.

    Raises:
        UsageError: the container cannot hold one of them.
        MediaError: the encoder fails.
    """
    treatments = {"audio": options.audio, "subtitle": options.subtitles}
    wanted = [
        s
        for s in film.streams
        if treatments.get(s.kind) != "drop" and not s.is_timecode and not _is_chapters(s, film)
    ]
    with tempfile.TemporaryDirectory(prefix="srcli-") as name:
        trial = _Trial(Path(name), film, extension, encoding, ffmpeg)
        as_they_are = tuple(Track(s) for s in wanted)
        if trial.holds(as_they_are):
            return as_they_are, []
        kept: list[Track] = []
        notes: list[str] = []
        refused: list[Stream] = []
        video = Track(film.stream)
        for stream in wanted:
            if stream.index == film.video:
                kept.append(video)
                continue
            others = alternatives(stream, extension, treatments.get(stream.kind, "copy"))
            if stream.kind == "subtitle" and not has_contents(film, stream, ffmpeg):
                others = []  # nothing would be left of it
            ways = [Track(stream), *others]
            way = next((w for w in ways if trial.holds((w, video))), None)
            if way is not None:
                kept.append(way)
                notes += [way.note] if way.note else []
            elif stream.kind in ("data", "attachment") or stream.is_cover:
                notes.append(
                    f"{describe(stream)} is left out: a {extension} file cannot hold it"
                    + ("; --container mkv keeps it" if trial.in_matroska(stream) else "")
                )
            else:
                refused.append(stream)
        if refused and trial.holds((video,)):
            names = " and ".join(map(describe, refused))
            raise UsageError(
                f"a {extension} file cannot hold {names} of {film.path}",
                "; ".join(_remedies(refused, treatments, trial)) or None,
            )
        if not trial.holds(tuple(kept)):
            raise trial.failure
        return tuple(kept), notes


def _is_chapters(stream: Stream, film: Film) -> bool:
    """Whether it is QuickTime's track of chapters' titles, which are made anew."""
    return stream.kind == "data" and stream.tag == "text" and bool(film.n_chapters)


def _remedies(refused: list[Stream], treatments: dict[str, Treatment], trial: _Trial) -> list[str]:
    """What would help, each of it tried."""
    them = "them" if len(refused) > 1 else "it"
    found = []
    if trial.extension != ".mkv" and all(map(trial.in_matroska, refused)):
        found.append(f"--container mkv keeps {them}")
    for kind, option in (("audio", "--audio"), ("subtitle", "--subtitles")):
        these = [s for s in refused if s.kind == kind]
        if not these:
            continue
        ways = []
        for stream in these if treatments[kind] == "copy" else ():
            made = converted_alternatives(stream, trial.extension)
            ways.append(next((w for w in made if trial.holds((w, Track(trial.film.stream)))), None))
        names = dict.fromkeys(alternative_name(w) for w in ways if w is not None)
        if ways and None not in ways:
            found.append(f"{option} convert makes it {' and '.join(names)}")
        found.append(f"{option} drop leaves it out")
    return found


class _Trial:
    """The first moments of a film in each combination of streams that is asked about."""

    def __init__(
        self, folder: Path, film: Film, extension: str, encoding: Encoding, ffmpeg: FFmpeg
    ) -> None:
        self.folder, self.extension = folder, extension
        self.film = film if film.is_sequence else replace(film, input=("-t", _TRIAL_S, *film.input))
        self.encoding, self.ffmpeg = encoding, ffmpeg
        self.failure: SrcliError = MediaError("the parts of the film cannot be joined")
        known = film.rate if film.timecode is not None else None  # which not every rate has
        self.tick = 1 / (known or _TRIAL_RATE)
        size = (256, 256)  # some cards' encoders take nothing smaller
        with Encoder(
            folder / "trial.nut", encoding, size, self.tick, Colour(), None, ffmpeg
        ) as encoder:
            for time in range(2):
                encoder.write(time, bytes(encoding.layout.frame_bytes(size)))
            encoder.finish()
        self.listing = folder / "listing"
        self.listing.write_text("ffconcat version 1.0\nfile 'trial.nut'\ninpoint 0\nduration 0\n")

    def holds(self, tracks: Sequence[Track], extension: str | None = None) -> bool:
        """Whether such a film can be made, and its streams be decoded again."""
        ordered = sorted(tracks, key=lambda t: t.stream.index)
        path = self.folder / "trial"
        try:
            mux(
                self.film,
                self.listing,
                path,
                extension or self.extension,
                tracks=ordered,
                encoding=self.encoding,
                colour=Colour(),
                tick=self.tick,
                cut=Cut(),
                ffmpeg=self.ffmpeg,
            )
            made = list_streams(path, self.ffmpeg)
        except SrcliError as exc:
            self.failure = exc
            return False
        for track, stream in matched(ordered, made):
            if stream is None or not self._survives(track, path, stream):
                self.failure = MediaError(f"{describe(track.stream)} cannot be decoded again")
                return False
        return True

    def in_matroska(self, stream: Stream) -> bool:
        """Whether an .mkv file would keep a stream as it is, or without loss."""
        ways = [Track(stream), *alternatives(stream, ".mkv", "copy")]
        return any(self.holds((way, Track(self.film.stream)), ".mkv") for way in ways)

    def _survives(self, track: Track, path: Path, stream: Stream) -> bool:
        if stream.kind not in ("audio", "subtitle"):
            return True
        if stream.codec == "none":
            return track.stream.codec == "none" and track.encoder is None
        if stream.kind == "subtitle" and track.encoder is None:
            return True  # films may have many, few of which begin at once
        if decodes(file_input(path), stream, self.ffmpeg):
            return True
        # nothing of it lies in these moments, or it is damaged already
        return not decodes(self.film.input, track.stream, self.ffmpeg)
