"""What is in a film, asked of ffmpeg: streams, colour, rotation.

imageio-ffmpeg brings no ffprobe. What numbers matter come from formats that are made for programs
(framecrc); names and flags from ffmpeg's list of streams and its showinfo filter.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from srcli.errors import MediaError, SrcliError
from srcli.film.description import Colour, Film, Mastering, Stream, StreamKind, file_input
from srcli.film.ffmpeg import Child, FFmpeg, plain
from srcli.media.scratch import LocalCopy

# as ffmpeg prints them, and as its -disposition option takes them
_DISPOSITIONS = {
    "default": "default",
    "dub": "dub",
    "original": "original",
    "comment": "comment",
    "lyrics": "lyrics",
    "karaoke": "karaoke",
    "forced": "forced",
    "hearing impaired": "hearing_impaired",
    "visual impaired": "visual_impaired",
    "clean effects": "clean_effects",
    "attached pic": "attached_pic",
    "timed thumbnails": "timed_thumbnails",
    "non-diegetic": "non_diegetic",
    "captions": "captions",
    "descriptions": "descriptions",
    "metadata": "metadata",
    "dependent": "dependent",
    "still image": "still_image",
    "multilayer": "multilayer",
}
_STREAM = re.compile(
    r"^ *Stream #0:(?P<index>\d+)(\[0x[0-9a-f]+\])?(\((?P<language>[^)]*)\))?: "
    r"(?P<kind>Video|Audio|Subtitle|Data|Attachment): (?P<codec>[^\s,]+)(?P<rest>.*)$"
)
_ERROR = re.compile(r"\[(error|fatal)\] ")
_TIMECODE = re.compile(r" +timecode +: (\S+)$", re.IGNORECASE)
_NO_FILM = {"attached_pic", "timed_thumbnails", "dependent"}
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own leave transparency out


def probe(
    path: Path,
    ffmpeg: FFmpeg,
    source: tuple[str, ...] | None = None,
    copy: LocalCopy | None = None,
) -> Film:
    """Read the header and the first frame.

    Args:
        path: the film, named in messages.
        source: how ffmpeg is told to read it; None: as a file.
        copy: of a film that lies elsewhere.

    Raises:
        MediaError: it cannot be read, or there is no video, or not one frame of it.
    """
    source = source or file_input(path if copy is None else copy.file)
    lines = _header(path, ffmpeg, source)
    streams = _streams(lines)
    main = _main_video(streams)
    if main is None:
        raise MediaError(f"{path} has no video stream")
    notes: list[str] = []
    decoder = _ALPHA_DECODERS.get(main.codec) if main.says_alpha else None
    shown: list[str] = []
    if decoder is not None:
        forced = (f"-c:{main.index}", decoder, *source)
        with contextlib.suppress(MediaError):
            shown = _first_frame(path, ffmpeg, forced, main.index)
        if any(" fmt:yuva" in line for line in shown):
            source = forced
        else:
            shown = []
            notes.append("it claims to have transparency, and has none")
    if not shown:
        shown = _first_frame(path, ffmpeg, source, main.index)
    text = "\n".join(shown)
    frame = re.search(r"\bfmt:(\S+) (?:cl:(\S+) )?sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\S)", text)
    if frame is None:
        raise MediaError(f"{path} has a video stream without a single frame that can be decoded")
    wide, high = int(frame[3]), int(frame[4])
    rotation = re.search(r"displaymatrix: rotation of (-?[\d.]+|nan) degrees", text)
    duration = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", "\n".join(lines))
    return Film(
        path=path,
        input=source,
        streams=streams,
        video=main.index,
        size=(int(frame[6]), int(frame[5])),
        pix_fmt=frame[1],
        colour=_colour(text, frame[1], frame[2]),
        sar=Fraction(wide, high) if wide and high else None,
        rotation=float(rotation[1]) if rotation and rotation[1] != "nan" else 0.0,
        interlaced=frame[7] in "TB",
        mastering=_mastering(text),
        duration_s=int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3])
        if duration
        else None,
        n_chapters=sum(line.startswith("    Chapter #") for line in lines),
        rate=main.rate,
        has_keys=any(re.match(r"    com\.(apple|android)\.\S+ *: ", line) for line in lines),
        timecode=next((m[1] for m in map(_TIMECODE.match, lines) if m), None),
        beside=frozenset(re.findall(r"side data - ([^:\n]+):", text)),
        programs=_programs(lines),
        notes=tuple(notes),
        copy=copy,
    )


def _main_video(streams: Sequence[Stream]) -> Stream | None:
    """The video to enlarge: of those marked as default, or else of all, the largest.

    Covers and previews are none.
    """
    videos = [s for s in streams if s.kind == "video" and not _NO_FILM.intersection(s.dispositions)]
    videos = [s for s in videos if "default" in s.dispositions] or videos
    return max(videos, key=lambda s: s.size[0] * s.size[1] if s.size else 0, default=None)


def list_streams(path: Path, ffmpeg: FFmpeg) -> tuple[Stream, ...]:
    """The streams of a file.

    Raises:
        MediaError: it cannot be read.
    """
    return _streams(_header(path, ffmpeg, file_input(path)))


def _header(path: Path, ffmpeg: FFmpeg, source: tuple[str, ...]) -> list[str]:
    """ffmpeg's description of the file. It ends with an error, as no output is named."""
    lines: list[str] = []

    def keep(line: str) -> bool:
        lines.append(plain(line))
        if _ERROR.search(line):
            errors.append(plain(line))
        return True

    errors: list[str] = []
    with Child(ffmpeg, ["-loglevel", "info", "-nostats", *source], on_line=keep) as child:
        try:
            child.finish(f"{path} cannot be read")
        except SrcliError:
            if not any(_STREAM.match(line) for line in lines):
                said = errors[0] if errors else "it has no streams"
                raise MediaError(f"{path} cannot be read as a film: {said}") from None
    return lines


