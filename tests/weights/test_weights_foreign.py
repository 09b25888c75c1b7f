"""Files that fit no network of srcli's, run by spandrel where that is installed."""

import sys

import numpy as np
import pytest
import torch

from srcli.engine.open import open_engine
from srcli.engine.result import Report
from srcli.engine.settings import Settings
from srcli.errors import UsageError, WeightsError
from srcli.weights import load_file


@pytest.fixture
def spandrel():
    try:
        import spandrel
    except (ImportError, RuntimeError, OSError) as exc:
        pytest.skip(f"spandrel is not installed, or its torchvision is of another torch: {exc}")
    return spandrel


@pytest.fixture
def no_spandrel(monkeypatch):
    monkeypatch.setattr("srcli.weights.foreign.find_spec", lambda name: None)


@pytest.fixture
def stranger(tmp_path):
    """A file for no network at all."""
    torch.save({"a.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def test_what_to_install_is_said(stranger, no_spandrel):
    with pytest.raises(UsageError, match="fits none of the networks") as caught:
        load_file(stranger, foreign=True)
    assert 'pip install "srcli[spandrel]"' in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:  # training, say, could do nothing with it
        load_file(stranger)
    assert "spandrel" not in (caught.value.hint or "")


def test_a_torchvision_of_another_torch_is_said(stranger, tmp_path, monkeypatch):
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator torchvision::nms')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    with pytest.raises(WeightsError, match=r"cannot be imported.*torchvision::nms") as caught:
        load_file(stranger, foreign=True)
    assert "torchvision" in (caught.value.hint or "")


def test_what_spandrel_does_not_know_either(stranger, spandrel):
    with pytest.raises(UsageError, match="fits none of the networks"):
        load_file(stranger, foreign=True)


@pytest.mark.slow
def test_a_network_of_spandrels(tmp_path, spandrel, picture):
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(2)
    theirs = SwinIR(
        img_size=16, upscale=2, depths=[2], num_heads=[2], embed_dim=12, window_size=8,
        upsampler="pixelshuffledirect", img_range=1.0, mlp_ratio=2,
    ).eval()  # fmt: skip
    path, said = tmp_path / "a.pth", []
    torch.save({"params": theirs.state_dict()}, path)
    model, variant, state = load_file(path, announce=said.append, foreign=True)
    assert (variant.scale, model.arch.title) == (2, "SwinIR")
    assert "tiles" in said[0]

    pixels = picture(43, 61)
    engine = open_engine(model, Settings(device="cpu"), state=state)
    report = Report()
    sr = np.concatenate(list(engine.strips(pixels, [2], (86, 122), report=report)))
    assert report.tiles == 1
    with torch.inference_mode():
        lr = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        wanted = spandrel.ModelLoader("cpu").load_from_state_dict(theirs.state_dict())(lr)
    off = np.abs(sr - wanted[0].permute(1, 2, 0).numpy() * 255)
    assert off.max() <= 0.51

    report = Report()
    small = Settings(device="cpu", tile=32, memory_bytes=1)
    tiled = np.concatenate(
        list(open_engine(model, small, state=state).strips(pixels, [2], (86, 122), report=report))
    )
    assert tiled.shape == sr.shape
    assert report.tiles > 1
    assert any("differs from that of the whole picture" in note for note in report.notes)

    with pytest.raises(UsageError, match="fp32 only"):
        list(
            open_engine(model, Settings(device="cpu", precision="bf16"), state=state).strips(
                pixels, [2], (86, 122)
            )
        )
