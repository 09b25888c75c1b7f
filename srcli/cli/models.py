"""``srcli models``: what exists, what is at hand, fetch it, check it, add your own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, get_args

import typer

from srcli import catalog
from srcli.catalog import Family, Model, Purpose
from srcli.cli import complete
from srcli.cli.help import Command, Group
from srcli.cli.models_table import (
    Row,
    counted,
    grouped,
    marked,
    print_purpose,
    print_purposes,
    print_tables,
    record,
    scales_of,
    variant_facts,
    wrapped,
)
from srcli.cli.options import overwrite_flag, parse_scale, quiet_flag, scale_option
from srcli.cli.screen import downloading, say
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.options import MESSAGES, MODEL
from srcli.weights import WeightsOptions, locate, verify
from srcli.weights.user_models import data_dir

LISTED = "Which models are listed, and how"  # a heading of the help
EXAMPLES = """
srcli models                    all that can be used as they are
srcli models --for photo        what is good for photos, with advice on each
srcli models show bcrn          everything about one of them
srcli models download photo     fetch it now, for work without a network
"""
LIST_EXAMPLES = """
srcli models list -x 2 --sort speed    what doubles a picture, the quickest first
srcli models list --all --json         everything there is, for a script
"""
SHOW_EXAMPLES = """
srcli models show bcrn.authors    paper, licence, scales, files and where they are
srcli models show photo           the model that -m photo takes
"""
DOWNLOAD_EXAMPLES = """
srcli models download photo fast    the models for these purposes
srcli models download rlfn -x 2     only what is needed to enlarge by 2
"""
ADD_EXAMPLES = """
srcli models add mine.pth --name rrdbnet.mine            from now on: -m rrdbnet.mine
srcli models add small.pth --name rrdbnet.mine -x 2      the same model for one more factor
"""
REMOVE_EXAMPLES = """
srcli models remove rrdbnet.mine         with all its weights
srcli models remove rrdbnet.mine -x 2    only those for this factor
"""

app = typer.Typer(
    cls=Group,
    epilog=EXAMPLES,
    help="List, fetch and check the models; add your own.",
    no_args_is_help=False,
)


class Sort(StrEnum):
    CATALOGUE = "catalogue"
    NAME = "name"
    PSNR = "psnr"
    PARAMS = "params"
    SPEED = "speed"


JsonFlag = Annotated[
    bool, typer.Option("--json", rich_help_panel=MESSAGES, help="Print JSON on stdout.")
]
FamilyOption = Annotated[
    str | None,
    typer.Option(
        "--family",
        metavar="FAMILY",
        rich_help_panel=LISTED,
        help="Only networks of this family of designs: attention, distillation ...",
        autocompletion=complete.families,
    ),
]
ScaleFilter = Annotated[
    int | None,
    scale_option(
        "Only models trained for this factor; the figures are those of this factor.", group=LISTED
    ),
]
PurposeFilter = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="PURPOSE",
        rich_help_panel=LISTED,
        help="Only models for this purpose, the recommended one first, with advice on each: photo, "
        "damaged, drawing, text, fast or best.",
        autocompletion=complete.purposes,
    ),
]
AllFlag = Annotated[
    bool,
    typer.Option(
        "--all", rich_help_panel=LISTED, help="Also networks that srcli has no weights for."
    ),
]
SortOption = Annotated[
    Sort,
    typer.Option(
        "--sort",
        metavar="ORDER",
        rich_help_panel=LISTED,
        help="Order of the rows: catalogue, name, psnr, params (parameters) or speed (by the "
        "multiplications and additions for each pixel made).",
    ),
]


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    as_json: JsonFlag = False,
    family: FamilyOption = None,
    scale: ScaleFilter = None,
    purpose: PurposeFilter = None,
    everything: AllFlag = False,
    sort: SortOption = Sort.PSNR,
) -> None:
    """List, fetch and check the models; add your own. Without a command: list them."""
    given = (as_json, everything, family, scale, purpose)
    if ctx.invoked_subcommand is None:
        list_models(as_json, family, scale, purpose, everything, sort)
    elif any(given) or sort is not Sort.PSNR:
        name = ctx.invoked_subcommand
        raise UsageError(f"Options of `srcli models {name}` stand after {name}.")


@app.command("list", cls=Command, epilog=LIST_EXAMPLES)
def list_models(
    as_json: JsonFlag = False,
    family: FamilyOption = None,
    scale: ScaleFilter = None,
    purpose: PurposeFilter = None,
    everything: AllFlag = False,
    sort: SortOption = Sort.PSNR,
) -> None:
    """List the models: what they are for, size, licence and PSNR-Y on Set5, by scale."""
    wanted = Wanted(
        family=_family(family),
        scale=scale,
        purpose=catalog.purpose(purpose) if purpose is not None else None,
        everything=everything,
    )
    # what -m with the purpose's name takes
    taken = catalog.resolve(wanted.purpose.name, scale) if wanted.purpose is not None else None
    every = catalog.default_catalogue()
    rows = [Row.of(m, scale, every) for m in every.models.values() if wanted.has(m)]
    explained = wanted.purpose is None and family is None  # what -m takes for each purpose
    if explained:
        rows = marked(rows, scale, every)
    if sort is Sort.NAME:
        rows.sort(key=lambda r: r.name)
    elif sort is Sort.PSNR:
        rows.sort(key=lambda r: -((r.variant and r.variant.psnr_set5) or 0))
        if taken is not None:
            rows.sort(key=lambda r: r.model != taken)
    elif sort is Sort.PARAMS:
        rows.sort(key=lambda r: r.variant.parameters if r.variant else 0)
    elif sort is Sort.SPEED:
        rows = sorted(map(counted, rows), key=lambda r: r.multiply_adds or 0)
    groups = grouped(rows)
    if as_json:
        options = WeightsOptions.from_environment()
        print(json.dumps([record(r, options) for group in groups for r in group], indent=2))
        return
    print_tables(groups, costs=sort is Sort.SPEED, purpose=wanted.purpose, taken=taken)
    if wanted.purpose is not None:
        print()
        print_purpose(wanted.purpose, scale)
    elif explained:
        print_purposes(scale, every)
    if sys.stdout.isatty():
        cost = " MACs/px: multiply-adds per output pixel." if sort is Sort.SPEED else ""
        say(f"PSNR: dB on Set5, luma.{cost} `srcli models show NAME` shows more.")


@app.command("show", cls=Command, epilog=SHOW_EXAMPLES)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A model, an architecture or a purpose.",
            autocompletion=complete.networks,
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Show everything about one model."""
    model = catalog.resolve(name, None)
    options = WeightsOptions.from_environment()
    if as_json:
        print(
            json.dumps(record(Row.of(model, None, catalog.default_catalogue()), options), indent=2)
        )
        return
    arch = model.arch
    short = catalog.short_name(model)
    facts = [
        ("name", model.name if short == model.name else f"{model.name}, or {short} alone"),
        ("architecture", f"{arch.title} ({arch.name}), {arch.family}"),
        ("paper", f"{arch.paper}, {arch.reference}"),
        ("source", _source(model)),
        ("licence", model.terms),
        ("scales", scales_of(model)),
    ]
    if not model.is_resampler:
        facts += [
            ("smallest input", f"{arch.min_size} x {arch.min_size} pixels"),
            (
                "tiling",
                {
                    "exact": "equals the whole picture",
                    "whole": "inexact, only if memory asks for it",
                }[arch.tiling],
            ),
        ]
    if model.purposes:
        titles = [p.title for p in catalog.purposes() if p.name in model.purposes]
        facts.append(("for", ", ".join(titles)))
    if model.advice:
        facts.append(("advice", model.advice))
    if model.note:
        facts.append(("note", model.note))
    others = [m.name for m in catalog.models() if m.arch == arch and m.name != model.name]
    if others:
        facts.append(("other weights", ", ".join(others)))
    width = max(len(key) for key, _ in facts) + 2
    for key, text in facts:
        head = f"{key:<{width}}"
        print(wrapped(text, " " * width, head) if key in ("advice", "note") else head + text)
    for variant in model.variants:
        print()
        print(f"x{variant.scale}")
        for key, text in variant_facts(variant, arch.name, options):
            print(f"  {key:<{width - 2}}{text}")