def _streams(lines: list[str]) -> tuple[Stream, ...]:
    """By index. A stream that several programs share, or that belongs to a group, is printed
    with each of them."""
    streams: dict[int, Stream] = {}
    index = -1
    for line in lines:
        m = _STREAM.match(line)
        if m is not None:
            index, rest = int(m["index"]), m["rest"]
            ends = re.search(r"((?: \([a-z -]+\))*)$", rest)
            marks = re.findall(r"\(([a-z -]+)\)", ends[1]) if ends else []
            size = re.search(r", (\d+)x(\d+)\b", rest) if m["kind"] == "Video" else None
            tag = re.search(r"\((\S+) / 0x[0-9A-F]+\)", rest)
            samples, channels = _sound(rest) if m["kind"] == "Audio" else (None, 0)
            streams[index] = Stream(
                index,
                cast("StreamKind", m["kind"].lower()),
                m["codec"],
                tuple(_DISPOSITIONS[mark] for mark in marks if mark in _DISPOSITIONS),
                m["language"],
                (int(size[2]), int(size[1])) if size else None,
                _rate(rest),
                samples,
                channels,
                tag[1] if tag else None,
            )
        elif index >= 0 and (named := re.match(r" +filename +: (.+)$", line)):
            streams[index] = replace(streams[index], filename=named[1])
        elif index >= 0 and re.match(r" +alpha_mode +: 1$", line, re.IGNORECASE):
            streams[index] = replace(streams[index], says_alpha=True)
    return tuple(streams[k] for k in sorted(streams))


def _rate(rest: str) -> Fraction | None:
    """Frames per second; ffmpeg prints two decimals of what is a fraction of 1001."""
    found = re.search(r", (\d+(?:\.\d+)?)(k?) fps", rest)
    if found is None or not Fraction(found[1]):
        return None
    rate = Fraction(found[1]) * (1000 if found[2] else 1)
    broadcast = Fraction(round(rate) * 1000, 1001)
    return broadcast if rate.denominator > 1 and abs(rate - broadcast) < 0.01 else rate


def _sound(rest: str) -> tuple[str | None, int]:
    """The samples' format and the number of channels, from ffmpeg's line about a sound."""
    form = re.search(r", (u8|s16|s32|s64|flt|dbl)p?(?: \((\d+) bit\))?(?:,| \(|$)", rest)
    samples = form[1] if form else None
    if form and form[2] and form[1] == "s32" and int(form[2]) <= 24:
        samples = "s24"
    layout = re.search(r" Hz, ([^,]+),", rest)
    name = layout[1] if layout else ""
    if counted := re.match(r"(\d+) channels", name):
        return samples, int(counted[1])
    if parts := re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", name):
        return samples, sum(int(n or 0) for n in parts.groups())
    return samples, {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4}.get(name, 0)


def _programs(lines: list[str]) -> tuple[str, ...]:
    """Their names, or numbers where they have none."""
    names: list[str] = []
    for line in lines:
        if began := re.match(r"  Program (\d+)", line):
            names.append(began[1])
        elif names and (named := re.match(r" +service_name +: (.+)$", line)):
            names[-1] = named[1]
    return tuple(names)


def _first_frame(path: Path, ffmpeg: FFmpeg, source: tuple[str, ...], index: int) -> list[str]:
    """What showinfo says of the first frame."""
    lines: list[str] = []

    def keep(line: str) -> bool:
        if "Parsed_showinfo" in line:
            lines.append(plain(line))
            return True
        return not _ERROR.search(line)

    shown = ["-loglevel", "level+info", "-nostats", "-copyts", "-noautorotate", *source]
    shown += ["-map", f"0:{index}", "-vf", "showinfo=checksum=0", "-frames:v", "1"]
    with Child(ffmpeg, [*shown, "-f", "null", "-"], on_line=keep) as child:
        child.finish(f"the video of {path} cannot be decoded")
    return list(_of_first(lines))


def _of_first(lines: list[str]) -> Iterator[str]:
    """The lines up to the second frame, which the decoder may have shown already."""
    for line in lines:
        if re.search(r"\bn: *[1-9]", line):
            return
        yield line


def _colour(text: str, pix_fmt: str, location: str | None) -> Colour:
    def named(key: str) -> str | None:
        found = re.search(rf"\b{key}:(\S+)", text)
        return None if found is None or found[1] in ("unknown", "reserved") else found[1]

    range_ = named("color_range")
    full = {"pc": True, "full": True, "tv": False, "limited": False}.get(range_ or "")
    if full is None and pix_fmt.startswith("yuvj"):
        full = True
    return Colour(
        matrix=named("color_space"),
        full_range=full,
        primaries=named("color_primaries"),
        transfer=named("color_trc"),
        location=None if location in (None, "unspecified") else location,
    )


def _mastering(text: str) -> Mastering:
    number = r"[-\d.]+"
    pair = rf"\(({number})[, ]+({number})\)"
    display = re.search(rf"\br{pair} g{pair} b{pair} wp{pair}", text)
    light = re.search(rf"min_luminance=({number}), max_luminance=({number})", text)
    content = re.search(r"MaxCLL=(\d+), MaxFALL=(\d+)", text)
    return Mastering(
        tuple(float(x) for x in display.groups()) if display else None,
        (float(light[1]), float(light[2])) if light else None,
        (int(content[1]), int(content[2])) if content else None,
    )
