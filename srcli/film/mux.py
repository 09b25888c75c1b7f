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
from srcli.media.atomic import make_folder

_TRIAL_S = "0.04"
_MIME = {"png": "image/png", "mjpeg": "image/jpeg", "gif": "image/gif", "bmp": "image/bmp",
         "webp": "image/webp", "tiff": "image/tiff"}  # fmt: skip


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
    colour: Colour,
    tick: Fraction,
    cut: Cut,
    ffmpeg: FFmpeg,
    last: tuple[Fraction, Fraction] | None = None,
    limit: Sequence[str] = (),
) -> None:
    """Join the segments and the source's other streams.

    Args:
        listing: of the segments, see Work.listing.
        part: the file to write.
        extension: of the final name; it tells the container.
        streams: of the source that go into the result, the video's own place included.
        colour: of the video, for containers and codecs of which only the container says it.
        tick: of the segments' times.
        cut: what is left out.
        last: when the last frame of the result is shown, and until when, in seconds.
        limit: further options of the output.

    Raises:
        MediaError, ResourceError: ffmpeg failed.
    """
    container = CONTAINERS[extension[1:]]
    start = cut.start or Fraction(0)  # the film begins at 0 then
    arguments = ["-copyts", "-itsoffset", f"{-float(lead(tick)[1] + start):.6f}"]
    if film.rotation:
        arguments += ["-display_rotation:v:0", f"{film.rotation:g}"]
    arguments += ["-f", "concat", "-safe", "0", "-i", script_path(listing)]
    covers: list[Stream] = []
    if container == "matroska":  # where they are attachments, which ffmpeg does not copy as such
        covers = [s for s in streams if s.is_cover]
        streams = [*(s for s in streams if not s.is_cover), *covers]
    place = next(k for k, s in enumerate(streams) if s.index == film.video)
    if film.is_sequence:
        arguments += ["-map", "0:v:0"]
    else:
        sources = {s.index: f"1:{s.index}" for s in streams} | {film.video: "0:v:0"}
        arguments += ["-itsoffset", f"{-float(start):.6f}", *film.input]
        timed = [s for s in streams if s.index != film.video and _is_timed(s)]
        if cut.start is not None and timed:
            arguments += ["-i", script_path(_cut_out(film, timed, cut, extension, listing, ffmpeg))]
            sources |= {s.index: f"2:{k}" for k, s in enumerate(timed)}
        for stream in streams[: len(streams) - len(covers)]:
            arguments += ["-map", sources[stream.index]]
        for cover in covers:
            arguments += ["-attach", str(_extracted(film, cover, listing.parent, ffmpeg))]
        arguments += ["-map_metadata", "1", "-map_chapters", "1"]
        for k, stream in enumerate(streams):  # one named, and ffmpeg leaves the others out
            arguments += [f"-map_metadata:s:{k}", f"1:s:{stream.index}"]
    for k, cover in enumerate(covers, len(streams) - len(covers)):
        arguments += [f"-metadata:s:{k}", f"mimetype={_MIME.get(cover.codec, 'image/jpeg')}"]
    arguments += ["-c", "copy", f"-metadata:s:{place}", f"encoder={encoding.encoder}"]
    for option, value in _said(colour).items():
        arguments += [f"-{option}:{place}", value]
    if last is not None:
        arguments += [f"-bsf:{place}", _lasting(*last, summed=container in ("mp4", "mov"))]
    marks = film.stream.dispositions
    arguments += [f"-disposition:{place}", "+".join(marks) if marks else "0"]
    if cut.end is not None:
        arguments += ["-to", f"{float(cut.end - start):.6f}"]
    if container in ("mp4", "mov"):
        arguments += ["-video_track_timescale", str(tick.denominator)]
        if film.has_keys:  # and what the file says of itself is no such thing
            arguments += ["-movflags", "use_metadata_tags"]
            for name in ("major_brand", "minor_version", "compatible_brands"):
                arguments += ["-metadata", f"{name}="]
        if encoding.codec.startswith("hevc"):
            arguments += [f"-tag:{place}", "hvc1"]  # which Apple's players insist on
    if container == "matroska":
        arguments += ["-default_mode", "passthrough"]
    ffmpeg.run(
        [*arguments, *limit, "-f", container, "-y", script_path(part)],
        "the film cannot be put together",
    )


def _lasting(time: Fraction, end: Fraction, *, summed: bool) -> str:
    """A filter of packets that gives a video's last frame its duration.

    Args:
        time, end: when the last frame is shown, and until when, in seconds.
        summed: the container adds durations up in the order of decoding, and the last packet in
            that order must bring them to what is shown.
    """
    until = f"{float(end):.9f}/TB"
    others = "DURATION"
    if summed:
        rest = f"clip({until}-STARTPTS-(DTS-STARTDTS),1,max(1,{until}-PTS))"
        others = f"if(eq(NEXT_DTS,NOPTS),{rest},DURATION)"
    duration = f"if(gte(PTS*TB,{float(time):.9f}-0.5*TB),{until}-PTS,{others})"
    return f"setts=pts=PTS:dts=DTS:duration='{duration}'"


def _is_timed(stream: Stream) -> bool:
    return stream.kind != "attachment" and not stream.is_cover


def _cut_out(
    film: Film,
    streams: Sequence[Stream],
    cut: Cut,
    extension: str,
    listing: Path,
    ffmpeg: FFmpeg,
) -> Path:
    """A file of the part of some streams that is wanted, which begins at 0.

    They are cut apart from the video, whose packets may be decoded before they are shown: ffmpeg
    cuts by the former.
    """
    path = listing.parent / "others"
    arguments = ["-copyts", *film.input]
    for stream in streams:
        arguments += ["-map", f"0:{stream.index}"]
    arguments += ["-c", "copy", "-map_chapters", "-1", "-ss", f"{float(cut.start or 0):.6f}"]
    if cut.end is not None:
        arguments += ["-to", f"{float(cut.end):.6f}"]
    container = CONTAINERS[extension[1:]]
    if container == "matroska":
        arguments += ["-default_mode", "passthrough"]
    ffmpeg.run(
        [*arguments, "-f", container, "-y", script_path(path)],
        f"the part of {film.path} cannot be cut out",
    )
    return path


def _said(colour: Colour) -> dict[str, str]:
    """ffmpeg's options that say a colour."""
    full = colour.full_range
    named = {
        "color_range": None if full is None else "pc" if full else "tv",
        "colorspace": "rgb" if colour.matrix == "gbr" else colour.matrix,
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
        "chroma_sample_location": colour.location,
        "field_order": "progressive",
    }
    return {option: value for option, value in named.items() if value is not None}


def _extracted(film: Film, cover: Stream, folder: Path, ffmpeg: FFmpeg) -> Path:
    """A cover as a file in a folder of its own, under its own name."""
    mime = _MIME.get(cover.codec, "image/jpeg")
    name = Path(cover.filename or f"cover.{'jpg' if mime == 'image/jpeg' else mime[6:]}").name
    place = folder / f"cover{cover.index}"
    make_folder(place)
    wanted = ["-map", f"0:{cover.index}", "-c", "copy", "-f", "image2", "-update", "1", "-y"]
    ffmpeg.run(
        [*film.input, *wanted, script_path(place / name)],
        f"the cover of {film.path} cannot be read",
    )
    return place / name


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
                colour=Colour(),
                tick=self.tick,
                cut=Cut(),
                ffmpeg=self.ffmpeg,
                limit=("-t", _TRIAL_S),
            )
        except SrcliError as exc:
            self.failure = exc
            return False
        return True
