"""models.toml -> entries. Checked in full before anything is returned: all or nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from srcli.catalog.entries import (
    NO_DENOISING,
    Alias,
    Architecture,
    Border,
    Colour,
    Denoise,
    Family,
    Model,
    Preprocessing,
    Purpose,
    Variant,
    WeightsFile,
)
from srcli.catalog.tables import CatalogueError, EntryError, Table

DEFAULT_PATH = Path(__file__).with_name("models.toml")
MAX_WEIGHTS_BYTES = 2 << 30
MAX_NATIVE_SCALE = 16

_ARCH_NAME = re.compile(r"[a-z0-9_]+")
_TAG = re.compile(r"[a-z0-9_]+")
NETWORK_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
SHA256 = re.compile(r"[0-9a-f]{64}")
# a name inside a folder, never a path out of it
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.(pth|pt|safetensors|bin)")


@dataclass(frozen=True)
class Catalogue:
    """Everything that exists, in the file's order.

    Attributes:
        architectures, models, purposes, aliases: by name, insertion order is catalogue order.
    """

    architectures: Mapping[str, Architecture] = field(hash=False)
    models: Mapping[str, Model] = field(hash=False)
    purposes: Mapping[str, Purpose] = field(default_factory=dict, hash=False)
    aliases: Mapping[str, Alias] = field(default_factory=dict, hash=False)

    def of_architecture(self, name: str) -> tuple[Model, ...]:
        """All models of an architecture, in catalogue order."""
        return tuple(m for m in self.models.values() if m.arch.name == name)


Extension = Callable[[Catalogue], Catalogue]
_extensions: list[Extension] = []


@cache
def built_in() -> Catalogue:
    """The catalogue inside the package, read once."""
    return load_catalogue(DEFAULT_PATH)


def default_catalogue() -> Catalogue:
    """What names mean where no catalogue is given: the built-in one and what `extend` adds."""
    catalogue = built_in()
    for extension in _extensions:
        catalogue = extension(catalogue)
    return catalogue


def extend(extension: Extension) -> None:
    """Have ``default_catalogue`` pass through a function: how a command or the API, which knows the
    environment, adds the user's own models. A second time changes nothing."""
    if extension not in _extensions:
        _extensions.append(extension)


def load_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue.

    Raises:
        CatalogueError: the file cannot be read, or an entry is wrong (the message names it).
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise CatalogueError(f"The catalogue {path} cannot be read: {exc}") from exc
    try:
        return _catalogue(document)
    except EntryError as exc:
        raise CatalogueError(f"The catalogue {path} is wrong: {exc}") from exc


def _catalogue(document: dict[str, Any]) -> Catalogue:
    root = Table(document, "top level")
    purposes: dict[str, Purpose] = {}
    for number, entry in enumerate(root.tables("purpose"), 1):
        purpose = _purpose(entry, number)
        if purpose.name in purposes:
            raise EntryError(f"purpose {purpose.name}: there are two of this name")
        purposes[purpose.name] = purpose
    archs: dict[str, Architecture] = {}
    for number, entry in enumerate(root.tables("architecture"), 1):
        arch = _architecture(entry, number)
        if arch.name in archs:
            raise EntryError(f"architecture {arch.name}: there are two of this name")
        archs[arch.name] = arch
    models: dict[str, Model] = {}
    files: dict[str, tuple[str, WeightsFile]] = {}
    for number, entry in enumerate(root.tables("model"), 1):
        model = read_model(entry, number, archs)
        for unknown in (p for p in model.purposes if p not in purposes):
            raise EntryError(f"model {model.name}: there is no purpose {unknown!r}")
        if model.name in models:
            raise EntryError(f"model {model.name}: there are two of this name")
        models[model.name] = model
        for weights in (file for v in model.variants for file in v.files):
            owner, known = files.setdefault(weights.file, (model.name, weights))
            if known != weights:
                raise EntryError(
                    f"model {model.name}: the file {weights.file} is described differently "
                    f"under {owner}"
                )
    aliases: dict[str, Alias] = {}
    for number, entry in enumerate(root.tables("alias"), 1):
        for alias in _aliases(entry, number):
            if alias.name in aliases:
                raise EntryError(f"alias {alias.name}: there are two of this name")
            aliases[alias.name] = alias
    root.end()
    catalogue = Catalogue(
        architectures=MappingProxyType(archs),
        models=MappingProxyType(models),
        purposes=MappingProxyType(purposes),
        aliases=MappingProxyType(aliases),
    )
    _check_names(catalogue)
    return catalogue


def squeezed(name: str) -> str:
    """A name without what people write differently: case, hyphens, underscores, dots, spaces."""
    return re.sub(r"[-_.\s]", "", name).casefold()


