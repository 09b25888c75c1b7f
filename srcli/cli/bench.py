"""``srcli bench``."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from srcli import catalog
from srcli.cli import bench_table
from srcli.cli.options import (
    JsonObjectFlag,
    ModelsOption,
    Only,
    ScalesOption,
    WorkersOption,
    overwrite_flag,
    parse_choice,
    quiet_flag,
    split,
    whole_scales,
    with_options,
)
from srcli.engine.backends import BACKENDS
from srcli.engine.settings import (
    Backend,
    Precision,
    Settings,
    openvino_device,
    parse_tile,
    spill_folder,
)
from srcli.errors import SrcliError, UsageError
from srcli.media.figure import check as check_charts
from srcli.options import CLUSTER, ENGINE, FILES
from srcli.weights import WeightsOptions, tuned
from srcli.weights.choose import DEFAULT_MODEL

DEFAULT_SIZE = "320x180"
MEASURED = "What is measured"
EXAMPLES = """
srcli bench                                    the default model on a small picture
srcli bench -m bcrn,rlfn -x 2 --size 640x360   two models at a size of your own
srcli bench -m bcrn --tune                     find the fastest setting here, and keep it
"""
TUNED_TILES = ("auto", "64", "128", "192", "256")


@with_options
def bench(
    models: ModelsOption = None,
    scales: ScalesOption = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="WxH",
            rich_help_panel=MEASURED,
            help="Width and height of the picture that is enlarged; may be repeated. Default: "
            f"{DEFAULT_SIZE}.",
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", rich_help_panel=MEASURED, help="How often each setting is timed."
        ),
    ] = 5,
    first: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=MEASURED,
            help="How many fresh processes to start, to measure the time until the first picture "
            "and the most memory used.",
        ),
    ] = 1,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            rich_help_panel=MEASURED,
            help="Also time the same network in plain PyTorch, ONNX Runtime and OpenVINO.",
        ),
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            rich_help_panel=MEASURED,
            help="Remember the fastest setting, so that srcli uses it on this machine from now on.",
        ),
    ] = False,
    backends: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            metavar="B",
            rich_help_panel=ENGINE,
            help="torch or openvino; may be repeated. Default: all that are installed.",
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="P",
            rich_help_panel=ENGINE,
            help="fp32, bf16, fp16 or int8; may be repeated. Default: fp32.",
        ),
    ] = None,
    threads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N",
            rich_help_panel=ENGINE,
            help="How many processor cores to use; may be repeated. Default: all of them.",
        ),
    ] = None,
    tiles: Annotated[
        list[str] | None,
        typer.Option(
            "--tile",
            metavar="N",
            rich_help_panel=ENGINE,
            help="Size of the tiles, as for `srcli upscale`; may be repeated.",
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", rich_help_panel=FILES, help="Write the table into this file."
        ),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            rich_help_panel=FILES,
            help="Draw published PSNR against the measured time.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        overwrite_flag("Replace the files of --csv and --plot if they exist."),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            rich_help_panel=CLUSTER,
            help="Measure how many pictures per second a Ray cluster does, with 1, 2 and all of "
            "its workers: its address, auto, or local.",
        ),
    ] = None,
    workers: WorkersOption = None,
    pictures: Annotated[
        int,
        typer.Option(
            min=6,
            metavar="N",
            rich_help_panel=CLUSTER,
            help="How many pictures the cluster enlarges each time.",
        ),
    ] = 120,
    as_json: JsonObjectFlag = False,
    quiet: Annotated[
        bool,
        quiet_flag("Print only the figures and errors."),
    ] = False,
    *,
    settings: Annotated[Settings, Only(("device", "memory_bytes"))],
) -> None:
    """Measure what networks cost on this machine."""
    if tune and settings.device not in ("auto", "cpu"):
        raise UsageError("--tune is for the CPU", "leave --device out, or give --device cpu")
    settings = replace(settings, spill_folder=spill_folder(os.environ))
    pairs = [_size(text) for text in split(sizes) or [DEFAULT_SIZE]]
    found_backends = _choices("--backend", split(backends), get_args(Backend)[1:])
    found_precisions = _choices("--precision", split(precisions), get_args(Precision)[1:]) or [
        "fp32"
    ]
    found_precisions = found_precisions or ["fp32"]
    if "int8" in found_precisions and found_backends and "openvino" not in found_backends:
        raise UsageError("int8 runs in OpenVINO only", "add --backend openvino")
    counts = [_threads(text) for text in split(threads)]
    found_tiles = [parse_tile(text) for text in split(tiles)]
    entries = _models(split(models) or [DEFAULT_MODEL], whole_scales("bench", scales))
    if workers is not None and cluster is None:
        raise UsageError("--workers needs a cluster", "for this machine: --cluster local")
    if cluster is not None:
        _bench_cluster(entries, pairs, cluster, workers, pictures, counts, settings, as_json, quiet)
        return
    for path in (csv_file, plot_file):
        if path is not None and path.exists() and not overwrite:
            raise UsageError(f"{path} exists", "add --overwrite")
    if plot_file is not None:
        check_charts()
    from srcli.bench import run  # imports torch

    request = run.Request(
        models=entries,
        sizes=pairs,
        backends=found_backends or _installed_backends(settings.device),
        precisions=found_precisions,
        threads=counts or ([tuned.cores()] if not tune else _thread_counts()),
        tiles=found_tiles or [parse_tile(t) for t in (TUNED_TILES if tune else ("auto",))],
        runs=runs,
        baselines=baselines,
        first=first,
        settings=settings,
    )
    options = WeightsOptions.from_environment()
    screen = _Screen(quiet=quiet)
    with screen:
        result = run.bench(request, options, os.environ, tell=screen.tell, announce=screen.announce)
    if not result.rows:
        raise SrcliError(
            f"nothing could be measured: {result.skipped[0].error}"
            if result.skipped
            else "nothing was measured"
        )
    stored = tuned.store(run.best(result.rows), options) if tune else None
    bench_table.show(request, result, stored, as_json=as_json, quiet=quiet)
    if csv_file is not None:
        bench_table.write(csv_file, bench_table.as_csv(result.rows))
    if plot_file is not None:
        bench_table.write(plot_file, bench_table.as_chart(entries, result.rows))


def _bench_cluster(
    entries: list[tuple[catalog.Model, int]],
    sizes: list[tuple[int, int]],
    where: str,
    workers: int | None,
    n_pictures: int,
    threads: list[int],
    settings: Settings,
    as_json: bool,
    quiet: bool,
) -> None:
    """Pictures per second of one process, and of 1, 2 and all workers."""
    from srcli.cluster import installed

    installed.check()
    installed.settle(os.environ)
    from srcli.bench.cluster import measure

    most = workers if workers is not None or where != "local" else tuned.cores()
    counts = [n for n in (1, 2) if most is None or n < most]
    settings = replace(settings, threads=threads[0] if threads else None)
    screen = _Screen(quiet=quiet or as_json)
    rows = []
    with screen:
        for model, scale in entries:
            for size in sizes:
                rates = measure(
                    model,
                    scale,
                    size,
                    n_pictures,
                    where,
                    [*counts, most],
                    settings,
                    WeightsOptions.from_environment(),
                    tell=screen.announce,
                )
                rows += list(rates)
    if as_json:
        print(json.dumps({"machine": tuned.machine(), "rows": [row.as_json() for row in rows]}))
        return
    for row in rows:
        who = f"{row.workers} workers" if row.workers > 1 else "1 worker" if row.workers else "none"
        height, width = row.size
        print(
            f"{row.model} x{row.scale}, {width}x{height}, {who}: "
            f"{row.pictures_per_s:.2f} pictures per second"
        )


# ------------------------------------------------------------------------------------- planning


def _size(text: str) -> tuple[int, int]:
    """(height, width) of ``320x180``."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not match or not all(16 <= int(n) <= 65_535 for n in match.groups()):
        raise UsageError(f"--size {text} is not a width and a height of at least 16, as 320x180")
    return int(match[2]), int(match[1])


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise UsageError(f"--threads {text} is not a number from 1 to 1024")
    return int(text)


