"""``srcli eval``: scores of models on benchmark sets, as the papers compute them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import srcli
from srcli import catalog
from srcli.catalog import Model
from srcli.catalog.datasets import Dataset, find_dataset
from srcli.cli.options import (
    DeviceOption,
    EngineOptions,
    JsonFlag,
    MemoryOption,
    PrecisionOption,
    QuietFlag,
    TileOption,
    split,
    whole_scales,
)
from srcli.errors import MediaError, UsageError
from srcli.quality.benchmarks import (
    Benchmark,
    Pair,
    check_dataset,
    fetch,
    read_folder,
    unknown,
)
from srcli.weights import WeightsOptions, load_file, locate
from srcli.weights.cache import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.open import Engine
    from srcli.engine.settings import Settings
    from srcli.quality.evaluate import Evaluation, Failure, Metric, Pixels, Score, ScoreLog

DEFAULT_MODEL = "bcrn"
_ALWAYS = ("psnr_y", "ssim_y", "psnr_rgb")


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Network by name; may be repeated. Default: bcrn.",
        ),
    ] = None,
    scales: Annotated[
        list[str] | None,
        typer.Option(
            "--scale",
            "-x",
            metavar="X",
            help="Native scale (2, 3, 4); may be repeated. Default: 4.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "-d",
            metavar="DIR|NAME",
            help="Folder with HR/ and perhaps LRx4/, or Set5, Set14, BSD100, Urban100; "
            "may be repeated.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of your own (safetensors, or .pth)."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME", help="One more, by the library pyiqa: lpips, dists, ..."
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a row per picture there too."),
    ] = None,
    save_images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the enlarged pictures, as PNG."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write each score there (JSONL) and do not compute it again."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the CSV file and pictures that exist.")
    ] = False,
    tile: TileOption = "auto",
    memory: MemoryOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Score models on benchmark sets: PSNR-Y, SSIM-Y and PSNR-RGB, as the papers do."""
    how = EngineOptions.of(device, precision, tile, memory)
    if not data:
        raise UsageError("eval needs --data", "a folder with HR/ in it, or for example Set5")
    entrants = _entrants(split(models), whole_scales("eval", scales), weights)
    wanted = [m for m in dict.fromkeys(split(metrics)) if m not in _ALWAYS]
    named = _sets(data, {e.scale for e in entrants})
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise UsageError(f"the folder {csv_file.parent} of --csv does not exist")
    if resume is not None and not resume.absolute().parent.is_dir():
        raise UsageError(f"the folder {resume.parent} of --resume does not exist")
    if csv_file is not None and csv_file.exists() and not overwrite:
        raise UsageError(f"{csv_file} exists", "name another, or say --overwrite")

    from srcli.engine.open import open_engine
    from srcli.quality.evaluate import ScoreLog, check_metrics

    check_metrics(wanted)
    scores = ScoreLog(resume) if resume is not None else None
    settings = replace(how.settings(), border="network")  # as the papers compute
    options = WeightsOptions.from_environment()
    with _Screen(quiet=quiet) as screen:
        engines = {
            e.model.name: open_engine(
                e.model, settings, weights=options, state=e.state, announce=screen.announce
            )
            for e in entrants
        }
        for entrant in entrants:
            _at_hand(entrant, options, screen)
        benchmarks = {
            (i, scale): (
                source
                if isinstance(source, Benchmark)
                else _fetched(source, scale, options, screen)
            )
            for (i, scale), source in named.items()
        }
        if save_images is not None:
            _check_images(save_images, entrants, benchmarks, overwrite or resume is not None)
        further = _metrics(wanted, engines, options)
        runs = [
            _Run(entrant, benchmark)
            for entrant in entrants
            for (_, scale), benchmark in benchmarks.items()
            if scale == entrant.scale
        ]
        report = _Report(runs, wanted, screen, as_json=as_json, quiet=quiet, csv_file=csv_file)
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


# ------------------------------------------------------------------------------------- planning


