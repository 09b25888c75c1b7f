"""``srcli train``: events to a terminal or to plain lines on stderr."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from srcli.cli import complete
from srcli.cli.ending import InterruptionError
from srcli.cli.options import JsonFlag, Only, QuietFlag, with_options
from srcli.engine.settings import Settings
from srcli.errors import UsageError
from srcli.media import figure
from srcli.options import ENGINE

PHOTOS = "Photos"
RECIPE = "Recipe"
THE_RUN = "The run"
EXAMPLES = """
srcli train bcrn-x4 --data photos --preset quick --out test   a first try
srcli train bcrn-x4 --data photos --out run                   the whole training
srcli train bcrn-x4 --data photos --out run --resume          continue it
"""
PLAIN_LINE_S = 10.0


@with_options
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe by name (bcrn-x4), or a file of your own (.toml).",
            autocompletion=complete.recipes,
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="DIR",
            rich_help_panel=PHOTOS,
            help="A folder of photos to learn from, subfolders included; may be repeated.",
        ),
    ],
    only: Annotated[
        Path | None,
        typer.Option(
            "--only",
            metavar="FILE",
            rich_help_panel=PHOTOS,
            help="Take only the photos that this text file names, one a line.",
        ),
    ] = None,
    validate: Annotated[
        list[Path] | None,
        typer.Option(
            "--validate",
            metavar="DIR",
            rich_help_panel=PHOTOS,
            help="A benchmark to measure progress on: a folder with HR/ and LRx4/ (or LRx2/ ...); "
            "may be repeated.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            rich_help_panel=PHOTOS,
            help="Where the prepared photos are kept for the next run.",
        ),
    ] = None,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            rich_help_panel=PHOTOS,
            help="Only prepare the photos and their small copies; do not train.",
        ),
    ] = False,
    shown: Annotated[
        int | None,
        typer.Option(
            "--show",
            min=1,
            max=1000,
            metavar="N",
            rich_help_panel=PHOTOS,
            help="With --prepare: draw N examples, small and large, into OUT/pairs.png.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            rich_help_panel=RECIPE,
            help="A variant that the recipe offers, for example quick.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            rich_help_panel=RECIPE,
            help="Change a setting of the recipe (2.KEY changes it in stage 2); may be repeated.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="WEIGHTS",
            rich_help_panel=RECIPE,
            help="Start from these weights: a file, or a model by name.",
        ),
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=RECIPE,
            help="The weights of AlexNet, VGG and others that perceptual losses need, if they are "
            "not to be downloaded; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            rich_help_panel=THE_RUN,
            help="The folder for the weights, checkpoints and log.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=THE_RUN, help="Continue the run in the folder of --out."
        ),
    ] = False,
    time_budget: Annotated[
        float | None,
        typer.Option(
            "--time-budget",
            metavar="MINUTES",
            rich_help_panel=THE_RUN,
            help="Train for so many minutes, with as many steps as fit.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            rich_help_panel=THE_RUN,
            help="Only measure how fast training would be here.",
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            rich_help_panel=THE_RUN,
            help="Also write curves for TensorBoard, into OUT/tensorboard.",
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="P",
            rich_help_panel=ENGINE,
            help="Precision of the arithmetic: auto, bf16, fp16 or fp32. Default: as the recipe "
            "says.",
        ),
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    *,
    settings: Annotated[Settings, Only(("device",))],
) -> None:
    """Train a network of the catalogue on a folder of photos."""
    from srcli.training.config import load

    more = [f"precision={precision}"] if precision else []
    config = load(recipe, preset=preset, sets=[*(sets or []), *more])
    if not (prepare or measure) and out is None:
        raise UsageError("--out DIR is missing: name a folder for the run")
    if shown is not None and not prepare:
        raise UsageError("--show is for --prepare")
    if shown is not None and out is None:
        raise UsageError("--out DIR is missing: name a folder for pairs.png")
    from srcli.training import loop
    from srcli.training import measure as measuring
    from srcli.training import prepare as preparing
    from srcli.weights import WeightsOptions

    run = preparing.Run(
        config=config,
        data=tuple(data),
        out=out or Path(),
        cache=cache or _cache(),
        only=only,
        init=init,
        resume=resume,
        validate=tuple(validate or ()),
        device=settings.device,
        minutes=time_budget,
        weights=WeightsOptions.from_environment(),
        features=tuple(features or ()),
        tensorboard=tensorboard,
    )
    logging.basicConfig(level=logging.WARNING, format="srcli: %(message)s", stream=sys.stderr)
    if prepare:
        events = (
            preparing.show(run, shown, run.out / "pairs.png") if shown else preparing.prepare(run)
        )
        _show(events, as_json=as_json, quiet=quiet)
    elif measure:
        _show(measuring.measure(run), as_json=as_json, quiet=quiet)
    else:
        stop, steps = threading.Event(), threading.Event()
        caught: list[int] = []

        def note(number: int, _: Any) -> None:
            caught.append(number)
            stop.set()
            if len(caught) > 1:  # asked twice: at once
                raise KeyboardInterrupt
            if not steps.is_set():
                error = InterruptionError(
                    "interrupted",
                    "What has been made ahead of training is kept; the same command continues.",
                )
                error.exit_code = 128 + number
                raise error

        def watched() -> Iterator[dict[str, Any]]:
            for event in loop.train(run, stop):
                if event["event"] == "stage":
                    steps.set()
                yield event

        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            _show(watched(), as_json=as_json, quiet=quiet)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if caught:
            raise typer.Exit(128 + caught[0])


def _show(events: Iterator[dict[str, Any]], *, as_json: bool, quiet: bool) -> None:
    """JSON on stdout; a live table on a terminal; otherwise a plain line every few seconds."""
    live = None
    if not (quiet or as_json) and sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        live = Live(console=Console(stderr=True), refresh_per_second=4)
        live.start()
    shown_at = 0.0
    psnr: dict[str, float] = {}
    best: dict[str, float] = {}
    try:
        for event in events:
            if as_json:
                print(json.dumps(event), flush=True)
            if event["event"] == "validation":
                psnr = event["psnr_y"]
                best = {name: max(best.get(name, 0.0), value) for name, value in psnr.items()}
            text = _line(event, _scores(psnr))
            if quiet or not text:
                continue
            passing = event["event"] in ("step", "targets", "pool") and not _is_last(event)
            if live is not None and passing:
                stepped = event["event"] == "step"
                live.update(_table(event, psnr, best) if stepped else text)
            elif live is not None:
                live.console.print(text, markup=False, highlight=False, soft_wrap=True)
            elif not passing or time.monotonic() - shown_at > PLAIN_LINE_S:
                print(text, file=sys.stderr, flush=True)
                shown_at = time.monotonic() if passing else shown_at
    finally:
        if live is not None:
            live.stop()


def _is_last(event: dict[str, Any]) -> bool:
    return bool(event["event"] == "step" and event["step"] == event["of"])


def _table(event: dict[str, Any], psnr: dict[str, float], best: dict[str, float]) -> Any:
    """The last step: a bar, and what one watches."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(width=30)
    step, total = event["step"], event["of"]
    table.add_row("step", f"{step:,} of {total:,}", ProgressBar(total, step, width=30))
    table.add_row("loss", f"{event['loss']:.5f}")
    if "discriminator_loss" in event:
        table.add_row("discriminator", f"{event['discriminator_loss']:.5f}")
    table.add_row("learning rate", f"{event['learning_rate']:.2e}")
    table.add_row("images/s", f"{event['images_per_s']:.1f}")
    table.add_row("time", f"{_clock(event['seconds'])}, {_clock(_left_s(event))} left")
    for name, value in psnr.items():
        table.add_row(f"PSNR-Y {name}", f"{value:.3f} dB", f"best {best[name]:.3f}")
    return table