def _source(model: Model) -> str:
    """An address, or for our own weights their card, which is installed among the licences."""
    if "://" in model.source:
        return model.source
    try:
        files = metadata.files("srcli") or []
    except metadata.PackageNotFoundError:  # run from a copy of the source
        files = []
    found = (file for file in files if file.as_posix().endswith(model.source))
    return next((str(file.locate()) for file in found), model.source)


@app.command("download", cls=Command, epilog=DOWNLOAD_EXAMPLES)
def download(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Models by name, or purposes: photo, fast ...",
            autocompletion=complete.models,
        ),
    ],
    scale: Annotated[
        float | None,
        scale_option("Only the weights that this factor needs.", parser=parse_scale),
    ] = None,
    quiet: Annotated[
        bool,
        quiet_flag("Print only the paths and errors."),
    ] = False,
) -> None:
    """Download the weights of models, for work without a network, and print where they are."""
    # a name that does not exist is refused before anything is fetched
    wanted = list(dict.fromkeys(pair for name in names for pair in _needed(name, scale)))
    options = WeightsOptions.from_environment()
    failures: list[SrcliError] = []
    for model, native in wanted:
        files = model.variant(native).files
        if not files:
            failures.append(WeightsError(*catalog.without_weights(model, native)))
        for weights in files:
            try:
                with downloading(weights.file, quiet) as (progress, tell):
                    path = locate(
                        weights,
                        options,
                        model=model.name,
                        licence=model.terms,
                        progress=progress,
                        announce=tell,
                    )
            except SrcliError as exc:
                failures.append(exc)
                continue
            print(f"{model.name} x{native}  {path}", flush=True)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        *others, last = failures
        for failure in others:
            say(f"{failure.message} {failure.hint or ''}".rstrip())
        n_files = sum(max(1, len(model.variant(native).files)) for model, native in wanted)
        count = f"{len(failures)} of {n_files} files could not be fetched"
        raise WeightsError(f"{count}; the last: {last.message}", last.hint)