@dataclass(frozen=True, eq=False)
class _Entrant:
    """A model at one scale; ``state`` is of the user's own file, ``sha256`` of the weights."""

    model: Model
    scale: int
    sha256: str
    state: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class _Run:
    """One line of the table."""

    entrant: _Entrant
    benchmark: Benchmark

    @property
    def model(self) -> Model:
        return self.entrant.model

    @property
    def scale(self) -> int:
        return self.entrant.scale

    @property
    def reference(self) -> tuple[str, float] | None:
        """The catalogue's model and its PSNR-Y on this set; for own weights, its architecture's."""
        model = self.model
        if self.entrant.state is not None:
            known = [m for m in catalog.models() if m.arch == model.arch and self.scale in m.scales]
            if not known:
                return None
            model = known[0]
        if self.scale not in model.scales:
            return None
        variant = model.variant(self.scale)
        counts = {"set5": (5, variant.psnr_set5), "set14": (14, variant.psnr_set14)}
        count, psnr = counts.get(self.benchmark.name.lower(), (0, None))
        if psnr is None or count != len(self.benchmark.pairs):
            return None
        return model.name, psnr


def _entrants(names: list[str], scales: list[int], weights: Path | None) -> list[_Entrant]:
    """Every model at every scale; what it cannot do natively is refused."""
    if weights is not None:
        return [_own(names, scales, weights)]
    found: dict[tuple[str, int], _Entrant] = {}
    for name in names or [DEFAULT_MODEL]:
        for scale in scales or [catalog.default_scale(catalog.resolve(name))]:
            model = catalog.resolve(name, scale)
            sha256 = ""
            if not model.is_resampler:
                _check_native(model, scale)
                file = model.variant(scale).weights
                if file is None:
                    raise UsageError(*catalog.without_weights(model, scale))
                sha256 = file.sha256
            found.setdefault((model.name, scale), _Entrant(model, scale, sha256))
    # one model after the other, so that no more than one is in memory
    order = {name: i for i, (name, _) in reversed(list(enumerate(found)))}
    return sorted(found.values(), key=lambda e: order[e.model.name])


def _own(names: list[str], scales: list[int], weights: Path) -> _Entrant:
    if len(names) > 1 or len(scales) > 1:
        raise UsageError("--weights is one model at one scale: give -m and -x at most once")
    model, variant, state = load_file(
        weights, names[0] if names else None, scales[0] if scales else None
    )
    if scales:
        _check_native(model, scales[0])
    try:
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as exc:
        raise MediaError(f"{weights} cannot be read: {exc.strerror or exc}") from exc
    return _Entrant(model, variant.scale, sha256, state)


def _check_native(model: Model, scale: int) -> None:
    if scale not in model.scales:
        has = " and ".join(f"x{s}" for s in model.scales)
        raise UsageError(
            f"{model.name} has no native x{scale}, only {has}",
            "papers' scores are for native scales",
        )


def _sets(data: list[str], scales: set[int]) -> dict[tuple[int, int], Benchmark | Dataset]:
    """Folders as benchmarks, sets of the catalogue as they are, by place in --data and scale."""
    found: dict[tuple[int, int], Benchmark | Dataset] = {}
    for i, text in enumerate(dict.fromkeys(data)):
        dataset = None if Path(text).exists() else find_dataset(text)
        if dataset is None and not Path(text).exists():
            raise unknown(text)
        for scale in sorted(scales):
            if dataset is None:
                found[i, scale] = read_folder(Path(text), scale)
            else:
                check_dataset(dataset, scale)
                found[i, scale] = dataset
    return found


def _at_hand(entrant: _Entrant, options: WeightsOptions, screen: _Screen) -> None:
    """Fetch the weights now: what is missing is missed before hours of work."""
    if entrant.model.is_resampler or entrant.state is not None:
        return
    weights = entrant.model.variant(entrant.scale).weights
    assert weights is not None, "checked by _entrants"
    with screen.fetching(weights.file) as progress:
        locate(
            weights,
            options,
            model=entrant.model.name,
            licence=entrant.model.licence,
            progress=progress,
            announce=screen.announce,
        )


def _fetched(dataset: Dataset, scale: int, options: WeightsOptions, screen: _Screen) -> Benchmark:
    with screen.fetching(f"{dataset.name} x{scale}") as progress:
        return fetch(dataset, scale, options, announce=screen.announce, progress=progress)


def _metrics(
    names: Sequence[str], engines: dict[str, Engine], options: WeightsOptions
) -> dict[str, Metric]:
    """On the device of the networks."""
    if not names:
        return {}
    from srcli.quality.evaluate import open_metrics

    devices = [str(getattr(engine, "device", "cpu")) for engine in engines.values()]
    device = next((d for d in devices if d != "cpu"), "cpu")
    return open_metrics(names, device, offline=options.offline)


# --------------------------------------------------------------------------------------- running


