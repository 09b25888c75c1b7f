"""One input of a command: the options, and what is to be done with it. No torch, no Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, TypedDict

from srcli.catalog import Model
from srcli.errors import SrcliError, UsageError
from srcli.film.options import FilmOptions
from srcli.jobs.inputs import STREAM
from srcli.media.formats import FORMATS, FormatName
from srcli.options import ENGINE, FILES, OUTPUT, PICTURE, SIZE, Option

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


def parse_format(text: str) -> str:
    """The name of a format that srcli writes; ``jpg`` and ``tif`` are names, too.

    Raises:
        UsageError: there is none of that name.
    """
    name = {"jpg": "jpeg", "tif": "tiff"}.get(text.lower(), text.lower())
    names = [entry.name for entry in FORMATS.values() if entry.writable]
    if name not in names:
        raise UsageError(f"--format {name} is not one of {', '.join(names)}")
    return name


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What a user can say of pictures and files: which are read, and what is made of them."""

    width: Annotated[
        int | None,
        Option("Width of the result in pixels, instead of a factor.", SIZE, metavar="PX", least=1),
    ] = None
    height: Annotated[
        int | None,
        Option(
            "Height of the result in pixels. With both, the result fits inside; the proportions "
            "stay.",
            SIZE,
            metavar="PX",
            least=1,
        ),
    ] = None
    output: Annotated[
        str | None,
        Option(
            "Where the result goes: a file; a folder; - for standard output; or a pattern such as "
            "{dir}/{stem}_{ext}@{scale}x.png. Default: <name>_x4 beside the input.",
            FILES,
            flags=("--output", "-o"),
            metavar="PATH",
        ),
    ] = None
    recursive: Annotated[
        bool,
        Option("Look into subfolders of folders, too.", FILES, flags=("--recursive", "-r")),
    ] = False
    overwrite: Annotated[bool, Option("Replace results that exist.", FILES)] = False
    skip_existing: Annotated[
        bool, Option("Leave results that exist as they are, and do the others.", FILES)
    ] = False
    format: Annotated[
        FormatName | None,
        Option(
            "Kind of file to write: png, jpeg, webp, tiff, bmp, avif or gif. Default: as the "
            "input, or as -o says.",
            OUTPUT,
            metavar="KIND",
            parse=parse_format,
        ),
    ] = None
    depth: Annotated[
        Depth,
        Option(
            "Bits per colour: 8, 16 (PNG and TIFF), or the same as the input where the kind of "
            "file can hold them.",
            OUTPUT,
            metavar="BITS",
        ),
    ] = "same"
    quality: Annotated[
        int | None,
        Option(
            "Quality of JPEG, WebP and AVIF files. Default: 95.",
            OUTPUT,
            metavar="Q",
            least=1,
            most=100,
        ),
    ] = None
    lossless: Annotated[bool, Option("Write WebP without any loss.", OUTPUT)] = False
    strip_metadata: Annotated[
        bool,
        Option("Leave EXIF data out (camera, place, time); the colour profile stays.", OUTPUT),
    ] = False
    alpha: Annotated[
        AlphaMode,
        Option(
            "How transparency is enlarged: by the network, or by lanczos; discard leaves it out.",
            PICTURE,
            metavar="HOW",
        ),
    ] = "network"
    frames: Annotated[
        Frames,
        Option(
            "Of animations and files of several pages: all of them, or only the first.",
            PICTURE,
            metavar="WHICH",
        ),
    ] = "all"
    max_pixels: Annotated[
        int,
        Option("Refuse pictures with more pixels than this.", PICTURE, metavar="N", least=1),
    ] = MAX_PIXELS
    jobs: Annotated[
        int,
        Option(
            "How many pictures are read and written at a time, while the network works on one.",
            ENGINE,
            metavar="N",
            least=1,
            most=256,
        ),
    ] = 1


class SizeKeywords(TypedDict, total=False):
    """Fields of JobOptions that the Python API takes as keywords, for type checkers."""

    width: int | None
    height: int | None


class ReadKeywords(TypedDict, total=False):
    """Likewise, of pictures that are read."""

    alpha: AlphaMode
    max_pixels: int


class WriteKeywords(TypedDict, total=False):
    """Likewise, of files that are written."""

    overwrite: bool
    quality: int | None


@dataclass(frozen=True)
class Options(JobOptions):
    """All that is to be known to make jobs of inputs.

    Attributes:
        model: what runs.
        scale: factor; None if ``width`` or ``height`` is given.
        film: what films are to become.
        suggest: pictures that are plainly damaged are told of (`events.Suggested`).
    """

    model: Model
    scale: float | None
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
