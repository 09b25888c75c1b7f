"""What srcli writes beside the tensors of a file, which is then read without being told more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import srcli
from srcli.catalog import Colour, Preprocessing
from srcli.catalog.load import MAX_NATIVE_SCALE, frozen
from srcli.errors import UsageError, WeightsError
from srcli.weights import format as stored
from srcli.weights.cache import write_atomic
from srcli.weights.origin import MAX_BYTES

if TYPE_CHECKING:
    from torch import Tensor

ARCH_KEY = "srcli.arch"
SCALE_KEY = "srcli.scale"
CONFIG_KEY = "srcli.config"
PREPROCESSING_KEY = "srcli.door"  # its name in files since the first of them
PROVENANCE_KEY = "srcli.provenance"
VERSION_KEY = "srcli.version"


def save_file(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    arch: str,
    scale: int,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write safetensors that srcli.weights.load_file reads without being told anything. Atomic.

    The same arguments give the same bytes.

    Args:
        arch: architecture name in the catalogue.
        scale, config: constructor arguments of the network.
        provenance: where the weights come from (data, steps, commit); JSON.
        preprocessing: what the network takes, if it is not what the catalogue says.

    Raises:
        ResourceError: no room.
        WeightsError: the path cannot be written.
    """
    metadata = network_metadata(arch, scale, config, provenance, preprocessing)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, stored.pack(state, metadata))
    except OSError as exc:
        raise WeightsError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def network_metadata(
    arch: str,
    scale: int,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
) -> dict[str, str]:
    """What `save_file` writes beside the tensors, and srcli.weights.load_file reads."""
    metadata = {
        ARCH_KEY: arch,
        SCALE_KEY: str(scale),
        CONFIG_KEY: json.dumps(dict(config), sort_keys=True),
        PROVENANCE_KEY: json.dumps(dict(provenance), sort_keys=True),
        VERSION_KEY: srcli.__version__,
    }
    if preprocessing is not None:
        metadata[PREPROCESSING_KEY] = json.dumps(asdict(preprocessing), sort_keys=True)
    return metadata


def file_metadata(path: Path) -> Mapping[str, str]:
    """A safetensors file's free-form strings; of any other file, none.

    Raises:
        UsageError, WeightsError: no such file; it cannot be read, or is damaged.
    """
    data = read_file(path)
    if not stored.looks_like_safetensors(data):
        return {}
    try:
        return stored.inspect(data).metadata
    except stored.DamagedError as exc:
        raise WeightsError(f"{path} is damaged: {exc}.") from exc


class FileMetadata:
    """What a file's metadata say, checked.

    Raises:
        WeightsError: something in them is not as srcli writes it.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self.scale: int | None = None
        self.config: dict[str, Any] | None = None
        self.preprocessing: Preprocessing | None = None
        try:
            if SCALE_KEY in metadata:
                self.scale = int(metadata[SCALE_KEY])
                if not 1 <= self.scale <= MAX_NATIVE_SCALE:
                    raise ValueError(f"scale {self.scale}")
            if CONFIG_KEY in metadata:
                config = json.loads(metadata[CONFIG_KEY])
                self.config = {str(k): _modest(frozen(v)) for k, v in config.items()}
            if PREPROCESSING_KEY in metadata:
                self.preprocessing = _preprocessing(json.loads(metadata[PREPROCESSING_KEY]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise WeightsError(f"The metadata of {path} make no sense: {exc}.") from exc


def _preprocessing(said: Any) -> Preprocessing:
    colour, maximum = said["colour"], float(said["maximum"])
    if colour not in get_args(Colour) or not 0 < maximum < float("inf"):
        raise ValueError(f"preprocessing {said}")
    return Preprocessing(cast("Colour", colour), maximum, bool(said["enlarged"]))


def _modest(value: Any) -> Any:
    """Refuse sizes that no lightweight network has, before memory is asked for."""
    if isinstance(value, tuple):
        return tuple(_modest(v) for v in value)
    if isinstance(value, dict) or (isinstance(value, int | float) and abs(value) > 4096):
        raise ValueError(f"config value {value}")
    return value


def read_file(path: Path) -> bytes:
    """A file's bytes; UsageError if there is none, WeightsError if it cannot be weights."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise UsageError(f"{path} is a folder, not a file of weights.")
        if size > MAX_BYTES:
            raise WeightsError(f"{path} is refused: {size / 1e9:.1f} GB, over the limit of 2 GiB.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device or a growing file has no true size
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise UsageError(f"There is no file {path}.") from exc
    except OSError as exc:
        raise WeightsError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{path} is refused: over the limit of 2 GiB.")
    if not data:
        raise WeightsError(f"{path} is empty.")
    return data
