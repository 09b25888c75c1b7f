"""The command line. Importing it must stay cheap: no torch, no numpy, no Pillow."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from srcli import __version__
from srcli.cli import own
from srcli.cli.console import error
from srcli.errors import SrcliError

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
        help="Upscale pictures and films with lightweight super-resolution networks, offline.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_root,
    )
    first = arguments[0] if arguments else ""
    for name in [first] if first in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        found = getattr(importlib.import_module(f"srcli.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(_interruptible(found))
    return app


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        application(sys.argv[1:])()
    except SrcliError as problem:
        error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:
        # whoever read our output has gone; say nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """Typer would end at Ctrl-C without a word."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            _interrupted()

    return run


def _interrupted() -> NoReturn:
    print("srcli: interrupted", file=sys.stderr)
    sys.exit(130)


def _terminate(signum: int, frame: FrameType | Any) -> None:
    """SIGTERM ends like Ctrl-C: what is half-written is removed."""
    raise SystemExit(128 + signum)
