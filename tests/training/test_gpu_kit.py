"""docs/models/train_on_a_gpu.py, rehearsed on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from srcli.training.config import load
from tests.training.conftest import picture

SCRIPT = Path(__file__).parents[2] / "docs" / "models" / "train_on_a_gpu.py"
SMALL = ["targets=[]", "batch=1", "patch=16", "log_every=2", "validate_every=1000", "start=plain"]


def call(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.fixture
def kit(tmp_path) -> Path:
    data, weights = tmp_path / "data", tmp_path / "teachers"
    names = ["part1/a.avif", "part2/b.avif"]
    for k, name in enumerate(names):
        (data / name).parent.mkdir(parents=True)
        Image.fromarray(picture(k, 208, 208)).save(data / name)
    weights.mkdir()
    for name in ("smfanet_plus.authors-x4.pth", "another.authors-x4.pth"):
        (weights / name).write_bytes(b"weights")
    (tmp_path / "list.txt").write_text("\n".join(names))
    got = call(
        "pack", "--data", data, "--weights", weights, "--to", tmp_path / "kit",
        "--photos", tmp_path / "list.txt",
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    return tmp_path / "kit"


def test_what_travels(kit):
    found = sorted(p.relative_to(kit).as_posix() for p in kit.rglob("*") if p.is_file())
    assert found == [
        "photos1/part1/a.avif", "photos1/part2/b.avif", "weights/smfanet_plus.authors-x4.pth",
    ]  # fmt: skip


@pytest.mark.long
def test_a_rehearsal(kit, tmp_path):
    """x4 for most of a short time, x2 from its body; weights and checkpoints come back."""
    got = call(
        "train", kit, "--out", tmp_path / "out", "--minutes", "0.8", "--device", "cpu",
        "--plan", "bcrn-x4:0.5 bcrn-x2:0.5", "--work", tmp_path / "work", "--no-tests",
        *(x for item in SMALL for x in ("--set", item)),
    )  # fmt: skip
    log = "\n".join(p.read_text() for p in (tmp_path / "out").glob("*.log"))
    assert got.returncode == 0, got.stdout + got.stderr + log
    for name in ("bcrn-x4", "bcrn-x2"):
        assert "conv1.pw.weight" in load_file(tmp_path / "out" / f"{name}.safetensors")
        assert (tmp_path / "out" / f"{name}.checkpoint.pt").stat().st_size > 4_000_000
    assert "begun anew" in log or "fitted anew" in log  # x2's upsampler, the rest being x4's


@pytest.mark.long
def test_what_fails_is_tried_more_carefully(kit, tmp_path):
    """A device that is not there fails each way; what was tried is said, and nothing is left."""
    got = call(
        "train", kit, "--out", tmp_path / "out", "--minutes", "1", "--device", "cuda:99",
        "--plan", "bcrn-x4:1", "--work", tmp_path / "work", "--no-tests",
    )  # fmt: skip
    assert got.returncode == 1
    tried = [line for line in got.stdout.splitlines() if line.startswith("bcrn-x4")]
    assert "cuda_graph=off" in tried[1]
    assert "fp32" in tried[3]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("preset", ["cpu", "on", "gpu"])
def test_the_presets_of_our_own_weights(scale, preset):
    config = load(f"bcrn-x{scale}", preset=preset)
    assert config.targets and config.crops == "detail"
    assert all(stage.muon_rate > 0 for stage in config.stages)
