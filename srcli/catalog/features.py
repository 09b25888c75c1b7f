"""features.toml -> what metrics and perceptual losses look through. Checked in full."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from srcli.catalog.entries import WeightsFile
from srcli.catalog.load import (
    MAX_WEIGHTS_BYTES,
    NETWORK_NAME,
    SHA256,
    read_config,
    read_weights_file,
)
from srcli.catalog.tables import CatalogueError, EntryError, Table

DEFAULT_PATH = Path(__file__).with_name("features.toml")


@dataclass(frozen=True)
class Package:
    """A file inside a package on the Python package index."""

    name: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Feature:
    """A network whose features are compared, or a table of numbers (``network`` None).

    Attributes:
        weights: what is downloaded, or lies in srcli; None: it is not.
        package: that has the weights, if it is installed.
        elsewhere: where users find weights that srcli cannot fetch.
        network: ``module:class`` of the torch network.
        config: keyword arguments of its constructor.
    """

    name: str
    licence: str
    source: str
    weights: WeightsFile | None = None
    package: Package | None = None
    elsewhere: str | None = None
    network: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)


@cache
def features() -> Mapping[str, Feature]:
    """Those inside the package by name, read once."""
    return load_features(DEFAULT_PATH)


def load_features(path: Path) -> Mapping[str, Feature]:
    """Read and check a file like features.toml.

    Raises:
        CatalogueError: the file cannot be read, or an entry is wrong (the message names it).
    """
    found: dict[str, Feature] = {}
    try:
        root = Table(tomllib.loads(path.read_text(encoding="utf-8")), "top level")
        for kind in ("feature", "table"):
            for number, entry in enumerate(root.tables(kind), 1):
                feature = _feature(Table(entry, f"{kind} number {number}"), kind == "feature")
                if feature.name in found:
                    raise EntryError(f"{kind} {feature.name}: there are two of this name")
                found[feature.name] = feature
        root.end()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise CatalogueError(f"The catalogue {path} cannot be read: {exc}") from exc
    except EntryError as exc:
        raise CatalogueError(f"The catalogue {path} is wrong: {exc}") from exc
    return MappingProxyType(found)


def _feature(table: Table, network: bool) -> Feature:
    name = table.text("name")
    table.where = name
    feature = Feature(
        name=name,
        network=table.matching("network", NETWORK_NAME, "module:Class") if network else None,
        config=read_config(table),
        licence=table.text("licence"),
        source=table.text("source"),
        weights=read_weights_file(Table(table.take("weights", dict), f"{name}, weights"))
        if table.has("weights")
        else None,
        package=_package(Table(table.take("package", dict), f"{name}, package"))
        if table.has("package")
        else None,
        elsewhere=table.text("elsewhere") if table.has("elsewhere") else None,
    )
    if [feature.weights, feature.package, feature.elsewhere].count(None) != 2:
        raise table.wrong("one of weights, package and elsewhere is expected")
    table.end()
    return feature


def _package(table: Table) -> Package:
    package = Package(
        name=table.text("name"),
        file=table.text("file"),
        bytes=table.whole("bytes", 1, MAX_WEIGHTS_BYTES),
        sha256=table.matching("sha256", SHA256, "64 lower-case hexadecimal digits"),
    )
    table.end()
    return package
