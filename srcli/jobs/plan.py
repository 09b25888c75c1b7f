"""From what was typed to a list of jobs. Everything that can be refused is refused here.

No torch; Pillow only once every name has proved to exist.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from srcli import catalog
from srcli.catalog import Model
from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.media.formats import FORMATS, Format, check_output, format_of, is_picture

if TYPE_CHECKING:
    from srcli.media.image import ImageInfo

MAX_PIXELS = 500_000_000

# a generous share of the raw bytes that a file of each format takes; only for the check of space
_SHARE_ON_DISK = {"png": 0.6, "tiff": 0.7, "bmp": 1.0, "webp": 0.2, "jpeg": 0.25, "avif": 0.2}
_NAMED_BY_US = re.compile(r"^(?P<stem>.+)_(x\d+(\.\d+)?|\d+x\d+)$")


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
        quality: of JPEG, WebP and AVIF, 1..100.
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
    quality: int | None = None

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
    """One picture: what is read, what is written, and how.

    Attributes:
        info: the picture's header; None if it was not read (skipped, or unreadable).
        lr_size, sr_size: (height, width) before and after.
        passes: native scales that the network runs, one after the other.
        skip: the output exists and is to stay.
        failure: why it cannot be done, known before work begins.
    """

    source: Path
    target: Path
    info: ImageInfo | None = None
    lr_size: tuple[int, int] = (0, 0)
    sr_size: tuple[int, int] = (0, 0)
    passes: tuple[int, ...] = ()
    depth: Literal[8, 16] = 8
    skip: bool = False
    failure: SrcliError | None = None

    @property
    def scale(self) -> float:
        """The factor, from the sizes."""
        return max(sr / lr for sr, lr in zip(self.sr_size, self.lr_size, strict=True))


@dataclass(frozen=True)
class _Found:
    path: Path
    root: Path | None = None  # the folder that was named, if one was


@dataclass(frozen=True)
class _Place:
    """Where outputs go: one file, one folder, or beside each input (both None)."""

    file: Path | None = None
    folder: Path | None = None
    taken: dict[str, Path] = field(default_factory=dict)

    def target(self, found: _Found, suffix: str) -> Path:
        if self.file is not None:
            return self.file
        extension = found.path.suffix
        if not is_picture(found.path) or not format_of(found.path).writable:
            extension = ".png"
        name = f"{found.path.stem}_{suffix}{extension}"
        if self.folder is None:
            return found.path.with_name(name)
        inside = found.path.parent.relative_to(found.root) if found.root else Path()
        return self.folder / inside / name


def plan(inputs: Sequence[str], options: Options) -> list[Job]:
    """The jobs for these inputs, in order.

    Args:
        inputs: files, folders and glob patterns, as typed.

    Raises:
        UsageError: a name does not exist, two inputs have one output, an output exists, ...
        ResourceError: the disk is too full for what would be written.
    """
    found = list(_unique(_find(inputs, options)))
    place = _place(inputs, found, options)
    if place.folder is not None and options.recursive:
        out = place.folder.resolve()
        found = [f for f in found if f.root is None or not _inside(f.path, out, f.root)]
    if not found:
        raise UsageError(
            f"there are no pictures in {', '.join(inputs)}",
            None if options.recursive else "to look into its subfolders too, add --recursive",
        )
    jobs = [_job(f, place, options) for f in found]
    _refuse_collisions(jobs)
    _refuse_existing(jobs, options)
    _check_disk(jobs)
    return jobs


# inputs


def _find(inputs: Sequence[str], options: Options) -> Iterator[_Found]:
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            yield from (_Found(p, path) for p in _pictures_in(path, options.recursive))
        elif path.exists():
            yield _Found(path)
        elif glob.has_magic(name):
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207
            files = [p for p in matches if p.is_file()]
            if not files:
                raise UsageError(f"nothing matches {name}")
            own = _own_outputs(files)
            yield from (_Found(p) for p in files if p not in own and is_picture(p))
        else:
            raise UsageError(f"{name} does not exist")


def _pictures_in(folder: Path, recursive: bool) -> list[Path]:
    """Pictures by their extension, sorted; neither hidden files nor srcli's own outputs."""
    found: list[Path] = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
            here = [Path(parent, n) for n in sorted(names) if not n.startswith(".")]
            pictures = [p for p in here if is_picture(p)]
            own = _own_outputs(pictures)
            found += [p for p in pictures if p not in own]
    except OSError as exc:
        raise MediaError(f"cannot list {exc.filename}: {exc.strerror}") from exc
    return found


def _raise(error: OSError) -> None:
    raise error


def _own_outputs(pictures: Iterable[Path]) -> set[Path]:
    """Those named like an output of another one of them (``a_x4.png`` beside ``a.png``)."""
    pictures = list(pictures)
    stems = {(p.parent, p.stem) for p in pictures}
    own = set()
    for path in pictures:
        named = _NAMED_BY_US.match(path.stem)
        if named and (path.parent, named["stem"]) in stems:
            own.add(path)
    return own


