"""What a film is to become: the options, and how their values are read."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from srcli.errors import UsageError
from srcli.film.codecs import codec_named
from srcli.film.formats import CONTAINERS
from srcli.options import FILM, Option

DEFAULT_RATE = Fraction(25)  # of numbered pictures, as ffmpeg's

Treatment = Literal["copy", "convert", "drop"]
AlphaMode = Literal["network", "lanczos", "discard"]


def parse_time(text: str) -> Fraction:
    """Seconds of ``90``, ``90.5``, ``1:30`` or ``0:01:30.5``, exactly.

    Raises:
        UsageError: it is none of these.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", text.strip())
    if match is None:
        raise UsageError(f"{text} is not a time", "for example 90.5 or 1:30.5")
    return Fraction(match[3]) + 60 * int(match[2] or 0) + 3600 * int(match[1] or 0)


def parse_rate(text: str) -> Fraction:
    """Frames per second of ``25``, ``23.976`` (24000/1001) or ``24000/1001``.

    Raises:
        UsageError: it is none of these, or not above 0.
    """
    try:
        rate = Fraction(text.strip())
    except (ValueError, ZeroDivisionError) as exc:
        raise UsageError(f"{text} is not a frame rate", "for example 25 or 24000/1001") from exc
    if not 0 < rate <= 1000:
        raise UsageError(f"{text} is not a frame rate between 0 and 1000")
    broadcast = Fraction(round(rate) * 1000, 1001)
    # 23.976, 29.97 and 59.94 are how people write these
    return broadcast if abs(rate - broadcast) < Fraction(6, 10_000) else rate


def parse_codec(text: str) -> str:
    """A codec's name.

    Raises:
        UsageError: srcli writes none of that name.
    """
    codec_named(text)
    return text


def parse_container(text: str) -> str:
    """A container's name, as ``mkv``.

    Raises:
        UsageError: srcli writes none of that name.
    """
    if text not in CONTAINERS:
        raise UsageError(f"--container {text} is not one of {', '.join(CONTAINERS)}")
    return text


def parse_arguments(text: str) -> tuple[str, ...]:
    """Arguments as a shell separates them.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as exc:
        raise UsageError(f"--encoder-args cannot be read: {exc}") from exc


@dataclass(frozen=True)
class FilmOptions:
    """What a film is to become.

    Attributes:
        start, end: seconds from the film's first moment.
        alpha: how transparency is enlarged, or ``discard``; as JobOptions.
        others: see their help.

    Raises:
        UsageError: the end is not after the start.
    """

    codec: Annotated[
        str | None,
        Option(
            "How the film is encoded: h264, hevc, av1, vp9, prores, ffv1, png, or a graphics "
            "card's encoder such as hevc_nvenc. Default: h264; hevc for more than 8 bits; vp9 in "
            "WebM.",
            FILM,
            metavar="CODEC",
            parse=parse_codec,
        ),
    ] = None
    crf: Annotated[
        float | None,
        Option(
            "Quality of the encoding, in the codec's own numbers: lower is better and larger. "
            "Default: 18 for h264.",
            FILM,
            metavar="Q",
        ),
    ] = None
    preset: Annotated[
        str | None,
        Option(
            "How much time the encoder takes to make the file small, in its own words: slow "
            "(h264, hevc), 6 (av1), p5 (NVIDIA).",
            FILM,
            metavar="NAME",
        ),
    ] = None
    pix_fmt: Annotated[
        str | None,
        Option(
            "Pixel format by ffmpeg's name, for example yuv444p10le. Default: as the source.",
            FILM,
            flags=("--pix-fmt",),
            metavar="NAME",
        ),
    ] = None
    encoder_args: Annotated[
        tuple[str, ...],
        Option(
            'More options for ffmpeg\'s encoder, in quotation marks: "-tune film".',
            FILM,
            metavar="ARGS",
            parse=parse_arguments,
        ),
    ] = ()
    container: Annotated[
        str | None,
        Option(
            "The kind of file: mkv, mp4, mov or webm. Default: as the source, or as -o says.",
            FILM,
            metavar="KIND",
            parse=parse_container,
        ),
    ] = None
    start: Annotated[
        Fraction | None,
        Option(
            "Begin here: a time in the film, for example 1:30 or 90.5 (seconds).",
            FILM,
            metavar="TIME",
            parse=parse_time,
        ),
    ] = None
    end: Annotated[
        Fraction | None,
        Option("End here: a time in the film.", FILM, metavar="TIME", parse=parse_time),
    ] = None
    preview: Annotated[
        int | None,
        Option(
            "Instead of the film, write N of its frames as pictures, spread over the film: "
            "<name>_x4_preview_001.png and so on.",
            FILM,
            metavar="N",
            least=1,
            most=1000,
        ),
    ] = None
    rate: Annotated[
        Fraction,
        Option(
            "Frames per second of a film made of numbered pictures (%05d.png).",
            FILM,
            flags=("--fps",),
            metavar="RATE",
            parse=parse_rate,
        ),
    ] = DEFAULT_RATE
    audio: Annotated[
        Treatment,
        Option(
            "The film's sound: copy it unchanged, convert what the new file cannot hold, or drop "
            "it.",
            FILM,
            metavar="HOW",
        ),
    ] = "copy"
    subtitles: Annotated[
        Treatment,
        Option("The film's subtitles: copy, convert or drop them.", FILM, metavar="HOW"),
    ] = "copy"
    alpha: AlphaMode = "network"
    ffmpeg: Annotated[
        str | None,
        Option(
            "The ffmpeg program to use instead of the one that comes with srcli.",
            FILM,
            metavar="PATH",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            raise UsageError("--end is not after --start")
