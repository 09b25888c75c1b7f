"""The options of the Python API: keywords, checked and documented from where they are declared.

A function names the keywords that it takes with a TypedDict, for type checkers, and `takes` gives
it the rest, from the `Option` of the same name in the rooms' dataclasses (`srcli.options`): the
check of each value, the signature that `help` shows, and the lines of its docstring.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from srcli.api.words import translated
from srcli.engine.settings import Settings, SettingsKeywords
from srcli.errors import UsageError
from srcli.jobs.job import AlphaMode, JobOptions, ReadKeywords, SizeKeywords, WriteKeywords
from srcli.options import MESSAGES, Declared, Option, declared
from srcli.weights.choose import Choice, ChoiceKeywords

P = ParamSpec("P")
R = TypeVar("R")
Progress = Callable[[float], None]


@dataclass(frozen=True)
class How:
    """How one picture is enlarged; ``size`` (height, width) if that was asked for."""

    alpha: AlphaMode = JobOptions.alpha
    max_pixels: int = JobOptions.max_pixels
    on_progress: Annotated[
        Progress | None, Option("Called with the share that is done, from 0 to 1.", MESSAGES)
    ] = None
    size: tuple[int, int] | None = None


class LoadKeywords(ChoiceKeywords, SettingsKeywords, total=False):
    """The options of ``load_model``."""


class PictureKeywords(ReadKeywords, total=False):
    """The options of a loaded model's call."""

    on_progress: Progress | None


class FileKeywords(PictureKeywords, WriteKeywords, total=False):
    """The options of ``LoadedModel.to_file``."""


class UpscaleKeywords(SizeKeywords, LoadKeywords, FileKeywords, total=False):
    """The options of ``upscale``."""


OPTIONS: dict[str, Declared] = {
    name: option
    for room in (Choice, Settings, JobOptions, How)
    for name, option in declared(room).items()
}


def takes(keywords: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function with ``**options`` take the options that a TypedDict names, and no others.

    In its docstring a line that begins with ``**options`` is replaced by a line on each.
    """
    types = get_type_hints(keywords)
    known = {name: OPTIONS[name] for name in types}

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        named = dict(inspect.signature(function).parameters)
        (rest,) = (name for name, p in named.items() if p.kind is p.VAR_KEYWORD)
        del named[rest]

        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            for name, value in options.items():
                if name in known:
                    option = known[name]
                    check(name, value, option.kinds, option.optional, option.option)
                elif name not in named:
                    raise TypeError(
                        f"{function.__name__}() got an unexpected keyword argument {name!r}"
                    )
            return function(*arguments, **options)

        call.__doc__ = _documented(function.__doc__ or "", known)
        written_out = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=types[name],
            )
            for name, option in known.items()
        ]
        signature = inspect.signature(function)
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*named.values(), *written_out]
        )
        return call

    return decorated


def check(
    name: str,
    value: object,
    kinds: tuple[Any, ...],
    optional: bool = True,
    option: Option | None = None,
) -> None:
    """UsageError if the value is not of one of these kinds, nor None where that is allowed."""
    if (value is None and optional) or any(_fits(value, kind, option) for kind in kinds):
        return
    literals = [c for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
    wanted = [_words(kind, option) for kind in kinds if get_origin(kind) is not Literal]
    if optional and not wanted:
        literals.insert(0, None)
    *others, last = [*wanted, *map(repr, literals)]
    choices = f"{', '.join(others)} or {last}" if others else last
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    raise UsageError(f"{name} is {shown}, and must be {choices}")


def _fits(value: object, kind: Any, option: Option | None) -> bool:
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return isinstance(value, numbers.Integral) and _within(int(value), option)
    if kind is float:
        return isinstance(value, numbers.Real)
    if kind is Path:
        return isinstance(value, str | os.PathLike) and bool(os.fspath(value))
    if kind is str:
        return isinstance(value, str)
    return callable(value)


def _within(value: int, option: Option | None) -> bool:
    least, most = (option.least, option.most) if option is not None else (None, None)
    return (least is None or value >= least) and (most is None or value <= most)


def _words(kind: Any, option: Option | None) -> str:
    if kind is int and option is not None and option.least is not None:
        if option.most is not None:
            return f"a whole number from {option.least} to {option.most}"
        return "a positive whole number" if option.least == 1 else f"at least {option.least}"
    words = {bool: "True or False", int: "a whole number", float: "a number", Path: "a path"}
    return words.get(kind, "a string" if kind is str else "a function of one number")


def _documented(doc: str, known: dict[str, Declared]) -> str:
    """The docstring with a line on each option in place of the one on all of them."""
    lines = []
    for line in doc.splitlines():
        if not line.lstrip().startswith("**options"):
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for name, option in known.items():
            text = f"{name}: {option.option.in_python or translated(option.option.help)}"
            lines += textwrap.wrap(
                text, 100, initial_indent=indent, subsequent_indent=f"{indent}    "
            )
    return "\n".join(lines)
