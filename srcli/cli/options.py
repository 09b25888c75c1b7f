"""Options of commands: what rooms declare (`srcli.options`), and what only commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from srcli import catalog
from srcli.cli import complete
from srcli.errors import UsageError
from srcli.options import CLUSTER, FILES, MESSAGES, MODEL, Declared, declared

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        rich_help_panel=MODEL,
        help="The network: a name from `srcli models`, or what it is for: photo, damaged, "
        "drawing, text, fast, best. Default: bcrn.",
        autocompletion=complete.models,
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        rich_help_panel=MODEL,
        help="A network from `srcli models`; several with commas. Default: bcrn.",
        autocompletion=complete.models,
    ),
]
ScalesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scale",
        "-x",
        metavar="X",
        rich_help_panel=MODEL,
        help="A factor that the network was trained for (2, 3, 4; 1 repairs); several with commas. "
        "Default: 4.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        metavar="N",
        rich_help_panel=CLUSTER,
        help="How many workers the cluster gets. Default: as many as it has room for.",
    ),
]
JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=MESSAGES, help="Print a line of JSON for each event on stdout."
    ),
]
JsonObjectFlag = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=MESSAGES, help="Print the result as one JSON object on stdout."
    ),
]


def scale_option(
    help: str, parser: Callable[[str], float] | None = None, group: str = MODEL
) -> Any:
    """``-x``: a factor that networks are trained for, unless another parser takes more."""
    return typer.Option(
        "--scale",
        "-x",
        metavar="X",
        parser=parser or parse_whole_scale,
        rich_help_panel=group,
        help=help,
    )


def overwrite_flag(help: str) -> Any:
    """``--overwrite``: what is replaced."""
    return typer.Option("--overwrite", rich_help_panel=FILES, help=help)


def quiet_flag(help: str) -> Any:
    """``-q``: what is printed all the same."""
    return typer.Option("--quiet", "-q", rich_help_panel=MESSAGES, help=help)


QuietFlag = Annotated[bool, quiet_flag("Print nothing but errors.")]


@dataclass(frozen=True)
class Only:
    """Beside a dataclass of options: these of them; the others keep their defaults."""

    names: tuple[str, ...]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options (`srcli.options`) as parameters.

    ``def upscale(..., *, settings: Settings)`` becomes a command with ``--device``, ``--tile`` and
    all else that Settings declares; it is called with a Settings of what was typed.
    ``settings: Annotated[Settings, Only(("device",))]`` gives it ``--device`` alone.
    """
    parameters: list[inspect.Parameter] = []
    rooms: dict[str, tuple[type, dict[str, Declared]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind, *beside = _parts(parameter.annotation)
        if isinstance(kind, type) and is_dataclass(kind):
            options = declared(kind)
            for only in beside:
                options = {name: options[name] for name in only.names}
            rooms[parameter.name] = kind, options
            parameters += [_parameter(option) for option in options.values()]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**typed: Any) -> None:
        for name, (room, options) in rooms.items():
            values = {option: typed.pop(option) for option in options}
            # what was not typed keeps the default that the dataclass gives it
            typed[name] = room(**{k: value for k, value in values.items() if value is not None})
        command(**typed)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {}  # typer reads the signature
    return run


def _parameter(declared: Declared) -> inspect.Parameter:
    """How typer is told of an option; its value is None if it was not typed."""
    option, (kind, *_) = declared.option, declared.kinds
    parse = option.parse
    if parse is None and get_origin(kind) is Literal:
        parse = _choice(declared.flags[0], get_args(kind))
    text = option.help
    if declared.default not in (None, False, ()):  # of which the help speaks
        text += f"  [default: {declared.default}]"
    info = typer.Option(
        *declared.flags,
        metavar=option.metavar,
        parser=parse,
        min=option.least,
        max=option.most,
        help=text,
        rich_help_panel=option.group,
    )
    typed = str if parse is not None else kind
    return inspect.Parameter(
        declared.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[typed | None, info],
    )


def _choice(flag: str, choices: tuple[Any, ...]) -> Callable[[str], Any]:
    values = {str(choice): choice for choice in choices}

    def parse(text: str) -> Any:
        return values[parse_choice(flag, text, tuple(values))]

    return parse


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)


def parse_choice(option: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise UsageError(f"{option} {text} is not one of {', '.join(choices)}")
    return text


def parse_scale(text: str) -> float:
    """``4``, ``4x``, ``x4`` and ``2.5`` as a factor."""
    bare = _bare(text)
    try:
        return float(bare)
    except ValueError:
        raise UsageError(f"--scale {text} is not a number", "for example -x 4 or -x 2.5") from None


def parse_whole_scale(text: str) -> int:
    """``4``, ``4x`` and ``x4`` as a factor that a network can be made for."""
    bare = _bare(text)
    if not (bare.isascii() and bare.isdecimal() and 1 <= int(bare) <= catalog.MAX_SCALE):
        raise UsageError(f"-x {text} is not a whole scale", "networks have 2, 3, 4")
    return int(bare)


def _bare(text: str) -> str:
    """Without the x that people write before or after a factor."""
    text = text.strip().lower().replace("\N{MULTIPLICATION SIGN}", "x")
    return text[1:] if text.startswith("x") else text.removesuffix("x")


def split(values: list[str] | None) -> list[str]:
    """``-m a,b -m c`` as well as ``-m a -m b -m c``."""
    return [v.strip() for value in values or [] for v in value.split(",") if v.strip()]


def whole_scales(command: str, values: list[str] | None) -> list[int]:
    """Native scales as typed, each once."""
    scales = []
    for text in split(values):
        bare = _bare(text)
        if not (bare.isascii() and bare.isdecimal() and 1 <= int(bare) <= catalog.MAX_SCALE):
            raise UsageError(f"-x {text}: {command} wants a whole scale", "networks have 2, 3, 4")
        scales.append(int(bare))
    return list(dict.fromkeys(scales))
