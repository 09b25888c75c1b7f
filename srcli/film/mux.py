"""The finished film: the enlarged video between everything else of the source, copied."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from srcli.errors import MediaError, SrcliError, UsageError
from srcli.film.codecs import Encoding
from srcli.film.encode import Encoder, lead
from srcli.film.ffmpeg import FFmpeg, script_path
from srcli.film.formats import CONTAINERS
from srcli.film.probe import Colour, Film, Stream

_TRIAL_S = "0.04"


@dataclass(frozen=True)
class Cut:
    """The part of the film that is wanted, in seconds of its own timeline; None: to the end."""

    start: Fraction | None = None
    end: Fraction | None = None


def mux(
    film: Film,
    listing: Path,
    part: Path,
    extension: str,
    *,
    streams: Sequence[Stream],
    encoding: Encoding,
    tick: Fraction,
    cut: Cut,
    ffmpeg: FFmpeg,
    limit: Sequence[str] = (),
) -> None:
    """Join the segments and the source's other streams.

    Args:
        listing: of the segments, see Work.listing.
        part: the file to write.
        extension: of the final name; it tells the container.
        streams: of the source that go into the result, the video's own place included.
        tick: of the segments' times.
        cut: what is left out.
        limit: further options of the output.

    Raises:
        MediaError, ResourceError: ffmpeg failed.
    """
    container = CONTAINERS[extension[1:]]
    arguments = ["-copyts", "-itsoffset", str(-lead(tick)[1])]
    if film.rotation:
        arguments += ["-display_rotation:v:0", f"{film.rotation:g}"]
    arguments += ["-f", "concat", "-safe", "0", "-i", script_path(listing)]
    place = next(k for k, s in enumerate(streams) if s.index == film.video)
    if film.is_sequence:
        arguments += ["-map", "0:v:0"]
    else:
        arguments += film.input
        for stream in streams:
            arguments += ["-map", "0:v:0" if stream.index == film.video else f"1:{stream.index}"]
        arguments += ["-map_metadata", "1", "-map_chapters", "1"]
        arguments += [f"-map_metadata:s:{place}", f"1:s:{film.video}"]
    arguments += ["-c", "copy", f"-metadata:s:{place}", f"encoder={encoding.encoder}"]
    marks = film.stream.dispositions
    arguments += [f"-disposition:{place}", "+".join(marks) if marks else "0"]
    if cut.start is not None:
        # the others are cut where they can be, the film begins at 0
        arguments += ["-ss", f"{float(cut.start):.6f}"]
        arguments += ["-output_ts_offset", f"{-float(cut.start):.6f}"]
    if cut.end is not None:
        arguments += ["-to", f"{float(cut.end):.6f}"]
    if container in ("mp4", "mov"):
        arguments += ["-video_track_timescale", str(tick.denominator)]
        if encoding.codec.startswith("hevc"):
            arguments += [f"-tag:{place}", "hvc1"]  # which Apple's players insist on
    if container == "matroska":
        arguments += ["-default_mode", "passthrough"]
    ffmpeg.run(
        [*arguments, *limit, "-f", container, "-y", script_path(part)],
        "the film cannot be put together",
    )


def settle_streams(
    film: Film, extension: str, encoding: Encoding, ffmpeg: FFmpeg
) -> tuple[tuple[Stream, ...], list[str]]:
    """Which streams the result will have, tried on a film of one frame.

    It also shows that the encoder works with its options.

    Returns:
        The streams, and what to tell the user.

    Raises:
        UsageError: the container cannot hold one of them.
        MediaError: the encoder fails.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="srcli-") as name:
        trial = _Trial(Path(name), film, extension, encoding, ffmpeg)
        if trial.holds(film.streams):
            return film.streams, notes
        kept, refused = [], []
        for stream in film.streams:
            if stream.index == film.video or trial.holds((stream, film.stream)):
                kept.append(stream)
            elif stream.kind == "data":
                # chapters lie in such a stream in MP4, and are made anew
                if stream.codec != "bin_data" or not film.n_chapters:
                    notes.append(f"stream {stream.index} ({stream.codec} data) cannot be kept")
            else:
                refused.append(stream)
        if refused:
            names = " and ".join(f"stream {s.index} ({s.codec} {s.kind})" for s in refused)
            raise UsageError(
                f"a {extension} file cannot hold {names} of {film.path}",
                "--container mkv holds it" if extension != ".mkv" else None,
            )
        if not trial.holds(tuple(kept)):
            raise trial.failure
        return tuple(kept), notes


class _Trial:
    """A film of one frame in each combination of streams that is asked about."""

    def __init__(
        self, folder: Path, film: Film, extension: str, encoding: Encoding, ffmpeg: FFmpeg
    ) -> None:
        self.folder, self.film, self.extension = folder, film, extension
        self.encoding, self.ffmpeg = encoding, ffmpeg
        self.failure: SrcliError = MediaError("the film cannot be put together")
        self.tick = Fraction(1, 25)
        size = (256, 256)  # some cards' encoders take nothing smaller
        with Encoder(
            folder / "trial.nut", encoding, size, self.tick, Colour(), None, ffmpeg
        ) as encoder:
            for time in range(2):
                encoder.write(time, bytes(encoding.layout.frame_bytes(size)))
            encoder.finish()
        self.listing = folder / "listing"
        self.listing.write_text("ffconcat version 1.0\nfile 'trial.nut'\ninpoint 0\nduration 0\n")

    def holds(self, streams: Sequence[Stream]) -> bool:
        """Whether such a film can be made."""
        ordered = sorted(streams, key=lambda s: s.index)
        try:
            mux(
                self.film,
                self.listing,
                self.folder / "trial",
                self.extension,
                streams=ordered,
                encoding=self.encoding,
                tick=self.tick,
                cut=Cut(),
                ffmpeg=self.ffmpeg,
                limit=("-t", _TRIAL_S),
            )
        except SrcliError as exc:
            self.failure = exc
            return False
        return True
