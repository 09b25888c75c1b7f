"""Models that the user adds: their files and their table, where no clean-up of a cache reaches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.catalog import Catalogue, Model, Preprocessing, Variant, built_in
from srcli.catalog.tables import EntryError
from srcli.catalog.user_models import (
    Entry,
    UserModels,
    merged,
    own_model,
    read_entries,
    read_own,
    to_toml,
)
from srcli.errors import ResourceError, UsageError, WeightsError
from srcli.weights import format as stored
from srcli.weights.cache import Announce, locked, why_not_writable, write_atomic
from srcli.weights.metadata import PROVENANCE_KEY, file_metadata, network_metadata
from srcli.weights.networks import build
from srcli.weights.user_file import check_output, load_file

if TYPE_CHECKING:
    from torch import Tensor

_ELSEWHERE = "Free some space there, or set SRCLI_DATA_DIR to a folder elsewhere."


def data_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of what srcli keeps for the user: SRCLI_DATA_DIR, or the system's place for it."""
    env = os.environ if environment is None else environment
    folder = env.get("SRCLI_DATA_DIR", "").strip()
    if folder:
        return Path(folder).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("srcli"))


def table_path(folder: Path) -> Path:
    """The table of the user's models inside the data folder."""
    return folder / "models.toml"


def files_dir(folder: Path) -> Path:
    """Their files inside the data folder."""
    return folder / "models"


_read: dict[tuple[Path, int, int, int], UserModels] = {}