def _thread_counts() -> list[int]:
    """All cores, and half of them: with two threads a core, half is often faster."""
    cores = tuned.cores()
    return [cores, cores // 2] if cores > 1 else [1]


def _choices(option: str, values: list[str], choices: tuple[str, ...]) -> list[str]:
    return [parse_choice(option, value, choices) for value in values]


def _installed_backends(device: str) -> list[str]:
    """That run on this device: PyTorch first."""
    found = ["torch"] if BACKENDS["torch"].refusal(Settings(device=device)) is None else []
    if openvino_device(device) is not None and BACKENDS["openvino"].is_installed():
        found.append("openvino")
    return found


def _models(names: list[str], scales: list[int]) -> list[tuple[catalog.Model, int]]:
    """Every network at every scale; what it cannot do natively is refused."""
    found: dict[tuple[str, int], tuple[catalog.Model, int]] = {}
    for name in names:
        for scale in scales or [catalog.default_scale(catalog.resolve(name))]:
            model = catalog.resolve(name, scale)
            if model.is_resampler:
                raise UsageError(f"{model.name} is not a network, so there is nothing to measure")
            if scale not in model.scales:
                natives = ", ".join(f"x{s}" for s in model.scales)
                raise UsageError(
                    f"{model.name} was not trained for x{scale}", f"it was trained for {natives}"
                )
            found[model.name, scale] = model, scale
    return list(found.values())


class _Screen:
    """One line on stderr that says what is being done, where stderr is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._status: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")

    def __enter__(self) -> _Screen:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    def announce(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr)