def _left_s(event: dict[str, Any]) -> float:
    """Seconds to the end at the rate so far."""
    left: float = (event["of"] - event["step"]) * event["seconds"] / max(1, event["step"])
    return left


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _line(event: dict[str, Any], psnr: str) -> str:
    """One event in words; nothing for those that need none."""
    kind = event["event"]
    if kind == "step":
        rate = event["images_per_s"]
        rival = event.get("discriminator_loss")
        told = "" if rival is None else f"discriminator {rival:.5f}  "
        return (
            f"step {event['step']}/{event['of']}  loss {event['loss']:.5f}  {told}"
            f"lr {event['learning_rate']:.2e}  {rate:.0f} images/s  "
            f"{event['seconds'] / 60:.1f} min, {_left_s(event) / 60:.1f} left  {psnr}"
        )
    if kind == "validation":
        return f"step {event['step']}: PSNR-Y {_scores(event['psnr_y'])}"
    if kind == "data":
        skipped = "".join(f"\nskipped {name}" for name in event["skipped"])
        photos, megapixels = event["photos"], event["megapixels"]
        pool = f"a pool of {event['crops']:,} damaged crops, " if event["crops"] else ""
        return f"{photos} photos, {megapixels} megapixels, {pool}{event['seconds']} s{skipped}"
    if kind == "targets":
        return f"targets made for {event['done']} of {event['of']} pictures"
    if kind == "pool":
        return f"{event['done']} of {event['of']} damaged crops made"
    if kind == "start":
        few = event["too_small"]
        note = f"\n{len(few)} photos are too small for a patch: {', '.join(few[:5])}" if few else ""
        return (
            f"{event['arch']} x{event['scale']}, {event['parameters']:,} parameters, "
            f"weights {event['weights']}, on {event['device']}{note}"
        )
    if kind == "stage":
        return (
            f"stage {event['stage']}/{event['stages']}: {event['steps']} steps, batch "
            f"{event['batch']}, patch {event['patch']}, {event['precision']}, {event['how']}"
        )
    if kind == "sheet":
        return str(event["path"])
    if kind == "measured":
        return "\n".join(f"{key}: {value}" for key, value in event.items() if key != "event")
    if kind == "interrupted":
        return f"interrupted after step {event['step']}; continue with --resume"
    if kind == "done":
        text = f"{event['result']}  {_scores(event['psnr_y'])}  {event['seconds'] / 60:.1f} min"
        if not figure.is_installed():
            text += "\nThere is no curves.png, which matplotlib draws; to install it: "
            text += 'pip install "srcli[plots]"'
        return text
    return ""


def _scores(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())


def _cache() -> Path:
    """Packed photos lie in srcli's cache folder."""
    folder = os.environ.get("SRCLI_CACHE_DIR", "").strip()
    if not folder:
        try:
            import platformdirs

            folder = platformdirs.user_cache_dir("srcli")
        except ImportError:
            folder = "~/.cache/srcli"
    return Path(folder).expanduser().absolute() / "photos"
