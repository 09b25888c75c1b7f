"""Which network a file of weights is for, by the names and shapes of its tensors."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from srcli.catalog import Architecture, Catalogue, Model
from srcli.catalog.load import MAX_NATIVE_SCALE

if TYPE_CHECKING:
    from torch import Tensor, nn

SCALES = (4, 2, 3, 8, 1, 16)
PLAIN = (0.4, 1.6)  # how many numbers a file may hold, of the catalogue's count
EXPANDED = (0.4, 40.0)  # the expanded form has many more
CLOSE = 0.05  # a file of a catalogue's network has its count, give or take buffers
MOST_VALUE = 4096  # of a constructor's argument: no lightweight network has more of anything


@dataclass(frozen=True)
class Candidate:
    """A network that a file may be for: the entry, native scale, constructor's arguments.

    ``close``: the file holds as many numbers as the catalogue says, or nearly. ``plain``: of an
    expanded architecture, it may hold the plain form, by how many they are.
    """

    model: Model
    scale: int
    config: Mapping[str, Any]
    close: bool = False
    plain: bool = True


def candidates(
    state: Mapping[str, Tensor], scale: float | None, catalogue: Catalogue
) -> Iterator[Candidate]:
    """The catalogue's networks that the tensors may fit, the likeliest first, each once.

    Networks that can tell their arguments from the tensors' shapes come first, then those whose
    number of parameters is nearest.
    """
    seen = set()
    told_by_shapes = list(_told(state, catalogue))
    settled = {candidate.model.arch.network for candidate in told_by_shapes}
    near = (c for c in _near(state, scale, catalogue) if c.model.arch.network not in settled)
    for candidate in chain(told_by_shapes, near):
        model = candidate.model
        run_as = (model.arch.network, model.preprocessing, model.border)
        key = (run_as, candidate.scale, tuple(sorted(candidate.config.items())))
        if key not in seen:
            seen.add(key)
            yield candidate


def infer_config(
    arch: Architecture, state: Mapping[str, Tensor]
) -> tuple[int, dict[str, Any]] | None:
    """Scale and arguments as the network's class reads them off the shapes; None if it cannot."""
    if arch.network is None:
        return None
    module, _, name = arch.network.partition(":")
    read = getattr(getattr(importlib.import_module(module), name), "config_of", None)
    if read is None:
        return None
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    with contextlib.suppress(KeyError, IndexError, ValueError, ZeroDivisionError):
        config = dict(read(shapes))
        scale = int(config.pop("scale"))
        modest = all(not isinstance(v, int) or 0 <= v <= MOST_VALUE for v in config.values())
        if 1 <= scale <= MAX_NATIVE_SCALE and modest:
            return scale, config
    return None


def same_network(a: Model, b: Model) -> bool:
    """True if it makes no difference, but for the scale, which of the two a file is run as."""
    return all(
        (a.arch.network, a.preprocessing, a.border, v.config)
        == (b.arch.network, b.preprocessing, b.border, w.config)
        for v in a.variants
        for w in b.variants
    )


def has_names_of(network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """True if most tensors are named after the network's outermost parts, as they are in its
    expanded and in its plain form."""
    parts = {name.partition(".")[0] for name in network.state_dict()}
    ours = sum(name.partition(".")[0] in parts for name in state)
    return 2 * ours > len(state)


def _told(state: Mapping[str, Tensor], catalogue: Catalogue) -> Iterator[Candidate]:
    by_network: dict[str, list[Model]] = {}
    for model in catalogue.models.values():
        if model.arch.network is not None and not model.is_own:
            by_network.setdefault(model.arch.network, []).append(model)
    for models in by_network.values():
        found = infer_config(models[0].arch, state)
        if found is not None:
            scale, config = found
            yield Candidate(min(models, key=lambda m: _unlike(m, scale, config)), scale, config)


def _unlike(model: Model, scale: int, config: Mapping[str, Any]) -> int:
    """How little an entry is what was found: another scale counts most, then each argument."""
    if scale not in model.scales:
        return 1000
    known = model.variant(scale).config
    return sum(known.get(key) != value for key, value in config.items())


def _near(
    state: Mapping[str, Tensor], scale: float | None, catalogue: Catalogue
) -> Iterator[Candidate]:
    numbers = sum(t.numel() for t in state.values() if t.is_floating_point())
    asked = [int(scale)] if scale is not None and float(scale).is_integer() else []
    found: list[tuple[float, Candidate]] = []
    for model in catalogue.models.values():
        if model.is_resampler or model.is_own:
            continue
        least, most = EXPANDED if model.arch.expanded else PLAIN
        known = {v.scale: v for v in model.variants}
        for native in dict.fromkeys((*asked, *known, *SCALES)):
            like = known.get(native) or model.variants[0]
            ratio = numbers / max(1, like.parameters)
            if least <= ratio <= most and 1 <= native <= MAX_NATIVE_SCALE:
                off = abs(math.log(ratio)) + (0 if native in known else 1)
                # scales that the tensors cannot tell apart: the asked one, then 4
                off += -CLOSE if native in asked else 1e-3 * (native != 4)
                close = native in known and abs(math.log(ratio)) < CLOSE
                plain = PLAIN[0] <= ratio <= PLAIN[1]
                found.append((off, Candidate(model, native, like.config, close, plain)))
    found.sort(key=lambda pair: pair[0])
    yield from (candidate for _, candidate in found)
