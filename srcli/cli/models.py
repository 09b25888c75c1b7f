"""``srcli models``: what exists, what is at hand, fetch it, check it, add your own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from srcli import catalog
from srcli.catalog import Family, Model
from srcli.cli.models_table import Row, counted, print_table, record, scales_of, variant_facts
from srcli.cli.screen import downloading, say
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import WeightsOptions, locate, verify
from srcli.weights.own import data_dir

app = typer.Typer(help="List, fetch and check the models; add your own.", no_args_is_help=False)


class Sort(StrEnum):
    CATALOGUE = "catalogue"
    NAME = "name"
    PSNR = "psnr"
    PARAMS = "params"
    SPEED = "speed"


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
FamilyOption = Annotated[
    str | None,
    typer.Option("--family", metavar="FAMILY", help="Only this design family (attention, ...)."),
]
ScaleFilter = Annotated[
    int | None,
    typer.Option("--scale", "-x", metavar="X", help="Only models native at X; figures are for X."),
]
SortOption = Annotated[
    Sort,
    typer.Option("--sort", help="Order of the rows; speed: multiply-adds per output pixel."),
]


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    as_json: JsonFlag = False,
    family: FamilyOption = None,
    scale: ScaleFilter = None,
    sort: SortOption = Sort.CATALOGUE,
) -> None:
    """List, fetch and check the models; add your own. Without a command: list them."""
    if ctx.invoked_subcommand is None:
        list_models(as_json=as_json, family=family, scale=scale, sort=sort)
    elif as_json or family is not None or scale is not None or sort is not Sort.CATALOGUE:
        name = ctx.invoked_subcommand
        raise UsageError(f"Options of `srcli models {name}` stand after {name}.")


@app.command("list")
def list_models(
    as_json: JsonFlag = False,
    family: FamilyOption = None,
    scale: ScaleFilter = None,
    sort: SortOption = Sort.CATALOGUE,
) -> None:
    """List the models: size, parameters, licence and PSNR-Y on Set5."""
    rows = [Row.of(m, scale) for m in catalog.models() if _wanted(m, _family(family), scale)]
    if sort is Sort.NAME:
        rows.sort(key=lambda r: r.model.name)
    elif sort is Sort.PSNR:
        rows.sort(key=lambda r: -((r.variant and r.variant.psnr_set5) or 0))
    elif sort is Sort.PARAMS:
        rows.sort(key=lambda r: r.variant.parameters if r.variant else 0)
    elif sort is Sort.SPEED:
        rows = sorted(map(counted, rows), key=lambda r: r.multiply_adds or 0)
    if as_json:
        options = WeightsOptions.from_environment()
        print(json.dumps([record(r, options) for r in rows], indent=2))
    else:
        print_table(rows, costs=sort is Sort.SPEED)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model or an architecture.")],
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known of a model."""
    model = catalog.resolve(name, None)
    options = WeightsOptions.from_environment()
    if as_json:
        print(json.dumps(record(Row.of(model, None), options), indent=2))
        return
    arch = model.arch
    facts = [
        ("name", model.name),
        ("architecture", f"{arch.title} ({arch.name}), {arch.family}"),
        ("paper", f"{arch.paper}, {arch.reference}"),
        ("source", model.source),
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
    if model.note:
        facts.append(("note", model.note))
    others = [m.name for m in catalog.models() if m.arch == arch and m.name != model.name]
    if others:
        facts.append(("other weights", ", ".join(others)))
    width = max(len(key) for key, _ in facts) + 2
    for key, text in facts:
        print(f"{key:<{width}}{text}")
    for variant in model.variants:
        print()
        print(f"x{variant.scale}")
        for key, text in variant_facts(variant, arch.name, options):
            print(f"  {key:<{width - 2}}{text}")


@app.command("download")
def download(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models or architectures.")],
    scale: Annotated[
        float | None,
        typer.Option("--scale", "-x", metavar="X", help="Only what this scale needs."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
) -> None:
    """Fetch the weights of models for use without a network; print where they lie."""
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


@app.command("verify")
def verify_command() -> None:
    """Check every byte of bundled, downloaded and added weights; exit 1 if any is damaged."""
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
                f"`srcli models remove {name}` forgets it."
            )
        else:
            hint = f"`srcli models download {models_}` fetches what is damaged again."
        raise WeightsError(f"{len(damaged)} of {len(found)} files are damaged: {first}", hint)


@app.command("add")
def add_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Weights: safetensors, or .pth (tensors only).")
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="ARCH.TAG", help="What to call it: bcrn.mine.")
    ],
    scale: Annotated[
        int | None,
        typer.Option("--scale", "-x", metavar="X", help="Native scale, if FILE does not say."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence, kept with the name.")
    ] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="A remark, likewise.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace this scale if you added it before.")
    ] = False,
) -> None:
    """Add weights of your own under a name; a further scale under the same name likewise."""
    from srcli.weights import own

    folder = data_dir()
    model, variant = own.add(
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
    print(f"{model.name} x{variant.scale}  {own.files_dir(folder) / variant.weights.file}")


@app.command("remove")
def remove_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that you added.")],
    scale: Annotated[
        int | None, typer.Option("--scale", "-x", metavar="X", help="Only this scale of it.")
    ] = None,
) -> None:
    """Forget a model that you added, and delete srcli's copy of its weights."""
    from srcli.weights import own

    gone = own.remove(name, folder=data_dir(), scale=scale, announce=say)
    print(" ".join([name, *(f"x{s}" for s in gone), "removed"]))


@app.command("path")
def path_command() -> None:
    """Print the folder of the downloaded weights."""
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


def _wanted(model: Model, family: str | None, scale: int | None) -> bool:
    if family is not None and model.arch.family != family:
        return False
    return scale is None or model.is_resampler or scale in model.scales


def _needed(name: str, scale: float | None) -> Iterator[tuple[Model, int]]:
    """What `srcli upscale -m NAME` would need: at one scale, or at every native one."""
    first = catalog.resolve(name, scale)
    if first.is_resampler:
        raise UsageError(f"{name} is a resampler: there is nothing to download.")
    if scale is not None:
        for native in dict.fromkeys(catalog.chain(first, scale)):
            yield first, native
        return
    tags = [first] if name == first.name else [m for m in catalog.models() if m.arch == first.arch]
    for native in sorted({s for model in tags for s in model.scales}):
        yield catalog.resolve(name, native), native