def own_models(folder: Path, catalogue: Catalogue | None = None) -> UserModels:
    """The user's models; read again only when the table has changed.

    Args:
        folder: the data folder.
        catalogue: the built-in models; None: the package's.
    """
    path = table_path(folder)
    try:
        stat = path.stat()
    except OSError:
        return UserModels()
    key = (path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if catalogue is not None or key not in _read:
        own = read_own(path, files_dir(folder), catalogue or built_in())
        if catalogue is not None:
            return own
        _read[key] = own
    return _read[key]


def with_own_models(catalogue: Catalogue, folder: Path | None = None) -> Catalogue:
    """A catalogue and, after its own, the user's models; for `srcli.catalog.extend`."""
    own = own_models(data_dir() if folder is None else folder)
    return merged(catalogue, own.models) if own.models else catalogue


def add(
    file: Path,
    name: str,
    *,
    folder: Path,
    scale: int | None = None,
    licence: str | None = None,
    note: str | None = None,
    overwrite: bool = False,
    catalogue: Catalogue | None = None,
    announce: Announce = lambda _: None,
) -> tuple[Model, Variant]:
    """Make a file of weights a model that can be named. All is checked before anything is written.

    Args:
        file: safetensors or ``.pth``, as `load_file` takes them.
        name: ``architecture.tag``; a name added before gets a further scale.
        folder: the data folder.
        scale: native scale, if the file does not say and the tensors do not tell.
        licence, note: kept with the name; None: as they were.
        overwrite: replace this scale of the name if it is there.
        catalogue: the built-in models; None: the package's.
        announce: told if another process must be waited for.

    Returns:
        The model with all its scales, and the one that was added.

    Raises:
        UsageError: the name cannot be had, no such file, or the scale is there already.
        WeightsError: the file is refused, damaged, or does not fit the network.
        CatalogueError: the table is broken.
        ResourceError: no room.
    """
    catalogue = catalogue or built_in()
    arch_name = _check_name(name, catalogue)
    table = table_path(folder)
    _find(read_entries(table), name)  # a broken table is said before the file is looked at
    try:
        found, variant, state = load_file(file, arch_name, scale, catalogue=catalogue)
    except WeightsError as exc:
        if exc.hint is None or "--model" not in exc.hint:
            raise
        hint = "The architecture is what --name has before its dot; `srcli models` lists them."
        raise WeightsError(exc.message, hint) from exc
    if scale is not None and variant.scale != scale:
        raise UsageError(f"{file} holds weights for x{variant.scale}, not for x{scale}.")
    check_output(build(variant, found.arch, state), found, variant, file)
    data = _packed(file, found, variant, state)
    sha256 = hashlib.sha256(data).hexdigest()
    stored_name = f"{name}-x{variant.scale}-{sha256[:12]}.safetensors"
    addition: Entry = {
        "scale": variant.scale,
        "parameters": variant.parameters,
        "config": {k: _plain(v, k, file) for k, v in variant.config.items()},
        "weights": {"file": stored_name, "bytes": len(data), "sha256": sha256},
    }
    with _changing(folder, announce) as entries:
        number = _find(entries, name)
        entry: Entry = entries[number] if number is not None else {"name": name}
        preprocessing = asdict(found.preprocessing)
        known_preprocessing: Entry = {**asdict(Preprocessing()), **entry.get("preprocessing", {})}
        old = [v for v in _variants(entry) if v.get("scale") == variant.scale]
        if old and not overwrite:
            raise UsageError(
                f"{name} has x{variant.scale} already.", "Replace it with --overwrite."
            )
        others = [v for v in _variants(entry) if v.get("scale") != variant.scale]
        if others and known_preprocessing != preprocessing:
            raise WeightsError(
                f"{file} is for a network that takes {_preprocessing_text(found.preprocessing)}, "
                f"unlike the other scales of {name}.",
                "Add it under another name.",
            )
        changed: Entry = {
            "name": name,
            "licence": licence or entry.get("licence") or "unknown",
            "source": str(file.absolute()),
            "note": note if note is not None else entry.get("note", ""),
            "preprocessing": preprocessing,
            "variant": [*others, addition],
        }
        try:
            model = own_model(changed, 1, files_dir(folder), catalogue)
        except EntryError as exc:
            raise WeightsError(
                f"{name} cannot be added: {exc}.", f"See its entry in {table}."
            ) from exc
        _write(files_dir(folder) / stored_name, data)
        if number is None:
            entries.append(changed)
        else:
            entries[number] = changed
        _write(table, to_toml(entries).encode())
        _forget(old, entries, files_dir(folder))
    return model, model.variant(variant.scale)


def remove(
    name: str,
    *,
    folder: Path,
    scale: int | None = None,
    catalogue: Catalogue | None = None,
    announce: Announce = lambda _: None,
) -> tuple[int, ...]:
    """Forget one of the user's models, or one scale of it, and delete its files.

    Returns:
        The scales that are gone.

    Raises:
        UsageError: the user has no such model.
        CatalogueError: the table is broken.
    """
    catalogue = catalogue or built_in()
    if _find(read_entries(table_path(folder)), name) is None:
        if name in catalogue.models or name in catalogue.architectures:
            raise UsageError(f"{name} is built in: only models that you added can be removed.")
        raise UsageError(f"You have added no model {name!r}.", "`srcli models` lists the models.")
    with _changing(folder, announce) as entries:
        number = _find(entries, name)
        entry = entries[number] if number is not None else {}
        gone = [v for v in _variants(entry) if scale is None or v.get("scale") == scale]
        if scale is not None and not gone:
            raise UsageError(f"{name} has no x{scale}.")
        kept = [v for v in _variants(entry) if v not in gone]
        if number is not None and kept:
            entries[number] = {**entry, "variant": kept}
        elif number is not None:
            del entries[number]
        _write(table_path(folder), to_toml(entries).encode())
        _forget(gone, entries, files_dir(folder))
    return tuple(int(v["scale"]) for v in gone if isinstance(v.get("scale"), int))


def _check_name(name: str, catalogue: Catalogue) -> str:
    """The architecture's name."""
    arch, _, tag = name.partition(".")
    if name in catalogue.models:
        raise UsageError(f"{name} is a built-in model.", f"Choose another tag: {arch}.mine")
    if arch not in catalogue.architectures:
        raise UsageError(
            f"There is no architecture {arch!r} for the name {name!r}.",
            "A name is architecture.tag, for example bcrn.mine; `srcli models` lists them.",
        )
    if not tag or not tag.replace("_", "").isalnum() or not tag.isascii() or tag != tag.lower():
        raise UsageError(
            f"{name!r} is not a name for a model.",
            f"A name is architecture.tag, the tag of lower-case letters, digits and _: {arch}.mine",
        )
    return arch


def _packed(file: Path, model: Model, variant: Variant, state: Mapping[str, Tensor]) -> bytes:
    """The safetensors file that is kept: as `save_file` writes it, with the file's provenance."""
    said = file_metadata(file).get(PROVENANCE_KEY)
    provenance = {PROVENANCE_KEY: said or json.dumps({"added_from": file.name})}
    basic = network_metadata(
        model.arch.name, variant.scale, variant.config, {}, model.preprocessing
    )
    return stored.pack(state, {**basic, **provenance})


def _plain(value: Any, key: str, file: Path) -> Any:
    """A config value as TOML has it."""
    if isinstance(value, tuple | list):
        return [_plain(v, key, file) for v in value]
    if not isinstance(value, bool | int | float | str):
        raise WeightsError(f"{file}: the config's {key} is {value!r}, which cannot be kept.")
    return value


def _preprocessing_text(preprocessing: Preprocessing) -> str:
    return f"{preprocessing.colour} in 0..{preprocessing.maximum:g}" + (
        ", enlarged," if preprocessing.enlarged else ""
    )


def _find(entries: list[Entry], name: str) -> int | None:
    return next((k for k, entry in enumerate(entries) if entry.get("name") == name), None)


def _variants(entry: Entry) -> list[Entry]:
    """Those that can be made out; a broken entry is no reason to fail."""
    variants = entry.get("variant", [])
    return [v for v in variants if isinstance(v, dict)] if isinstance(variants, list) else []


@contextmanager
def _changing(folder: Path, announce: Announce) -> Iterator[list[Entry]]:
    """The table's entries, while no other process changes them."""
    try:
        reason = why_not_writable(files_dir(folder))
    except ResourceError as exc:
        raise ResourceError(exc.message, _ELSEWHERE) from exc
    if reason is not None:
        raise WeightsError(
            f"{files_dir(folder)} cannot be written: {reason}.",
            "Set SRCLI_DATA_DIR to a folder that can be.",
        )
    with locked(table_path(folder), announce, doing="changing"):
        yield read_entries(table_path(folder))


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except ResourceError as exc:
        raise ResourceError(exc.message, _ELSEWHERE) from exc
    except OSError as exc:
        raise WeightsError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def _forget(variants: list[Entry], entries: list[Entry], folder: Path) -> None:
    """Delete the files that no entry names any more; only files directly inside the folder."""

    def names(variants: list[Entry]) -> set[str]:
        tables = [v["weights"] for v in variants if isinstance(v.get("weights"), dict)]
        return {str(t.get("file", "")) for t in tables}

    used = names([v for entry in entries for v in _variants(entry)])
    for name in names(variants) - used:
        path = folder / name
        if Path(name).name == name and name.endswith(".safetensors"):
            path.unlink(missing_ok=True)
