"""``srcli eval``."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from srcli import catalog
from srcli.catalog import datasets as sets
from srcli.cli.eval import evaluate
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.quality.resize import resize

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SRCLI_OFFLINE", "1")
    monkeypatch.delenv("SRCLI_MIRROR", raising=False)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def png(path, size=(48, 60), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    Image.fromarray(resize(coarse, size)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two pictures in HR/, and no LR."""
    for i, name in enumerate(("one", "two")):
        png(tmp_path / "Mine/HR" / f"{name}.png", seed=i)
    return tmp_path / "Mine"


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_importing_it_is_cheap():
    heavy = ("torch", "numpy", "PIL", "requests")
    code = f"import sys, srcli.cli.eval; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_is_plain_when_piped(run, folder):
    result = run("-m", "bicubic", "-m", "lanczos", "-x", "2", "-x4", "--data", folder)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.isascii()
    titles, *rows = [line.split() for line in result.stdout.splitlines()]
    assert titles == [
        *("model", "scale", "dataset", "pictures", "PSNR-Y", "SSIM-Y", "reference", "diff"),
        "seconds",
    ]
    assert [row[:4] for row in rows] == [
        ["bicubic", "x2", "Mine", "2"],
        ["bicubic", "x4", "Mine", "2"],
        ["lanczos", "x2", "Mine", "2"],
        ["lanczos", "x4", "Mine", "2"],
    ]
    assert all(20 < float(row[4]) < 60 and 0.5 < float(row[5]) <= 1 for row in rows)
    again = run("-m", "bicubic,lanczos", "-x", "2,4", "--data", folder)
    assert [r.split()[:6] for r in again.stdout.splitlines()[1:]] == [r[:6] for r in rows]


def test_json_has_one_object_per_result(run, folder):
    result = run("-m", "bicubic", "-x", "2,3", "--data", folder, "--json")
    assert result.exit_code == 0
    first, second = lines(result)
    assert (first["model"], first["scale"], first["dataset"]) == ("bicubic", 2, "Mine")
    assert first["source"] == str(folder)
    assert second["scale"] == 3
    assert (first["scored"], first["total"], first["failed"]) == (2, 2, [])
    assert first["reference"] is None
    assert [p["name"] for p in first["pictures"]] == ["one", "two"]
    for key in ("psnr_y", "ssim_y", "psnr_rgb"):
        mean = sum(p[key] for p in first["pictures"]) / 2
        assert first[key] == pytest.approx(mean, abs=1e-12)
    assert all(p["seconds"] >= 0 for p in first["pictures"])


def test_quiet_leaves_the_scores(run, folder):
    result = run("-m", "bicubic", "--data", folder, "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    (head, row) = result.stdout.splitlines()
    assert row.split()[:3] == ["bicubic", "x4", "Mine"]
    loud = run("-m", "bicubic", "--data", folder)
    assert [line.split()[:7] for line in loud.stdout.splitlines()] == [
        head.split()[:7],
        row.split()[:7],
    ]


def test_csv_has_a_row_per_picture_and_one_for_the_mean(run, folder, tmp_path):
    path = tmp_path / "scores.csv"
    result = run("-m", "bicubic", "-x", "2,4", "--data", folder, "--json", "--csv", path)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(r["scale"], r["picture"]) for r in rows] == [
        *(("2", "one"), ("2", "two"), ("2", "")),
        *(("4", "one"), ("4", "two"), ("4", "")),
    ]
    found = lines(result)
    assert float(rows[0]["psnr_y"]) == found[0]["pictures"][0]["psnr_y"]
    assert float(rows[5]["ssim_y"]) == found[1]["ssim_y"]
    assert rows[0]["dataset"] == "Mine"
    with pytest.raises(UsageError, match="exists"):
        run("-m", "bicubic", "--data", folder, "--csv", path)
    assert run("-m", "bicubic", "--data", folder, "--csv", path, "--overwrite").exit_code == 0
    with pytest.raises(UsageError, match=r"the folder .* does not exist"):
        run("-m", "bicubic", "--data", folder, "--csv", tmp_path / "none" / "a.csv")


def test_pictures_are_saved(run, folder, tmp_path):
    out = tmp_path / "sr"
    run("-m", "bicubic", "-x", "2", "--data", folder, "--save-images", out)
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.*"))
    assert found == ["bicubic-x2/Mine/one.png", "bicubic-x2/Mine/two.png"]
    assert Image.open(out / found[0]).size == (60, 48)
    with pytest.raises(UsageError, match=r"one\.png exists"):
        run("-m", "bicubic", "-x", "2", "--data", folder, "--save-images", out)
    (out / found[0]).unlink()
    run("-m", "bicubic", "-x2", "--data", folder, "--save-images", out, "--overwrite")
    assert (out / found[0]).exists()


def test_two_sets_of_one_name_are_not_saved_over_each_other(run, folder, tmp_path):
    png(tmp_path / "other/Mine/HR/one.png")
    both = ("--data", folder, "--data", tmp_path / "other/Mine")
    assert run("-m", "bicubic", "-x2", *both).exit_code == 0
    with pytest.raises(UsageError, match="two sets are called Mine"):
        run("-m", "bicubic", "-x2", *both, "--save-images", tmp_path / "sr")


