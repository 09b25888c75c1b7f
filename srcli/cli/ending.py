"""How a command ends: what went wrong, in words and for scripts, and the exit code."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from srcli.cli.streams import OutputError, one_line, print_json
from srcli.errors import SrcliError, UsageError

# what typer raises about options and arguments; its older versions take it from click
_Misuse: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")

# what they say of numbers, and how we do
_NUMBERS = (
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Input should be a valid integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
)


class InterruptionError(SrcliError):
    """Ctrl-C; the hint says how to go on from there, if one can."""

    exit_code = 130

    def __init__(self, message: str = "interrupted", hint: str | None = None) -> None:
        super().__init__(message, hint)


def end(command: Callable[[], Any], arguments: Sequence[str]) -> NoReturn:
    """Run a command and exit.

    With --json among the arguments, what ends the whole command is an object on stdout too:
    ``{"event": "error", "error", "hint"}``, and ``interrupted`` after Ctrl-C.
    """
    try:
        code = _outcome(command, arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output has gone; say nothing more to it
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OutputError as problem:
        _say(problem)
        code = problem.exit_code
    sys.exit(code)


def _outcome(command: Callable[[], Any], arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    try:
        try:
            returned = command()
        except (KeyboardInterrupt, typer.Abort) as exc:
            raise InterruptionError from exc
        except _Misuse as exc:
            if (text := _of_a_number(exc)) is None:
                raise
            raise UsageError(text) from exc
        if returned == InterruptionError.exit_code:  # what typer makes of Ctrl-C
            raise InterruptionError
    except OutputError:
        raise
    except SrcliError as problem:
        _say(problem)
        if as_json:
            event = "interrupted" if isinstance(problem, InterruptionError) else "error"
            print_json({"event": event, "error": problem.message, "hint": problem.hint})
        return problem.exit_code
    except _Misuse as problem:
        problem.show()  # type: ignore[attr-defined]  # also what a command takes, and its help
        hint = _dashed(arguments)
        if hint:
            print(f"hint: {hint}", file=sys.stderr)
        if as_json:
            message = problem.format_message()  # type: ignore[attr-defined]
            print_json({"event": "error", "error": message, "hint": hint})
        return UsageError.exit_code
    return returned if isinstance(returned, int) else 0


def _say(problem: SrcliError) -> None:
    hint = f"\nhint: {one_line(problem.hint)}" if problem.hint else ""
    print(f"srcli: {one_line(problem.message)}{hint}", file=sys.stderr)


def _of_a_number(problem: Exception) -> str | None:
    """What is wrong with the number that an option was given; None if it is something else."""
    text = problem.format_message()  # type: ignore[attr-defined]
    found = re.fullmatch(r"Invalid value for '([^']*)': (.*)", text, re.DOTALL)
    if found is None:
        return None
    for pattern, words in _NUMBERS:
        if (said := re.fullmatch(pattern, found[2], re.DOTALL)) is not None:
            return f"{found[1]} {said.expand(words)}"
    return None


def _dashed(arguments: Sequence[str]) -> str | None:
    """A word about the first file whose name begins with a dash and was taken for an option."""
    for name in arguments:
        if name == "--":
            break
        if name.startswith("-") and Path(name).is_file():
            return f"to name that file, write {shlex.quote(f'./{name}')}"
    return None
