"""What was measured to be best on this machine: one small file in the cache folder.

`srcli bench --tune` writes it, ``auto`` reads it. It holds for the machine and the versions it was
measured with; with any other it counts as empty.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import srcli
from srcli.errors import SrcliError
from srcli.weights.cache import WeightsOptions, locked, write_atomic

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "openvino")


@dataclass(frozen=True)
class Choice:
    """How to run one model at one scale.

    Attributes:
        tile: LR pixels, 0 the whole picture, None as the backend chooses.
        milliseconds: the median it was chosen for.
        size: (height, width) of the LR picture it was measured on.
    """

    backend: str
    precision: str
    threads: int
    tile: int | None
    milliseconds: float
    size: tuple[int, int]


def machine() -> dict[str, Any]:
    """What a measurement holds for: processor, cores that may be used, versions."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "python": platform.python_version(),
        "srcli": srcli.__version__,
        **{name: version(name) for name in LIBRARIES},
    }


def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def version(package: str) -> str | None:
    """Of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def choices(options: WeightsOptions) -> Mapping[str, Choice]:
    """What was stored for this machine, by ``name``; nothing if the file is stale or damaged."""
    path = _path(options)
    try:
        data = json.loads(path.read_bytes())
        if data["machine"] != machine():
            log.info("%s was measured on another machine or with other versions", path)
            return {}
        return {
            key: Choice(**{**fields, "size": tuple(fields["size"])})
            for key, fields in data["choices"].items()
        }
    except (FileNotFoundError, PermissionError):  # somebody else's cache holds nothing for us
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        log.warning("%s cannot be read (%s); measure again with srcli bench --tune", path, exc)
        return {}


def choice(model: str, scale: int, options: WeightsOptions) -> Choice | None:
    """What was stored for a model of the catalogue at a native scale."""
    return choices(options).get(name(model, scale))


def store(found: Mapping[tuple[str, int], Choice], options: WeightsOptions) -> Path:
    """Add choices by (model, scale) to those stored for this machine; atomic.

    Raises:
        SrcliError: the file cannot be written.
    """
    path = _path(options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, log.info, doing="writing"):
            kept = {key: asdict(value) for key, value in choices(options).items()}
            kept |= {name(*key): asdict(value) for key, value in found.items()}
            data = {"machine": machine(), "choices": kept}
            write_atomic(path, json.dumps(data, indent=1).encode())
    except OSError as exc:
        raise SrcliError(f"{path} cannot be written: {exc.strerror or exc}.") from exc
    return path


def name(model: str, scale: int) -> str:
    """``bcrn.authors-x4``"""
    return f"{model}-x{scale}"


def _path(options: WeightsOptions) -> Path:
    return options.cache_dir / "tuned.json"
