"""What is in a film: streams, time base, colour, rotation; and when each of its frames comes.

imageio-ffmpeg brings no ffprobe. What numbers matter come from formats that are made for programs
(framecrc); names and flags from ffmpeg's list of streams and its showinfo filter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

from srcli.errors import MediaError, SrcliError
from srcli.film.ffmpeg import Child, FFmpeg, plain, script_path

StreamKind = Literal["video", "audio", "subtitle", "data", "attachment"]

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
# Not from the line's start: in a pipe that ffmpeg's messages go through too, it may come in the
# middle of one. A message so cut goes on in the next line.
_PACKET = re.compile(r"\d, *(-?\d+), *(-?\d+), *(-?\d+), *(\d+), *(0x[0-9a-f]{8})((?:,.*)?)$")
_TICK = re.compile(r"#tb \d+: (\d+/\d+)$")
_ERROR = re.compile(r"\[(error|fatal)\] ")
_NO_TIME = -(2**63)


@dataclass(frozen=True)
class Stream:
    """One stream of a file, by ffmpeg's names; ``filename``: of an attachment."""

    index: int
    kind: StreamKind
    codec: str
    dispositions: tuple[str, ...] = ()
    language: str | None = None
    filename: str | None = None

    @property
    def is_cover(self) -> bool:
        """Whether it is a picture that stands for the film."""
        return "attached_pic" in self.dispositions


@dataclass(frozen=True)
class Colour:
    """How samples stand for colours, by ffmpeg's names; None: the file does not say."""

    matrix: str | None = None
    full_range: bool | None = None
    primaries: str | None = None
    transfer: str | None = None
    location: str | None = None  # of chroma samples


@dataclass(frozen=True)
class Mastering:
    """SMPTE ST 2086, and the light of the content (CTA-861.3).

    Attributes:
        primaries: x, y of red, green, blue and white; None if not given.
        luminance: least and greatest in cd/m2; None if not given.
        content_light: MaxCLL and MaxFALL in cd/m2; None if not given.
    """

    primaries: tuple[float, ...] | None = None
    luminance: tuple[float, float] | None = None
    content_light: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return self.primaries is not None or self.content_light is not None


@dataclass(frozen=True)
class Film:
    """A film's header and first frame.

    Attributes:
        path: the file, or a numbered pattern of pictures.
        input: ffmpeg's options and name for it.
        streams: all.
        video: the index of the stream that is enlarged.
        size: (height, width) as coded, before rotation.
        pix_fmt: ffmpeg's name.
        sar: sample aspect ratio; None: not said.
        rotation: degrees, as ffmpeg's -display_rotation takes them.
        interlaced: the frames hold two fields.
        duration_s: of the file; None if unknown.
        n_chapters: how many it has.
        has_keys: it has QuickTime's keyed metadata, in which phones say what made it.
    """

    path: Path
    input: tuple[str, ...]
    streams: tuple[Stream, ...]
    video: int
    size: tuple[int, int]
    pix_fmt: str
    colour: Colour = Colour()
    sar: Fraction | None = None
    rotation: float = 0.0
    interlaced: bool = False
    mastering: Mastering = Mastering()
    duration_s: float | None = None
    n_chapters: int = 0
    has_keys: bool = False

    @property
    def stream(self) -> Stream:
        """The stream that is enlarged."""
        return self.streams[self.video]

    @property
    def is_sequence(self) -> bool:
        """Whether it is a row of pictures."""
        return self.input[0] == "-f"


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


def file_input(path: Path) -> tuple[str, ...]:
    """How ffmpeg is told to read a film."""
    return ("-i", script_path(path))


def probe(path: Path, ffmpeg: FFmpeg, source: tuple[str, ...] | None = None) -> Film:
    """Read the header and the first frame.

    Args:
        path: the film, named in messages.
        source: how ffmpeg is told to read it; None: as a file.

    Raises:
        MediaError: it cannot be read, or there is no video, or not one frame of it.
    """
    source = source or file_input(path)
    lines = _header(path, ffmpeg, source)
    streams = _streams(lines)
    pictures = [
        s
        for s in streams
        if s.kind == "video" and not s.is_cover and "timed_thumbnails" not in s.dispositions
    ]
    if not pictures:
        raise MediaError(f"{path} has no video stream")
    main = pictures[0]
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
        has_keys=any(re.match(r"    com\.(apple|android)\.\S+ *: ", line) for line in lines),
    )


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
    streams: list[Stream] = []
    for line in lines:
        m = _STREAM.match(line)
        if m is not None:
            ends = re.search(r"((?: \([a-z -]+\))*)$", m["rest"])
            marks = re.findall(r"\(([a-z -]+)\)", ends[1]) if ends else []
            streams.append(
                Stream(
                    int(m["index"]),
                    cast("StreamKind", m["kind"].lower()),
                    m["codec"],
                    tuple(_DISPOSITIONS[mark] for mark in marks if mark in _DISPOSITIONS),
                    m["language"],
                )
            )
        elif streams and (named := re.match(r" +filename +: (.+)$", line)):
            streams[-1] = replace(streams[-1], filename=named[1])
    return tuple(streams)


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
