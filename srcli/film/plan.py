"""What is to be made of a film, decided and tried before work begins. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from srcli.errors import MediaError, UsageError
from srcli.film.choose_streams import choose_streams
from srcli.film.description import Film, here
from srcli.film.encoding import Encoding, choose_encoding, keeps_mastering
from srcli.film.ffmpeg import FFmpeg, find_ffmpeg
from srcli.film.formats import CONTAINERS, layout_of
from srcli.film.options import FilmOptions
from srcli.film.probe import probe
from srcli.film.sequences import is_pattern, number_of, numbered, sequence_input
from srcli.film.tracks import Track
from srcli.media.formats import check_output, format_of, is_picture
from srcli.media.remote import UrlPath
from srcli.media.scratch import LocalCopy
from srcli.sizes import pixels_apart

_KEEPS_ALPHA = {
    ".mkv": "--codec vp9",
    ".mp4": "--container webm",
    ".mov": "--codec prores",
    ".webm": "--codec vp9",
}
# of a larger picture, other values would be needed, or nothing here writes them
_LOST_BESIDE = {
    "ATSC A53 Part 4 Closed Captions": "closed captions",
    "HDR Dynamic Metadata SMPTE2094-40 (HDR10+)": "values of HDR10+",
    "HDR Dynamic Metadata CUVA 005.1 2021 (Vivid)": "values of HDR Vivid",
    "Dolby Vision Metadata": "values of Dolby Vision",
}
WAITING = 3  # frames, on either side of the network


@dataclass(frozen=True)
class FilmPlan:
    """A film that is to be enlarged, everything decided.

    Attributes:
        film: what is read.
        target: the file to write.
        extension: that tells the container.
        sr_size: (height, width) of the result, as coded.
        encoding: how.
        tracks: what goes into the result.
        options: the user's.
        ffmpeg: the binary.
        notes: what the user should know before work begins.
    """

    film: Film
    target: Path
    extension: str
    sr_size: tuple[int, int]
    encoding: Encoding
    tracks: tuple[Track, ...]
    options: FilmOptions
    ffmpeg: FFmpeg
    notes: tuple[str, ...] = ()

    def here(self) -> FilmPlan:
        """As this process reads the film, which another one has planned."""
        return replace(self, film=here(self.film))

    @property
    def frames_bytes(self) -> int:
        """Memory that frames take while they wait: raw, and in float on either side of the
        network."""
        lr = layout_of(self.film.pix_fmt).frame_bytes(self.film.size) + 2 * _float(self.film.size)
        sr = self.encoding.layout.frame_bytes(self.sr_size)
        return (WAITING + 2) * (lr + sr) + 2 * _float(self.sr_size)


def _float(size: tuple[int, int]) -> int:
    """Bytes of a frame of three colours in float."""
    return size[0] * size[1] * 3 * 4


@dataclass(frozen=True)
class PicturesPlan:
    """A film whose frames become pictures, numbered from 1.

    Attributes:
        film: what is read.
        pattern: of the names: one %d, with or without a width.
        sr_size: (height, width) of the result, as coded.
        bits: per channel.
        alpha: they have transparency.
        quality: of JPEG and the like; None: the usual.
        keep_existing: pictures that exist are not made again.
        options: the user's.
        ffmpeg: the binary.
        notes: what the user should know before work begins.
    """

    film: Film
    pattern: Path
    sr_size: tuple[int, int]
    bits: Literal[8, 16]
    alpha: bool
    quality: int | None
    keep_existing: bool
    options: FilmOptions
    ffmpeg: FFmpeg
    notes: tuple[str, ...] = ()

    def here(self) -> PicturesPlan:
        """As this process reads the film, which another one has planned."""
        return replace(self, film=here(self.film))

    @property
    def frames_bytes(self) -> int:
        """Memory that raw frames take while they wait."""
        lr = layout_of(self.film.pix_fmt).frame_bytes(self.film.size)
        return (WAITING + 2) * lr + self.sr_size[0] * self.sr_size[1] * 3 * self.bits // 8

    def numbered(self, number: int) -> Path:
        """The name of a picture."""
        return numbered(self.pattern, number)


def about_frames(film: Film, options: FilmOptions) -> int | None:
    """How many frames go through the network, from what the header says; None if it does not."""
    if options.preview is not None:
        return options.preview
    end = film.duration_s if options.end is None else float(options.end)
    if film.duration_s is None or film.rate is None or end is None:
        return None
    seconds = min(end, film.duration_s) - float(options.start or 0)
    return max(1, round(seconds * float(film.rate)))


def open_film(path: Path, options: FilmOptions, max_pixels: int) -> tuple[Film, FFmpeg]:
    """A film's header, or that of a row of pictures, whose ``path`` is a pattern.

    A film that lies elsewhere is fetched.

    Raises:
        MediaError: it cannot be read, or its frames are too large.
        UsageError: there is no such ffmpeg.
    """
    ffmpeg = find_ffmpeg(options.ffmpeg)
    source = sequence_input(path, options.rate) if is_pattern(path) else None
    copy = LocalCopy(path) if isinstance(path, UrlPath) else None
    film = probe(path, ffmpeg, source, copy)
    pixels = film.size[0] * film.size[1]
    if pixels > max_pixels:
        size, limit = pixels_apart(pixels, max_pixels)
        raise MediaError(
            f"{path} has frames of {size}, over the limit of {limit}", "raise it with --max-pixels"
        )
    return film, ffmpeg


def plan_pictures(
    film: Film,
    pattern: Path,
    sr_size: tuple[int, int],
    options: FilmOptions,
    ffmpeg: FFmpeg,
    *,
    quality: int | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> PicturesPlan:
    """Decide how a film's frames become pictures.

    Raises:
        UsageError: the pictures' format is unknown, cannot hold them, or some exist.
    """
    source = layout_of(film.pix_fmt)
    entry = format_of(pattern)
    bits: Literal[8, 16] = 16 if source.bits > 8 and entry.deep else 8
    alpha = source.alpha and options.alpha != "discard" and entry.alpha
    check_output(entry, sr_size[1], sr_size[0], alpha, bits)
    if not overwrite and not skip_existing:
        there = {n: p for p in pattern.parent.glob("*") if (n := number_of(pattern, p))}
        if there:
            raise UsageError(
                f"{there[min(there)]} exists",
                "add --overwrite or --skip-existing, or choose another name with -o",
            )
    notes = list(film.notes)
    if source.alpha and not entry.alpha and options.alpha != "discard":
        notes.append(f"transparency is left out: {entry.title} cannot hold it")
    if len(film.streams) > 1 and options.preview is None:
        notes.append("pictures have neither sound nor times; only the frames are kept")
    if source.bits > bits:
        notes.append(f"{source.bits} bits are reduced to 8, the most that {entry.title} holds")
    return PicturesPlan(
        film, pattern, sr_size, bits, alpha, quality, skip_existing, options, ffmpeg, tuple(notes)
    )


def plan_film(
    film: Film, target: Path, sr_size: tuple[int, int], options: FilmOptions, ffmpeg: FFmpeg
) -> FilmPlan:
    """Decide how a film is encoded and what of it is kept, and try both on one frame.

    Raises:
        UsageError: codec, pixel format and container do not go together, or the container cannot
            hold one of the streams.
        MediaError: the encoder fails with these options.
    """
    extension = {".m4v": ".mp4"}.get(target.suffix.lower(), target.suffix.lower())
    if extension[1:] not in CONTAINERS:
        names = ", ".join(f".{name}" for name in CONTAINERS)
        numbered_name = target.with_name(f"{target.stem}_%05d{target.suffix}")
        raise UsageError(
            f"{target}: {extension or 'no extension'} is not a kind of film that srcli writes",
            f"use {names}" + (f", or {numbered_name} for pictures" if is_picture(target) else ""),
        )
    source = layout_of(film.pix_fmt)
    encoding = choose_encoding(options, source, sr_size, extension, film.mastering, ffmpeg)
    notes = list(film.notes)
    if film.interlaced:
        notes.append("the film is interlaced: its fields are combined into whole frames (bwdif)")
    others = [s for s in film.streams if s.kind == "video" and not s.is_cover]
    if len(others) > 1:
        notes.append(
            f"stream {film.video} is enlarged, {film.size[1]}x{film.size[0]}; other videos "
            f"({len(others) - 1}) are copied as they are"
        )
    if len(film.programs) > 1:
        names = ", ".join(film.programs)
        notes.append(f"the programs {names} become one, with the streams of all")
    elif film.programs and not film.programs[0].isdecimal():
        notes.append(f"the name of the program, {film.programs[0]}, is left out")
    lost = [said for name, said in _LOST_BESIDE.items() if name in film.beside]
    if lost:
        notes.append(f"{' and '.join(lost)} inside the picture's packets are left out")
    if source.alpha and not encoding.layout.alpha and options.alpha != "discard":
        notes.append(
            f"transparency is left out: {encoding.codec} in {extension} cannot hold it; "
            f"{_KEEPS_ALPHA[extension]} keeps it"
        )
    elif film.pix_fmt == "pal8":
        notes.append("transparent entries of a palette are not kept")
    if film.timecode is not None and options.start:
        notes.append(f"the timecode {film.timecode} of the film's beginning is left out")
    if encoding.layout.bits < source.bits:
        notes.append(
            f"{source.bits} bits are reduced to {encoding.layout.bits}, "
            "the most that this encoder takes"
        )
    if film.mastering and not keeps_mastering(encoding):
        notes.append(f"{encoding.encoder} does not keep the HDR10 mastering metadata")
    tracks, more = choose_streams(film, extension, encoding, options, ffmpeg)
    return FilmPlan(
        film, target, extension, sr_size, encoding, tracks, options, ffmpeg, (*notes, *more)
    )
