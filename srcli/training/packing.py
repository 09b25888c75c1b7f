"""Photos on disk -> packed pixels, decoded once.

A pack is a folder: ``hr.u8``, the photos' RGB samples one after the other, row by row; ``lr4.u8``,
the same reduced by 4 with MATLAB's exact bicubic (likewise 2, 3, 8); ``index.json``, which says
where each photo begins. It is named by a hash of the photos' names and contents, so a pack never
goes stale, and every file is renamed into place when it is complete. Imports no torch: the workers
are separate processes and start fast.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from srcli.errors import MediaError, ResourceError, UsageError
from srcli.quality.resize import resize

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp"}
SAMPLED_BYTES = 65_536  # read at each end of a photo's file for the pack's name


@dataclass(frozen=True)
class Photo:
    """One photo of a pack: (height, width) in HR pixels, first pixel's number in ``hr.u8``."""

    name: str
    height: int
    width: int
    start: int


@dataclass(frozen=True)
class Pack:
    """Packed photos. ``skipped`` holds (name, reason) of each that could not be read."""

    folder: Path
    photos: tuple[Photo, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def pixels(self) -> int:
        """HR pixels of all photos."""
        return sum(p.height * p.width for p in self.photos)

    def hr(self) -> NDArray[np.uint8]:
        """(pixels, 3), memory-mapped."""
        return mapped(self.folder / "hr.u8", "c")

    def lr(self, scale: int) -> NDArray[np.uint8]:
        """(LR pixels, 3), memory-mapped; ``add_scale`` makes it."""
        return mapped(self.folder / f"lr{scale}.u8", "c")

    def lr_pictures(self, scale: int) -> Iterator[NDArray[np.uint8]]:
        """Each photo's LR picture, (h, w, 3)."""
        pixels = self.lr(scale)
        for photo, start in zip(self.photos, lr_starts(self.photos, scale), strict=False):
            height, width = photo.height // scale, photo.width // scale
            yield pixels[start : start + height * width].reshape(height, width, 3)


def find(folders: Sequence[Path], only: Path | None = None) -> list[tuple[str, Path]]:
    """(name, path) of every picture under the folders, sorted; the name is relative to its folder.

    Args:
        only: a text file of names, one a line, # begins a comment; a name may leave out the
            path's beginning. Nothing else is taken.

    Raises:
        UsageError: a folder does not exist or holds no pictures, or a name in ``only`` fits none.
    """
    found: list[tuple[str, Path]] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.", "--data takes a folder of photos.")
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise UsageError(f"There are no photos in {folder}.", f"Known: {_list(SUFFIXES)}.")
        found += [(p.relative_to(folder).as_posix(), p) for p in paths]
    if only is None:
        return found
    try:
        lines = only.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise UsageError(f"The list {only} cannot be read: {exc}.") from exc
    wanted = {name for line in lines if (name := line.split("#")[0].strip())}
    chosen, met = [], set()
    for name, path in found:
        parts = path.as_posix().split("/")
        tails = {"/".join(parts[k:]) for k in range(len(parts))} & wanted
        if tails:
            chosen.append((name, path))
            met |= tails
    if wanted - met:
        raise UsageError(f"{only} names photos that are not there: {_list(wanted - met)}.")
    return chosen


def pack(
    photos: Sequence[tuple[str, Path]],
    cache: Path,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Pack:
    """The pack of these photos, made if the cache does not have it.

    Args:
        photos: (name, path), from ``find``.
        cache: folder that holds packs.
        workers: processes; None: one a core.
        progress: told (what, done, of how many).

    Raises:
        MediaError: not one photo could be read.
        ResourceError: the disk is full.
    """
    with ThreadPoolExecutor(16) as pool:
        marks = list(pool.map(_mark, photos))
    key = hashlib.sha256("".join(sorted(marks)).encode()).hexdigest()[:16]
    folder = cache / key
    if not (folder / "index.json").is_file():
        _decode(photos, folder, workers, progress)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    packed = tuple(Photo(**entry) for entry in index["photos"])
    if not packed:
        raise MediaError("None of the photos could be read.", f"First: {index['skipped'][0]}")
    return Pack(folder, packed, tuple((n, r) for n, r in index["skipped"]))


def add_scale(
    pack: Pack,
    scale: int,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Make ``lr{scale}.u8`` if it is not there: the exact bicubic of each photo's HR, cropped from
    the top left to a multiple of the scale."""
    path = pack.folder / f"lr{scale}.u8"
    if path.is_file():
        return
    starts = lr_starts(pack.photos, scale)
    partial_path = blank(path, starts[-1])
    jobs = list(zip(pack.photos, starts, strict=False))
    work = partial(_reduce, pack.folder / "hr.u8", partial_path, scale)
    for _ in _parallel(work, jobs, workers, f"LR x{scale}", progress):
        pass
    partial_path.replace(path)


def lr_starts(photos: Iterable[Photo], scale: int) -> list[int]:
    """First LR pixel of each photo in ``lr{scale}.u8``, and the total at the end."""
    starts = [0]
    for p in photos:
        starts.append(starts[-1] + (p.height // scale) * (p.width // scale))
    return starts


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """(h, w, 3) uint8, turned as its EXIF says."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _decode(
    photos: Sequence[tuple[str, Path]],
    folder: Path,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Sizes from the headers, then every worker writes its photo at its place."""
    skipped: list[tuple[str, str]] = []
    planned: list[tuple[Photo, Path]] = []
    start = 0
    with ThreadPoolExecutor(8) as pool:
        for (name, path), size in zip(photos, pool.map(_size, photos), strict=True):
            if isinstance(size, str):
                skipped.append((name, size))
                continue
            planned.append((Photo(name, *size, start), path))
            start += size[0] * size[1]
    hr = blank(folder / "hr.u8", start)
    kept = []
    jobs = _parallel(partial(_write, hr), planned, workers, "photos", progress)
    for (photo, _), error in zip(planned, jobs, strict=True):
        if error is None:
            kept.append(photo)
        else:
            skipped.append((photo.name, error))
    hr.replace(folder / "hr.u8")
    index = {"photos": [asdict(p) for p in kept], "skipped": skipped}
    temporary = folder / f"index.json.{os.getpid()}"
    temporary.write_text(json.dumps(index), encoding="utf-8")
    temporary.replace(folder / "index.json")


def _mark(photo: tuple[str, Path]) -> str:
    """Name, size and the bytes at both ends: the same on every machine, and cheap."""
    name, path = photo
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(SAMPLED_BYTES))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SAMPLED_BYTES))
        digest.update(file.read())
    return f"{name}\0{size}\0{digest.hexdigest()}\n"


def _size(photo: tuple[str, Path]) -> tuple[int, int] | str:
    """(height, width) after EXIF rotation, or why not."""
    try:
        with Image.open(photo[1]) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        return f"{type(exc).__name__}: {exc}"


def _write(hr: Path, job: tuple[Photo, Path]) -> str | None:
    """Decode one photo into its place; why not, if not."""
    photo, path = job
    try:
        pixels = read_rgb(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        return f"{type(exc).__name__}: {exc}"
    if pixels.shape[:2] != (photo.height, photo.width):
        return f"its header says {photo.height}x{photo.width}, its pixels {pixels.shape[:2]}"
    stop = photo.start + photo.height * photo.width
    mapped(hr, "r+")[photo.start : stop] = pixels.reshape(-1, 3)
    return None


def _reduce(hr: Path, lr: Path, scale: int, job: tuple[Photo, int]) -> None:
    photo, start = job
    stop = photo.start + photo.height * photo.width
    pixels = mapped(hr, "r")[photo.start : stop].reshape(photo.height, photo.width, 3)
    height, width = photo.height // scale, photo.width // scale
    if height and width:
        small = resize(
            np.ascontiguousarray(pixels[: height * scale, : width * scale]), (height, width)
        )
        mapped(lr, "r+")[start : start + height * width] = small.reshape(-1, 3)


def _parallel(
    work: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int | None,
    what: str,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[Any]:
    """The results in order. Processes, for resampling holds the interpreter's lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(workers or cores or 1, len(jobs))
    if workers <= 1 or len(jobs) < 8:  # starting processes costs more
        for k, job in enumerate(jobs, 1):
            yield work(job)
            if progress:
                progress(what, k, len(jobs))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for k, result in enumerate(pool.map(work, jobs), 1):
            yield result
            if progress:
                progress(what, k, len(jobs))


def blank(path: Path, pixels: int) -> Path:
    """A file of this many pixels beside ``path``, its space reserved."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            if pixels:
                if hasattr(os, "posix_fallocate"):  # a full disk shows now, not as a crash later
                    os.posix_fallocate(file.fileno(), 0, 3 * pixels)
                file.truncate(3 * pixels)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise ResourceError(
            f"The photos' cache cannot be written: {exc}.",
            f"It needs {3 * pixels / 1e9:.1f} GB under {path.parent}; --cache names another.",
        ) from exc
    return temporary


def mapped(path: Path, mode: Any) -> NDArray[np.uint8]:
    """(pixels, 3) of a file; mode as numpy's."""
    if path.stat().st_size == 0:
        return np.empty((0, 3), np.uint8)
    return np.memmap(path, np.uint8, mode).reshape(-1, 3)


def _list(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
