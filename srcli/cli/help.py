"""The help of commands: options under headings, examples last, in plain text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from srcli.options import GROUPS

# how typer writes the bounds of a number
_BOUNDS = ((r"(\d+)<=x<=(\d+)", r"\1 to \2"), (r"x>=(\d+)", r"at least \1"), (r"\]  \[", "; "))


class _Headed:
    """Options stand under the headings that ``rich_help_panel`` gives them."""

    epilog: str | None
    get_params: Callable[..., Any]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                heading = "Arguments"
                record = param.metavar or record[0], getattr(param, "help", None) or ""
            else:
                heading = getattr(param, "rich_help_panel", None) or GROUPS[-1]
            headings.setdefault(heading, []).append((record[0], _plain(record[1])))
        # a command's own headings first, in the order of its options
        for heading in sorted(headings, key=lambda h: GROUPS.index(h) if h in GROUPS else -1):
            with formatter.section(heading):
                formatter.write_dl(headings[heading])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write(textwrap.indent(self.epilog.strip("\n"), "  ") + "\n")


class Command(_Headed, TyperCommand):
    """A command."""


class Group(_Headed, TyperGroup):
    """A command that has commands of its own, which stand below its options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.help or "") for name, command in commands if command]
            )


def _plain(text: str) -> str:
    for pattern, words in _BOUNDS:
        text = re.sub(pattern, words, text)
    return text