def _evaluate(
    run: _Run,
    engine: Engine,
    settings: Settings,
    metrics: dict[str, Metric],
    scores: ScoreLog | None,
    images: Path | None,
    screen: _Screen,
) -> Evaluation:
    from srcli.quality.evaluate import Score
    from srcli.quality.evaluate import evaluate as score_all

    key = {
        "model": run.model.name,
        "weights": run.entrant.sha256,
        "scale": run.scale,
        "dataset": run.benchmark.name,
        "device": str(getattr(engine, "device", "cpu")),
        "precision": str(getattr(engine, "precision", "fp32")),
        "tile": settings.tile,
        "srcli": srcli.__version__,
    }
    folder = _image_folder(images, run.model, run.benchmark) if images is not None else None
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


def _image_folder(images: Path, model: Model, benchmark: Benchmark) -> Path:
    name = model.name.replace(":", "-").replace("/", "-")
    return images / f"{name}-x{benchmark.scale}" / benchmark.name


def _check_images(
    images: Path,
    entrants: Sequence[_Entrant],
    benchmarks: dict[tuple[int, int], Benchmark],
    may_exist: bool,
) -> None:
    """--save-images: no two pictures of one name, and none that is there already."""
    taken: dict[Path, str] = {}
    for entrant in entrants:
        for benchmark in (b for b in benchmarks.values() if b.scale == entrant.scale):
            folder = _image_folder(images, entrant.model, benchmark)
            if folder in taken:
                raise UsageError(
                    f"two sets are called {benchmark.name}: "
                    f"{taken[folder]} and {benchmark.source}; both would be saved in {folder}",
                    "score them in two calls",
                )
            taken[folder] = benchmark.source
            there = next((p for p in benchmark.pairs if (folder / f"{p.name}.png").exists()), None)
            if there is not None and not may_exist:
                raise UsageError(
                    f"{folder / there.name}.png exists", "name another folder, or say --overwrite"
                )


# -------------------------------------------------------------------------------------- showing


@dataclass(frozen=True)
class _Row:
    run: _Run
    result: Evaluation


