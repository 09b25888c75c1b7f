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
from typing import TYPE_CHECKING, BinaryIO, Literal

from srcli import catalog
from srcli.catalog import Model
from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.film.formats import is_film
from srcli.film.options import FilmOptions
from srcli.film.sequences import is_pattern
from srcli.jobs.events import Listener
from srcli.jobs.failures import failure_of
from srcli.jobs.inputs import STREAM, Found, find, real_path
from srcli.jobs.outputs import Naming, naming
from srcli.media.formats import FORMATS, FormatName, check_output, check_several, format_of
from srcli.sizes import sizes_apart

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
        return self.source if self.data is None else _stream(self.source, self.data)


class _Piped(io.BytesIO):
    """What came through a pipe, which can be read but once."""

    name = ""


def _stream(source: Path, data: bytes) -> BinaryIO:
    if source == STREAM:
        return io.BytesIO(data)
    piped = _Piped(data)
    piped.name = str(source)
    return piped


def plan(
    inputs: Sequence[str],
    options: Options,
    stdin: Callable[[], bytes] | None = None,
    tell: Listener = lambda _: None,
) -> list[Job]:
    """The jobs for these inputs, in order.

    What is wrong with one input is that one's failure, whatever it is: it never keeps the others
    from being done.

    Args:
        inputs: files, folders, glob patterns, and ``-``, as typed.
        options: what to make of them.
        stdin: gives the picture that ``-`` stands for.
        tell: called with what was left out, and of folders without a picture.

    Raises:
        UsageError: the only name does not exist, an output exists, options contradict ...
        ResourceError: the disk is too full for what would be written.
    """
    meant = find(inputs, recursive=options.recursive)
    for event in meant.events:
        tell(event)
    found = list(meant.found)
    names = naming(options.output, found, meant.one_file, options.format, options.film.container)
    if names.folder is not None and options.recursive:
        out = real_path(names.folder)
        found = [f for f in found if f.root is None or not _inside(f.path, out, f.root)]
    if not found:
        raise UsageError(
            f"there are no pictures or films in {', '.join(inputs)}",
            None if options.recursive else "to look into its subfolders too, add --recursive",
        )
    jobs = [_job(f, names, options, stdin) for f in found]
    jobs = _apart(jobs)
    if len(jobs) == 1 and isinstance(jobs[0].failure, TargetError):
        raise jobs[0].failure
    _refuse_existing(jobs, options)
    _check_disk(jobs)
    return jobs


def _inside(path: Path, folder: Path, root: Path) -> bool:
    """True if ``path`` lies in the output folder, which lies in the input folder."""
    return folder != real_path(root) and folder in real_path(path).parents


def _job(found: Found, names: Naming, options: Options, stdin: Callable[[], bytes] | None) -> Job:
    """What is to be done with one input; whatever is wrong with it is the job's failure."""
    if found.failure is not None:
        return Job(found.path, found.path, failure=found.failure)
    try:
        job = _planned(found, names, options, stdin)
        if job.target != STREAM:
            job.target.exists()  # raises if it never can
    except Exception as exc:
        if isinstance(exc, UsageError) and options.film.ffmpeg is not None:
            raise  # the ffmpeg that was named
        return Job(found.path, found.path, failure=failure_of(exc, found.path))
    return job


def _planned(
    found: Found, names: Naming, options: Options, stdin: Callable[[], bytes] | None
) -> Job:
    model, scale = options.model.name, options.scale
    target: Path | None = None
    if scale is not None and not names.needs_size:
        target = names.target(found, model, scale, None)
        if options.skip_existing and _exists(target):
            return Job(found.path, target, skip=True)
    if is_film(found.path) or is_pattern(found.path):
        return _film_job(found, names, options, target)
    from srcli.media.image import inspect, is_opaque

    data = _data(found, names, stdin)
    source = found.path if data is None else _stream(found.path, data)
    info = inspect(source, options.max_pixels)
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


def _data(found: Found, names: Naming, stdin: Callable[[], bytes] | None) -> bytes | None:
    """What can be read but once: standard input, and pipes such as the shell's ``<(...)``."""
    if found.path == STREAM:
        return None if stdin is None else stdin()
    if not found.path.is_fifo():
        return None
    if found.root is not None:
        raise MediaError(f"{found.path} is a pipe, and not a file", "name it to have it read")
    if names.beside:
        raise MediaError(f"{found.path} is a pipe, and its output needs a name", "name one with -o")
    return found.path.read_bytes()


def _film_job(found: Found, names: Naming, options: Options, target: Path | None) -> Job:
    from srcli.film.plan import open_film, plan_film, plan_pictures
    from srcli.film.probe import turned

    model, scale = options.model.name, options.scale
    film, ffmpeg = open_film(found.path, options.film, options.max_pixels)
    shown_size = options.sr_size(film.shown_size)  # names and wishes speak of what is shown
    sr_size = turned(shown_size, film.rotation)
    if target is None:
        target = names.target(found, model, scale, shown_size)
        if options.skip_existing and _exists(target):
            return Job(found.path, target, skip=True)
    job = Job(found.path, target, lr_size=film.shown_size, sr_size=shown_size)
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


class TargetError(UsageError):
    """An output's name is taken: by an input, or by another input's output."""


def _apart(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, of which those fail whose output is an input, or also another one's output."""
    sources = {os.path.normcase(real_path(job.source)) for job in jobs}
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        if job.failure is None and job.target != STREAM:
            alike.setdefault(os.path.normcase(real_path(job.target)), []).append(job)
    failures: dict[Path, TargetError] = {}
    for real, rivals in alike.items():
        for job in rivals:
            if real in sources:
                failures[job.source] = TargetError(
                    f"the output {job.target} is also an input", "name another output with -o"
                )
            elif len(rivals) > 1:
                other = next(rival for rival in rivals if rival is not job)
                failures[job.source] = _rivalry(job, other)
    return [replace(job, failure=failures.get(job.source, job.failure)) for job in jobs]


def _rivalry(job: Job, other: Job) -> TargetError:
    """Two inputs with one output; a name with a field tells them apart."""
    same_folder = job.source.parent == other.source.parent
    name = "{stem}_{ext}" if same_folder else "{dir}/{stem}"
    if same_folder or not job.source.is_absolute():
        name = (job.target.parent / name).as_posix()
    return TargetError(
        f"{job.source} and {other.source} would both be written to {job.target}",
        f'tell them apart by their names: -o "{name}_large{job.target.suffix}"',
    )


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
        try:
            while not folder.exists():
                folder = folder.parent
            device = folder.stat().st_dev
        except OSError:
            continue  # the job's own failure, when it comes to writing
        n_bytes = output_bytes(job)
        needed[device] = folder, needed.get(device, (folder, 0.0))[1] + n_bytes
    for folder, n_bytes in needed.values():
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        if n_bytes > free:
            takes, there = sizes_apart(n_bytes, free)
            raise ResourceError(
                f"the outputs may take {takes}, and {folder.resolve()} has {there} free",
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