def _check_names(catalogue: Catalogue) -> None:
    """Names that point to others point to something, and no two can be taken for each other."""
    owners: dict[str, str] = {}

    def claim(spelling: str, owner: str) -> None:
        other = owners.setdefault(squeezed(spelling), owner)
        if other != owner:
            raise EntryError(f"{owner}: {spelling!r} can be taken for {other}")

    for name in [*catalogue.architectures, *catalogue.models]:
        claim(name, name)
    for purpose in catalogue.purposes.values():
        claim(purpose.name, f"purpose {purpose.name}")
        claim(purpose.title, f"purpose {purpose.name}")
    for name in catalogue.aliases:
        claim(name, f"alias {name}")
    for name, named in [
        *((p.name, p.models) for p in catalogue.purposes.values()),
        *((a.name, a.models + a.nearest) for a in catalogue.aliases.values()),
    ]:
        for target in named:
            if not _stands(target, catalogue):
                raise EntryError(f"{name!r} names {target}, which does not exist")
    for purpose in catalogue.purposes.values():
        for target in purpose.models:
            meant = [catalogue.models[target]] if target in catalogue.models else []
            meant += catalogue.of_architecture(target)
            if not any(purpose.name in model.purposes for model in meant):
                raise EntryError(f"purpose {purpose.name}: {target} is not for it")


def _stands(name: str, catalogue: Catalogue) -> bool:
    return name in catalogue.models or name in catalogue.architectures


def _purpose(entry: Any, number: int) -> Purpose:
    table = Table(entry, f"purpose number {number}")
    name = table.matching("name", _ARCH_NAME, "lower-case letters, digits and _")
    table.where = f"purpose {name}"
    purpose = Purpose(
        name=name,
        title=table.text("title"),
        about=table.text("about"),
        models=table.texts("models"),
    )
    table.end()
    return purpose


def _aliases(entry: Any, number: int) -> list[Alias]:
    table = Table(entry, f"alias number {number}")
    names = table.texts("names")
    table.where = f"alias {names[0]}"
    known = "models" if table.has("models") else "nearest"
    targets = table.texts(known)
    because = table.text("because", "") if known == "nearest" else ""
    table.end()
    if known == "models":
        return [Alias(name, models=targets) for name in names]
    return [Alias(name, nearest=targets, because=because) for name in names]


def _architecture(entry: Any, number: int) -> Architecture:
    table = Table(entry, f"architecture number {number}")
    name = table.matching("name", _ARCH_NAME, "lower-case letters, digits and _")
    table.where = f"architecture {name}"
    family: Family = table.choice("family", get_args(Family))
    network = None
    if family != "resampling":
        network = table.matching("network", NETWORK_NAME, "module:Class")
    arch = Architecture(
        name=name,
        title=table.text("title"),
        family=family,
        paper=table.text("paper"),
        reference=table.text("reference"),
        network=network,
        min_size=table.whole("min_size", 1, 1024, 1),
        multiple=table.whole("multiple", 1, 1024, 1),
        tiling=table.choice("tiling", ("exact", "whole"), "exact"),
        expanded=table.take("expanded", bool, False),
    )
    table.end()
    return arch


def read_model(entry: Any, number: int, archs: Mapping[str, Architecture]) -> Model:
    """One ``[[model]]`` table; EntryError if something in it is wrong."""
    table = Table(entry, f"model number {number}")
    name = table.text("name")
    table.where = f"model {name}"
    arch_name, dot, tag = name.partition(".")
    if arch_name not in archs:
        raise table.wrong(f"there is no architecture {arch_name}")
    arch = archs[arch_name]
    resampler = arch.network is None
    if resampler and dot:
        raise table.wrong(f"a resampler has no tag: call it {arch_name}")
    if not resampler and not _TAG.fullmatch(tag):
        raise table.wrong("the name must be architecture.tag (lower-case letters, digits and _)")
    config = read_config(table)
    variants = [
        _variant(v, f"model {name}, variant number {i}", f"model {name}", config)
        for i, v in enumerate(table.tables("variant"), 1)
    ]
    if resampler and variants:
        raise table.wrong("a resampler is native at any scale and has no variants")
    if not resampler and not variants:
        raise table.wrong("there is no variant")
    scales = [v.scale for v in variants]
    if len(set(scales)) != len(scales):
        raise table.wrong(f"a scale is listed twice: {', '.join(f'x{s}' for s in scales)}")
    if len({v.weights is None for v in variants}) > 1:
        raise table.wrong("either all variants have weights or none")
    model = Model(
        name=name,
        arch=arch,
        licence=table.text("licence"),
        source=table.text("source"),
        preprocessing=_preprocessing(table, name),
        variants=tuple(sorted(variants, key=lambda v: v.scale)),
        note=table.text("note", ""),
        border=table.choice("border", get_args(Border), "network"),
        purposes=table.texts("for") if table.has("for") else (),
        advice=table.text("advice", ""),
    )
    table.end()
    return model


