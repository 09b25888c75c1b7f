"""``srcli upscale``."""

from __future__ import annotations

import codecs
import os
import shlex
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from srcli import catalog
from srcli.catalog import Model
from srcli.cli import film
from srcli.cli.console import Console, opening
from srcli.cli.ending import InterruptionError
from srcli.cli.options import (
    BackendOption,
    DenoiseOption,
    DeviceOption,
    EngineOptions,
    JsonFlag,
    MemoryOption,
    ModelOption,
    PrecisionOption,
    QuietFlag,
    ThreadsOption,
    TileOption,
    parse_choice,
    parse_scale,
)
from srcli.cli.screen import duration_text
from srcli.cli.streams import read_stdin
from srcli.errors import UsageError
from srcli.jobs.inputs import check_name
from srcli.jobs.job import MAX_PIXELS, Options, picture_bytes
from srcli.jobs.plan import Plan
from srcli.media.formats import FORMATS
from srcli.media.remote import shown
from srcli.weights import WeightsOptions

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.settings import Border, Ensemble, Settings
    from srcli.jobs.events import Event, Summary
    from srcli.jobs.job import AlphaMode, Depth, Frames
    from srcli.media.formats import FormatName

DEFAULT_MODEL = "bcrn"
_LIBRARIES = {"auto": "PyTorch", "torch": "PyTorch", "openvino": "OpenVINO"}
# of lists of names; that of UTF-32 begins like that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def upscale(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Pictures, films, folders, glob patterns, or - for standard input.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            "-x",
            metavar="X",
            parser=parse_scale,
            help="Factor; 4, or the model's only scale.",
        ),
    ] = None,
    model: ModelOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File, or folder for several, - for standard output, or a name with fields, "
            "{dir}/{stem}_{ext}@{scale}x.png. Default: <name>_x4 beside the input.",
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, metavar="PX", help="Width of the result, instead of -x.")
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(min=1, metavar="PX", help="Height of the result; both: fit inside."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of your own (safetensors, or .pth)."),
    ] = None,
    denoise: DenoiseOption = None,
    from_file: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="More inputs, one a line; - for standard input."),
    ] = None,
    n_jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            max=256,
            metavar="N",
            help="Pictures that are read, and written, at a time beside the network.",
        ),
    ] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into subfolders too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave outputs that exist; do the others.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="F", help="png, jpeg, webp, tiff, bmp, avif or gif."),
    ] = None,
    depth: Annotated[
        str, typer.Option(metavar="BITS", help="Per channel: same, 8 or 16 (PNG and TIFF).")
    ] = "same",
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, metavar="Q", help="Of JPEG, WebP and AVIF. Default: 95."),
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="WebP without loss.")] = False,
    alpha: Annotated[
        str,
        typer.Option(metavar="HOW", help="Transparency: network, lanczos, or discard it."),
    ] = "network",
    ensemble: Annotated[
        int,
        typer.Option(metavar="N", help="8: the mean over all flips and turns; 8 times the work."),
    ] = 1,
    border: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Beyond the picture: network (as it pads) or reflect."),
    ] = None,
    color_fix: Annotated[
        bool,
        typer.Option("--color-fix/--no-color-fix", help="Correct colours that a network shifts."),
    ] = False,
    frames: Annotated[
        str, typer.Option(metavar="WHICH", help="Of animations, and pages: all, or first.")
    ] = "all",
    strip_metadata: Annotated[
        bool,
        typer.Option("--strip-metadata", help="Leave EXIF out; the colour profile stays."),
    ] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Refuse pictures with more pixels than this.")
    ] = MAX_PIXELS,
    codec: film.CodecOption = None,
    crf: film.CrfOption = None,
    preset: film.PresetOption = None,
    pix_fmt: film.PixFmtOption = None,
    encoder_args: film.EncoderArgsOption = None,
    container: film.ContainerOption = None,
    start: film.StartOption = None,
    end: film.EndOption = None,
    preview: film.PreviewOption = None,
    fps: film.RateOption = "25",
    audio: film.AudioOption = "copy",
    subtitles: film.SubtitlesOption = "copy",
    ffmpeg: film.FFmpegOption = None,
    tile: TileOption = "auto",
    memory: MemoryOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Many workers, through Ray: local (this machine), auto (the cluster that it is "
            "part of), or a cluster's address.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, metavar="N", help="Of the cluster. Default: what has room."
        ),
    ] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Enlarge pictures and films with a super-resolution network."""
    how = EngineOptions.of(device, precision, tile, memory, backend, threads)
    films = film.film_options(
        codec,
        crf,
        preset,
        pix_fmt,
        encoder_args,
        container,
        start,
        end,
        preview,
        fps,
        audio,
        subtitles,
        alpha,
        ffmpeg,
    )
    parse_choice("--depth", depth, ("same", "8", "16"))
    parse_choice("--frames", frames, ("all", "first"))
    if border is not None:
        parse_choice("--border", border, ("network", "reflect"))
    parse_choice("--ensemble", str(ensemble), ("1", "8"))
    if form is not None:
        form = {"jpg": "jpeg", "tif": "tiff"}.get(form.lower(), form.lower())
        parse_choice("--format", form, tuple(f.name for f in FORMATS.values() if f.writable))
    inputs = [*(inputs or []), *_listed(from_file)]
    if str(from_file) == "-" and "-" in inputs:
        raise UsageError("standard input is the list or a picture, not both")
    if not inputs:
        raise UsageError("nothing to upscale", "name pictures or folders, or see --help")
    if output == "":
        raise UsageError("-o has an empty name", "is a variable of the shell not set?")
    if output == "-" and as_json:
        raise UsageError("-o - and --json both want standard output")
    if scale is not None and (width is not None or height is not None):
        raise UsageError("give either --scale or --width and --height, not both")
    if workers is not None and cluster is None:
        raise UsageError("--workers needs a cluster", "for this machine: --cluster local")
    if cluster is not None:
        _check_cluster(cluster, output)
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    if width is None and height is None and scale is not None:
        catalog.check_scale(scale)
    if len(inputs) == 1:
        check_name(inputs[0])
    if weights is not None and not weights.is_file():
        raise UsageError(f"{weights} does not exist")
    chosen, state = _model(model, scale, weights, denoise)
    if width is None and height is None and scale is None:
        scale = float(catalog.default_scale(chosen))
    options = Options(
        model=chosen,
        scale=scale,
        width=width,
        height=height,
        output=output,
        overwrite=overwrite,
        skip_existing=skip_existing,
        recursive=recursive,
        max_pixels=max_pixels,
        format=cast("FormatName | None", form),
        depth=cast("Depth", depth),
        quality=quality,
        lossless=lossless,
        alpha=cast("AlphaMode", alpha),
        strip_metadata=strip_metadata,
        frames=cast("Frames", frames),
        jobs=n_jobs,
        film=films,
        suggest=model is None and weights is None,
    )
    idle = False
    if scale is not None:
        # a scale that cannot be reached is refused at once
        idle = not catalog.chain(chosen, scale) and not chosen.is_resampler
    before: list[Event] = []
    plan = Plan(inputs, options, stdin=read_stdin, tell=before.append)
    to_stdout = plan.to_stdout
    if to_stdout and cluster is not None:
        raise UsageError("a cluster's workers write files", "name one with -o")
    if to_stdout and as_json:
        raise UsageError("-o - and --json both want standard output", "name a file with -o")
    if to_stdout and sys.stdout.isatty():
        raise UsageError("a picture on a terminal would be noise", "name a file with -o")
    with Console(as_json=as_json, quiet=quiet, results=not to_stdout) as console:
        if model is not None and (told := catalog.meaning(model, chosen)) is not None:
            console.announce(told)
        for event in before:
            console.tell(event)
        from srcli.engine.choice import settled
        from srcli.engine.open import open_engine

        settings = replace(
            how.settings(),
            ensemble=cast("Ensemble", ensemble),
            border=cast("Border | None", border),
            color_fix=color_fix,
        )
        if plan.total and not as_json and not dry_run:
            # before the network's libraries, which take seconds to import
            backend = settings.backend
            if state is None:
                backend = settled(chosen, settings, WeightsOptions.from_environment()).backend
            library = None if chosen.is_resampler or idle else _LIBRARIES[backend]
            name = "lanczos" if idle else chosen.name
            console.announce(opening(plan, name, options.scale, library))
        if idle and (model is not None or weights is not None):
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
                        look=plan.look,
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
        raise UsageError("--cluster wants local, auto, or an address", "--cluster local")
    if output == "-":
        raise UsageError("a cluster's workers write files", "name one with -o")
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
    if plan.total == 1 and plan.n_films == 0:
        return InterruptionError()
    if options.overwrite:
        return InterruptionError(hint="with --overwrite, the same command begins anew")
    # none of them was there before; what was finished last was not told any more
    said = f"interrupted; {plan.n_there()} of {plan.total} done"
    arguments = [shown(argument) for argument in sys.argv[1:]]
    if not options.skip_existing:
        where = arguments.index("--") if "--" in arguments else len(arguments)
        arguments.insert(where, "--skip-existing")
    return InterruptionError(said, f"to go on: {shlex.join(['srcli', *arguments])}")


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
        raise ValueError(
            "it holds zero bytes: one name a line, in UTF-8 or, with a byte order mark, UTF-16"
        )
    return os.fsdecode(data)


def _model(
    name: str | None, scale: float | None, weights: Path | None, denoise: str | None
) -> tuple[Model, dict[str, Tensor] | None]:
    """The catalogue entry, or what the user's own file holds."""
    strength = None if denoise is None else catalog.parse_strength(denoise)
    if weights is None:
        entry = catalog.resolve(DEFAULT_MODEL if name is None else name, scale)
        return entry if strength is None else catalog.denoised(entry, strength), None
    if strength is not None:
        raise UsageError("--denoise is for models by name, not for a file of weights")
    from srcli.weights import load_file

    own, _, state = load_file(weights, name, scale, foreign=True)
    return own, state


def _idle_text(model: Model, scale: float) -> str:
    """Why a network that was asked for does not run."""
    known = " and ".join(f"x{s}" for s in sorted(model.scales))
    text = f"{model.name} enlarges by {known} and does not run at x{scale:g}: only resampled."
    return text + " To repair without enlarging: -m dejpg." * (scale == 1)


def _show(
    plan: Plan,
    options: Options,
    settings: Settings,
    state: dict[str, Tensor] | None,
    console: Console,
) -> Summary:
    """--dry-run: what would be written, how large, with how much memory."""
    from srcli.engine.choice import settled
    from srcli.engine.forecast import forecast
    from srcli.engine.pytorch.network import Network
    from srcli.engine.pytorch.upscaler import Upscaler
    from srcli.engine.resampler import Resampler
    from srcli.film.plan import about_frames
    from srcli.jobs.events import Failed, Skipped, Summary
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
        settings = settled(model, settings, weights)
    seconds_of = forecast(model, settings, weights)
    total: float | None = 0.0
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
    if total and len(plan) > 1:
        console.announce(f"all together about {duration_text(total)} of the network's work")
    return summary
