"""``srcli models``: what exists, what is at hand, fetch it, check it, add your own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from srcli import catalog
from srcli.catalog import Catalogue, Family, Model, Variant
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import Progress, WeightsOptions, is_cached, locate, verify
from srcli.weights.cache import bundled_path, cached_path, path_of
from srcli.weights.own import data_dir, own_models, with_own_models

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

_warned: set[str] = set()


def _with_own(catalogue: Catalogue) -> Catalogue:
    """The user's own models after the built-in ones; each thing wrong with them is said once."""
    folder = data_dir()
    for problem in own_models(folder).problems:
        if problem not in _warned:
            _warned.add(problem)
            _say(f"srcli: {problem}")
    return with_own_models(catalogue, folder)


# every command imports this module, so names mean the same in all of them
catalog.extend(_with_own)


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
    rows = [_Row.of(m, scale) for m in catalog.models() if _wanted(m, _family(family), scale)]
    if sort is Sort.NAME:
        rows.sort(key=lambda r: r.model.name)
    elif sort is Sort.PSNR:
        rows.sort(key=lambda r: -((r.variant and r.variant.psnr_set5) or 0))
    elif sort is Sort.PARAMS:
        rows.sort(key=lambda r: r.variant.parameters if r.variant else 0)
    elif sort is Sort.SPEED:
        rows = sorted(map(_counted, rows), key=lambda r: r.multiply_adds or 0)
    if as_json:
        options = WeightsOptions.from_environment()
        print(json.dumps([_as_json(r, options) for r in rows], indent=2))
    else:
        _print_table(rows, costs=sort is Sort.SPEED)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model or an architecture.")],
    as_json: JsonFlag = False,
) -> None:
    """Show all that is known of a model."""
    model = catalog.resolve(name, None)
    options = WeightsOptions.from_environment()
    if as_json:
        print(json.dumps(_as_json(_Row.of(model, None), options), indent=2))
        return
    arch = model.arch
    facts = [
        ("name", model.name),
        ("architecture", f"{arch.title} ({arch.name}), {arch.family}"),
        ("paper", f"{arch.paper}, {arch.reference}"),
        ("source", model.source),
        ("licence", model.terms),
        ("scales", _scales(model)),
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
        for key, text in _variant_facts(variant, arch.name, options):
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
        weights = model.variant(native).weights
        if weights is None:
            failures.append(WeightsError(*catalog.without_weights(model, native)))
            continue
        try:
            with _progress(weights.file, quiet) as (progress, say):
                path = locate(
                    weights,
                    options,
                    model=model.name,
                    licence=model.terms,
                    progress=progress,
                    announce=say,
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
            _say(f"{failure.message} {failure.hint or ''}".rstrip())
        count = f"{len(failures)} of {len(wanted)} files could not be fetched"
        raise WeightsError(f"{count}; the last: {last.message}", last.hint)


@app.command("verify")
def verify_command() -> None:
    """Check every byte of bundled, downloaded and added weights; exit 1 if any is damaged."""
    found = verify(WeightsOptions.from_environment())
    for item in found:
        state = "ok" if item.ok else "damaged"
        print(f"{state:<8}{item.path.name}  {item.detail}")
    if not found:
        _say("No weights are bundled or downloaded yet.")
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
        announce=_say,
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

    gone = own.remove(name, folder=data_dir(), scale=scale, announce=_say)
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


# ------------------------------------------------------------------------------------ printing


@dataclass(frozen=True)
class _Row:
    """A model and the variant that its figures are of (None: a resampler)."""

    model: Model
    variant: Variant | None
    multiply_adds: float | None = None  # per output pixel, if counted

    @classmethod
    def of(cls, model: Model, scale: int | None) -> _Row:
        if not model.variants:
            return cls(model, None)
        return cls(model, model.variant(scale or catalog.default_scale(model)))

    @property
    def weights(self) -> str:
        if self.variant is None:
            return "built in"
        if self.variant.weights is None:
            return "trainable"
        if self.variant.weights.own:
            return "own"
        return "bundled" if self.variant.weights.bundled else "download"

    @property
    def size(self) -> str:
        file = self.variant.weights if self.variant else None
        return f"{file.bytes / 1e6:.1f} MB" if file else ""

    @property
    def parameters(self) -> str:
        return f"{self.variant.parameters / 1e3:.0f}K" if self.variant else ""

    @property
    def psnr(self) -> str:
        if self.variant is None or self.variant.psnr_set5 is None:
            return ""
        return f"{self.variant.psnr_set5:.2f} x{self.variant.scale}"


def _counted(row: _Row) -> _Row:
    """With its cost, which the network itself tells."""
    from srcli.engine.cost import per_pixel

    if row.variant is None:
        return row
    return replace(row, multiply_adds=per_pixel(row.model, row.variant.scale))


def _scales(model: Model) -> str:
    return "any" if model.is_resampler else " ".join(f"x{s}" for s in model.scales)


def _print_table(rows: Sequence[_Row], *, costs: bool = False) -> None:
    """``costs``: with multiply-adds."""
    cells = [
        (
            r.model.name,
            r.model.arch.name,
            r.model.arch.family,
            _scales(r.model),
            r.parameters,
            r.weights,
            r.size,
            r.model.terms,
            r.psnr,
            *([f"{r.multiply_adds / 1e3:.1f}K" if r.multiply_adds else ""] if costs else []),
        )
        for r in rows
    ]
    titles = ["name", "arch", "family", "scales", "params", "weights", "size", "licence", "PSNR"]
    titles += ["MACs/px"] if costs else []
    if not sys.stdout.isatty():
        widths = [max(len(row[i]) for row in [titles, *cells]) for i in range(len(titles))]
        for row in [titles, *cells]:
            print("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    narrow = console.width < 100
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    shown = [i for i, t in enumerate(titles) if not (narrow and t == "arch")]  # the name says it
    for title in (titles[i] for i in shown):
        name = title == "name"
        table.add_column(
            "MB" if narrow and title == "size" else title,
            justify="right" if title in {"params", "size", "MACs/px"} else "left",
            style="bold" if name else None,
            max_width={"name": 24, "family": 12, "licence": 12}.get(title) if narrow else None,
            no_wrap=title in {"params", "size", "weights", "licence", "PSNR", "MACs/px"},
            overflow="ellipsis" if title == "licence" else "fold",
        )
    for row in cells:
        table.add_row(*(Text(row[i].removesuffix(" MB") if narrow else row[i]) for i in shown))
    console.print(table)
    cost = " MACs/px: multiply-adds per output pixel." if costs else ""
    _say(f"PSNR: dB on Set5, luma.{cost} `srcli models show NAME` tells more.")


def _variant_facts(
    variant: Variant, arch: str, options: WeightsOptions
) -> Iterable[tuple[str, str]]:
    yield "parameters", f"{variant.parameters:,}"
    if variant.psnr_set5 is not None:
        yield "Set5", f"{variant.psnr_set5:.2f} dB PSNR-Y"
    if variant.psnr_set14 is not None:
        yield "Set14", f"{variant.psnr_set14:.2f} dB PSNR-Y"
    weights = variant.weights
    if weights is None:
        yield "weights", f"none: `srcli train {arch}-x{variant.scale}` trains it"
        return
    yield "file", f"{weights.file} ({weights.bytes:,} bytes)"
    yield "sha256", weights.sha256
    if weights.bundled:
        yield "at hand", f"bundled: {bundled_path(weights)}"
        return
    if weights.own:
        path = path_of(weights, options)
        yield "at hand", f"your own: {path}" if path.is_file() else f"no, it is missing: {path}"
        return
    yield "from", str(weights.url)
    cached = is_cached(weights, options)
    yield "at hand", str(cached_path(weights, options)) if cached else "no, will be downloaded"


def _as_json(row: _Row, options: WeightsOptions) -> dict[str, Any]:
    model, variant = row.model, row.variant
    size = variant.weights.bytes if variant and variant.weights else None
    return {
        "name": model.name,
        "arch": model.arch.name,
        "title": model.arch.title,
        "family": model.arch.family,
        "paper": model.arch.paper,
        "reference": model.arch.reference,
        "scales": list(model.scales),
        "scale": variant.scale if variant else None,
        "parameters": variant.parameters if variant else 0,
        "weights": row.weights,
        "size_bytes": size,
        "licence": model.licence,
        "non_commercial": model.non_commercial,
        "source": model.source,
        "psnr_set5": variant.psnr_set5 if variant else None,
        **({"multiply_adds_per_px": row.multiply_adds} if row.multiply_adds else {}),
        "note": model.note,
        "variants": [
            {
                "scale": v.scale,
                "parameters": v.parameters,
                "psnr_set5": v.psnr_set5,
                "psnr_set14": v.psnr_set14,
                "file": v.weights.file if v.weights else None,
                "size_bytes": v.weights.bytes if v.weights else None,
                "sha256": v.weights.sha256 if v.weights else None,
                "url": v.weights.url if v.weights else None,
                "at_hand": v.weights is not None and is_cached(v.weights, options),
            }
            for v in model.variants
        ],
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _hush(line: str) -> None:
    pass


@contextmanager
def _progress(file: str, quiet: bool) -> Iterator[tuple[Progress | None, Any]]:
    """A bar on stderr if that is a terminal, and how to say a line beside it."""
    if quiet or not sys.stderr.isatty():
        yield None, _hush if quiet else _say
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(
        *columns, TransferSpeedColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        task = bars.add_task(file, total=None)

        def move(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        def say(line: str) -> None:
            bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield move, say
