"""``srcli export``."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from catalogue_samples import NETWORKS, one_of_a_kind
from PIL import Image
from typer.testing import CliRunner

from srcli import catalog
from srcli.cli import export as command
from srcli.cli.export import LARGEST_OPSET, LEAST_INT8_OPSET, LEAST_OPSET
from srcli.cli.upscale import upscale
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import load_file, new_network, save_file

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx and onnxruntime are not installed",
)
CONFIG = {"n_feats": 8}


@pytest.fixture
def run(alone, tmp_path, monkeypatch):
    import typer

    monkeypatch.setenv("SRCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command("export")(command.export)
    app.command("upscale")(upscale)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def mine(tmp_path):
    """A small LESRCNN x2 of the user's own."""
    torch.manual_seed(0)
    arch = catalog.built_in().architectures["lesrcnn"]
    variant = catalog.Variant(2, None, 0, config=CONFIG)
    path = tmp_path / "mine.safetensors"
    state = new_network(variant, arch).state_dict()
    provenance = {"trained_by": "srcli train"}
    save_file(path, state, arch="lesrcnn", scale=2, config=CONFIG, provenance=provenance)
    return path


def test_half_safetensors_is_accepted_as_weights(run, mine, tmp_path):
    half = tmp_path / "new" / "half.safetensors"
    result = run("export", "--weights", mine, "-o", half, "--half")
    assert "lesrcnn:mine.safetensors x2 -> " in result.stdout
    assert "fp16 weights" in result.stdout
    assert half.stat().st_size < mine.stat().st_size
    _, variant, state = load_file(half)
    assert {t.dtype for t in state.values()} == {torch.float16}
    assert dict(variant.config) == CONFIG
    from srcli.weights.metadata import file_metadata

    provenance = json.loads(file_metadata(half)["srcli.provenance"])
    assert provenance["trained_by"] == "srcli train"
    assert provenance["stored_as"] == "fp16"

    pixels = np.random.default_rng(0).integers(0, 255, (12, 15, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    for weights, name in ((mine, "a.png"), (half, "b.png")):
        run("upscale", "photo.png", "--weights", weights, "-x2", "-o", name)
    a, b = (np.asarray(Image.open(n)).astype(int) for n in ("a.png", "b.png"))
    assert a.shape == (24, 30, 3)
    assert np.abs(a - b).max() <= 1


@needs_onnx
def test_onnx_as_json(run, mine, tmp_path):
    result = run("export", "lesrcnn", "-x2", "--weights", mine, "-o", "a.onnx", "--json")
    [line] = result.stdout.splitlines()
    said = json.loads(line)
    assert said["event"] == "exported"
    assert (said["scale"], said["opset"], said["output"]) == (2, 17, "a.onnx")
    assert said["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert said["largest_difference"] <= said["bound"] == 1e-4
    assert len(said["compared_at"]) == 2
    assert result.stderr == ""
    assert run("export", "--weights", mine, "-o", "b.onnx", "-q").stdout == ""


def test_an_existing_file_is_refused(run, mine):
    run("export", "--weights", mine, "-o", "a.safetensors")
    with pytest.raises(UsageError, match="exists") as caught:
        run("export", "--weights", mine, "-o", "a.safetensors")
    assert "--overwrite" in caught.value.hint
    run("export", "--weights", mine, "-o", "a.safetensors", "--overwrite", "--half")
    with pytest.raises(UsageError, match="folder"):
        (mine.parent / "d.onnx").mkdir()
        run("export", "--weights", mine, "-o", "d.onnx")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["bcrn", "-o", "a.txt"], "neither .onnx nor .xml nor .safetensors"),
        (["bcrn", "-o", "a.safetensors", "--opset", "17"], "--opset is for"),
        (["bcrn", "-o", "a.onnx", "--opset", "99"], "--opset 99 is not"),
        (["bcrn", "-o", "a.safetensors", "--int8"], "--int8 is for"),
        (["bcrn", "-o", "a.onnx", "--int8", "--half"], "cannot be combined"),
        (["bcrn", "-o", "a.onnx", "--int8", "--opset", "12"], "needs --opset 13"),
        (["-o", "a.onnx"], "name a model"),
        (["brcn", "-o", "a.onnx"], "no model 'brcn'"),
        (["bicubic", "-o", "a.onnx"], "not a network"),
        (["bcrn.authors", "-x8", "-o", "a.onnx"], "no x8"),
        (["bcrn", "-o", "a.onnx", "--weights", "nothing.pth"], "does not exist"),
        (["rlfn", "-o", "a.safetensors", "--weights", "mine.safetensors"], "not for rlfn"),
        (["-x4", "-o", "a.safetensors", "--weights", "mine.safetensors"], "x2, not for x4"),
    ],
)
def test_usage(run, mine, tmp_path, arguments, error):
    with pytest.raises(UsageError, match=error):
        run("export", *arguments)
    assert not list(tmp_path.glob("a.*"))


def test_without_the_packages(run, mine, monkeypatch):
    """Said before anything is done, with the command that helps."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda n: None if n == "onnxruntime" else find(n)
    )
    with pytest.raises(SrcliError, match="not installed: onnxruntime") as caught:
        run("export", "bcrn.authors", "-o", "a.onnx")  # which offline would fail otherwise
    assert caught.value.hint == "run: pip install onnxruntime"
    run("export", "--weights", mine, "-o", "a.safetensors")  # needs neither


def test_weights_that_are_not_at_hand(run):
    with pytest.raises(WeightsError, match="SRCLI_OFFLINE"):
        run("export", "bcrn.authors", "-o", "a.safetensors")


def test_opsets_are_the_engine_s():
    from srcli.engine.export import DEFAULT_OPSET, OPSETS, onnx_int8

    assert (OPSETS[0], OPSETS[-1]) == (LEAST_OPSET, LARGEST_OPSET)
    assert onnx_int8.LEAST_OPSET == LEAST_INT8_OPSET
    assert DEFAULT_OPSET in OPSETS


def test_importing_it_is_light():
    code = (
        "import sys, srcli.cli.export\n"
        "print({'torch', 'numpy', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


BEYOND_HALF = {"abpn.longcat2957"}  # its BatchNorm's variances


@needs_onnx
@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(("model", "smallest"), one_of_a_kind([m for m in NETWORKS if m.trained]))
def test_the_authors_weights(run, shared, monkeypatch, model, smallest):
    """As users get them, within the bounds that are stated."""
    model = catalog.get(model.name)
    there = [
        v.scale
        for v in model.variants
        if v.weights.bundled or (shared / "weights" / v.weights.file).is_file()
    ]
    if not there:
        pytest.skip("the shared folder has no weights of it")
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    for target, bound, more in (("a.onnx", 1e-5, []), ("a.safetensors", 4e-3, ["--half"])):
        if more and model.name in BEYOND_HALF:
            with pytest.raises(WeightsError, match="which fp16 cannot"):
                run("export", model.name, "-x", there[0], "-o", target, "--json", *more)
            continue
        result = run("export", model.name, "-x", there[0], "-o", target, "--json", *more)
        assert json.loads(result.stdout)["largest_difference"] <= bound
