"""The upscale command's options for films, and how their values are read."""

from __future__ import annotations

import shlex
from typing import Annotated, cast

import typer

from srcli.cli.options import parse_choice
from srcli.errors import UsageError
from srcli.film.codecs import codec_named
from srcli.film.formats import CONTAINERS
from srcli.film.options import AlphaMode, FilmOptions, Treatment, parse_rate, parse_time

CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="C",
        help="h264, hevc, av1, vp9, prores, ffv1, png, or a card's (hevc_nvenc). Default: h264, "
        "hevc for more than 8 bits, vp9 in WebM.",
    ),
]
CrfOption = Annotated[
    float | None,
    typer.Option("--crf", metavar="Q", help="Constant quality; less is better. Default: h264 18."),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", metavar="P", help="The encoder's: slow, 6, p5.")
]
PixFmtOption = Annotated[
    str | None,
    typer.Option("--pix-fmt", metavar="F", help="As ffmpeg names it. Default: as the source."),
]
EncoderArgsOption = Annotated[
    str | None,
    typer.Option("--encoder-args", metavar="ARGS", help="More of ffmpeg's, in one string."),
]
ContainerOption = Annotated[
    str | None, typer.Option("--container", metavar="C", help="mkv, mp4, mov or webm.")
]
StartOption = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Of a film: from here, 1:30.5.")
]
EndOption = Annotated[str | None, typer.Option("--end", metavar="TIME", help="Up to here.")]
PreviewOption = Annotated[
    int | None,
    typer.Option(
        "--preview",
        min=1,
        max=1000,
        metavar="N",
        help="N frames spread over the film, as pictures, in place of the film.",
    ),
]
RateOption = Annotated[
    str, typer.Option("--fps", metavar="R", help="Of pictures numbered like %05d.png.")
]
AudioOption = Annotated[
    str,
    typer.Option(
        "--audio",
        metavar="HOW",
        help="Of films: copy, convert (what the container does not hold), or drop.",
    ),
]
SubtitlesOption = Annotated[
    str, typer.Option("--subtitles", metavar="HOW", help="Likewise: copy, convert or drop.")
]
FFmpegOption = Annotated[
    str | None, typer.Option("--ffmpeg", metavar="PATH", help="In place of imageio-ffmpeg's.")
]


def film_options(
    codec: str | None,
    crf: float | None,
    preset: str | None,
    pix_fmt: str | None,
    encoder_args: str | None,
    container: str | None,
    start: str | None,
    end: str | None,
    preview: int | None,
    rate: str,
    audio: str,
    subtitles: str,
    alpha: str,
    ffmpeg: str | None,
) -> FilmOptions:
    """The values, checked as far as they can be without a film.

    Raises:
        UsageError: one of them means nothing.
    """
    if codec is not None:
        codec_named(codec)
    if container is not None:
        parse_choice("--container", container, tuple(CONTAINERS))
    for option, treatment in (("--audio", audio), ("--subtitles", subtitles)):
        parse_choice(option, treatment, ("copy", "convert", "drop"))
    parse_choice("--alpha", alpha, ("network", "lanczos", "discard"))
    try:
        extra = tuple(shlex.split(encoder_args or ""))
    except ValueError as exc:
        raise UsageError(f"--encoder-args cannot be read: {exc}") from exc
    options = FilmOptions(
        codec=codec,
        crf=crf,
        preset=preset,
        pix_fmt=pix_fmt,
        encoder_args=extra,
        container=container,
        start=None if start is None else parse_time(start),
        end=None if end is None else parse_time(end),
        preview=preview,
        rate=parse_rate(rate),
        audio=cast("Treatment", audio),
        subtitles=cast("Treatment", subtitles),
        alpha=cast("AlphaMode", alpha),
        ffmpeg=ffmpeg,
    )
    if options.end is not None and options.end <= (options.start or 0):
        raise UsageError("--end is not after --start")
    return options
