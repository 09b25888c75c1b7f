"""The command line. Importing it must stay cheap: no torch, no numpy, no Pillow."""

from __future__ import annotations

import functools
import glob
import importlib
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from srcli import __version__, catalog
from srcli.cli import ending, own, streams
from srcli.cli.ending import InterruptionError
from srcli.cli.help import Command
from srcli.errors import UsageError

# module under srcli.cli, and the function or the group of commands in it
COMMANDS = {
    "upscale": ("upscale", "upscale"),
    "train": ("train", "train"),
    "eval": ("eval", "evaluate"),
    "bench": ("bench", "bench"),
    "compare": ("compare", "compare"),
    "export": ("export", "export"),
    "models": ("models", "app"),
    "doctor": ("doctor", "doctor"),
}


class Commands(TyperGroup):
    """The commands; `srcli help NAME` is `srcli NAME --help`, and what is none gets a hint."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        known = self.get_command(ctx, name) is not None
        if not known and not ctx.resilient_parsing and not name.startswith("-"):
            raise _no_command(name, args)
        return super().resolve_command(ctx, args)


def _no_command(name: str, arguments: Sequence[str]) -> UsageError:
    """Most often what is to be enlarged was named without saying that it is."""
    rest = shlex.join(arguments[1:])
    near = catalog.suggestions(name, [(command, command) for command in COMMANDS])
    picture = Path(name).suffix or Path(name).is_file() or glob.has_magic(name)
    if picture or (not near and Path(name).exists()):
        hint = f"to enlarge it: srcli upscale {shlex.join(arguments)}"
    elif near:
        hint = f"did you mean srcli {near[0]} {rest}".rstrip() + "?"
    else:
        hint = f"the commands: {', '.join(COMMANDS)}; srcli help COMMAND explains one"
    return UsageError(f"there is no command {name}", hint)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"srcli {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line, with just the command that the arguments begin with, if they do.

    Every command's options take time to build, and each of them is asked for alone.
    """
    own.extend()
    app = typer.Typer(
        name="srcli",
        cls=Commands,
        help="Upscale pictures and films on this computer with lightweight super-resolution "
        "networks.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_root,
    )
    names = [a for a in arguments[:2] if a != "help"]
    first = names[0] if names else ""
    for name in [first] if first in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        code = importlib.import_module(f"srcli.cli.{module}")
        found = getattr(code, attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            examples = getattr(code, "EXAMPLES", None)
            app.command(name, cls=Command, epilog=examples)(_interruptible(found))
    return app


def main() -> None:
    """Run the command line and exit."""
    streams.prepare()
    signal.signal(signal.SIGTERM, _terminate)
    arguments = sys.argv[1:]
    ending.end(lambda: application(arguments)(standalone_mode=False), arguments)


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """Typer would end at Ctrl-C without a word."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt as exc:
            raise InterruptionError from exc

    return run


def _terminate(signum: int, frame: FrameType | Any) -> None:
    """SIGTERM ends like Ctrl-C: what is half-written is removed."""
    raise SystemExit(128 + signum)
