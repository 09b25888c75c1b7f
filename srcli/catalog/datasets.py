"""datasets.toml -> the benchmark sets of the papers. Checked in full, like the models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from srcli.catalog.load import MAX_NATIVE_SCALE
from srcli.catalog.tables import CatalogueError, EntryError, Table

DEFAULT_PATH = Path(__file__).with_name("datasets.toml")
MAX_PICTURE_BYTES = 64 << 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # of a folder, of a file: never a path
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DatasetFile:
    """One picture file: where it comes from and how to know that it is the right one.

    Attributes:
        path: in the cache's ``datasets`` folder and in a mirror: ``Set5/x4/HR/img_001.png``, or
            ``Set5/x4/LRx4/img_001.png``. So ``Set5/x4`` is a folder that ``--data`` takes.
        bytes: size.
        sha256: lower-case hex.
        url: where it is published.
    """

    path: str
    bytes: int
    sha256: str
    url: str


@dataclass(frozen=True)
class DatasetPicture:
    """One picture in both sizes; ``hr`` is exactly ``scale`` times as large as ``lr``."""

    name: str
    hr: DatasetFile
    lr: DatasetFile


@dataclass(frozen=True)
class Dataset:
    """A benchmark set.

    Attributes:
        name: as papers write it (``Set5``).
        paper: authors, venue and year in one line.
        reference: ``doi:...``.
        licence: of the pictures, in a few words.
        pictures: by scale, in the set's order; each scale has HR files of its own.
    """

    name: str
    paper: str
    reference: str
    licence: str
    pictures: Mapping[int, tuple[DatasetPicture, ...]] = field(hash=False)

    @property
    def scales(self) -> tuple[int, ...]:
        return tuple(self.pictures)

    def files(self, scale: int) -> tuple[DatasetFile, ...]:
        """Every file of a scale, the HR and the LR picture in turn; KeyError if it is not there."""
        return tuple(file for p in self.pictures[scale] for file in (p.hr, p.lr))


@cache
def datasets() -> Mapping[str, Dataset]:
    """The benchmark sets inside the package by name, read once."""
    return load_datasets(DEFAULT_PATH)


def find_dataset(name: str) -> Dataset | None:
    """The set of this name, upper or lower case; None if there is none."""
    return next((d for d in datasets().values() if d.name.lower() == name.strip().lower()), None)


def load_datasets(path: Path) -> Mapping[str, Dataset]:
    """Read and check a file like datasets.toml.

    Raises:
        CatalogueError: the file cannot be read, or an entry is wrong (the message names it).
    """
    try:
        root = Table(tomllib.loads(path.read_text(encoding="utf-8")), "top level")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise CatalogueError(f"The catalogue {path} cannot be read: {exc}") from exc
    found: dict[str, Dataset] = {}
    try:
        for number, entry in enumerate(root.tables("dataset"), 1):
            dataset = _dataset(entry, number)
            if dataset.name.lower() in {name.lower() for name in found}:
                raise EntryError(f"dataset {dataset.name}: there are two of this name")
            found[dataset.name] = dataset
        root.end()
    except EntryError as exc:
        raise CatalogueError(f"The catalogue {path} is wrong: {exc}") from exc
    return MappingProxyType(found)


def _dataset(entry: Any, number: int) -> Dataset:
    table = Table(entry, f"dataset number {number}")
    name = table.matching("name", _NAME, "letters, digits, _ and -")
    table.where = f"dataset {name}"
    url = table.text("url")
    if not url.startswith(("https://", "http://")):
        raise table.wrong(f"url must be http or https, not {url!r}")
    pictures: dict[int, tuple[DatasetPicture, ...]] = {}
    for item in table.tables("scale"):
        part = Table(item, table.where)
        scale = part.whole("scale", 2, MAX_NATIVE_SCALE)
        part.where = f"dataset {name}, x{scale}"
        if scale in pictures:
            raise part.wrong("this scale is listed twice")
        rows = [row.split() for row in part.text("pictures").splitlines() if row.strip()]
        pictures[scale] = tuple(_picture(part, row, name, scale, url) for row in rows)
        if len({p.name for p in pictures[scale]}) != len(rows):
            raise part.wrong("a picture is listed twice")
        part.end()
    if not pictures:
        raise table.wrong("there is no scale")
    dataset = Dataset(
        name=name,
        paper=table.text("paper"),
        reference=table.text("reference"),
        licence=table.text("licence"),
        pictures=MappingProxyType(dict(sorted(pictures.items()))),
    )
    table.end()
    return dataset


def _picture(table: Table, row: list[str], dataset: str, scale: int, url: str) -> DatasetPicture:
    if len(row) != 5 or not _NAME.fullmatch(row[0]):
        raise table.wrong(f"a picture is name, bytes, sha256, bytes, sha256, not {' '.join(row)!r}")
    name = row[0]

    def file(kind: Literal["HR", "LR"], size: str, sha256: str) -> DatasetFile:
        if not (size.isdecimal() and 0 < int(size) <= MAX_PICTURE_BYTES):
            raise table.wrong(f"{name}: {size} is not a size in bytes")
        if not _SHA256.fullmatch(sha256):
            raise table.wrong(f"{name}: {sha256} is not a sha256")
        folder = "HR" if kind == "HR" else f"LRx{scale}"
        at = url.replace("{scale}", str(scale)).replace("{name}", name).replace("{kind}", kind)
        return DatasetFile(f"{dataset}/x{scale}/{folder}/{name}.png", int(size), sha256, at)

    return DatasetPicture(name, file("HR", *row[1:3]), file("LR", *row[3:5]))