def test_a_run_is_taken_up_again(run, folder, tmp_path, monkeypatch):
    scores = tmp_path / "scores.jsonl"
    command = ("-m", "bicubic", "-x", "2", "--data", folder, "--json", "--resume", scores)
    [first] = lines(run(*command))
    written = scores.read_bytes()
    scores.write_bytes(written[: written.index(b"\n") + 20])  # stopped within the second line

    from srcli.engine.resampler import Resampler

    calls = []
    strips = Resampler.strips
    monkeypatch.setattr(
        Resampler, "strips", lambda self, *a, **k: calls.append(1) or strips(self, *a, **k)
    )
    [second] = lines(run(*command))
    assert len(calls) == 1
    assert {k: v for k, v in second.items() if k not in {"seconds", "pictures"}} == {
        k: v for k, v in first.items() if k not in {"seconds", "pictures"}
    }
    assert second["pictures"][0] == first["pictures"][0]
    run(*command)
    assert len(calls) == 1
    # what is not the same is computed
    png(folder / "HR/two.png", seed=7)
    run(*command)
    run(*command, "--tile", "64")
    run(*command[:3], "4", *command[4:])
    assert len(calls) == 1 + 1 + 2 + 2
    # a saved picture that is missing is made, the score being known or not
    run(*command, "--save-images", tmp_path / "sr")
    assert len(calls) == 8
    run(*command, "--save-images", tmp_path / "sr")
    assert len(calls) == 8


def test_one_bad_picture_is_named_and_the_rest_is_scored(run, folder, tmp_path):
    (folder / "HR/bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    path = tmp_path / "scores.csv"
    result = run("-m", "bicubic", "-x", "2", "--data", folder, "--csv", path)
    assert result.exit_code == 1
    assert str(folder / "HR/bad.png") in result.stderr
    assert "bicubic x2, Mine" in result.stderr
    assert "2 of 3" in result.stdout
    bad = [r for r in csv.DictReader(io.StringIO(path.read_text())) if r["picture"] == "bad"]
    assert bad[0]["psnr_y"] == ""
    assert "bad.png" in bad[0]["error"]
    result = run("-m", "bicubic", "-x", "2", "--data", folder, "--json")
    assert result.exit_code == 1
    [found] = lines(result)
    assert (found["scored"], found["total"]) == (2, 3)
    assert found["failed"][0]["name"] == "bad"
    assert len(found["pictures"]) == 2


def test_a_network_that_repairs_is_scored_at_a_scale_of_one(run, folder, tmp_path):
    import torch

    from srcli.archs.srvgg import SRVGGNetCompact
    from srcli.weights import save_file

    config = {"n_feats": 4, "n_convs": 1}
    network = SRVGGNetCompact(scale=1, **config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()  # what is left is the picture that it adds its work to
    path = tmp_path / "repair.safetensors"
    save_file(
        path, network.state_dict(), arch="realesr_general", scale=1, config=config, provenance={}
    )
    damaged = ("-x", "1", "--degrade", "photo", "--data", folder, "--json")
    result = run("--weights", path, *damaged)
    assert result.exit_code == 0, result.output
    [found] = lines(result)
    [untouched] = lines(run("-m", "bicubic", *damaged))
    assert found["scale"] == 1
    assert 15 < found["psnr_y"] < 60
    assert found["psnr_y"] == pytest.approx(untouched["psnr_y"], abs=0.01)


def test_nothing_scored(run, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    result = run("-m", "bicubic", "-x", "2", "--data", tmp_path, "--json")
    assert result.exit_code == 1
    assert lines(result)[0]["psnr_y"] is None
    assert "0 of 1" in run("-m", "bicubic", "-x", "2", "--data", tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "bicubic"), "needs --data"),
        (("-m", "nonsense", "--data", "DIR"), "There is no model 'nonsense'"),
        (("-m", "bicubic", "-x", "2.5", "--data", "DIR"), "whole scale"),
        (("-m", "bicubic", "-x", "0", "--data", "DIR"), "whole scale"),
        (("-m", "bcrn", "-x", "1", "--data", "DIR"), "no native x1"),
        (("-m", "bcrn.authors", "-x", "3", "--data", "DIR"), "no native x3, only x2 and x4"),
        (("-m", "bicubic", "-m", "rlfn.authors", "-x", "2,5", "--data", "DIR"), "no native x5"),
        (("-m", "bicubic", "--data", "nowhere"), "nowhere does not exist"),
        (("-m", "bicubic", "--data", "DIR/HR/one.png"), "is not a folder"),
        (("-m", "bicubic", "-x", "3", "--data", "urban100"), "x2 and x4, not at x3"),
        (("-m", "bicubic", "--data", "DIR", "--device", "toaster"), "toaster"),
        (("-m", "bicubic", "--data", "DIR", "--precision", "fp64"), "fp64"),
        (("-m", "bicubic", "--data", "DIR", "--tile", "3"), "--tile 3"),
        (("-m", "bcrn,rlfn", "--weights", "W", "--data", "DIR"), "one model at one scale"),
    ],
)
def test_mistakes_are_told_before_any_work(run, folder, monkeypatch, arguments, said):
    def never(*_, **__):
        raise AssertionError("work has begun")

    monkeypatch.setattr("srcli.quality.evaluate.evaluate", never)
    arguments = [a.replace("DIR", str(folder)) for a in arguments]
    if "toaster" in arguments:
        arguments[1] = "bcrn.authors"
    with pytest.raises(UsageError, match=said) as caught:
        run(*arguments)
    assert caught.value.exit_code == 2


