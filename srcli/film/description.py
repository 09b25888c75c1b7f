"""What is known of a film: its streams, how its samples stand for colours, how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from srcli.film.ffmpeg import script_path
from srcli.media.scratch import LocalCopy

StreamKind = Literal["video", "audio", "subtitle", "data", "attachment"]


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


def file_input(path: Path) -> tuple[str, ...]:
    """How ffmpeg is told to read a film."""
    return ("-i", script_path(path))


def here(film: Film) -> Film:
    """A film that another process has probed, as it is read by this one."""
    if film.copy is None:
        return film
    # its last argument is its name, whatever is said before
    return replace(film, input=(*film.input[:-1], script_path(film.file)))


def turned(size: tuple[int, int], rotation: float) -> tuple[int, int]:
    """(height, width) after a rotation in degrees; only quarter turns exchange the two."""
    return size[::-1] if round(rotation) % 180 == 90 else size
