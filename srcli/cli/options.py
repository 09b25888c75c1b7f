"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from srcli.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="Network by name (bcrn); see `srcli models`."
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object per line on stdout.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="P", help="auto, fp32, bf16 or fp16.")
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        metavar="N",
        help="Largest tile in LR pixels, auto, or 0 for the whole picture. The result is the same.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Most memory to use (2G, 800M). Default: half of what is available.",
    ),
]


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
