"""What a user wants of a film's encoding, and what of it is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from srcli.errors import UsageError

DEFAULT_RATE = Fraction(25)  # of a row of pictures, as ffmpeg's

Treatment = Literal["copy", "convert", "drop"]
AlphaMode = Literal["network", "lanczos", "discard"]


@dataclass(frozen=True)
class FilmOptions:
    """The upscale command's wishes about films.

    Attributes:
        codec: a name in srcli.film.codecs, or an encoder of a graphics card's; None: chosen.
        crf: constant quality, in the codec's own numbers; less is better.
        preset: speed against size, in the encoder's own words.
        pix_fmt: ffmpeg's name; None: depth and chroma as in the source, where the codec can.
        encoder_args: further options for ffmpeg's encoder.
        container: mkv, mp4, mov or webm, in place of the input's.
        start, end: seconds from the film's first moment; what lies outside is left out.
        preview: write this many frames, spread over the film, as pictures in place of the film.
        rate: frames per second of a row of pictures.
        audio, subtitles: ``copy``: packet for packet, PCM and text repacked where the container
            wants another form; ``convert``: what it cannot hold is encoded anew; ``drop``: left
            out.
        alpha: how transparency is enlarged, or ``discard``.
        ffmpeg: path of a binary; None: imageio-ffmpeg's.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    encoder_args: tuple[str, ...] = ()
    container: str | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    preview: int | None = None
    rate: Fraction = DEFAULT_RATE
    audio: Treatment = "copy"
    subtitles: Treatment = "copy"
    alpha: AlphaMode = "network"
    ffmpeg: str | None = None


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
