"""``srcli bench``: what it measures and keeps, never how fast anything is."""

import csv
import importlib.util
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from srcli import catalog
from srcli.archs.quantised import calibrate
from srcli.cli import application
from srcli.engine.choice import as_tuned
from srcli.engine.settings import Settings
from srcli.errors import SrcliError, UsageError
from srcli.weights import WeightsOptions, new_network, save_file, tuned

NAME = "lesrcnn.mine"
QUICK = ("--size", "20x16", "--runs", "1", "--threads", "1", "--first", "0")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(alone):
    def run(*arguments):
        result = CliRunner().invoke(application(), [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def mine(run, tmp_path):
    """A network of a few channels among the models."""
    arch = catalog.built_in().architectures["lesrcnn"]
    config = {"n_feats": 4}
    torch.manual_seed(0)
    state = new_network(catalog.Variant(2, None, 0, config=config), arch).state_dict()
    file = tmp_path / "mine.safetensors"
    save_file(file, state, arch="lesrcnn", scale=2, config=config, provenance={})
    assert run("models", "add", file, "--name", NAME, "--licence", "MIT").exit_code == 0
    return NAME


def measured(run, *arguments):
    result = run("bench", "--json", *QUICK, *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.long
def test_every_combination(run, mine):
    data = measured(
        run, "-m", mine, "-x2", "--size", "24x20", "--backend", "torch", "--precision", "fp32,bf16"
    )
    rows = data["rows"]
    found = {(tuple(r["lr_size"]), r["precision"], r["threads"]) for r in rows}
    assert found == {((h, w), p, 1) for h, w in ((16, 20), (20, 24)) for p in ("fp32", "bf16")}
    for r in rows:
        assert r["quartile_low_s"] <= r["median_s"] <= r["quartile_high_s"]
        assert r["megapixels_per_s"] > 0
        assert r["share_of_limit"] > 0
    by = {(tuple(r["lr_size"]), r["precision"]): r for r in rows}
    # infinity is null: as the plain network to the last bit
    assert (by[(16, 20), "fp32"]["agreement_db"] or 999) > 130
    assert (
        20 < by[(16, 20), "bf16"]["agreement_db"] < 120
    )  # of weights as a constructor leaves them
    ratio = by[(20, 24), "fp32"]["multiply_adds"] / by[(16, 20), "fp32"]["multiply_adds"]
    assert ratio == pytest.approx(20 * 24 / (16 * 20))
    assert data["limits"][0]["threads"] == 1
    assert data["machine"] == tuned.machine()


@pytest.mark.long
def test_baselines_compute_the_same(run, mine):
    data = measured(run, "-m", mine, "-x2", "--backend", "torch", "--baselines")
    bare = {r["backend"]: r for r in data["rows"] if r["baseline"]}
    skipped = {s["backend"] for s in data["skipped"]}
    assert bare.keys() | skipped == {"eager", "onnxruntime", "openvino"}
    assert (
        bare["eager"]["agreement_db"] or 999
    ) > 140  # it is the reference, in a process of its own
    for r in bare.values():
        assert (r["agreement_db"] or 999) > 100
        assert r["first_picture_s"] is None


@pytest.mark.long
def test_a_first_picture_in_a_process_of_its_own(run, mine):
    data = measured(run, "-m", mine, "-x2", "--backend", "torch", "--first", "1")
    (found,) = data["rows"]
    assert found["first_picture_s"] > found["median_s"]
    assert found["peak_memory_bytes"] > 50 * 2**20


def test_table_csv_and_plot(run, mine, tmp_path):
    file = tmp_path / "out" / "rows.csv"
    result = run("bench", *QUICK, "-m", mine, "-x2", "--backend", "torch", "--csv", file)
    assert result.exit_code == 0
    assert "of limit" in result.stdout
    assert "to fp32" in result.stdout  # agreement with fp32 is no quality
    assert "PSNR" not in result.stdout
    assert f"{mine} x2" in result.stdout
    (found,) = csv.DictReader(io.StringIO(file.read_text()))
    assert found["model"] == mine
    assert found["lr_size"] == "20x16"
    with pytest.raises(UsageError, match="exists"):
        run("bench", *QUICK, "-m", mine, "-x2", "--csv", file)
    # a network without a PSNR in the catalogue cannot be drawn
    plot = tmp_path / "plot.png"
    with pytest.raises(SrcliError, match="no PSNR"):
        run("bench", *QUICK, "-m", mine, "-x2", "--backend", "torch", "--plot", plot)
    assert not plot.exists()


@pytest.mark.shared
def test_plot(run, shared, monkeypatch, tmp_path):
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    plot = tmp_path / "plot.png"
    models = "realesr_animevideov3,span_ch26.amazingren,rlfn_s.authors"
    result = run("bench", *QUICK, "-m", models, "--backend", "torch", "--plot", plot)
    assert result.exit_code == 0, result.output
    with Image.open(plot) as image:
        assert image.size == (900, 600)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "20"),
        ("--size", "8x8"),
        ("--threads", "0"),
        ("--precision", "fp8"),
        ("--backend", "tensorflow"),
        ("--tile", "3"),
        ("-m", "no-such"),
        ("-m", "bicubic"),
        ("-m", "bcrn", "-x", "7"),
        ("--tune", "--device", "cuda"),
    ],
)
def test_refused(run, arguments):
    with pytest.raises(UsageError):
        run("bench", *arguments)


