"""How each stream of a film may go into the result: as it is, or in another form. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from srcli.film.description import Stream
from srcli.film.options import Treatment


@dataclass(frozen=True)
class Track:
    """A stream on its way into the result.

    Attributes:
        stream: of the source.
        encoder: ffmpeg's; None: it is copied packet for packet.
        options: of the encoder, as (name, value).
        note: what the user should know about it.
    """

    stream: Stream
    encoder: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    note: str | None = None


# where samples stay as they are; the first that the container holds
_PCM = {
    "u8": ("pcm_u8", "pcm_s16le"),
    "s16": ("pcm_s16le",),
    "s24": ("pcm_s24le",),
    "s32": ("pcm_s32le",),
    "flt": ("pcm_f32le",),
    "dbl": ("pcm_f64le",),
    "s64": ("pcm_s64le",),
}
_LOSSLESS = {"alac", "ape", "flac", "mlp", "mp4als", "shorten", "tak", "truehd", "tta", "wavpack"}
_SOUND = {  # encoders for sound that loses nothing, and for other sound
    ".mkv": (("flac", "aac"), ("aac",)),
    ".mp4": (("alac", "aac"), ("aac",)),
    ".mov": (("alac", "aac"), ("aac",)),
    ".webm": (("libopus", "libvorbis"), ("libopus", "libvorbis")),
}
_TEXT = {".mkv": "srt", ".mp4": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}
_NAMES = {"libopus": "opus", "libvorbis": "vorbis", "srt": "subrip"}
_LOSSY_BITRATE, _SURROUND_BITRATE = "192k", "448k"


def describe(stream: Stream) -> str:
    """A stream in a message: ``stream 1 (wmav2 audio)``."""
    codec = stream.codec
    if codec in ("none", "bin_data") and stream.tag is not None:
        codec = stream.tag
    kind = "cover" if stream.is_cover else stream.kind
    return f"stream {stream.index} ({stream.filename or codec} {kind})"


def lossless_alternatives(stream: Stream, extension: str) -> list[Track]:
    """Other forms in which a container holds all that a stream says: its samples, or its text."""
    if stream.kind == "audio" and is_pcm(stream):
        said = "{}, sample for sample"
        return [_as(stream, name, said) for name in _PCM.get(stream.samples or "", ())]
    if stream.kind == "subtitle":
        said = "{}: the text is kept; styles and positions as far as it can hold them"
        return [_as(stream, _TEXT[extension], said)]
    return []


def converted_alternatives(stream: Stream, extension: str) -> list[Track]:
    """Other forms, some of which lose something."""
    if stream.kind == "audio":
        lossless = is_pcm(stream) or stream.codec in _LOSSLESS
        names = _SOUND[extension][0 if lossless else 1]
        return [_as(stream, name, "{}") for name in names]
    return []


def alternatives(stream: Stream, extension: str, treatment: Treatment) -> list[Track]:
    """The forms to try in turn where a container does not hold a stream as it is."""
    found = lossless_alternatives(stream, extension)
    return found + converted_alternatives(stream, extension) if treatment == "convert" else found


def is_pcm(stream: Stream) -> bool:
    """Whether a sound's packets are plain samples, in whatever packing."""
    return stream.codec.startswith("pcm_") or stream.codec == "s302m"


def alternative_name(track: Track) -> str:
    """The codec that a track's encoder makes."""
    assert track.encoder is not None
    return _NAMES.get(track.encoder, track.encoder)


def _as(stream: Stream, encoder: str, said: str) -> Track:
    options: list[tuple[str, str]] = []
    if encoder in ("aac", "libopus", "libvorbis"):
        options.append(("b", _SURROUND_BITRATE if stream.channels > 2 else _LOSSY_BITRATE))
    name = _NAMES.get(encoder, encoder)
    note = f"{describe(stream)} becomes {said.format(name)}"
    return Track(stream, encoder, tuple(options), note)
