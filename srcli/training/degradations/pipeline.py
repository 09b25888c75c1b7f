"""A described pipeline -> LR pictures.

The description is a table with a list of ``steps``, each a table whose ``kind`` names a class of
``steps.py`` (``blur``, ``resize``, ``to_lr``, ``gaussian``, ``poisson``, ``jpeg``, ``webp``,
``one_of``, ``shuffle``), or ``video``, and whose other keys are its attributes. A choice of
``one_of`` is a list of steps or the name of a pipeline. What is left at the end is brought to the
LR picture's size and rounded to 8 bits. No steps at all: MATLAB's bicubic.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from srcli.errors import UsageError
from srcli.quality.resize import resize
from srcli.training.degradations import steps
from srcli.training.degradations.resizing import MODES, resized
from srcli.training.degradations.steps import SUBSAMPLINGS, Frame, Of, Step, rounded, run
from srcli.training.degradations.video import CODECS, Video

PRESETS = Path(__file__).with_name("presets.toml")
KINDS: dict[str, type[Any]] = {
    "blur": steps.Blur,
    "resize": steps.Resize,
    "to_lr": steps.ToLr,
    "gaussian": steps.Gaussian,
    "poisson": steps.Poisson,
    "jpeg": steps.Jpeg,
    "webp": steps.Webp,
    "video": Video,
    "one_of": steps.OneOf,
    "shuffle": steps.Shuffle,
}
LIMITS = {  # what numbers may be, where they are not simply positive
    "quality": (1, 100),
    "size": (1, 101),
    "factor": (0.01, 8),
    "cutoff": (0.01, 1),
    "scale": (0, 100),
    "sigma": (0, 255),
    "frames": (1, 16),
    "motion": (0, 16),
}
LISTS = {"modes": MODES, "subsampling": tuple(SUBSAMPLINGS), "codecs": tuple(CODECS)}
FORMS = ("gaussian", "generalized", "plateau", "sinc")


@dataclass(frozen=True)
class Pipeline:
    """Makes LR pictures. The same picture, scale and generator give the same one."""

    name: str
    steps: tuple[Step, ...]

    @property
    def plain(self) -> bool:
        """True if it is MATLAB's bicubic alone."""
        return not self.steps

    def __call__(self, hr: NDArray[np.uint8], scale: int, rng: Generator) -> NDArray[np.uint8]:
        """
        Args:
            hr: (h s, w s, 3).
            scale: factor between the two, s.

        Returns:
            (h, w, 3).
        """
        size = hr.shape[0] // scale, hr.shape[1] // scale
        if self.plain:
            return resize(hr, size)
        picture = run(self.steps, hr.astype(np.float32), Frame(size), rng)
        lr: NDArray[np.uint8] = rounded(resized(picture, size, "bicubic"))
        return lr


def generator(seed: int, number: int) -> Generator:
    """What the damage of one crop or picture is drawn from."""
    return np.random.default_rng((seed & 0xFFFFFFFF, number))


def damaged(
    pipeline: Pipeline, pictures: NDArray[np.uint8], scale: int, seed: int, numbers: Sequence[int]
) -> NDArray[np.uint8]:
    """LR pictures (n, h, w, 3) of HR pictures (n, h s, w s, 3); ``numbers``: of the crops."""
    rows = zip(pictures, numbers, strict=True)
    return np.stack([pipeline(hr, scale, generator(seed, number)) for hr, number in rows])


@cache
def _presets() -> dict[str, Any]:
    return tomllib.loads(PRESETS.read_text(encoding="utf-8"))


def names() -> list[str]:
    """The pipelines that have names."""
    return list(_presets())