# tuning


def test_what_was_tuned_is_used(run, mine):
    options = WeightsOptions.from_environment()
    data = measured(run, "-m", mine, "-x2", "--backend", "torch", "--tune", "--tile", "auto,16")
    assert len(data["rows"]) == 2
    kept = tuned.choice(mine, 2, options)
    quickest = min(data["rows"], key=lambda r: r["median_s"])
    assert (kept.backend, kept.threads, kept.tile) == ("torch", 1, quickest["tile"])
    settings = as_tuned(catalog.resolve(mine, 2), Settings(), options)
    assert (settings.backend, settings.precision) == ("torch", "fp32")
    assert (settings.threads, settings.tile) == (1, quickest["tile"])


def choose(options, **fields):
    values = {"backend": "openvino", "precision": "bf16", "threads": 3, "tile": 64, **fields}
    tuned.store(
        {("bcrn.authors", 4): tuned.Choice(**values, milliseconds=1.0, size=(9, 9))}, options
    )


@pytest.fixture
def options(tmp_path):
    return WeightsOptions(tmp_path / "cache", offline=True)


def test_what_was_asked_for_wins(options):
    model = catalog.resolve("bcrn.authors", 4)
    assert as_tuned(model, Settings(), options) == Settings()
    choose(options)
    whole = as_tuned(model, Settings(), options)
    assert (whole.backend, whole.precision, whole.threads, whole.tile) == (
        "openvino",
        "bf16",
        3,
        64,
    )
    for asked in (
        Settings(backend="torch"),
        Settings(precision="fp32"),
        Settings(threads=1),
        Settings(device="cuda"),
    ):
        assert as_tuned(model, asked, options) == asked
    assert as_tuned(model, Settings(tile=0), options).tile == 0
    other = catalog.resolve("rlfn_s", 4)
    assert as_tuned(other, Settings(), options) == Settings()


def test_another_machine_or_version_is_stale(options, monkeypatch):
    choose(options)
    assert tuned.choice("bcrn.authors", 4, options) is not None
    here = tuned.machine()
    monkeypatch.setattr(tuned, "machine", lambda: here | {"torch": "99.0"})
    assert tuned.choice("bcrn.authors", 4, options) is None
    # what is stored for the new machine does not keep the old one's
    tuned.store(
        {("rlfn_s.authors", 4): tuned.Choice("torch", "fp32", 1, None, 1.0, (9, 9))}, options
    )
    assert tuned.choices(options).keys() == {"rlfn_s.authors-x4"}


