"""``srcli eval``: scores of models on benchmark sets, as the papers compute them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import srcli
from srcli.catalog import parse_strength
from srcli.catalog.datasets import Dataset
from srcli.cli import complete
from srcli.cli.eval_table import ScoreTable
from srcli.cli.options import (
    JsonFlag,
    ModelsOption,
    Only,
    ScalesOption,
    overwrite_flag,
    quiet_flag,
    split,
    whole_scales,
    with_options,
)
from srcli.cli.screen import Screen
from srcli.engine.settings import Settings, spill_folder
from srcli.errors import MediaError, UsageError
from srcli.options import FILES
from srcli.quality.benchmarks import Benchmark, Pair, fetch
from srcli.quality.candidates import (
    ALWAYS,
    Candidate,
    Run,
    check_images,
    find_candidates,
    find_datasets,
    image_folder,
)
from srcli.weights import WeightsOptions, locate
from srcli.weights.choose import Choice
from srcli.weights.features import check_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srcli.engine.engine import Engine
    from srcli.quality.evaluate import Evaluation, Failure, Metric, Pixels, Score
    from srcli.quality.score_log import ScoreLog
    from srcli.training.degradations import Pipeline

SCORED = "What is scored"
EXAMPLES = """
srcli eval --data Set5                            scores as in the papers
srcli eval -m bcrn,rlfn -x 2,4 -d Set5 -d Set14   several models, factors and sets
srcli eval -m photo -d photos --metric lpips      on your own pictures
"""
DAMAGE_SEED = 0  # so that everybody scores the same pictures


@with_options
def evaluate(
    models: ModelsOption = None,
    scales: ScalesOption = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "-d",
            metavar="DIR|NAME",
            rich_help_panel=SCORED,
            help="What to score on: Set5, Set14, BSD100, Urban100, or a folder with the large "
            "pictures in HR/ and, if you have them, the small ones in LRx4/; may be repeated.",
        ),
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=SCORED,
            help="Damage the small pictures first: photo, film, real-esrgan, bsrgan, or a recipe "
            "FILE.toml.",
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            rich_help_panel=SCORED,
            help="A further score: lpips, lpips-vgg, dists, niqe, or any that the library pyiqa "
            "has (its licence forbids commercial use); may be repeated.",
            autocompletion=complete.metrics,
        ),
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=SCORED,
            help="The weights of AlexNet or VGG-16 that lpips and dists need, if they are not to "
            "be downloaded; may be repeated.",
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            rich_help_panel=FILES,
            help="Write a table with a row for each picture.",
        ),
    ] = None,
    save_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=FILES,
            help="Keep the enlarged pictures in this folder, as PNG.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=FILES,
            help="Write each score into this file (JSONL), and do not compute those that it holds.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        overwrite_flag("Replace the table and the pictures if they exist."),
    ] = False,
    as_json: JsonFlag = False,
    quiet: Annotated[
        bool,
        quiet_flag("Print only the scores and errors."),
    ] = False,
    *,
    choice: Choice,
    settings: Annotated[Settings, Only(("device", "precision", "tile", "memory_bytes"))],
) -> None:
    """Score models on benchmark sets: PSNR-Y, SSIM-Y and PSNR-RGB, as the papers do."""
    if not data:
        raise UsageError("eval needs --data", "a folder with HR/ in it, or for example Set5")
    strength = None if choice.denoise is None else parse_strength(str(choice.denoise))
    candidates = find_candidates(
        split(models), whole_scales("eval", scales), choice.weights, strength
    )
    wanted = [m for m in dict.fromkeys(split(metrics)) if m not in ALWAYS]
    check_files(features or [])
    damage = None if degrade is None else _pipeline(degrade)
    named = find_datasets(data, {e.scale for e in candidates})
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise UsageError(f"the folder {csv_file.parent} of --csv does not exist")
    if resume is not None and not resume.absolute().parent.is_dir():
        raise UsageError(f"the folder {resume.parent} of --resume does not exist")
    if csv_file is not None and csv_file.exists() and not overwrite:
        raise UsageError(f"{csv_file} exists", "choose another name, or add --overwrite")

    from srcli.engine.choice import check_weights
    from srcli.engine.open import open_engine
    from srcli.quality.evaluate import load_pair
    from srcli.quality.named_metrics import check_metrics
    from srcli.quality.score_log import ScoreLog
    from srcli.training.degradations.benchmark import degraded

    check_metrics(wanted)
    scores = ScoreLog(resume) if resume is not None else None
    settings = replace(
        settings,
        border="network",  # as the papers compute
        backend="auto" if settings.precision == "int8" else "torch",  # which published scores use
        spill_folder=spill_folder(os.environ),
    )
    options = WeightsOptions.from_environment()
    for candidate in candidates:
        check_weights(candidate.model, [candidate.scale], settings, options)
    with Screen(quiet=quiet) as screen:
        engines = {
            e.model.name: open_engine(
                e.model, settings, weights=options, state=e.state, announce=screen.announce
            )
            for e in candidates
        }
        for candidate in candidates:
            _at_hand(candidate, options, screen)
        benchmarks = {
            (i, scale): (
                source
                if isinstance(source, Benchmark)
                else _fetched(source, scale, options, screen)
            )
            for (i, scale), source in named.items()
        }
        if damage is not None:
            benchmarks = {
                place: degraded(benchmark, damage, DAMAGE_SEED, load_pair)
                for place, benchmark in benchmarks.items()
            }
        if save_images is not None:
            check_images(save_images, candidates, benchmarks, overwrite or resume is not None)
        further = _metrics(wanted, engines, options, features or [], screen)
        runs = [
            Run(candidate, benchmark)
            for candidate in candidates
            for (_, scale), benchmark in benchmarks.items()
            if scale == candidate.scale
        ]
        report = ScoreTable(runs, wanted, screen, as_json=as_json, csv_file=csv_file)
        with report:
            for number, run in enumerate(runs):
                screen.start(run, number, runs)
                result = _evaluate(
                    run, engines[run.model.name], settings, further, scores, save_images, screen
                )
                report.add(run, result)
                if all(later.model.name != run.model.name for later in runs[number + 1 :]):
                    del engines[run.model.name]  # and with it its networks
    raise typer.Exit(1 if report.failed else 0)


def _pipeline(name: str) -> Pipeline:
    from srcli.training.degradations import read

    return read(name)


# ------------------------------------------------------------------------------------- fetching


def _at_hand(candidate: Candidate, options: WeightsOptions, screen: Screen) -> None:
    """Fetch the weights now: what is missing is missed before hours of work."""
    if candidate.model.is_resampler or candidate.state is not None:
        return
    for weights, _ in candidate.model.variant(candidate.scale).parts:
        with screen.fetching(weights.file) as progress:
            locate(
                weights,
                options,
                model=candidate.model.name,
                licence=candidate.model.terms,
                progress=progress,
                announce=screen.announce,
            )


def _fetched(dataset: Dataset, scale: int, options: WeightsOptions, screen: Screen) -> Benchmark:
    with screen.fetching(f"{dataset.name} x{scale}") as progress:
        return fetch(dataset, scale, options, announce=screen.announce, progress=progress)


def _metrics(
    names: Sequence[str],
    engines: dict[str, Engine],
    options: WeightsOptions,
    files: Sequence[Path],
    screen: Screen,
) -> dict[str, Metric]:
    """On the device of the networks."""
    if not names:
        return {}
    from srcli.quality.named_metrics import open_metrics

    devices = [str(getattr(engine, "device", "cpu")) for engine in engines.values()]
    device = next((d for d in devices if d != "cpu"), "cpu")
    with screen.fetching("weights of metrics") as progress:
        return open_metrics(
            names, device, options, files=files, announce=screen.announce, progress=progress
        )


# --------------------------------------------------------------------------------------- running


def _evaluate(
    run: Run,
    engine: Engine,
    settings: Settings,
    metrics: dict[str, Metric],
    scores: ScoreLog | None,
    images: Path | None,
    screen: Screen,
) -> Evaluation:
    from srcli.quality.evaluate import Score
    from srcli.quality.evaluate import evaluate as score_all

    key = {
        "model": run.model.name,
        "weights": run.candidate.sha256,
        "scale": run.scale,
        "dataset": run.benchmark.name,
        "device": str(getattr(engine, "device", "cpu")),
        "precision": str(getattr(engine, "precision", "fp32")),
        "tile": settings.tile,
        "srcli": srcli.__version__,
    }
    folder = image_folder(images, run.model, run.benchmark) if images is not None else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise MediaError(f"the folder {folder} cannot be made: {exc.strerror or exc}") from exc

    def known(pair: Pair) -> Score | None:
        if scores is None or (folder is not None and not (folder / f"{pair.name}.png").exists()):
            return None
        score = scores.find(key, pair, metrics)
        reused.update({pair.name} if score else ())
        return score

    def save(name: str, sr: Pixels) -> None:
        from srcli.media.write import open_writer

        assert folder is not None
        path = folder / f"{name}.png"
        with open_writer(path, size=sr.shape[:2], channels=3, alpha=False) as writer:
            writer.rows(sr)

    def on_picture(pair: Pair, outcome: Score | Failure) -> None:
        screen.advance(pair.name)
        where = f"{run.model.name} x{run.scale}, {run.benchmark.name}"
        if not isinstance(outcome, Score):
            hint = f" ({outcome.hint})" if outcome.hint else ""
            screen.say(f"srcli: {where}: {outcome.error}{hint}")
            return
        for note in outcome.notes:
            screen.announce(f"{where}: {pair.name}: {note}")
        if scores is not None and pair.name not in reused:
            scores.add(key, pair, outcome)

    reused: set[str] = set()
    return score_all(
        engine,
        run.benchmark.pairs,
        run.scale,
        metrics=metrics,
        known=known,
        on_picture=on_picture,
        save=save if folder is not None else None,
    )
