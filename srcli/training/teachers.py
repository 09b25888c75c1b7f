"""Finished networks that a run learns from, by the names that a recipe gives them.

A name is a file of weights or a model of the catalogue; of a model that takes noise away more or
less strongly the strength may follow: ``realesr_general denoise=0.5``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from srcli.engine.pytorch.adapter import RgbAdapter
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.catalog import Model
    from srcli.weights import WeightsOptions

_STRENGTH = re.compile(r"(?P<name>.*\S)\s+denoise=(?P<strength>\S+)")


@dataclass(frozen=True, eq=False)
class Source:
    """A finished network at one scale; ``state`` is of a file that the user names, ``sha256`` of
    the weights (of mixed ones ``Variant.identity``)."""

    model: Model
    sha256: str
    state: dict[str, Tensor] | None = None


def model_name(name: str) -> str:
    """Without the strength of denoising."""
    found = _STRENGTH.fullmatch(name)
    return found["name"] if found else name


def find(name: str, scale: int) -> Source:
    """A file of weights, or a model of the catalogue.

    Raises:
        SrcliError: no such file, model or strength, or it does not enlarge by ``scale``.
    """
    from srcli import catalog, weights

    found = _STRENGTH.fullmatch(name)
    plain = model_name(name)
    if Path(plain).is_file():
        if found:
            raise UsageError(f"{plain}: denoise is for models by name, not for files of weights.")
        model, variant, state = weights.load_file(Path(plain), None, scale)
        if variant.scale == scale:
            return Source(model, hashlib.sha256(Path(plain).read_bytes()).hexdigest(), state)
    else:
        model = catalog.resolve(plain, scale)
        if found:
            model = catalog.denoised(model, catalog.parse_strength(found["strength"]))
        if scale in model.scales:
            identity = model.variant(scale).identity
            if not identity:
                raise UsageError(f"There are no weights of {name} to learn from.")
            return Source(model, identity)
    raise UsageError(f"{name}, which is to be the teacher, does not enlarge by {scale}.")


class Teacher(nn.Module):
    """A finished network, RGB in 0..1 at both ends, its weights frozen.

    Args:
        name: a file of weights, or a model of the catalogue.
        options: where weights of the catalogue lie.

    Raises:
        SrcliError: as `find`, or the weights cannot be had.
    """

    def __init__(self, name: str, scale: int, options: WeightsOptions | None) -> None:
        from srcli import weights

        super().__init__()
        source = find(name, scale)
        model = source.model
        if source.state is not None:
            network = weights.build(model.variant(scale), model.arch, source.state)
        else:
            assert options is not None
            network = weights.load(model, scale, options)
        self.network = network.requires_grad_(False).eval()
        self.adapted = RgbAdapter(self.network, model.preprocessing, scale)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.adapted(lr)
        return sr

    def train(self, mode: bool = True) -> Teacher:
        return self  # always as it is used
