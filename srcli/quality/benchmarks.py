"""Benchmark sets: a folder of the user's, or one of the papers' sets by name, fetched and cached.

Importing this imports neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from srcli.catalog.datasets import Dataset, DatasetFile, datasets
from srcli.errors import SrcliError, UsageError
from srcli.media.formats import is_picture
from srcli.weights.cache import (
    Announce,
    WeightsOptions,
    locked,
    no_room,
    no_room_error,
    scratch_dir,
    why_not_writable,
)
from srcli.weights.download import NotThereError, Progress, download, public_url
from srcli.weights.locate import split_mirror

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

log = logging.getLogger(__name__)

HR_FOLDER = "HR"
_AT_ONCE = 4  # downloads: the files are small, and a round trip takes longer than most of them


class DatasetError(SrcliError):
    """A benchmark set is not to be had, or its files are refused."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One picture of a set, as files or already decoded.

    Attributes:
        name: of the picture, without extension.
        hr: file, or (h, w, 3) RGB or (h, w, 1) grey uint8.
        lr: likewise, (h // scale, w // scale, ...); None: made from ``hr`` by MATLAB's bicubic.
    """

    name: str
    hr: Path | Pixels
    lr: Path | Pixels | None = None


@dataclass(frozen=True)
class Benchmark:
    """A set at one scale.

    Attributes:
        name: the folder's name, or the set's.
        source: the folder as it was given, or ``benchmark``.
    """

    name: str
    scale: int
    pairs: tuple[Pair, ...]
    source: str


def read_folder(folder: Path, scale: int) -> Benchmark:
    """A folder with ``HR/`` and, if there, ``LRx{scale}/``; or with the HR pictures in it.

    LR files have the HR file's name, any extension; ``0801x4.png`` serves ``0801.png`` at x4.

    Raises:
        UsageError: no such folder, no pictures in it, two of one name, or LR pictures missing.
    """
    name = folder.name if folder.name not in {"", ".."} else folder.resolve().name
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    hr_folder = folder / HR_FOLDER
    if not hr_folder.is_dir():
        hr_folder = folder
    hr = _pictures(hr_folder)
    if not hr:
        raise UsageError(
            f"{hr_folder} holds no pictures",
            "--data takes a folder that has HR pictures in it, or in a folder HR in it",
        )
    lr_folder = folder / f"LRx{scale}"
    if hr_folder == folder or not lr_folder.is_dir():
        return Benchmark(name, scale, tuple(Pair(n, p) for n, p in hr.items()), str(folder))
    lr = _pictures(lr_folder)
    pairs = [Pair(n, p, lr.get(n) or lr.get(f"{n}x{scale}")) for n, p in hr.items()]
    missing = [p.name for p in pairs if p.lr is None]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if missing[3:] else "")
        raise UsageError(
            f"{lr_folder} has no LR pictures of {shown}",
            f"complete it; or remove it, and they are made from {hr_folder}",
        )
    return Benchmark(name, scale, tuple(pairs), str(folder))


def check_dataset(dataset: Dataset, scale: int) -> None:
    """UsageError if a set does not exist at a scale."""
    if scale not in dataset.scales:
        scales = " and ".join(f"x{s}" for s in dataset.scales)
        raise UsageError(f"{dataset.name} is published at {scales}, not at x{scale}")


def unknown(name: str) -> UsageError:
    """What is neither a folder nor a set."""
    return UsageError(
        f"{name} does not exist",
        f"--data takes a folder, or one of {', '.join(datasets())}",
    )


def fetch(
    dataset: Dataset,
    scale: int,
    options: WeightsOptions,
    *,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """A set of the catalogue; what is not in the cache is fetched, and every byte is verified.

    The cache holds ``datasets/<set>/x<scale>/HR`` and ``.../LRx<scale>``, a mirror
    ``<set>/x<scale>/...`` alike. Tried in this order: cache, mirror, URL. If the cache cannot be
    written, a temporary folder that lasts as long as this process serves.

    Args:
        announce: called with one line before a download, and with one line per warning.
        progress: called with (bytes done, bytes in all); from several threads, one at a time.

    Raises:
        UsageError: the set has no such scale.
        DatasetError: a file is not to be had.
        WeightsError, ResourceError: the cache cannot be used, or has no room.
    """
    check_dataset(dataset, scale)
    say = announce or log.warning
    root = options.cache_dir / "datasets"
    files = dataset.files(scale)
    missing = _not_at_hand(root, files)
    homes = dict.fromkeys(files, root)
    if missing:
        unwritable = why_not_writable(root)
        home = root
        if unwritable is not None:
            home = scratch_dir() / "datasets"
            home.mkdir(parents=True, exist_ok=True)
            if _not_at_hand(home, missing):
                say(f"{root} cannot be written ({unwritable}): {dataset.name} is kept for this run")
        with locked(home / f"{dataset.name}-x{scale}", say):
            # another process may have been faster
            still = _not_at_hand(home, missing)
            if still:
                _Fetch(dataset, scale, home, options, say, progress).all(still)
        homes.update(dict.fromkeys(missing, home))
    pairs = tuple(
        Pair(p.name, homes[p.hr] / p.hr.path, homes[p.lr] / p.lr.path)
        for p in dataset.pictures[scale]
    )
    return Benchmark(dataset.name, scale, pairs, "benchmark")


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures directly in a folder, by name without extension, sorted."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(p for p in folder.iterdir() if is_picture(p) and not p.name.startswith("."))
    except OSError as exc:
        raise UsageError(f"{folder} cannot be read: {exc.strerror or exc}") from exc
    for path in paths:
        if path.is_dir():
            continue
        if path.stem in found:
            raise UsageError(
                f"{folder} holds two pictures called {path.stem}: "
                f"{found[path.stem].name} and {path.name}"
            )
        found[path.stem] = path
    return found


def _not_at_hand(root: Path, files: Iterable[DatasetFile]) -> list[DatasetFile]:
    """Those that are missing or damaged."""
    return [f for f in files if not _is_sound(root / f.path, f)]


def _is_sound(path: Path, file: DatasetFile) -> bool:
    try:
        if path.stat().st_size != file.bytes:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


class _Fetch:
    """Fetches files of one set into ``home``, a few at a time."""

    def __init__(
        self,
        dataset: Dataset,
        scale: int,
        home: Path,
        options: WeightsOptions,
        say: Announce,
        progress: Progress | None,
    ) -> None:
        self.dataset, self.scale, self.home = dataset, scale, home
        self.offline, self.say, self.progress = options.offline, say, progress
        self.folder, self.base = split_mirror(options.mirror)
        if self.base is not None and self.offline:
            self.base = None
        self.lock = threading.Lock()
        self.announced = False
        self.done: dict[DatasetFile, int] = {}
        self.total = 0

    def all(self, files: Sequence[DatasetFile]) -> None:
        self.total = sum(f.bytes for f in files)
        self.count = len(files)
        if shutil.disk_usage(self.home).free < self.total + (1 << 20):
            raise no_room_error(self.home, needed_bytes=self.total)
        for folder in {(self.home / f.path).parent for f in files}:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                text = f"the folder {folder} cannot be made: {exc.strerror or exc}"
                raise DatasetError(text) from exc
        with ThreadPoolExecutor(_AT_ONCE, "fetch") as pool:
            waiting = [pool.submit(self.one, f) for f in files]
            try:
                for future in waiting:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def one(self, file: DatasetFile) -> None:
        """From the first source that has it."""
        part = (self.home / file.path).with_name(f".{Path(file.path).name}.part")
        try:
            if not self._from_mirror(file, part):
                if self.offline:
                    raise self._not_at_hand(file)
                self._announce(file.url)
                self._download(file.url, file, part)
            part.replace(self.home / file.path)
        except OSError as exc:
            if no_room(exc):
                raise no_room_error(part.parent, exc) from exc
            raise DatasetError(f"{part} cannot be written: {exc.strerror or exc}") from exc

    def _from_mirror(self, file: DatasetFile, part: Path) -> bool:
        try:
            if self.folder is not None:
                source = self.folder / file.path
                if not source.exists():
                    return False
                if not _is_sound(source, file):
                    raise DatasetError(
                        f"{source} is not the file that the catalogue "
                        f"describes (sha256 {file.sha256})"
                    )
                shutil.copyfile(source, part)
                self._count(file, file.bytes)
                return True
            if (base := self.base) is not None:
                url = f"{base.rstrip('/')}/{quote(file.path)}"
                self._announce(url)
                self._download(url, file, part)
                return True
        except NotThereError:
            self.base = None  # a mirror of weights need not have the sets: it is not asked again
            self.announced = False
        except SrcliError as exc:
            if self.offline:
                raise
            self.say(f"The mirror could not be used: {exc.message}")
        return False

    def _download(self, url: str, file: DatasetFile, part: Path) -> None:
        download(
            url,
            part,
            size_bytes=file.bytes,
            sha256=file.sha256,
            progress=lambda done, _: self._count(file, done),
        )

    def _announce(self, url: str) -> None:
        """One line for the whole set."""
        with self.lock:
            if self.announced:
                return
            self.announced = True
        folder = public_url(url).rsplit("/", 1)[0]
        self.say(
            f"Downloading {self.dataset.name} x{self.scale} ({self.count} files, "
            f"{self.total / 1e6:.1f} MB) from {folder}; licence: {self.dataset.licence}."
        )

    def _count(self, file: DatasetFile, done: int) -> None:
        if self.progress is not None:
            with self.lock:
                self.done[file] = done
                self.progress(sum(self.done.values()), self.total)

    def _not_at_hand(self, file: DatasetFile) -> DatasetError:
        name = f"{self.dataset.name} at x{self.scale}"
        return DatasetError(
            f"{name} is not on this computer, and SRCLI_OFFLINE forbids downloading it.",
            f"Run `srcli eval -m bicubic -x {self.scale} --data {self.dataset.name}` once without "
            f"SRCLI_OFFLINE, or set SRCLI_MIRROR to a folder that holds {file.path} and its like.",
        )
