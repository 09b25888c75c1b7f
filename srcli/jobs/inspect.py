"""From an input that is known by name to its job: its header is read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import catalog
from srcli.errors import MediaError, SrcliError, UsageError
from srcli.film.sequences import is_pattern
from srcli.jobs.existing import ExistingFiles
from srcli.jobs.failures import failure_of
from srcli.jobs.inputs import STREAM, Found
from srcli.jobs.job import Job, Options, stream
from srcli.jobs.outputs import Naming
from srcli.media.formats import FORMATS, check_output, check_several, format_of
from srcli.media.remote import UrlPath, check_writable, path_of

if TYPE_CHECKING:
    from srcli.film.plan import FilmPlan, PicturesPlan


@dataclass(frozen=True, slots=True)
class NamedInput:
    """An input that has not been looked at.

    Attributes:
        found: the input.
        names: what outputs are called.
        target: what its output is called; None: that depends on its size.
    """

    found: Found
    names: Naming
    target: Path | None

    @property
    def source(self) -> Path:
        return self.found.path

    @property
    def is_film(self) -> bool:
        return self.found.is_film


def target_of(found: Found, names: Naming, options: Options) -> Path | None:
    """What an output is called, by the names alone; None if that depends on the picture's size."""
    name = target_name(found, names, options)
    return None if name is None else path_of(name)


def target_name(found: Found, names: Naming, options: Options) -> str | None:
    """The same as a string, which takes less time."""
    if options.scale is None or names.needs_size:
        return None
    return names.target(found, options.model.name, options.scale, None)


def previewed(target: Path, options: Options) -> Path:
    """The pattern of the pictures that show what a film would become; else the target itself."""
    if options.film.preview is None:
        return target
    extension = FORMATS[options.format or "png"].extensions[0]
    return target.with_name(f"{target.stem}_preview_%03d{extension}")


def inspect_input(
    named: NamedInput | Job,
    options: Options,
    *,
    stdin: Callable[[], bytes] | None = None,
    existing: ExistingFiles | None = None,
) -> Job:
    """What is to be done with one input; whatever is wrong with it is the job's failure.

    Args:
        named: a Job is one already.
        options: of the command.
        stdin: gives the picture that ``-`` stands for.
        existing: outputs that exist, asked about those whose name depends on the size.

    Raises:
        UsageError: the ffmpeg that was named is none, which is no input's fault.
    """
    if isinstance(named, Job):
        return named
    found = named.found
    if found.failure is not None:
        return Job(found.path, found.path, failure=found.failure)
    try:
        return _inspected(named, options, stdin, existing or ExistingFiles())
    except Exception as exc:
        if isinstance(exc, UsageError) and options.film.ffmpeg is not None:
            raise
        return Job(found.path, found.path, failure=failure_of(exc, found.path))


def _inspected(
    named: NamedInput, options: Options, stdin: Callable[[], bytes] | None, existing: ExistingFiles
) -> Job:
    found, names, target = named.found, named.names, named.target
    path = found.path
    if named.is_film:
        return _film(path, named, options, existing)
    from srcli.media.image import inspect, is_opaque

    data = _data(path, named, stdin)
    source = path if data is None else stream(path, data)
    info = inspect(source, options.max_pixels)
    lr_size = info.height, info.width
    sr_size = options.sr_size(lr_size)
    if target is None:
        target = path_of(names.target(found, options.model.name, options.scale, sr_size))
        check_writable(target)
        if existing.has(str(target)) and options.skip_existing:
            return Job(path, target, skip=True)
    factor = options.scale or max(sr_size[0] / lr_size[0], sr_size[1] / lr_size[1])
    alpha = info.has_alpha and options.alpha != "discard"
    job = Job(path, target, info, None, lr_size, sr_size, alpha=alpha, data=data)
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


def _data(path: Path, named: NamedInput, stdin: Callable[[], bytes] | None) -> bytes | None:
    """What is read but once: standard input, pipes such as the shell's ``<(...)``, and URLs."""
    if path == STREAM:
        return None if stdin is None else stdin()
    if isinstance(path, UrlPath):
        try:
            return path.read_bytes()
        except FileNotFoundError as exc:
            raise MediaError(f"{path} cannot be read: it does not exist") from exc
    if not path.is_fifo():
        return None
    if named.found.root is not None:
        raise MediaError(
            f"{path} is a pipe, and not a file", "name it on the command line to have it read"
        )
    if named.names.beside:
        raise MediaError(f"{path} is a pipe, and its output needs a name", "name one with -o")
    return path.read_bytes()


def _film(path: Path, named: NamedInput, options: Options, existing: ExistingFiles) -> Job:
    from srcli.film.description import turned
    from srcli.film.plan import open_film, plan_film, plan_pictures

    _check_row(path, path)
    if named.target is not None:
        _check_row(path, previewed(named.target, options))
    film, ffmpeg = open_film(path, options.film, options.max_pixels)
    shown_size = options.sr_size(film.shown_size)  # names and options go by what is shown
    sr_size = turned(shown_size, film.rotation)
    target = named.target
    if target is None:
        target = path_of(
            named.names.target(named.found, options.model.name, options.scale, shown_size)
        )
        if existing.has(str(target)) and options.skip_existing:
            return Job(path, target, skip=True)
    job = Job(path, target, lr_size=film.shown_size, sr_size=shown_size)
    try:
        factor = options.scale or max(sr_size[0] / film.size[0], sr_size[1] / film.size[1])
        job = replace(job, passes=catalog.chain(options.model, factor))
        pattern = previewed(target, options)
        _check_row(path, pattern)
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


def _check_row(source: Path, row: Path) -> None:
    """Raises MediaError for a row of pictures that lies elsewhere."""
    if is_pattern(row) and isinstance(row, UrlPath):
        raise MediaError(
            f"{source}: numbered pictures can only be read from, and written to, folders on this "
            f"computer, and {row} is none",
            "name a folder, or a film, with -o",
        )
