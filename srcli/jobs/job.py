"""One input of a command: what is wished, and what is to be done with it. No torch, no Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from srcli.catalog import Model
from srcli.errors import SrcliError
from srcli.film.options import FilmOptions
from srcli.jobs.inputs import STREAM
from srcli.media.formats import FORMATS, FormatName

if TYPE_CHECKING:
    from srcli.film.plan import FilmPlan, PicturesPlan
    from srcli.media.image import ImageInfo

MAX_PIXELS = 500_000_000

AlphaMode = Literal["network", "lanczos", "discard"]
Depth = Literal["same", "8", "16"]
Frames = Literal["all", "first"]

# a generous share of the raw bytes that a file of each format takes; only for the check of space
_SHARE_ON_DISK = {
    "png": 0.6,
    "tiff": 0.7,
    "bmp": 1.0,
    "webp": 0.2,
    "jpeg": 0.25,
    "avif": 0.2,
    "gif": 0.4,
}


@dataclass(frozen=True)
class Options:
    """The upscale command's wishes about what to make of which file.

    Attributes:
        model: what runs.
        scale: factor; None if ``width`` or ``height`` is given.
        width, height: of the result in pixels; both: fit inside, aspect kept.
        output: as typed after -o.
        recursive: look into subfolders of folders.
        max_pixels: larger pictures are refused.
        format: of the outputs; None: by their names.
        depth: bits per channel of the outputs; ``same``: as the input, where the format can.
        quality: of JPEG, WebP and AVIF, 1..100.
        lossless: nothing of the pixels is to be lost in writing: WebP's other form.
        alpha: how transparency is enlarged, or left out.
        strip_metadata: leave EXIF and resolution out; the colour profile stays.
        frames: of animations, and pages: all of them, or the first alone.
        jobs: pictures that are decoded, and written, at a time; the engine has one.
        film: what films are to become.
        suggest: pictures that are plainly damaged are told of (`events.Suggested`).
    """

    model: Model
    scale: float | None
    width: int | None = None
    height: int | None = None
    output: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    recursive: bool = False
    max_pixels: int = MAX_PIXELS
    format: FormatName | None = None
    depth: Depth = "same"
    quality: int | None = None
    lossless: bool = False
    alpha: AlphaMode = "network"
    strip_metadata: bool = False
    frames: Frames = "all"
    jobs: int = 1
    film: FilmOptions = field(default_factory=FilmOptions)
    suggest: bool = False

    def sr_size(self, lr_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the result for a picture of (height, width)."""
        h, w = lr_size
        if self.scale is not None:
            ratios = (self.scale, self.scale)
        else:
            fits = [n / m for n, m in ((self.width, w), (self.height, h)) if n is not None]
            ratios = (min(fits), min(fits))
        return max(1, round(h * ratios[0])), max(1, round(w * ratios[1]))


@dataclass(frozen=True)
class Job:
    """One picture or film: what is read, what is written, and how.

    Attributes:
        info: the picture's header; None if it was not read (skipped, or unreadable), or of a film.
        film: what is to be made of a film; None of a picture.
        lr_size, sr_size: (height, width) before and after.
        passes: native scales that the network runs, one after the other.
        format, depth: of the output.
        alpha: the output has transparency.
        n_frames: in the output: frames of an animation, or pages.
        data: the picture itself, if it came through standard input or another pipe.
        skip: the output exists and is to stay.
        failure: why it cannot be done, known before work begins; ``target`` then means nothing.
    """

    source: Path
    target: Path
    info: ImageInfo | None = None
    film: FilmPlan | PicturesPlan | None = None
    lr_size: tuple[int, int] = (0, 0)
    sr_size: tuple[int, int] = (0, 0)
    passes: tuple[int, ...] = ()
    format: FormatName = "png"
    depth: Literal[8, 16] = 8
    alpha: bool = False
    n_frames: int = 1
    data: bytes | None = field(default=None, repr=False)
    skip: bool = False
    failure: SrcliError | None = None

    @property
    def scale(self) -> float:
        """The factor, from the sizes."""
        return max(sr / lr for sr, lr in zip(self.sr_size, self.lr_size, strict=True))

    def opened(self) -> Path | BinaryIO:
        """The picture, to be read."""
        return self.source if self.data is None else stream(self.source, self.data)


class _Piped(io.BytesIO):
    """What came through a pipe, which can be read but once."""

    name = ""


def stream(source: Path, data: bytes) -> BinaryIO:
    if source == STREAM:
        return io.BytesIO(data)
    piped = _Piped(data)
    piped.name = str(source)
    return piped


def output_bytes(job: Job) -> float:
    """About how many bytes a job's file will have: a generous guess."""
    assert job.info is not None
    samples = job.sr_size[0] * job.sr_size[1] * (_channels(job) + job.alpha)
    return samples * job.n_frames * (job.depth // 8) * _SHARE_ON_DISK.get(job.format, 1.0)


def _channels(job: Job) -> int:
    """Of the output, transparency apart: CMYK stays where the format holds it."""
    assert job.info is not None
    return 4 if job.info.cmyk and FORMATS[job.format].inks else job.info.channels


def decoded_bytes(job: Job) -> int:
    """Memory that reading takes: the decoder's and the array."""
    if job.film is not None:
        return job.film.frames_bytes
    assert job.info is not None
    samples = job.lr_size[0] * job.lr_size[1] * (_channels(job) + job.info.has_alpha)
    return samples * (job.depth // 8) * 2


def written_bytes(job: Job) -> int:
    """Memory that writing takes, a film's counted with reading."""
    if job.film is not None:
        return 0
    from srcli.media.write import memory_needed

    assert job.info is not None
    return memory_needed(
        job.format,
        job.sr_size,
        _channels(job),
        job.alpha,
        job.depth,
        animated=job.n_frames > 1 and FORMATS[job.format].several == "frames",
    )


def picture_bytes(job: Job) -> int:
    """Memory that a job takes besides the engine's."""
    return decoded_bytes(job) + written_bytes(job)