def _preprocessing(parent: Table, name: str) -> Preprocessing:
    if not parent.has("preprocessing"):
        return Preprocessing()
    table = Table(parent.take("preprocessing", dict), f"model {name}, preprocessing")
    preprocessing = Preprocessing(
        colour=table.choice("colour", get_args(Colour), "rgb"),
        maximum=table.positive("maximum", 1.0) or 1.0,
        enlarged=table.take("enlarged", bool, False),
    )
    table.end()
    return preprocessing


def read_config(parent: Table) -> dict[str, Any]:
    """The keyword arguments of a network's constructor."""
    config: dict[str, Any] = parent.take("config", dict, {})
    for key in config:
        if not key.isidentifier() or key == "scale":
            raise parent.wrong(f"config cannot hold {key!r}")
    return {key: frozen(value) for key, value in config.items()}


def frozen(value: Any) -> Any:
    """Lists as tuples, so that a config from TOML and one from JSON are the same."""
    return tuple(frozen(v) for v in value) if isinstance(value, list) else value


def _variant(entry: Any, where: str, model: str, shared_config: Mapping[str, Any]) -> Variant:
    table = Table(entry, where)
    scale = table.whole("scale", 1, MAX_NATIVE_SCALE)
    table.where = f"{model}, x{scale}"
    denoise = _denoise(table) if table.has("denoise") else None
    if denoise is not None and table.has("weights"):
        raise table.wrong("weights and denoise exclude each other: denoise names its own files")
    variant = Variant(
        scale=scale,
        weights=_weights(table) if table.has("weights") else None,
        parameters=table.whole("parameters", 0, 10**10),
        psnr_set5=table.positive("psnr_set5"),
        psnr_set14=table.positive("psnr_set14"),
        config={**shared_config, **read_config(table)},
        denoise=denoise,
    )
    table.end()
    return variant if denoise is None else variant.denoised(denoise.strength)


def _denoise(parent: Table) -> Denoise:
    table = Table(parent.take("denoise", dict), f"{parent.where}, denoise")
    between = table.take("between", bool, False)
    default = _strength(table, "default")
    found = []
    for item in table.tables("weights"):
        part = Table(item, f"{table.where}, weights")
        found.append((_strength(part, "strength"), read_weights_file(part)))
    denoise = Denoise(tuple(sorted(found, key=lambda pair: pair[0])), default, between)
    if len(found) < 2 or len(set(denoise.strengths)) != len(found):
        raise table.wrong("at least two files are expected, each of another strength")
    if not denoise.has(default):
        raise table.wrong(f"default must be a strength that can be had, not {default:g}")
    table.end()
    return denoise


def _strength(table: Table, key: str) -> float:
    """A number from 0 on, or "none"."""
    if table.is_text(key):
        table.choice(key, ("none",))
        return NO_DENOISING
    value = table.take(key, float)
    if not 0 <= value < float("inf"):
        raise table.wrong(f'{key} must be a number from 0 on, or "none", not {value}')
    return value


def _weights(parent: Table) -> WeightsFile:
    return read_weights_file(Table(parent.take("weights", dict), f"{parent.where}, weights"))


def read_weights_file(table: Table) -> WeightsFile:
    """A table that describes a file of weights; EntryError if something in it is wrong."""
    url = table.text("url") if table.has("url") else None
    if url is not None and not url.startswith(("https://", "http://")):
        raise table.wrong(f"url must be http or https, not {url!r}")
    weights = WeightsFile(
        file=table.matching("file", _FILE, "a file name in .pth, .pt, .bin or .safetensors"),
        bytes=table.whole("bytes", 1, MAX_WEIGHTS_BYTES),
        sha256=table.matching("sha256", SHA256, "64 lower-case hexadecimal digits"),
        url=url,
        state_key=table.text("state_key") if table.has("state_key") else None,
        strip_prefix=table.text("strip_prefix", ""),
        keep=table.text("keep", ""),
        layout=table.matching("layout", NETWORK_NAME, "module:CONSTANT")
        if table.has("layout")
        else None,
    )
    if (weights.layout is None) == weights.file.endswith(".bin"):
        raise table.wrong("layout is for .bin files, which cannot do without")
    if weights.bundled and not weights.file.endswith(".safetensors"):
        raise table.wrong(f"a bundled file (one without url) is safetensors, not {weights.file!r}")
    table.end()
    return weights