def _unique(found: Iterable[_Found]) -> Iterator[_Found]:
    seen: set[Path] = set()
    for f in found:
        real = f.path.resolve()
        if real not in seen:
            seen.add(real)
            yield f


def _inside(path: Path, folder: Path, root: Path) -> bool:
    """True if ``path`` lies in the output folder, which lies in the input folder."""
    return folder != root.resolve() and folder in path.resolve().parents


# outputs


def _place(inputs: Sequence[str], found: Sequence[_Found], options: Options) -> _Place:
    if options.output is None:
        return _Place()
    path = Path(options.output)
    one_file = len(inputs) == 1 and len(found) == 1 and found[0].root is None
    one_file = one_file and not glob.has_magic(inputs[0])
    if path.is_dir() or options.output.endswith(("/", os.sep)) or not one_file:
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file, and the outputs need a folder")
        return _Place(folder=path)
    entry = format_of(path)
    if not entry.writable:
        raise UsageError(f"srcli reads {entry.title} but does not write it", "use .png or .webp")
    return _Place(file=path)


def _job(found: _Found, place: _Place, options: Options) -> Job:
    if options.scale is not None:
        target = place.target(found, f"x{options.scale:g}")
        if options.skip_existing and target.exists():
            return Job(found.path, target, skip=True)
    from srcli.media.image import inspect

    try:
        info = inspect(found.path, options.max_pixels)
    except SrcliError as exc:
        # where it would have gone is told by the name alone
        return Job(found.path, place.target(found, "failed"), failure=exc)
    lr_size = info.height, info.width
    sr_size = options.sr_size(lr_size)
    if options.scale is None:
        target = place.target(found, f"{sr_size[1]}x{sr_size[0]}")
        if options.skip_existing and target.exists():
            return Job(found.path, target, skip=True)
    entry = format_of(target)
    job = Job(
        found.path,
        target,
        info,
        lr_size,
        sr_size,
        depth=16 if info.bits > 8 and entry.deep else 8,
    )
    factor = options.scale or max(sr_size[0] / lr_size[0], sr_size[1] / lr_size[1])
    try:
        check_output(entry, sr_size[1], sr_size[0], info.has_alpha, job.depth)
        return replace(job, passes=catalog.chain(options.model, factor))
    except SrcliError as exc:
        return replace(job, failure=exc)


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {os.path.normcase(job.source.resolve()): job.source for job in jobs}
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.failure is not None:
            continue
        real = os.path.normcase(job.target.resolve())
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
    there = [j.target for j in jobs if not j.skip and j.failure is None and j.target.exists()]
    if there:
        more = f" and {len(there) - 1} more outputs exist" if len(there) > 1 else " exists"
        raise UsageError(f"{there[0]}{more}", "add --overwrite or --skip-existing")


def _check_disk(jobs: Sequence[Job]) -> None:
    """Room for all outputs, by file system."""
    needed: dict[int, tuple[Path, float]] = {}
    for job in jobs:
        if job.info is None or job.skip or job.failure is not None:
            continue
        folder = job.target.parent
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        n_bytes = output_bytes(job, format_of(job.target))
        needed[device] = folder, needed.get(device, (folder, 0.0))[1] + n_bytes
    for folder, n_bytes in needed.values():
        free = shutil.disk_usage(folder).free
        if n_bytes > free:
            raise ResourceError(
                f"the outputs may take {n_bytes / 2**30:.1f} GiB, and {folder.resolve()} has "
                f"{free / 2**30:.1f} GiB free",
                "choose another place with -o, or a format that packs more (.webp, .jpg)",
            )


def output_bytes(job: Job, entry: Format) -> float:
    """About how many bytes a job's file will have: a generous guess."""
    assert job.info is not None
    samples = job.sr_size[0] * job.sr_size[1] * (job.info.channels + job.info.has_alpha)
    return samples * (job.depth // 8) * _SHARE_ON_DISK.get(FORMATS[entry.name].name, 1.0)


def decoded_bytes(job: Job) -> int:
    """Memory that reading takes: the decoder's and the array."""
    assert job.info is not None
    samples = job.lr_size[0] * job.lr_size[1] * (job.info.channels + job.info.has_alpha)
    return samples * (job.depth // 8) * 2


def written_bytes(job: Job) -> int:
    """Memory that writing takes."""
    from srcli.media.write import memory_needed

    assert job.info is not None
    return memory_needed(
        format_of(job.target).name,
        job.sr_size,
        job.info.channels,
        job.info.has_alpha,
        job.depth,
    )


def picture_bytes(job: Job) -> int:
    """Memory that a job takes besides the engine's."""
    return decoded_bytes(job) + written_bytes(job)
