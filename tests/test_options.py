"""An option is declared once: command line, Python API and their words follow from it."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

import srcli
from srcli.api import keywords
from srcli.cli.help import Command
from srcli.cli.options import Only, with_options
from srcli.engine.settings import Settings, SettingsKeywords
from srcli.errors import UsageError
from srcli.film.options import FilmOptions
from srcli.jobs.job import JobOptions, ReadKeywords, SizeKeywords, WriteKeywords
from srcli.options import GROUPS, PICTURE, Option, declared, filled, kinds_of
from srcli.weights.choose import Choice, ChoiceKeywords

ROOMS = (Choice, JobOptions, FilmOptions, Settings)
EVERY = [(room, name) for room in ROOMS for name in declared(room)]
TYPED = [
    (Choice, ChoiceKeywords),
    (Settings, SettingsKeywords),
    (JobOptions, SizeKeywords),
    (JobOptions, ReadKeywords),
    (JobOptions, WriteKeywords),
]


@dataclass(frozen=True)
class Room:
    foo: Annotated[int, Option("How much foo.", PICTURE, metavar="N", least=1, most=9)] = 3
    bar_baz: Annotated[Literal["a", "b"] | None, Option("Which bar.", PICTURE, metavar="B")] = None
    dull: Annotated[bool, Option("Without lustre.", PICTURE)] = False
    inner: int = 0


def call(*arguments, only=None):
    """What a command with these options is called with, and what it prints."""
    seen = []

    @with_options
    def command(name: str, *, room: Room if only is None else Annotated[Room, Only(only)]) -> None:
        seen.append((name, room))

    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(cls=Command)(command)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return seen, result.output


def test_what_is_typed_reaches_the_room():
    assert call("x")[0] == [("x", Room())]
    typed = call("x", "--foo", "4", "--bar-baz", "b", "--dull")[0]
    assert typed == [("x", Room(4, "b", dull=True))]
    with pytest.raises(UsageError, match="--bar-baz c is not one of a, b"):
        call("x", "--bar-baz", "c")
    seen, said = call("x", "--foo", "10")
    assert not seen and "--foo" in said
    assert not call("x", "--inner", "1")[0]


def test_its_help_stands_under_its_heading():
    _, said = call("--help")
    _, picture = said.split("Picture:\n")
    assert "--foo N" in picture and "How much foo.  [default: 3; 1 to 9]" in picture
    assert "--dull" in picture and "--inner" not in said
    _, said = call("--help", only=("dull",))
    assert "--dull" in said and "--foo" not in said


@pytest.mark.parametrize(("room", "name"), EVERY, ids=str)
def test_every_option_can_be_understood(room, name):
    option = declared(room)[name]
    assert option.option.group in GROUPS
    first, last = option.option.help[0], option.option.help[-1]
    assert (first.isupper() or first.isdigit()) and last == "."
    switch = option.kinds == (bool,)
    assert switch == (option.option.metavar is None)


@pytest.mark.parametrize(("room", "typed"), TYPED, ids=lambda part: part.__name__)
def test_keywords_have_the_types_of_their_fields(room, typed):
    fields = get_type_hints(room)
    for name, kind in get_type_hints(typed).items():
        paths = {Path: str} if Path in kinds_of(fields[name]) else {}
        wanted = {paths.get(k, k) for k in kinds_of(fields[name])}
        assert wanted <= set(kinds_of(kind)), name


@pytest.mark.parametrize(
    ("function", "typed"),
    [
        (srcli.upscale, keywords.UpscaleKeywords),
        (srcli.load_model, keywords.LoadKeywords),
        (srcli.LoadedModel.__call__, keywords.PictureKeywords),
        (srcli.LoadedModel.to_file, keywords.FileKeywords),
    ],
    ids=lambda part: part.__name__,
)
def test_keywords_are_written_out(function, typed):
    parameters = inspect.signature(function).parameters
    for name in typed.__annotations__:
        assert parameters[name].default == keywords.OPTIONS[name].default
        assert f"\n    {name}: " in inspect.getdoc(function)
    assert "options" not in parameters


def test_unknown_keywords_are_pythons_own_error():
    with pytest.raises(TypeError, match=r"upscale\(\) got an unexpected keyword argument 'foo'"):
        srcli.upscale("a.png", foo=1)


def test_filling_takes_what_fits():
    assert filled(Room, {"foo": 2, "other": 1}, inner=5) == Room(2, inner=5)