class _Report:
    """Results on stdout and in the CSV file, each as soon as it is there."""

    def __init__(
        self,
        runs: Sequence[_Run],
        metrics: Sequence[str],
        screen: _Screen,
        *,
        as_json: bool,
        quiet: bool,
        csv_file: Path | None,
    ) -> None:
        self.metrics, self.screen = metrics, screen
        self.as_json, self.csv_file = as_json, csv_file
        self.text = not as_json and not quiet
        self.plain = not sys.stdout.isatty()
        self.rows: list[_Row] = []
        self.titles = [
            *("model", "scale", "dataset", "pictures", "PSNR-Y", "SSIM-Y", "reference", "diff"),
            *metrics,
            "seconds",
        ]
        least = [0, 5, 0, 8, 7, 7, 9, 7, *(max(8, len(m)) for m in metrics), 8]
        least[0] = max(5, *(len(r.model.name) for r in runs))
        least[2] = max(7, *(len(r.benchmark.name) for r in runs))
        self.widths = least

    @property
    def failed(self) -> bool:
        return any(row.result.failures for row in self.rows)

    def __enter__(self) -> _Report:
        if self.text and self.plain:
            self._line(self.titles)
        return self

    def __exit__(self, *_: object) -> None:
        # also after Ctrl-C: what is finished is shown
        if self.text and not self.plain and self.rows:
            self._table()

    def add(self, run: _Run, result: Evaluation) -> None:
        self.rows.append(_Row(run, result))
        if self.as_json:
            print(json.dumps(self._json(self.rows[-1]), ensure_ascii=False), flush=True)
        elif self.text and self.plain:
            self._line(self._cells(self.rows[-1]))
        if self.csv_file is not None:
            self._write_csv(self.csv_file)

    def _cells(self, row: _Row) -> list[str]:
        run, result, reference = row.run, row.result, row.run.reference
        scored = len(result.scores)
        diff = ""
        if reference is not None and result.psnr_y is not None:
            diff = f"{result.psnr_y - reference[1]:+z.3f}"
        return [
            run.model.name,
            f"x{run.scale}",
            run.benchmark.name,
            str(scored) if scored == result.total else f"{scored} of {result.total}",
            _text(result.psnr_y, 3),
            _text(result.ssim_y, 4),
            _text(reference[1], 3) if reference else "",
            diff,
            *(_text(result.metric(name), 4) for name in self.metrics),
            f"{result.seconds:.1f}",
        ]

    def _line(self, cells: Sequence[str]) -> None:
        """Words to the left, numbers to the right."""
        padded = [
            f"{c:<{w}}" if t in {"model", "dataset"} else f"{c:>{w}}"
            for c, w, t in zip(cells, self.widths, self.titles, strict=True)
        ]
        print("  ".join(padded).rstrip(), flush=True)

    def _table(self) -> None:
        self.screen.stop()
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        empty = {"reference", "diff"} if all(r.run.reference is None for r in self.rows) else set()
        shown = [i for i, t in enumerate(self.titles) if t not in empty]
        for title in (self.titles[i] for i in shown):
            words = title in {"model", "dataset"}
            table.add_column(
                title,
                justify="left" if words else "right",
                style="bold" if title in {"model", "PSNR-Y"} else None,
                overflow="fold",
                no_wrap=not words,
            )
        for row in self.rows:
            cells = self._cells(row)
            table.add_row(*(Text(cells[i]) for i in shown))
        Console().print(table)

    def _json(self, row: _Row) -> dict[str, Any]:
        from srcli.quality.evaluate import as_json, finite

        run, result, reference = row.run, row.result, row.run.reference
        return {
            "model": run.model.name,
            "scale": run.scale,
            "dataset": run.benchmark.name,
            "source": run.benchmark.source,
            "psnr_y": finite(result.psnr_y),
            "ssim_y": result.ssim_y,
            "psnr_rgb": finite(result.psnr_rgb),
            **{name: finite(result.metric(name)) for name in self.metrics},
            "reference": reference[1] if reference else None,
            "reference_model": reference[0] if reference else None,
            "scored": len(result.scores),
            "total": result.total,
            "seconds": round(result.seconds, 4),
            "pictures": [as_json(score) for score in result.scores],
            "failed": [{"name": f.name, "error": f.error, "hint": f.hint} for f in result.failures],
        }

    def _write_csv(self, path: Path) -> None:
        """A row per picture, and one without a picture's name for the mean."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [*_ALWAYS, *self.metrics]
        writer.writerow(["model", "scale", "dataset", "picture", *names, "seconds", "error"])
        for row in self.rows:
            head = [row.run.model.name, row.run.scale, row.run.benchmark.name]
            result = row.result
            for s in result.scores:
                values = [s.psnr_y, s.ssim_y, s.psnr_rgb, *(s.metrics[m] for m in self.metrics)]
                writer.writerow([*head, s.name, *values, round(s.seconds, 4), ""])
            for f in result.failures:
                writer.writerow([*head, f.name, *("" for _ in names), "", f.error])
            means = [result.psnr_y, result.ssim_y, result.psnr_rgb]
            means += [result.metric(m) for m in self.metrics]
            writer.writerow([*head, "", *means, round(result.seconds, 4), ""])
        try:
            write_atomic(path, out.getvalue().encode())
        except OSError as exc:
            raise MediaError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


class _Screen:
    """Progress and words on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.progress: Any = None
        self.task: Any = None
        self.since = time.perf_counter()
        self.title = ""
        if quiet or not sys.stderr.isatty():
            return
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=RichConsole(stderr=True),
            transient=True,
        )

    def __enter__(self) -> _Screen:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()

    def start(self, run: _Run, number: int, runs: Sequence[_Run]) -> None:
        self.title = f"{run.model.name} x{run.scale} {run.benchmark.name}"
        if self.progress is not None:
            if self.task is None:
                total = sum(len(r.benchmark.pairs) for r in runs)
                self.task = self.progress.add_task(self.title, total=total)
            self.progress.update(self.task, description=self.title)

    def advance(self, name: str) -> None:
        if self.progress is not None:
            self.progress.update(self.task, advance=1, description=f"{self.title} {name}")

    @contextmanager
    def fetching(self, what: str) -> Iterator[Any]:
        """A bar for a download, which appears with its first byte."""
        if self.progress is None:
            yield None
            return
        task: Any = None

        def move(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = self.progress.add_task(what, total=total)
            self.progress.update(task, completed=done, total=total)

        try:
            yield move
        finally:
            if task is not None:
                self.progress.remove_task(task)

    def say(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def announce(self, text: str) -> None:
        """A line that quiet leaves out."""
        if not self.quiet:
            self.say(text)
