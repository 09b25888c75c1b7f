"""The table of the user's own models: read entry by entry, so that a broken one harms no other.

It is laid out as models.toml is, without architectures, and each variant's weights name a file in
the folder that goes with it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from srcli.catalog.entries import Model
from srcli.catalog.load import Catalogue, read_model
from srcli.catalog.tables import CatalogueError, EntryError, Table

_HEAD = "# Your own models: written by `srcli models add` and `srcli models remove`.\n"
_RENAMED = {"door": "preprocessing"}  # keys of tables that earlier versions have written
Entry = dict[str, Any]


@dataclass(frozen=True)
class UserModels:
    """What a table says.

    Attributes:
        models: those that can be used, in the table's order.
        problems: one sentence for each entry that was left out, or for the whole table.
    """

    models: tuple[Model, ...] = ()
    problems: tuple[str, ...] = ()


def read_entries(path: Path) -> list[Entry]:
    """The table's entries as they stand, unchecked; none if there is no such file.

    Raises:
        CatalogueError: the file cannot be read or is not a list of models.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as exc:
        raise CatalogueError(f"The table of your own models {path} cannot be read: {exc}") from exc
    try:
        root = Table(document, "top level")
        entries = root.tables("model")
        root.end()
        if not all(isinstance(entry, dict) for entry in entries):
            raise EntryError("top level: model must be a list of tables")
    except EntryError as exc:
        raise CatalogueError(f"The table of your own models {path} is wrong: {exc}") from exc
    return [{_RENAMED.get(k, k): v for k, v in entry.items()} for entry in entries]


def read_own(path: Path, folder: Path, built_in: Catalogue) -> UserModels:
    """The table's models.

    Args:
        path: the table.
        folder: where their files lie.
        built_in: whose architectures they use, and whose names they may not take.
    """
    try:
        entries = read_entries(path)
    except CatalogueError as exc:
        return UserModels(
            problems=(f"{exc.message}. Your own models are left out until it is fixed.",)
        )
    models: dict[str, Model] = {}
    problems = []
    for number, entry in enumerate(entries, 1):
        try:
            model = own_model(entry, number, folder, built_in)
            if model.name in models:
                raise EntryError(f"model {model.name}: there are two of this name")
            models[model.name] = model
        except EntryError as exc:
            problems.append(f"{path}, an entry is left out: {exc}.")
    return UserModels(tuple(models.values()), tuple(problems))


def own_model(entry: Any, number: int, folder: Path, built_in: Catalogue) -> Model:
    """One entry, checked.

    Raises:
        EntryError: something in it is wrong.
    """
    model = read_model(entry, number, built_in.architectures)
    if model.name in built_in.models:
        raise EntryError(f"model {model.name}: the name belongs to a built-in model")
    variants = []
    for variant in model.variants:
        if variant.weights is None or variant.denoise or variant.weights.url is not None:
            raise EntryError(f"model {model.name}, x{variant.scale}: a file of your own is missing")
        variants.append(replace(variant, weights=replace(variant.weights, folder=folder)))
    if not variants:
        raise EntryError(f"model {model.name}: there is no variant")
    return replace(model, variants=tuple(variants))


def merged(built_in: Catalogue, own: Sequence[Model]) -> Catalogue:
    """The built-in models, then the user's."""
    models = {**built_in.models, **{model.name: model for model in own}}
    return replace(built_in, models=MappingProxyType(models))


def to_toml(entries: Sequence[Entry]) -> str:
    """The table's text; ``read_entries`` gives the same entries back."""
    lines = [_HEAD]
    for entry in entries:
        lines.append("[[model]]")
        variants = entry.get("variant")
        listed = isinstance(variants, list) and all(isinstance(v, dict) for v in variants)
        lines += [
            f"{_key(k)} = {_value(v)}" for k, v in entry.items() if k != "variant" or not listed
        ]
        for variant in variants if isinstance(variants, list) and listed else []:
            lines += ["", "[[model.variant]]"]
            lines += [f"{_key(k)} = {_value(v)}" for k, v in variant.items()]
        lines.append("")
    return "\n".join(lines)


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if plain else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return _text(str(value))  # dates are not ours: kept as text


def _text(text: str) -> str:
    """A basic string. JSON's escapes are TOML's, but for surrogates and DEL."""
    text = text.encode("utf-8", "replace").decode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
