"""``srcli export``."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli import catalog
from srcli.catalog import Model
from srcli.cli import complete
from srcli.cli.options import JsonObjectFlag, QuietFlag, overwrite_flag, scale_option, with_options
from srcli.cli.screen import hush, say
from srcli.cli.streams import print_json
from srcli.errors import SrcliError, UsageError
from srcli.options import FILES, OUTPUT
from srcli.weights.choose import Choice

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = """
srcli export bcrn -x 2 -o bcrn-x2.onnx
srcli export bcrn -x 4 --half -o bcrn-x4.xml
srcli export bcrn --weights mine.safetensors -o mine.onnx
"""
FORMATS = (".onnx", ".xml", ".safetensors")
PACKAGES = {".onnx": ("onnx", "onnxruntime"), ".xml": ("openvino",)}
EXTRAS = {".onnx": "onnx", ".xml": "openvino"}
LEAST_OPSET, LARGEST_OPSET = 11, 20  # engine.export's, known here without torch
LEAST_INT8_OPSET = 13  # engine.eight_bits'


@with_options
def export(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            rich_help_panel=FILES,
            help="The file to write: FILE.onnx, FILE.xml (OpenVINO, with FILE.bin beside it) or "
            "FILE.safetensors.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="The network by name; with --weights, the architecture of that file.",
            autocompletion=complete.networks,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        scale_option("A factor that the network was trained for. Default: 4, or its only one."),
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            rich_help_panel=OUTPUT,
            help="Store the weights as fp16, in half the space; they are computed with in fp32.",
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            rich_help_panel=OUTPUT,
            help="Write a network of 8-bit integers, for weights that were trained for it "
            "(quantise=true in the recipe).",
        ),
    ] = False,
    opset: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=OUTPUT,
            help=f"Version of ONNX's operators, {LEAST_OPSET} to {LARGEST_OPSET}. Default: 17.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        overwrite_flag("Replace the file if it exists."),
    ] = False,
    as_json: JsonObjectFlag = False,
    quiet: QuietFlag = False,
    *,
    choice: Choice,
) -> None:
    """Write a network as ONNX, OpenVINO or safetensors; it is loaded back and compared first."""
    _check_output(output, overwrite)
    kind = output.suffix.lower()
    if int8 and kind == ".safetensors":
        raise UsageError("--int8 is for .onnx and .xml files")
    if int8 and half:
        raise UsageError("--int8 and --half cannot be combined")
    if int8 and opset is not None and opset < LEAST_INT8_OPSET:
        raise UsageError(f"--int8 needs --opset {LEAST_INT8_OPSET} or later")
    if opset is not None and kind != ".onnx":
        raise UsageError("--opset is for .onnx files")
    if opset is not None and not LEAST_OPSET <= opset <= LARGEST_OPSET:
        raise UsageError(f"--opset {opset} is not one of {LEAST_OPSET} to {LARGEST_OPSET}")
    weights = choice.weights
    if weights is None and model is None:
        raise UsageError("name a model, or a file with --weights", "`srcli models` lists models")
    if weights is not None and not weights.is_file():
        raise UsageError(f"{weights} does not exist")
    if weights is None:
        assert model is not None
        chosen, scale = _native(model, scale)
        if choice.denoise is not None:
            chosen = catalog.denoised(chosen, catalog.parse_strength(str(choice.denoise)))
    if kind in PACKAGES:
        _check_packages(kind)
    from srcli.engine import export as engine  # imports torch
    from srcli.engine.pytorch.network import Network
    from srcli.weights import WeightsOptions, build, load_file, state_dict
    from srcli.weights.metadata import file_metadata
    from srcli.weights.user_file import check_output

    metadata: dict[str, str] = {}
    state: dict[str, Tensor]
    if weights is not None:
        chosen, variant, state = load_file(weights, model, scale)
        if scale is not None and scale != variant.scale:
            raise UsageError(f"{weights} holds weights for x{variant.scale}, not for x{scale}")
        scale = variant.scale
        metadata = dict(file_metadata(weights))
    else:
        assert scale is not None
        options = WeightsOptions.from_environment()
        state = state_dict(chosen, scale, options, announce=hush if quiet else say)
        chosen = replace(chosen, variants=(chosen.variant(scale),))
    module = build(chosen.variant(scale), chosen.arch, state)
    if weights is not None:
        check_output(module, chosen, chosen.variant(scale), weights)
    network = Network(module, chosen.arch, chosen.preprocessing, scale)
    precision = "int8" if int8 else "fp16" if half else "fp32"
    if kind == ".onnx":
        done = engine.export_onnx(
            output, network, chosen, opset=opset or engine.DEFAULT_OPSET, half=half, int8=int8
        )
    elif kind == ".xml":
        done = engine.export_openvino(output, network, chosen, half=half, int8=int8)
    else:
        provenance = engine.provenance_of(chosen, metadata, precision)
        done = engine.export_safetensors(
            output, network, chosen, state, half=half, provenance=provenance
        )
    if as_json:
        fields = {
            "event": "exported",
            "model": chosen.name,
            "scale": scale,
            "output": str(output),
            "bytes": done.bytes,
            "opset": done.opset,
            "weights": precision,
            "compared_at": [list(size) for size in done.sizes],
            "root_mean_square" if int8 else "largest_difference": done.difference,
            "bound": done.bound,
        }
        print_json(fields)
    elif not quiet:
        form = f"opset {done.opset}, " if done.opset is not None else ""
        most = "a root mean square of" if int8 else "at most"
        at = " and ".join(f"{w}x{h}" for h, w in done.sizes)
        print(
            f"{chosen.name} x{scale} -> {output}  {form}{precision} weights, "
            f"{done.bytes / 1e6:.1f} MB; loaded back, differs by {most} {done.difference:.1e} "
            f"of white at {at} (bound {done.bound:g})"
        )


def _check_output(path: Path, overwrite: bool) -> None:
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UsageError(f"{path} ends in neither {' nor '.join(FORMATS)}")
    for file in (path, path.with_suffix(".bin")) if kind == ".xml" else (path,):
        if file.is_dir():
            raise UsageError(f"{file} is a folder")
        if file.exists() and not overwrite:
            raise UsageError(f"{file} exists", "replace it with --overwrite")


def _native(name: str, scale: int | None) -> tuple[Model, int]:
    """The model and its native scale."""
    model = catalog.resolve(name, scale)
    if model.is_resampler:
        raise UsageError(f"{model.name} is not a network, so there is nothing to export")
    scale = scale if scale is not None else catalog.default_scale(model)
    if scale not in model.scales:
        scales = ", ".join(f"x{s}" for s in model.scales)
        raise UsageError(f"{model.name} has no x{scale}", f"its native scales: {scales}")
    return model, scale


def _check_packages(kind: str) -> None:
    packages = PACKAGES[kind]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SrcliError(
            f"{kind} files need {' and '.join(packages)}; not installed: {', '.join(missing)}",
            f'run: pip install "srcli[{EXTRAS[kind]}]"',
        )
