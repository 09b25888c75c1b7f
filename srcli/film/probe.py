"""What is in a film: streams, time base, colour, rotation; and when each of its frames comes.

imageio-ffmpeg brings no ffprobe. What numbers matter come from formats that are made for programs
(framecrc); names and flags from ffmpeg's list of streams and its showinfo filter.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

from srcli.errors import MediaError, SrcliError
from srcli.film.ffmpeg import Child, FFmpeg, plain, script_path
from srcli.media.scratch import LocalCopy

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
_TIMECODE = re.compile(r" +timecode +: (\S+)$", re.IGNORECASE)
_NO_TIME = -(2**63)
_NO_FILM = {"attached_pic", "timed_thumbnails", "dependent"}
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own leave transparency out


@dataclass(frozen=True)
class Stream:
    """One stream of a file, by ffmpeg's names.

    Attributes:
        index: by which ffmpeg knows it, in whatever order it prints them.
        size: (height, width) of a video, as coded.
        rate: frames per second of a video, by its header.
        samples: of sound: u8, s16, s24, s32, flt, dbl, ...
        channels: of sound; 0: unknown.
        tag: the container's own name for the codec.
        filename: of an attachment.
        says_alpha: VP8 and VP9 that keep transparency in packets of their own.
    """

    index: int
    kind: StreamKind
    codec: str
    dispositions: tuple[str, ...] = ()
    language: str | None = None
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    samples: str | None = None
    channels: int = 0
    tag: str | None = None
    filename: str | None = None
    says_alpha: bool = False

    @property
    def is_cover(self) -> bool:
        """Whether it is a picture that stands for the film."""
        return "attached_pic" in self.dispositions

    @property
    def is_timecode(self) -> bool:
        """Whether it is QuickTime's track of timecodes, which muxers make of a tag."""
        return self.kind == "data" and self.codec == "none" and self.tag == "tmcd"


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
        rate: frames per second, as the file says it; None: it does not.
        timecode: of the first frame, as the file says it.
        beside: what lies beside the first frame's samples, by ffmpeg's names.
        programs: names of the programs that share the file, as broadcasts have them.
        notes: what was found out that the user should know.
        copy: on this machine, of a film that lies elsewhere.
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
    rate: Fraction | None = None
    timecode: str | None = None
    beside: frozenset[str] = frozenset()
    programs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    copy: LocalCopy | None = None

    @property
    def file(self) -> Path:
        """Where it is on this machine."""
        return self.path if self.copy is None else self.copy.file

    @property
    def stream(self) -> Stream:
        """The stream that is enlarged."""
        return next(s for s in self.streams if s.index == self.video)

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) as it is shown: turned, if it is."""
        return turned(self.size, self.rotation)

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


def here(film: Film) -> Film:
    """A film that another process has probed, as it is read by this one."""
    if film.copy is None:
        return film
    # its last argument is its name, whatever is said before
    return replace(film, input=(*film.input[:-1], script_path(film.file)))


def turned(size: tuple[int, int], rotation: float) -> tuple[int, int]:
    """(height, width) after a rotation in degrees; only quarter turns exchange the two."""
    return size[::-1] if round(rotation) % 180 == 90 else size


def _main_video(streams: Sequence[Stream]) -> Stream | None:
    """The video to enlarge: of those marked as default, or else of all, the largest.

    Covers and previews are none.
    """
    videos = [s for s in streams if s.kind == "video" and not _NO_FILM.intersection(s.dispositions)]
    videos = [s for s in videos if "default" in s.dispositions] or videos
    return max(videos, key=lambda s: s.size[0] * s.size[1] if s.size else 0, default=None)


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