def test_weights_and_sets_that_are_missing_are_told_before_any_work(run, folder, monkeypatch):
    monkeypatch.setattr("srcli.quality.evaluate.evaluate", None)
    with pytest.raises(WeightsError, match="SRCLI_OFFLINE"):
        run("-m", "bicubic", "-m", "rlfn_ntire.authors", "--data", folder)
    with pytest.raises(SrcliError, match="Set5 at x4 is not on this computer"):
        run("-m", "bicubic", "--data", folder, "--data", "set5")


def test_a_missing_metrics_library_is_told_before_any_work(run, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setattr("srcli.quality.evaluate.evaluate", None)
    with pytest.raises(SrcliError, match="pyiqa") as caught:
        run("-m", "bicubic", "--data", folder, "--metric", "vif")
    assert caught.value.hint == "run: pip install pyiqa"


def test_a_folder_wins_over_a_set_of_its_name(run, folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "Set5")
    monkeypatch.chdir(tmp_path)
    [found] = lines(run("-m", "bicubic", "--data", "Set5", "--json"))
    assert (found["dataset"], found["total"]) == ("Set5", 2)


def test_a_set_by_name_is_taken_from_the_cache(run, tmp_path, monkeypatch):
    import hashlib

    def file(path, size):
        target = tmp_path / "cache/datasets" / path
        png(target, size)
        data = target.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return sets.DatasetFile(path, len(data), digest, "http://127.0.0.1:9/")

    hr, lr = file("Tiny/x2/HR/a.png", (48, 60)), file("Tiny/x2/LRx2/a.png", (24, 30))
    tiny = sets.Dataset("Tiny", "p", "r", "l", {2: (sets.DatasetPicture("a", hr, lr),)})
    monkeypatch.setattr("srcli.quality.candidates.find_dataset", lambda name: tiny)
    [found] = lines(run("-m", "bicubic", "-x", "2", "--data", "tiny", "--json"))
    assert (found["dataset"], found["source"], found["scored"]) == ("Tiny", "benchmark", 1)


@pytest.fixture
def own(tmp_path):
    """A file of untrained weights."""
    import torch

    from srcli.weights import new_network, save_file

    torch.manual_seed(0)
    variant = catalog.get("rlfn_ntire.authors").variant(4)
    state = new_network(variant, catalog.get("rlfn_ntire.authors").arch).state_dict()
    path = tmp_path / "own.safetensors"
    save_file(path, state, arch="rlfn_ntire", scale=4, config=variant.config, provenance={})
    return path


def test_own_weights(run, own, folder, tmp_path):
    scores = tmp_path / "s.jsonl"
    result = run("--weights", own, "--data", folder, "--json", "--resume", scores)
    [found] = lines(result)
    assert (found["model"], found["scale"]) == ("rlfn_ntire:own.safetensors", 4)
    assert found["psnr_y"] > 0
    assert found["reference"] is None  # it is not one of the papers' sets
    with pytest.raises(UsageError, match="no native x2, only x4"):
        run("--weights", own, "-x", "2", "--data", folder)
    with pytest.raises(UsageError, match="There is no file"):
        run("--weights", tmp_path / "none.pth", "-m", "bcrn", "--data", folder)


def test_own_weights_are_set_beside_the_papers(run, own, tmp_path):
    """Five pictures in a folder Set5 count as Set5."""
    for i in range(5):
        png(tmp_path / f"Set5/{i}.png", seed=i)
    [found] = lines(run("--weights", own, "--data", tmp_path / "Set5", "--json"))
    known = catalog.get("rlfn_ntire.authors").variant(4)
    assert found["reference"] == known.psnr_set5
    assert found["reference_model"] == "rlfn_ntire.authors"
    table = run("--weights", own, "--data", tmp_path / "Set5").stdout.splitlines()
    cells = table[1].split()
    assert float(cells[6]) == known.psnr_set5
    assert float(cells[7]) == pytest.approx(found["psnr_y"] - known.psnr_set5, abs=6e-4)


@pytest.mark.shared
def test_made_lr_gives_the_reference_score(run, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    made = tmp_path / "Set5"
    made.mkdir()
    (made / "HR").symlink_to(shared / "benchmarks/Set5/HR")
    [found] = lines(run("-m", "rlfn_ntire", "-x4", "--data", made, "--json"))
    assert found["reference"] == 32.097
    assert found["psnr_y"] == pytest.approx(32.097, abs=0.01)
    assert found["ssim_y"] == pytest.approx(0.8939, abs=1e-4)