@app.command("verify", cls=Command)
def verify_command() -> None:
    """Check all weights on this computer byte by byte; the exit code is 1 if any are damaged."""
    found = verify(WeightsOptions.from_environment())
    for item in found:
        state = "ok" if item.ok else "damaged"
        print(f"{state:<8}{item.path.name}  {item.detail}")
    if not found:
        say("No weights are bundled or downloaded yet.")
    damaged = [item for item in found if not item.ok]
    if damaged:
        models_ = " ".join(dict.fromkeys(n for item in damaged for n in item.models[:1]))
        first = damaged[0].path
        if not models_:
            hint = f"No model uses it any more: remove {first}."
        elif damaged[0].own:
            name = damaged[0].models[0]
            hint = (
                f"`srcli models add FILE --name {name} --overwrite` adds it again, "
                f"`srcli models remove {name}` removes it."
            )
        else:
            hint = f"`srcli models download {models_}` fetches what is damaged again."
        raise WeightsError(f"{len(damaged)} of {len(found)} files are damaged: {first}", hint)


@app.command("add", cls=Command, epilog=ADD_EXAMPLES)
def add_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The weights: a .safetensors or .pth file.")
    ],
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="ARCH.TAG",
            rich_help_panel=MODEL,
            help="The name for it: the network's, a dot, and a word of yours, as bcrn.mine.",
        ),
    ],
    scale: Annotated[
        int | None,
        scale_option("The factor that the weights were trained for, if FILE does not say."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=MODEL,
            help="The licence of the weights, to be shown with the model.",
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", rich_help_panel=MODEL, help="A remark, to be shown with the model."
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        overwrite_flag("Replace weights that you added before under this name and factor."),
    ] = False,
) -> None:
    """Add your own weights to the models under a name, also for one more factor."""
    from srcli.weights import user_models

    folder = data_dir()
    model, variant = user_models.add(
        file,
        name,
        folder=folder,
        scale=scale,
        licence=licence,
        note=note,
        overwrite=overwrite,
        announce=say,
    )
    assert variant.weights is not None
    print(f"{model.name} x{variant.scale}  {user_models.files_dir(folder) / variant.weights.file}")


@app.command("remove", cls=Command, epilog=REMOVE_EXAMPLES)
def remove_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that you added.")],
    scale: Annotated[
        int | None,
        scale_option("Only the weights for this factor."),
    ] = None,
) -> None:
    """Remove a model that you added, and srcli's copy of its weights."""
    from srcli.weights import user_models

    gone = user_models.remove(name, folder=data_dir(), scale=scale, announce=say)
    print(" ".join([name, *(f"x{s}" for s in gone), "removed"]))


@app.command("path", cls=Command)
def path_command() -> None:
    """Print the folder where downloaded weights are kept."""
    print(WeightsOptions.from_environment().weights_dir)


# ------------------------------------------------------------------------------------ choosing


def _family(text: str | None) -> str | None:
    if text is None:
        return None
    wanted = text.strip().lower().replace("-", " ").replace("_", " ")
    families = get_args(Family)
    if wanted not in families:
        raise UsageError(f"There is no family {text!r}.", f"The families: {', '.join(families)}.")
    return wanted


@dataclass(frozen=True)
class Wanted:
    """Which models are to be listed."""

    family: str | None
    scale: int | None
    purpose: Purpose | None
    everything: bool

    def has(self, model: Model) -> bool:
        return (
            (self.everything or model.trained)
            and self.family in (None, model.arch.family)
            and (self.purpose is None or self.purpose.name in model.purposes)
            and (self.scale is None or model.is_resampler or self.scale in model.scales)
        )


def _needed(name: str, scale: float | None) -> Iterator[tuple[Model, int]]:
    """What `srcli upscale -m NAME` would need: at one scale, or at every native one."""
    first = catalog.resolve(name, scale)
    if first.is_resampler:
        raise UsageError(f"{name} is a resampler: there is nothing to download.")
    if scale is not None:
        for native in dict.fromkeys(catalog.chain(first, scale)):
            yield first, native
        return
    meant = catalog.candidates(name)
    with_weights = [model for model in meant if model.trained] or meant
    for native in sorted({s for model in with_weights for s in model.scales}):
        yield catalog.resolve(name, native), native
