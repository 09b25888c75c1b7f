"""The command line. Importing it must stay cheap: no torch, no numpy, no Pillow."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from srcli import __version__
from srcli.cli import bench, compare, export, models, train, upscale
from srcli.cli import eval as evaluate
from srcli.cli.console import error
from srcli.errors import SrcliError

app = typer.Typer(
    name="srcli",
    help="Upscale pictures and films with lightweight super-resolution networks, offline.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("upscale")(upscale.upscale)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.add_typer(models.app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"srcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except SrcliError as problem:
        error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        print("srcli: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # whoever read our output has gone; say nothing more to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _terminate(signum: int, frame: FrameType | Any) -> None:
    """SIGTERM ends like Ctrl-C: what is half-written is removed."""
    raise SystemExit(128 + signum)