def read(description: str | Mapping[str, Any]) -> Pipeline:
    """A pipeline by its name, a .toml file, or a table.

    Raises:
        UsageError: no such name or file, or something in it is wrong.
    """
    if isinstance(description, Mapping):
        return _pipeline("table", description)
    if description.endswith(".toml"):
        try:
            table = tomllib.loads(Path(description).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise UsageError(f"The pipeline {description} cannot be read: {exc}.") from exc
        return _pipeline(Path(description).stem, table)
    if description not in _presets():
        raise UsageError(f"There is no degradation {description!r}.", _near(description, names()))
    return _pipeline(description, _presets()[description])


def _pipeline(name: str, table: Mapping[str, Any]) -> Pipeline:
    unknown = sorted(set(table) - {"steps", "about"})
    if unknown:
        raise UsageError(f"degrade: unknown key {unknown[0]!r}.", "It takes steps.")
    return Pipeline(name, _row(table.get("steps", []), "degrade"))


def _row(listed: Any, where: str) -> tuple[Step, ...]:
    if not isinstance(listed, list):
        raise UsageError(f"{where}: steps must be a list of tables, not {listed!r}.")
    return tuple(_step(step, f"{where}, step {k}") for k, step in enumerate(listed, 1))


def _step(table: Any, where: str) -> Step:
    if not isinstance(table, Mapping) or table.get("kind") not in KINDS:
        kind = table.get("kind") if isinstance(table, Mapping) else table
        raise UsageError(f"{where}: there is no kind {kind!r}.", _near(str(kind), KINDS))
    kind = table["kind"]
    known = {f.name: f for f in fields(KINDS[kind])}
    values = {}
    for key, value in table.items():
        if key == "kind":
            continue
        if key not in known:
            raise UsageError(f"{where}: {kind} has no key {key!r}.", _near(key, known))
        values[key] = _value(key, value, f"{where}, {kind}")
    for name, field in known.items():
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and name not in values:
            raise UsageError(f"{where}: {kind} lacks {name}.")
    if kind == "one_of" and len(values.get("weights", values["choices"])) != len(values["choices"]):
        raise UsageError(f"{where}: there are not as many weights as choices.")
    if kind == "shuffle" and any(n >= len(values["steps"]) for n in values.get("in_order", ())):
        raise UsageError(f"{where}: in_order names a step that is not there.")
    step: Step = KINDS[kind](**values)
    return step


def _value(key: str, value: Any, where: str) -> Any:
    """A key's value as the step wants it; UsageError says what is wrong."""
    if key == "steps":
        return _row(value, where)
    if key == "choices" and isinstance(value, list) and value:
        return tuple(
            read(row).steps if isinstance(row, str) else _row(row, f"{where}, choice {k}")
            for k, row in enumerate(value, 1)
        )
    if key in LISTS:
        known = LISTS[key]
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list) and listed and all(v in known for v in listed):
            return tuple(listed)
        raise UsageError(f"{where}: {key} must be of {', '.join(known)}, not {value!r}.")
    if key == "of" and value in get_args(Of):
        return value
    if key == "forms":
        good = isinstance(value, Mapping) and value and set(value) <= set(FORMS)
        if good and all(_number(v) and v >= 0 for v in value.values()) and sum(value.values()) > 0:
            return dict(value)
        raise UsageError(f"{where}: forms must be weights of {', '.join(FORMS)}, not {value!r}.")
    if key in ("weights", "in_order"):
        told: Any = isinstance(value, list) and value and all(_number(v) and v >= 0 for v in value)
        if told and (key == "in_order" or sum(value) > 0):
            return tuple(value)
    elif key in ("probability", "grey", "correlated", "round", "up", "down"):
        if _number(value) and 0 <= value <= 1:
            return float(value)
        raise UsageError(f"{where}: {key} must lie in 0..1, not {value!r}.")
    else:
        low, high = LIMITS.get(key, (0.01, 1000))
        ends = [value, value] if _number(value) else value
        if isinstance(ends, list) and len(ends) == 2 and all(map(_number, ends)):
            if low <= ends[0] <= ends[1] <= high:
                return tuple(ends)
            raise UsageError(f"{where}: {key} must be [least, most] in {low}..{high}, not {value}.")
    raise UsageError(f"{where}: {key} cannot be {value!r}.")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), 3, 0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
