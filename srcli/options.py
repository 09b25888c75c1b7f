"""What an option is. Each option of ``srcli upscale`` is declared once, where it is used.

It is a field of a dataclass: `engine.settings.Settings` (how to compute), `jobs.job.JobOptions`
(what becomes of pictures and files), `film.options.FilmOptions` (of films), `weights.choose.Choice`
(which network). An `Option` beside its type says the rest::

    color_fix: Annotated[bool, Option("Bring the colours back ...", PICTURE)] = False

From the field follow

- ``--color-fix``, its help and its check, in each command that takes the dataclass (`cli.options`);
- the keyword ``color_fix`` of the Python API, its check and its line in the docstring
  (`api.keywords`), if the TypedDict below the dataclass names it: for type checkers.

So a new option takes its field, and the code that uses it. Nothing else has to know its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

# headings of the help, in their order
MODEL = "Model"
SIZE = "Size"
FILES = "Files and folders"
OUTPUT = "Output"
PICTURE = "Picture"
FILM = "Films"
ENGINE = "Speed and memory"
CLUSTER = "Many machines"
MESSAGES = "Messages"
GROUPS = (MODEL, SIZE, FILES, OUTPUT, PICTURE, FILM, ENGINE, CLUSTER, MESSAGES)


@dataclass(frozen=True)
class Option:
    """What is to be known of an option besides its name, type and default.

    Attributes:
        help: one or two sentences for somebody who has never seen the option.
        group: the heading that it stands under in the help.
        flags: as typed; (): the field's name, as ``--max-pixels``.
        metavar: stands for the value in the help; None for switches.
        parse: makes the value of what was typed, or raises UsageError; None: the type tells how.
        least, most: bounds of a whole number.
        in_python: the help for Python, where its values differ from what is typed.
    """

    help: str
    group: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    least: int | None = None
    most: int | None = None
    in_python: str | None = None


@dataclass(frozen=True)
class Declared:
    """A field that is an option.

    Attributes:
        kinds: its types, None apart.
        optional: it may be None.
    """

    name: str
    kinds: tuple[Any, ...]
    optional: bool
    default: Any
    option: Option

    @property
    def flags(self) -> tuple[str, ...]:
        return self.option.flags or (f"--{self.name.replace('_', '-')}",)


@cache
def declared(room: type) -> dict[str, Declared]:
    """The options of a dataclass by name; fields without an `Option` are none."""
    hints = get_type_hints(room, include_extras=True)
    found = {}
    for field in fields(room):
        kind, *beside = _without_annotated(hints[field.name])
        for option in beside:
            if isinstance(option, Option):
                kinds = kinds_of(kind)
                found[field.name] = Declared(
                    field.name,
                    tuple(k for k in kinds if k is not type(None)),
                    type(None) in kinds,
                    field.default,
                    option,
                )
    return found


def filled(room: type[T], values: Mapping[str, Any], **more: Any) -> T:
    """A dataclass made of the values that are named like its fields."""
    names = {field.name for field in fields(room)}  # type: ignore[arg-type]
    return room(**{name: value for name, value in values.items() if name in names}, **more)


def kinds_of(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _without_annotated(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Annotated else (kind,)
