"""The finished film: the enlarged video between everything else of the source, copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from srcli.film.description import Colour, Film, Stream
from srcli.film.encode import lead
from srcli.film.encoding import Encoding
from srcli.film.ffmpeg import FFmpeg, script_path
from srcli.film.formats import CONTAINERS
from srcli.film.tracks import Track
from srcli.media.atomic import make_folder

_MIME = {"png": "image/png", "mjpeg": "image/jpeg", "gif": "image/gif", "bmp": "image/bmp",
         "webp": "image/webp", "tiff": "image/tiff"}  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """The part of the film that is wanted, in seconds of its own timeline; None: to the end."""

    start: Fraction | None = None
    end: Fraction | None = None


# whose packets say how long they are shown
_TEXTS = frozenset({"ass", "ssa", "subrip", "srt", "text", "webvtt", "mov_text"})


def mux(
    film: Film,
    listing: Path,
    part: Path,
    extension: str,
    *,
    tracks: Sequence[Track],
    encoding: Encoding,
    colour: Colour,
    tick: Fraction,
    cut: Cut,
    ffmpeg: FFmpeg,
    last: tuple[Fraction, Fraction] | None = None,
) -> None:
    """Join the segments and the source's other streams.

    Args:
        listing: of the segments, see Work.listing.
        part: the file to write.
        extension: of the final name; it tells the container.
        tracks: what goes into the result, the video's own place included.
        colour: of the video, for containers and codecs of which only the container says it.
        tick: of the segments' times.
        cut: what is left out.
        last: when the last frame of the result is shown, and until when, in seconds.

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
        covers = [t.stream for t in tracks if t.stream.is_cover]
        tracks = [t for t in tracks if not t.stream.is_cover]
    streams = [*(t.stream for t in tracks), *covers]
    place = next(k for k, s in enumerate(streams) if s.index == film.video)
    if film.is_sequence:
        arguments += ["-map", "0:v:0"]
    else:
        sources = {s.index: f"1:{s.index}" for s in streams} | {film.video: "0:v:0"}
        arguments += ["-itsoffset", f"{-float(start):.6f}", *film.input]
        timed = [t for t in tracks if t.stream.index != film.video and _is_timed(t.stream)]
        if cut.start is not None and timed:
            arguments += ["-i", script_path(_cut_out(film, timed, cut, extension, listing, ffmpeg))]
            sources |= {t.stream.index: f"2:{k}" for k, t in enumerate(timed)}
            tracks = [Track(t.stream) if t in timed else t for t in tracks]
        for stream in streams[: len(streams) - len(covers)]:
            arguments += ["-map", sources[stream.index]]
        for cover in covers:
            arguments += ["-attach", str(_extracted(film, cover, listing.parent, ffmpeg))]
        arguments += ["-map_metadata", "1", "-map_chapters", "1"]
        for k, stream in enumerate(streams):  # one named, and ffmpeg leaves the others out
            arguments += [f"-map_metadata:s:{k}", f"1:s:{stream.index}"]
    for k, cover in enumerate(covers, len(streams) - len(covers)):
        arguments += [f"-metadata:s:{k}", f"mimetype={_MIME.get(cover.codec, 'image/jpeg')}"]
    arguments += ["-c", "copy", *_encoders(tracks)]
    arguments += [f"-metadata:s:{place}", f"encoder={encoding.encoder}"]
    if film.stream.says_alpha or encoding.keeps_alpha_beside:
        arguments += [f"-metadata:s:{place}"]
        arguments += [f"alpha_mode={'1' if encoding.keeps_alpha_beside else ''}"]
    if film.timecode is not None:
        if cut.start is not None:  # it is that of the film's first frame
            arguments += ["-metadata", "timecode=", f"-metadata:s:{place}", "timecode="]
        elif film.rate is not None:  # muxers count frames by it
            arguments += [f"-r:{place}", f"{film.rate.numerator}/{film.rate.denominator}"]
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
        [*arguments, "-f", container, "-y", script_path(part)],
        "the parts of the film cannot be joined",
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


def _from(start: Fraction) -> str:
    """A filter of packets that lets what is shown at ``start`` begin there."""
    at = f"{float(start):.6f}"
    shown = f"lt(PTS*TB,{at})*gt((PTS+DURATION)*TB,{at})"
    first = f"ceil({at}/TB)"
    later = f"if({shown},{first},PTS)"
    return f"setts=pts='{later}':dts='{later}':duration='if({shown},PTS+DURATION-{first},DURATION)'"


def _encoders(tracks: Sequence[Track]) -> list[str]:
    """ffmpeg's options for streams that are not copied, by their places."""
    arguments = []
    for place, track in enumerate(tracks):
        if track.encoder is not None:
            arguments += [f"-c:{place}", track.encoder]
            for name, value in track.options:
                arguments += [f"-{name}:{place}", value]
    return arguments


def _is_timed(stream: Stream) -> bool:
    return stream.kind != "attachment" and not stream.is_cover


def _cut_out(
    film: Film,
    tracks: Sequence[Track],
    cut: Cut,
    extension: str,
    listing: Path,
    ffmpeg: FFmpeg,
) -> Path:
    """A file of the part of some streams that is wanted, in their new forms, beginning at 0.

    They are cut apart from the video, whose packets may be decoded before they are shown: ffmpeg
    cuts by the former.
    """
    path, texts = listing.parent / "others", listing.parent / "texts"
    container = CONTAINERS[extension[1:]]
    whole = [
        t for t in tracks if t.stream.kind == "subtitle" and (t.encoder or t.stream.codec in _TEXTS)
    ]
    arguments = ["-copyts", *film.input]
    sources = {t.stream.index: f"0:{t.stream.index}" for t in tracks}
    if whole:  # ffmpeg cuts neither those that it encodes, nor a line that is shown already
        made = ["-copyts", *film.input]
        for track in whole:
            made += ["-map", sources[track.stream.index]]
        made += ["-c", "copy", *_encoders(whole), "-bsf:s", _from(cut.start or Fraction(0))]
        made += ["-map_chapters", "-1", "-f", container]
        ffmpeg.run(
            [*made, "-y", script_path(texts)], f"subtitles of {film.path} cannot be converted"
        )
        arguments += ["-i", script_path(texts)]
        sources |= {t.stream.index: f"1:{k}" for k, t in enumerate(whole)}
    for track in tracks:
        arguments += ["-map", sources[track.stream.index]]
    now = [Track(t.stream) if t in whole else t for t in tracks]
    arguments += ["-c", "copy", *_encoders(now), "-map_chapters", "-1"]
    if container in ("matroska", "webm"):  # of one without a packet ffmpeg cannot read the head
        at = arguments.index("-map")
        silence = "anullsrc=r=8000:cl=mono:d=0.01"
        offset = f"{float(cut.start or 0):.6f}"
        arguments[at:at] = ["-itsoffset", offset, "-f", "lavfi", "-i", silence]
        container, place = "matroska", len(tracks)
        arguments += ["-map", f"{2 if whole else 1}:0", f"-c:{place}", "pcm_s16le"]
    arguments += ["-ss", f"{float(cut.start or 0):.6f}"]
    if cut.end is not None:
        arguments += ["-to", f"{float(cut.end):.6f}"]
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
