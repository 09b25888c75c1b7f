"""How to compute, as engines are told. Imports neither torch nor numpy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from srcli.errors import UsageError
from srcli.options import ENGINE, PICTURE, Option
from srcli.sizes import parse_size

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Backend = Literal["auto", "torch", "openvino"]
Ensemble = Literal[1, 8]
Border = Literal["network", "reflect"]

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps|openvino:[A-Z]+(\.\d+)?")
_OF_OPENVINO = "openvino:"
LEAST_TILE = 16
LEAST_MEMORY_BYTES = 512 * 2**20  # PyTorch, a network and the smallest tiles: 507 MB measured
MARGIN = 16  # LR pixels of mirror image; docs/fidelity.md


def parse_tile(text: str) -> int | None:
    """None of ``auto``, 0, or at least 16."""
    if text == "auto":
        return None
    if not text.isdecimal() or 0 < int(text) < LEAST_TILE:
        raise UsageError(f"--tile {text} is not auto, 0, or a number of at least {LEAST_TILE}")
    return int(text)


@dataclass(frozen=True)
class Settings:
    """How to compute.

    Attributes:
        spill_folder: where feature maps go that do not fit in memory; None: the system's temporary
            folder.
        others: see their help.

    Raises:
        UsageError: a value makes no sense, whatever the machine.
    """

    device: Annotated[
        str,
        Option(
            "Where to compute: cpu, cuda (an NVIDIA card), cuda:1 (the second one), mps (a Mac's "
            "GPU), openvino:GPU or openvino:NPU (Intel's), or auto: an NVIDIA card's or a Mac's "
            "GPU if there is one.",
            ENGINE,
            metavar="DEVICE",
        ),
    ] = "auto"
    precision: Annotated[
        Precision,
        Option(
            "Precision of the arithmetic: fp32 is the most exact, bf16 and fp16 are faster on "
            "GPUs, int8 is for models trained for it; auto chooses.",
            ENGINE,
            metavar="P",
        ),
    ] = "auto"
    backend: Annotated[
        Backend,
        Option(
            "The library that computes: torch (PyTorch), openvino, or auto: the fastest one that "
            "gives the same result.",
            ENGINE,
            metavar="B",
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        Option(
            "How many processor cores to use. Default: all of them.",
            ENGINE,
            metavar="N",
            least=1,
            most=1024,
        ),
    ] = None
    tile: Annotated[
        int | None,
        Option(
            "Work through the picture in tiles of at most N x N of its pixels (16 or more): auto "
            "chooses, 0 takes the whole picture at once. The result is the same.",
            ENGINE,
            metavar="N",
            parse=parse_tile,
            in_python="Work through the picture in tiles of at most this many of its pixels a "
            "side; 0: the whole picture at once; None: chosen. The result is the same.",
        ),
    ] = None
    memory_bytes: Annotated[
        int | None,
        Option(
            "The most memory to use, for example 2G or 800M. Default: half of what is free.",
            ENGINE,
            flags=("--memory",),
            metavar="SIZE",
            parse=parse_size,
            in_python="The most memory to use, in bytes; None: half of what is free.",
        ),
    ] = None
    spill_folder: Path | None = None
    ensemble: Annotated[
        Ensemble,
        Option(
            "8: enlarge all eight flips and turns of the picture and average them (arXiv "
            "1511.02228): a little better, and eight times as slow.",
            PICTURE,
            metavar="N",
        ),
    ] = 1
    border: Annotated[
        Border | None,
        Option(
            "What the network sees beyond the picture's edge: its own padding (network) or the "
            "picture mirrored (reflect). Default: as the model's entry says.",
            PICTURE,
            metavar="HOW",
        ),
    ] = None
    color_fix: Annotated[
        bool,
        Option(
            "Bring the colours back to the picture's where a network shifts them.",
            PICTURE,
            flags=("--color-fix/--no-color-fix",),
        ),
    ] = False

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.tile is not None and (self.tile < 0 or 0 < self.tile < LEAST_TILE):
            raise UsageError(
                f"tile {self.tile} is not None, 0, or a number of at least {LEAST_TILE}"
            )
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise UsageError(f"memory_bytes {self.memory_bytes} is not a positive number")


class SettingsKeywords(TypedDict, total=False):
    """The fields of Settings that the Python API takes as keywords, for type checkers."""

    device: str
    precision: Precision
    backend: Backend
    tile: int | None
    memory_bytes: int | None
    ensemble: Ensemble
    border: Border | None
    color_fix: bool


def check_device(name: str) -> None:
    """UsageError for what is no device's name; whether it is here, opening it tells."""
    if not _DEVICE.fullmatch(name):
        raise UsageError(
            f"{name} is not a device",
            "auto, cpu, cuda, cuda:N, mps, openvino:GPU or openvino:NPU",
        )


def openvino_device(name: str) -> str | None:
    """The device's name in OpenVINO (``CPU``, ``GPU.1``, ``NPU``); None for PyTorch's own."""
    if name in ("auto", "cpu"):
        return "CPU"
    return name.removeprefix(_OF_OPENVINO) if name.startswith(_OF_OPENVINO) else None


def spill_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder that SRCLI_TMP_DIR names, or None.

    Raises:
        UsageError: it is no folder.
    """
    folder = environment.get("SRCLI_TMP_DIR", "").strip()
    if folder and not Path(folder).is_dir():
        raise UsageError(f"SRCLI_TMP_DIR names {folder}, which is not a folder")
    return Path(folder) if folder else None
