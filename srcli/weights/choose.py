"""Which network is to run: a model of the catalogue by name, or a file of weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from srcli import catalog
from srcli.catalog import Model
from srcli.errors import UsageError
from srcli.options import MODEL, Option
from srcli.weights.user_file import load_file

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "bcrn"


def parse_denoise(text: str) -> float | str:
    """A strength, or ``none``; UsageError for what is neither."""
    strength = catalog.parse_strength(text)
    return "none" if strength == catalog.NO_DENOISING else strength


@dataclass(frozen=True)
class Choice:
    """What can be said of a network besides its name and scale."""

    weights: Annotated[
        Path | None,
        Option(
            "A file with your own weights (.safetensors or .pth); --model then names the network "
            "if the file does not.",
            MODEL,
            metavar="FILE",
            in_python="A file with your own weights (.safetensors or .pth); ``model`` then names "
            "the network if the file does not.",
        ),
    ] = None
    denoise: Annotated[
        float | Literal["none"] | None,
        Option(
            "How much noise to remove, for models that let you choose: 0 to 1, or a noise level; "
            "none leaves it all.",
            MODEL,
            metavar="STRENGTH",
            parse=parse_denoise,
        ),
    ] = None


class ChoiceKeywords(TypedDict, total=False):
    """The same as keywords of the Python API, for type checkers."""

    weights: str | os.PathLike[str] | None
    denoise: float | Literal["none"] | None


def named(name: str | None, scale: float | None, choice: Choice) -> Model | None:
    """The catalogue's entry, as far as no file has to be read for it; None: a file tells.

    Raises:
        UsageError: there is no such model, scale or file, or options contradict each other.
    """
    if choice.weights is None:
        entry = catalog.resolve(DEFAULT_MODEL if name is None else name, scale)
        if choice.denoise is None:
            return entry
        return catalog.denoised(entry, catalog.parse_strength(str(choice.denoise)))
    if not choice.weights.is_file():
        what = "is a folder" if choice.weights.is_dir() else "does not exist"
        raise UsageError(f"{choice.weights} {what}")
    if choice.denoise is not None:
        raise UsageError("--denoise is for models by name, not for a file of weights")
    return None


def choose(
    name: str | None, scale: float | None, choice: Choice
) -> tuple[Model, dict[str, Tensor] | None]:
    """The catalogue's entry; of a file what it holds, too, for which torch is imported.

    Raises:
        UsageError: as ``named``.
        WeightsError: the file cannot be used.
    """
    entry = named(name, scale, choice)
    if entry is not None:
        return entry, None
    assert choice.weights is not None
    own, _, state = load_file(choice.weights, name, scale, foreign=True)
    return own, state
