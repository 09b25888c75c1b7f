"""From what was typed to a list of jobs. Everything that can be refused is refused here.

No torch; Pillow only once every name has proved to exist.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from srcli import catalog
from srcli.catalog import Model
from srcli.engine.memory import size_text
from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.film.formats import is_film
from srcli.film.options import FilmOptions
from srcli.film.sequences import is_pattern
from srcli.jobs.inputs import STREAM, Found, find
from srcli.jobs.outputs import Naming, naming
from srcli.media.formats import FORMATS, FormatName, check_output, check_several, format_of

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
        data: the picture itself, if it came through standard input.
        skip: the output exists and is to stay.
        failure: why it cannot be done, known before work begins.
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


def plan(
    inputs: Sequence[str], options: Options, stdin: Callable[[], bytes] | None = None
) -> list[Job]:
    """The jobs for these inputs, in order.

    Args:
        inputs: files, folders, glob patterns, and ``-``, as typed.
        options: what to make of them.
        stdin: gives the picture that ``-`` stands for.

    Raises:
        UsageError: a name does not exist, two inputs have one output, an output exists, ...
        ResourceError: the disk is too full for what would be written.
    """
    found = find(inputs, recursive=options.recursive)
    one_file = len(inputs) == 1 and len(found) == 1 and found[0].root is None
    one_file = one_file and (
        found[0].path == STREAM or Path(inputs[0]).exists() or is_pattern(found[0].path)
    )
    names = naming(options.output, found, one_file, options.format, options.film.container)
    if names.folder is not None and options.recursive:
        out = names.folder.resolve()
        found = [f for f in found if f.root is None or not _inside(f.path, out, f.root)]
    if not found:
        raise UsageError(
            f"there are no pictures or films in {', '.join(inputs)}",
            None if options.recursive else "to look into its subfolders too, add --recursive",
        )
    jobs = [_job(f, names, options, stdin) for f in found]
    _refuse_collisions(jobs)
    _refuse_existing(jobs, options)
    _check_disk(jobs)
    return jobs


def _inside(path: Path, folder: Path, root: Path) -> bool:
    """True if ``path`` lies in the output folder, which lies in the input folder."""
    return folder != root.resolve() and folder in path.resolve().parents


def _job(found: Found, names: Naming, options: Options, stdin: Callable[[], bytes] | None) -> Job:
    model, scale = options.model.name, options.scale
    target: Path | None = None
    if scale is not None and not names.needs_size:
        target = names.target(found, model, scale, None)
        if options.skip_existing and _exists(target):
            return Job(found.path, target, skip=True)
    if is_film(found.path) or is_pattern(found.path):
        return _film_job(found, names, options, target)
    from srcli.media.image import inspect, is_opaque

    data = stdin() if stdin is not None and found.path == STREAM else None
    try:
        info = inspect(found.path if data is None else io.BytesIO(data), options.max_pixels)
    except SrcliError as exc:
        # the name of an output that will not be; where it would have gone
        return Job(found.path, target or names.target(found, model, scale, (0, 0)), failure=exc)
    lr_size = info.height, info.width
    sr_size = options.sr_size(lr_size)
    if target is None:
        target = names.target(found, model, scale, sr_size)
        if options.skip_existing and _exists(target):
            return Job(found.path, target, skip=True)
    factor = scale or max(sr_size[0] / lr_size[0], sr_size[1] / lr_size[1])
    alpha = info.has_alpha and options.alpha != "discard"
    job = Job(found.path, target, info, None, lr_size, sr_size, alpha=alpha, data=data)
    try:
        if options.format or target == STREAM:
            entry = FORMATS[options.format or "png"]
        else:
            entry = format_of(target)
        if alpha and not entry.alpha and (info.n_frames == 1 or options.frames == "first"):
            # an alpha channel that is full everywhere is none; refused is what is transparent
            source = found.path if data is None else io.BytesIO(data)
            job = replace(job, alpha=not is_opaque(source, info, options.max_pixels))
        bits = info.deepest if options.frames == "all" else info.bits
        deep = entry.deep and bits > 8 if options.depth == "same" else options.depth == "16"
        job = replace(job, format=entry.name, depth=16 if deep else 8)
        if info.n_frames > 1 and options.frames == "all":
            check_several(entry, FORMATS[info.format], info.n_frames)
            job = replace(job, n_frames=info.n_frames)
        check_output(entry, sr_size[1], sr_size[0], job.alpha, job.depth, lossless=options.lossless)
        return replace(job, passes=catalog.chain(options.model, factor))
    except SrcliError as exc:
        return replace(job, failure=exc)


def _film_job(found: Found, names: Naming, options: Options, target: Path | None) -> Job:
    from srcli.film.plan import open_film, plan_film, plan_pictures

    model, scale = options.model.name, options.scale
    try:
        film, ffmpeg = open_film(found.path, options.film, options.max_pixels)
    except MediaError as exc:
        return Job(found.path, target or names.target(found, model, scale, (0, 0)), failure=exc)
    sr_size = options.sr_size(film.size)
    if target is None:
        target = names.target(found, model, scale, sr_size)
        if options.skip_existing and _exists(target):
            return Job(found.path, target, skip=True)
    job = Job(found.path, target, lr_size=film.size, sr_size=sr_size)
    try:
        factor = scale or max(sr_size[0] / film.size[0], sr_size[1] / film.size[1])
        job = replace(job, passes=catalog.chain(options.model, factor))
        pattern = target
        if options.film.preview is not None:
            extension = FORMATS[options.format or "png"].extensions[0]
            pattern = target.with_name(f"{target.stem}_preview_%03d{extension}")
        if is_pattern(pattern):
            made: FilmPlan | PicturesPlan = plan_pictures(
                film,
                pattern,
                sr_size,
                options.film,
                ffmpeg,
                quality=options.quality,
                overwrite=options.overwrite,
                skip_existing=options.skip_existing,
            )
        else:
            made = plan_film(film, target, sr_size, options.film, ffmpeg)
        return replace(job, film=made, target=pattern)
    except SrcliError as exc:
        return replace(job, failure=exc)


def _exists(target: Path) -> bool:
    return target != STREAM and target.exists()


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {os.path.normcase(job.source.resolve()): job.source for job in jobs}
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.failure is not None:
            continue
        real = os.path.normcase(job.target.resolve())
        if job.target == STREAM:
            continue
        if real in sources:
            raise UsageError(
                f"the output {job.target} is also an input", "name another output with -o"
            )
        if real in taken:
            raise UsageError(
                f"{taken[real].source} and {job.source} would both be written to {job.target}",
                "upscale them one by one, each with its own -o",
            )
        taken[real] = job


def _refuse_existing(jobs: Sequence[Job], options: Options) -> None:
    if options.overwrite:
        return
    there = [j.target for j in jobs if not j.skip and j.failure is None and _exists(j.target)]
    if there:
        more = f" and {len(there) - 1} more outputs exist" if len(there) > 1 else " exists"
        raise UsageError(f"{there[0]}{more}", "add --overwrite or --skip-existing")


def _check_disk(jobs: Sequence[Job]) -> None:
    """Room for all outputs, by file system."""
    needed: dict[int, tuple[Path, float]] = {}
    for job in jobs:
        if job.info is None or job.failure is not None or job.target == STREAM:
            continue
        folder = job.target.parent
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        n_bytes = output_bytes(job)
        needed[device] = folder, needed.get(device, (folder, 0.0))[1] + n_bytes
    for folder, n_bytes in needed.values():
        free = shutil.disk_usage(folder).free
        if n_bytes > free:
            raise ResourceError(
                f"the outputs may take {size_text(n_bytes)}, and {folder.resolve()} has "
                f"{size_text(free)} free",
                "choose another place with -o, or a format that packs more (.webp, .jpg)",
            )


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