def test_choices_add_up(options):
    choose(options)
    tuned.store(
        {("rlfn_s.authors", 4): tuned.Choice("torch", "fp32", 1, None, 1.0, (9, 9))}, options
    )
    assert tuned.choices(options).keys() == {"bcrn.authors-x4", "rlfn_s.authors-x4"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"machine": 1}', b"\xff\xfe"])
def test_a_damaged_file_counts_as_none(options, damage):
    choose(options)
    (options.cache_dir / "tuned.json").write_bytes(damage)
    assert tuned.choices(options) == {}
    choose(options)  # and is replaced
    assert tuned.choices(options)


def test_networks_without_weights_are_timed_with_random_ones(run):
    data = measured(run, "-m", "sesr_m3", "-x2", "--backend", "torch", "--tune")
    assert data["rows"]
    for row in data["rows"]:
        assert row["model"] == "sesr_m3.untrained"
        assert row["notes"] == ["random weights: it has none to download"]
        assert row["median_s"] > 0
        # against the plain network with the same weights
        assert row["precision"] != "fp32" or (row["agreement_db"] or 999) > 80
    assert tuned.choices(WeightsOptions.from_environment()) == {}  # nothing to run is kept


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster(tmp_path, monkeypatch, alone):
    """Pictures per second without a cluster, and with 1 and 2 workers; nothing stays."""
    monkeypatch.chdir(tmp_path)
    options = ["--workers", "2", "--threads", "1", "--pictures", "6", "--size", "24x16", "--json"]
    command = [sys.executable, "-m", "srcli", "bench", "--cluster", "local", *options]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    rows = json.loads(told.stdout)["rows"]
    assert [row["workers"] for row in rows] == [0, 1, 2]
    assert all(row["pictures"] == 6 and row["pictures_per_s"] > 0 for row in rows)
    assert rows[0]["lr_size"] == [16, 24]
    assert list(tmp_path.glob("srcli-bench-*")) == []


@pytest.mark.long
@pytest.mark.skipif(tuned.version("openvino") is None, reason="OpenVINO is not installed")
def test_eight_bits(run, tmp_path):
    """Measured, and a picture enlarged, with weights that have ranges; refused without."""
    arch = catalog.built_in().architectures["ecbsr_m4c8"]
    config = {"n_blocks": 1, "n_feats": 4}
    torch.manual_seed(0)
    network = new_network(catalog.Variant(2, None, 0, config=config), arch).merge()
    calibrate(network, torch.rand(1, 1, 20, 20))
    for name, kept in (("ecbsr_m4c8.ranges", ""), ("ecbsr_m4c8.none", "input_range")):
        file = tmp_path / f"{name}.safetensors"
        state = {n: t for n, t in network.state_dict().items() if not kept or kept not in n}
        save_file(file, state, arch="ecbsr_m4c8", scale=2, config=config, provenance={})
        assert run("models", "add", file, "--name", name).exit_code == 0
    data = measured(run, "-m", "ecbsr_m4c8.ranges", "-x2", "--precision", "fp32,int8")
    found = {(r["backend"], r["precision"]) for r in data["rows"]}
    assert found == {("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")}

    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (12, 15, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    for name, precision in (("a.png", "int8"), ("b.png", "fp32")):
        how = ("-m", "ecbsr_m4c8.ranges", "--precision", precision)
        run("upscale", photo, "-x2", "-o", tmp_path / name, *how)
    a, b = (np.asarray(Image.open(tmp_path / n)).astype(float) for n in ("a.png", "b.png"))
    assert a.shape == b.shape and 0 < np.abs(a - b).mean() < 2

    with pytest.raises(SrcliError, match="no ranges"):
        run("bench", *QUICK, "-m", "ecbsr_m4c8.none", "-x2", "--precision", "int8")
    with pytest.raises(UsageError, match="OpenVINO only"):
        run("bench", *QUICK, "-m", NAME[:7], "--precision", "int8", "--backend", "torch")
