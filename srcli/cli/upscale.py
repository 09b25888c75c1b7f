"""``srcli upscale``."""

from __future__ import annotations

import glob
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from srcli import catalog
from srcli.catalog import Model
from srcli.cli import film
from srcli.cli.console import Console
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
)
from srcli.errors import UsageError
from srcli.film.sequences import is_pattern
from srcli.jobs.inputs import STREAM
from srcli.jobs.plan import MAX_PIXELS, Job, Options, picture_bytes, plan
from srcli.media.formats import FORMATS

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.settings import Border, Ensemble, Settings
    from srcli.jobs.events import Summary
    from srcli.jobs.plan import AlphaMode, Depth, Frames
    from srcli.media.formats import FormatName

DEFAULT_MODEL = "bcrn"


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
        typer.Option("--scale", "-x", metavar="X", help="Factor; 4, or the model's only scale."),
    ] = None,
    model: ModelOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File, or folder for several, - for standard output, or a name with fields, "
            "{dir}/{stem}@{scale}x{ext}. Default: <name>_x4 beside the input.",
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
    ffmpeg: film.FFmpegOption = None,
    tile: TileOption = "auto",
    memory: MemoryOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    backend: BackendOption = "auto",
    threads: ThreadsOption = None,
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
        ffmpeg,
    )
    parse_choice("--depth", depth, ("same", "8", "16"))
    parse_choice("--alpha", alpha, ("network", "lanczos", "discard"))
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
    if output == "-" and as_json:
        raise UsageError("-o - and --json both want standard output")
    if scale is not None and (width is not None or height is not None):
        raise UsageError("give either --scale or --width and --height, not both")
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other")
    if width is None and height is None and scale is not None:
        catalog.check_scale(scale)
    _check_names(inputs, weights)
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
    )
    if scale is not None:
        catalog.chain(chosen, scale)  # a scale that cannot be reached is refused at once
    jobs = plan(inputs, options, stdin=sys.stdin.buffer.read)
    to_stdout = any(job.target == STREAM for job in jobs)
    if to_stdout and as_json:
        raise UsageError("-o - and --json both want standard output", "name a file with -o")
    if to_stdout and sys.stdout.isatty():
        raise UsageError("a picture on a terminal would be noise", "name a file with -o")
    with Console(as_json=as_json, quiet=quiet, results=not to_stdout) as console:
        from srcli.engine.open import open_engine
        from srcli.jobs.run import run

        settings = replace(
            how.settings(),
            ensemble=cast("Ensemble", ensemble),
            border=cast("Border | None", border),
            color_fix=color_fix,
        )
        if dry_run:
            summary = _show(jobs, options, settings, console)
        else:
            engine = open_engine(
                chosen,
                settings,
                state=state,
                announce=console.announce,
                progress=console.downloading,
            )
            summary = run(jobs, options, engine, tell=console.tell)
        console.summary(summary)
    raise typer.Exit(summary.exit_code)


def _check_names(inputs: list[str], weights: Path | None) -> None:
    """What does not exist is said before anything heavy is imported."""
    for name in inputs:
        known = name == "-" or Path(name).exists() or glob.has_magic(name)
        if not known and not is_pattern(Path(name)):
            raise UsageError(f"{name} does not exist")
    if weights is not None and not weights.is_file():
        raise UsageError(f"{weights} does not exist")


def _listed(path: Path | None) -> list[str]:
    """The lines of a list of inputs, of standard input for ``-``; empty ones do not count."""
    if path is None:
        return []
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"the list {path} cannot be read: {exc}") from exc
    return [line.strip() for line in lines if line.strip()]


def _model(
    name: str | None, scale: float | None, weights: Path | None, denoise: str | None
) -> tuple[Model, dict[str, Tensor] | None]:
    """The catalogue entry, or what the user's own file holds."""
    strength = None if denoise is None else catalog.parse_strength(denoise)
    if weights is None:
        entry = catalog.resolve(name or DEFAULT_MODEL, scale)
        return entry if strength is None else catalog.denoised(entry, strength), None
    if strength is not None:
        raise UsageError("--denoise is for models by name, not for a file of weights")
    from srcli.weights import load_file

    own, _, state = load_file(weights, name, scale)
    return own, state


def _show(jobs: list[Job], options: Options, settings: Settings, console: Console) -> Summary:
    """--dry-run: what would be written, how large, with how much memory."""
    from srcli.engine.passes import Network
    from srcli.engine.resampler import Resampler
    from srcli.engine.upscaler import Upscaler
    from srcli.jobs.events import Failed, Skipped, Summary
    from srcli.weights import new_network

    model = options.model

    def untrained(scale: int) -> Network:
        """As large as the real one, and nothing is downloaded."""
        module = new_network(model.variant(scale), model.arch)
        return Network(module, model.arch, model.door, scale)

    engine = Resampler("bicubic") if model.is_resampler else Upscaler(untrained, settings)
    summary = Summary()
    for job in jobs:
        if job.skip:
            summary.count(event := Skipped(job.source, job.target))
            console.tell(event)
        elif job.failure is not None:
            failed = Failed(job.source, job.failure.message, job.failure.hint)
            summary.count(failed)
            console.tell(failed)
        else:
            n_bytes = engine.estimate_bytes(job.lr_size, job.passes) + picture_bytes(job)
            console.planned(job, model.name, n_bytes, engine.memory_bytes)
    return summary
