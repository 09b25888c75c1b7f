"""The command reference, from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from srcli.cli import application


def commands() -> str:
    """Every command, its arguments and its options."""
    return "\n".join(_commands(get_command(application()), "srcli"))


def _commands(command: Any, name: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if name.count(" ") or not below:
        yield from _command(command, name)
    for word, each in below.items():
        if not each.hidden:
            yield from _commands(each, f"{name} {word}")


def _command(command: Any, name: str) -> Iterator[str]:
    yield f"{'#' * (1 + name.count(' '))} `{name}`\n"
    if command.help:
        yield _text(command.help) + "\n"
    if command.epilog:  # examples
        yield f"```text\n{_text(command.epilog)}\n```\n"
    groups: dict[str, list[Any]] = {}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False) and "--help" not in parameter.opts:
            title = getattr(parameter, "rich_help_panel", None) or "Options"
            kind = "Arguments" if parameter.param_type_name == "argument" else title
            groups.setdefault(kind, []).append(parameter)
    context = command.make_context(name, [], resilient_parsing=True)
    for title, parameters in groups.items():
        yield f"| {title} | |\n|---|---|"
        for parameter in parameters:
            names, text = parameter.get_help_record(context)
            if title == "Arguments":
                names = names.partition(" <")[0]  # after which Typer names the type
            yield f"| `{names.strip()}` | {_cell(text)} |"
        yield ""


def _text(text: str) -> str:
    """A docstring without what keeps Click from filling its lines."""
    return inspect.cleandoc(text).replace("\b\n", "")


def _cell(text: str) -> str:
    """A text as a table takes it."""
    text = text.replace("<", "&lt;")
    for special in "|*_[":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
