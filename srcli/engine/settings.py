"""How to compute, as engines are told. Imports neither torch nor numpy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from srcli.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Backend = Literal["auto", "torch", "openvino"]
Ensemble = Literal[1, 8]
Border = Literal["network", "reflect"]

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
MARGIN = 16  # LR pixels of mirror image; docs/fidelity.md


@dataclass(frozen=True)
class Settings:
    """How to compute.

    Raises:
        UsageError: ``device`` is no device's name.

    Attributes:
        device: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of the products; ``int8`` is OpenVINO's alone, and for weights that were trained
            for it.
        backend: ``torch``, ``openvino`` or ``auto``; see srcli.engine.choice.
        threads: of the CPU; None: as the backend likes.
        tile: largest tile in LR pixels; 0: the whole picture at once; None: chosen.
        memory_bytes: most resident memory; None: half of what is available.
        spill_folder: where maps go that do not fit; None: the system's temporary folder.
        ensemble: 8: the mean over the eight flips and turns of the picture (arXiv 1511.02228).
        border: what a network sees beyond the picture: what it pads with (``network``), or the
            picture's mirror image; None: as the catalogue's entry says.
        color_fix: correct where the result's low frequencies drift from the picture's.
    """

    device: str = "auto"
    precision: Precision = "auto"
    backend: Backend = "auto"
    threads: int | None = None
    tile: int | None = None
    memory_bytes: int | None = None
    spill_folder: Path | None = None
    ensemble: Ensemble = 1
    border: Border | None = None
    color_fix: bool = False

    def __post_init__(self) -> None:
        check_device(self.device)


def check_device(name: str) -> None:
    """UsageError for what is no device's name; whether it is here, opening it tells."""
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"{name} is not a device", "auto, cpu, cuda, cuda:N or mps")
