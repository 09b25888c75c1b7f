"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from srcli import catalog
from srcli.cli import complete
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.engine.settings import Backend, Precision, Settings

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Network by name (bcrn), or photo, drawing, text, fast, best; see `srcli models`.",
        autocompletion=complete.models,
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="P", help="auto, fp32, bf16, fp16 or int8.")
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="N",
        help="Largest tile in LR pixels, auto, or 0 for the whole picture. The result is the same.",
    ),
]
DenoiseOption = Annotated[
    str | None,
    typer.Option(
        "--denoise",
        metavar="STRENGTH",
        help="How much noise to take away, for models that leave the choice: 0 to 1, or a level.",
    ),
]
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
BACKENDS = ("auto", "torch", "openvino")
BackendOption = Annotated[
    str, typer.Option("--backend", metavar="B", help="auto, torch or openvino (an extra).")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=1024, metavar="N", help="Of the CPU. Default: all cores."),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Most memory to use (2G, 800M). Default: half of what is available.",
    ),
]


@dataclass(frozen=True)
class EngineOptions:
    """How to compute, as typed; checked before anything heavy is imported."""

    device: str
    precision: str
    tile: int | None
    memory_bytes: int | None
    spill_folder: Path | None
    backend: str = "auto"
    threads: int | None = None

    @classmethod
    def of(
        cls,
        device: str,
        precision: str,
        tile: str,
        memory: str | None,
        backend: str = "auto",
        threads: int | None = None,
    ) -> EngineOptions:
        """The options' values; SRCLI_TMP_DIR from the environment."""
        parse_choice("--precision", precision, PRECISIONS)
        parse_choice("--backend", backend, BACKENDS)
        folder = os.environ.get("SRCLI_TMP_DIR", "").strip()
        if folder and not Path(folder).is_dir():
            raise UsageError(f"SRCLI_TMP_DIR names {folder}, which is not a folder")
        return cls(
            device,
            precision,
            parse_tile(tile),
            parse_size(memory) if memory else None,
            Path(folder) if folder else None,
            backend,
            threads,
        )

    def settings(self) -> Settings:
        """The engine's settings."""
        from srcli.engine.settings import Settings

        return Settings(
            device=self.device,
            precision=cast("Precision", self.precision),
            tile=self.tile,
            memory_bytes=self.memory_bytes,
            spill_folder=self.spill_folder,
            backend=cast("Backend", self.backend),
            threads=self.threads,
        )


def parse_size(text: str) -> int:
    """Bytes of ``2G``, ``1.5GiB``, ``800M`` or ``1000000``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match or float(match[1]) == 0:
        raise UsageError(f"{text} is not a size", "for example 2G or 800M")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_tile(text: str) -> int | None:
    """None of ``auto``, 0, or at least 16."""
    if text == "auto":
        return None
    if not text.isdecimal() or 0 < int(text) < 16:
        raise UsageError(f"--tile {text} is not auto, 0, or a number of at least 16")
    return int(text)


def parse_choice(option: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise UsageError(f"{option} {text} is not one of {', '.join(choices)}")
    return text


def parse_scale(text: str) -> float:
    """``4``, ``4x``, ``x4`` and ``2.5`` as a factor."""
    bare = _bare(text)
    try:
        return float(bare)
    except ValueError:
        raise UsageError(f"--scale {text} is not a number", "for example -x 4 or -x 2.5") from None


def parse_whole_scale(text: str) -> int:
    """``4``, ``4x`` and ``x4`` as a factor that a network can be made for."""
    bare = _bare(text)
    if not (bare.isascii() and bare.isdecimal() and 1 <= int(bare) <= catalog.MAX_SCALE):
        raise UsageError(f"-x {text} is not a whole scale", "networks have 2, 3, 4")
    return int(bare)


def _bare(text: str) -> str:
    """Without the x that people write before or after a factor."""
    text = text.strip().lower().replace("\N{MULTIPLICATION SIGN}", "x")
    return text[1:] if text.startswith("x") else text.removesuffix("x")


def split(values: list[str] | None) -> list[str]:
    """``-m a,b -m c`` as well as ``-m a -m b -m c``."""
    return [v.strip() for value in values or [] for v in value.split(",") if v.strip()]


def whole_scales(command: str, values: list[str] | None) -> list[int]:
    """Native scales as typed, each once."""
    scales = []
    for text in split(values):
        bare = _bare(text)
        if not (bare.isascii() and bare.isdecimal() and 1 <= int(bare) <= catalog.MAX_SCALE):
            raise UsageError(f"-x {text}: {command} wants a whole scale", "networks have 2, 3, 4")
        scales.append(int(bare))
    return list(dict.fromkeys(scales))
