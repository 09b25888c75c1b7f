"""``srcli upscale``."""

from __future__ import annotations

import codecs
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from srcli import catalog
from srcli.catalog import Model
from srcli.cli.console import Console, opening
from srcli.cli.ending import InterruptionError
from srcli.cli.options import (
    JsonFlag,
    ModelOption,
    QuietFlag,
    WorkersOption,
    parse_scale,
    scale_option,
    with_options,
)
from srcli.cli.screen import duration_text
from srcli.cli.streams import read_stdin
from srcli.engine.settings import LEAST_MEMORY_BYTES, Settings, spill_folder
from srcli.errors import SrcliError, UsageError
from srcli.film.options import FilmOptions
from srcli.film.sequences import is_pattern
from srcli.jobs.inputs import check_name
from srcli.jobs.job import Job, JobOptions, Options, picture_bytes
from srcli.jobs.plan import Plan
from srcli.media.remote import shown
from srcli.options import CLUSTER, FILES, SIZE, declared
from srcli.sizes import size_text
from srcli.weights import WeightsOptions
from srcli.weights.choose import Choice, choose

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.jobs.events import Event, Summary

EXAMPLES = """
srcli upscale photo.jpg                          gives photo_x4.jpg
srcli upscale -m photo -x 2 holiday/ -o large/   a folder, with noise removed
srcli upscale clip.mp4 --start 1:30 --end 1:40   ten seconds of a film
"""
EXAMINED = 4  # pictures that --dry-run looks at for damage, each of which has to be decoded
_LIBRARIES = {"auto": "PyTorch", "torch": "PyTorch", "openvino": "OpenVINO"}
# of lists of names; that of UTF-32 begins like that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@with_options
def upscale(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Pictures, films, folders, patterns such as photos/*.jpg, web addresses, or - for "
            "standard input.",
        ),
    ] = None,
    model: ModelOption = None,
    scale: Annotated[
        float | None,
        scale_option(
            "How many times as wide and high: 2, 4, 2.5 ... Default: 4, or what the model can do.",
            parser=parse_scale,
            group=SIZE,
        ),
    ] = None,
    *,
    choice: Choice,
    wanted: JobOptions,
    films: FilmOptions,
    settings: Settings,
    from_file: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST",
            rich_help_panel=FILES,
            help="A text file that names more inputs, one a line; - for standard input.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=FILES, help="Say what would be done, and write nothing."
        ),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            rich_help_panel=CLUSTER,
            help="Work on many machines with Ray: the address of a cluster, auto for the one that "
            "this machine belongs to, or local for workers on this machine.",
        ),
    ] = None,
    workers: WorkersOption = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Enlarge pictures and films with a super-resolution network."""
    inputs = [*(inputs or []), *_listed(from_file)]
    if str(from_file) == "-" and "-" in inputs:
        raise UsageError("standard input can be the list or a picture, not both")
    if not inputs:
        raise UsageError("nothing to upscale", "name pictures or folders, or see --help")
    if wanted.output == "":
        raise UsageError("-o is empty", "is a shell variable not set?")
    if wanted.output == "-" and as_json:
        raise UsageError("-o - and --json both want standard output")
    sized = wanted.width is not None or wanted.height is not None
    if scale is not None and sized:
        raise UsageError("give either --scale or --width and --height, not both")
    if workers is not None and cluster is None:
        raise UsageError("--workers needs a cluster", "for this machine: --cluster local")
    if cluster is not None:
        _check_cluster(cluster, wanted.output)
    if wanted.overwrite and wanted.skip_existing:
        raise UsageError("--overwrite and --skip-existing cannot be combined")
    if scale is not None:
        catalog.check_scale(scale)
    if len(inputs) == 1:
        check_name(inputs[0])
    chosen, state = choose(model, scale, choice)
    if not sized and scale is None:
        scale = float(catalog.default_scale(chosen))
    settings = replace(settings, spill_folder=spill_folder(os.environ))
    options = Options(
        model=chosen,
        scale=scale,
        film=replace(films, alpha=wanted.alpha),
        suggest=model is None and choice.weights is None,
        **vars(wanted),
    )
    idle = False
    if scale is not None:
        # a scale that cannot be reached is refused at once
        idle = not catalog.chain(chosen, scale) and not chosen.is_resampler
    from srcli.engine.choice import check_weights, settled

    weights = WeightsOptions.from_environment()
    running = settled(chosen, settings, weights, from_file=state is not None, here=cluster is None)
    before: list[Event] = []
    plan = Plan(inputs, options, stdin=read_stdin, tell=before.append)
    to_stdout = plan.to_stdout
    if to_stdout and cluster is not None:
        raise UsageError("--cluster cannot write to standard output", "name a file with -o")
    if to_stdout and as_json:
        raise UsageError("-o - and --json both want standard output", "name a file with -o")
    if to_stdout and sys.stdout.isatty():
        raise UsageError("a picture cannot be shown on a terminal", "name a file with -o")
    check_weights(chosen, plan.scales, running, weights)
    with Console(as_json=as_json, quiet=quiet, results=not to_stdout) as console:
        if model is not None and (told := catalog.meaning(model, chosen)) is not None:
            console.announce(told)
        for event in before:
            console.tell(event)
        for note in _without_effect(plan, options, settings):
            console.announce(note)
        from srcli.engine.open import open_engine

        if plan.total and not as_json and not dry_run:
            # before the network's libraries, which take seconds to import
            jobs = plan.inspected  # with --width and --height, these tell whether a network runs
            resampled = idle or (jobs is not None and not any(job.passes for job in jobs))
            library = None if chosen.is_resampler or resampled else _LIBRARIES[running.backend]
            name = "lanczos" if resampled and not chosen.is_resampler else chosen.name
            console.announce(opening(plan, name, options.scale, library))
        if idle and (model is not None or choice.weights is not None):
            console.announce(_idle_text(chosen, cast("float", scale)))
        if dry_run:
            summary = _show(plan, options, settings, state, console)
        else:
            try:
                if cluster is not None:
                    summary = _on_cluster(plan, options, settings, state, cluster, workers, console)
                else:
                    from srcli.jobs.run import run

                    engine = open_engine(
                        chosen,
                        settings,
                        state=state,
                        announce=console.announce,
                        progress=console.downloading,
                    )
                    summary = run(
                        chain(plan.over(), plan.todo()),
                        options,
                        engine,
                        tell=console.tell,
                        inspect=plan.inspect,
                        total=plan.total,
                        scales=plan.scales,
                    )
            except KeyboardInterrupt as exc:
                raise _interruption(plan, options) from exc
        for event in before:
            summary.count(event)
        console.summary(summary)
    if console.lost is not None:
        raise console.lost
    raise typer.Exit(summary.exit_code)


def _check_cluster(where: str, output: str | None) -> None:
    """Whether Ray is there, and what is asked for can be done by other processes."""
    from srcli.cluster import installed

    if not where or where.startswith("-"):
        raise UsageError(
            "--cluster takes local, auto, or an address", "for this machine: --cluster local"
        )
    if output == "-":
        raise UsageError("--cluster cannot write to standard output", "name a file with -o")
    installed.check()
    installed.settle(os.environ)


def _on_cluster(
    plan: Plan,
    options: Options,
    settings: Settings,
    state: dict[str, Tensor] | None,
    where: str,
    workers: int | None,
    console: Console,
) -> Summary:
    from srcli.cluster.hub import Wanted
    from srcli.cluster.run import run

    return run(
        plan,
        options,
        options.model,
        settings,
        Wanted(where, workers, settings.threads, settings.device),
        weights=WeightsOptions.from_environment(),
        state=state,
        tell=console.tell,
        announce=console.announce,
        progress=console.downloading,
    )


def _interruption(plan: Plan, options: Options) -> InterruptionError:
    """What is to be said at Ctrl-C: how far it went, and the command that goes on from there."""
    from srcli.film.segments import segments_kept

    if plan.total == 1 and plan.n_films == 0:
        return InterruptionError()
    again = InterruptionError(hint="the same command starts again from the beginning")
    film = _only_film(plan)
    if film is not None and not segments_kept(film):
        return again
    if film is None and options.overwrite:
        return again
    # none of them was there before; what was finished last was not told any more
    said = "interrupted" if film else f"interrupted; {plan.n_there()} of {plan.total} done"
    arguments = [shown(argument) for argument in sys.argv[1:]]
    if film is None and not options.skip_existing:
        where = arguments.index("--") if "--" in arguments else len(arguments)
        arguments.insert(where, "--skip-existing")
    return InterruptionError(said, f"to continue: {shlex.join(['srcli', *arguments])}")


def _only_film(plan: Plan) -> Path | None:
    """The film that is to be made, if it is all that is: it goes on from its own segments."""
    jobs = plan.inspected or []
    if len(jobs) != 1 or jobs[0].film is None or is_pattern(jobs[0].target):
        return None
    return jobs[0].target


def _listed(path: Path | None) -> list[str]:
    """The lines of a list of inputs, of standard input for ``-``; empty ones do not count."""
    if path is None:
        return []
    try:
        data = read_stdin() if str(path) == "-" else path.read_bytes()
        text = _decoded(data)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(f"the list {path} cannot be read: {reason}") from exc
    # and not splitlines, which knows line ends that may stand in a name
    return [line.strip() for line in text.split("\n") if line.strip()]


def _decoded(data: bytes) -> str:
    """UTF-16 or UTF-32 if a byte order mark says so; else as the system's names are."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    if b"\0" in data:
        raise ValueError("it is not a text file, in UTF-8 or (with a byte order mark) UTF-16")
    return os.fsdecode(data)


def _idle_text(model: Model, scale: float) -> str:
    """Why a network that was asked for does not run."""
    known = " and ".join(f"x{s}" for s in sorted(model.scales))
    text = (
        f"{model.name} enlarges by {known} and does not run at "
        f"x{scale:g}: the picture is only resampled."
    )
    return text + " To repair without enlarging: -m dejpg." * (scale == 1)


def _without_effect(plan: Plan, options: Options, settings: Settings) -> Iterator[str]:
    """What was asked for and changes nothing."""
    memory = settings.memory_bytes
    if memory is not None and memory < LEAST_MEMORY_BYTES and not options.model.is_resampler:
        yield (
            f"--memory {size_text(memory)} is less than srcli itself may take, "
            f"{size_text(LEAST_MEMORY_BYTES)} whatever the picture; ask for "
            f"{LEAST_MEMORY_BYTES // 2**20}M or more"
        )
    if options.model.is_resampler:
        for name in ("ensemble", "border", "color_fix"):
            option = declared(Settings)[name]
            if getattr(settings, name) != option.default:
                flag = option.flags[0].partition("/")[0]
                yield f"{flag} has no effect: {options.model.name} is not a network"
    jobs = plan.inspected
    if not jobs:
        return
    lossy = ("jpeg", "webp", "avif")
    if options.quality is not None and not any(j.film or j.format in lossy for j in jobs):
        yield "--quality has no effect: no result is a JPEG, WebP or AVIF file"
    elif options.quality is not None and options.lossless:
        yield "--quality has no effect on WebP files: --lossless keeps every pixel"
    if not any(j.film for j in jobs):
        for option in declared(FilmOptions).values():
            if getattr(options.film, option.name) != option.default:
                yield f"{option.flags[0]} has no effect: no input is a film"


def _show(
    plan: Plan,
    options: Options,
    settings: Settings,
    state: dict[str, Tensor] | None,
    console: Console,
) -> Summary:
    """--dry-run: what would be written, how large, with how much memory."""
    from srcli.engine.choice import resolve_auto
    from srcli.engine.forecast import forecast
    from srcli.engine.pytorch.network import Network
    from srcli.engine.pytorch.upscaler import Upscaler
    from srcli.engine.resampler import Resampler
    from srcli.film.plan import about_frames
    from srcli.jobs.events import Failed, Skipped, Suggested, Summary
    from srcli.weights import build, new_network

    model = options.model

    def untrained(scale: int) -> Network:
        """As large as the real one, and nothing is downloaded; of a file the real one."""
        variant = model.variant(scale)
        module = (
            new_network(variant, model.arch) if state is None else build(variant, model.arch, state)
        )
        return Network(module, model.arch, model.preprocessing, scale)

    engine = Resampler("bicubic") if model.is_resampler else Upscaler(untrained, settings)
    weights = WeightsOptions.from_environment()
    if state is None:
        settings = resolve_auto(model, settings, weights)
    seconds_of = forecast(model, settings, weights)
    total: float | None = 0.0
    n_examined = 0
    summary = Summary()
    for job in plan:
        if job.skip:
            summary.count(event := Skipped(job.source, job.target))
            console.tell(event)
        elif job.failure is not None:
            failed = Failed(job.source, job.failure.message, job.failure.hint)
            summary.count(failed)
            console.tell(failed)
        else:
            n_bytes = engine.estimate_bytes(job.lr_size, job.passes) + picture_bytes(job)
            frames, seconds = job.n_frames, seconds_of(job.lr_size, job.passes)
            if job.film is not None:
                frames = about_frames(job.film.film, job.film.options) or 0
            seconds = seconds * frames if seconds and frames else None
            total = None if total is None or seconds is None else total + seconds
            console.planned(job, model.name, n_bytes, engine.memory_bytes, seconds)
            if options.suggest and job.film is None and n_examined < EXAMINED:
                n_examined += 1
                if (found := _damage(job, options)) is not None:
                    console.tell(Suggested(job.source, found))
    if total and len(plan) > 1:
        console.announce(f"the network will need about {duration_text(total)} for all of them")
    return summary


def _damage(job: Job, options: Options) -> str | None:
    """What is plainly wrong with a picture; None, too, if it cannot be read."""
    from srcli.jobs.prefetch import open_source

    try:
        return open_source(job, options).damage
    except (SrcliError, OSError, ValueError, MemoryError):
        return None  # the work itself says why
