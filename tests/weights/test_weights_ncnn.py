"""ncnn's flat files, and waifu2x's networks in them."""

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from srcli.archs.waifu2x import LAYERS, UpConv7
from srcli.catalog import denoised, get, parse_strength
from srcli.errors import WeightsError
from srcli.quality.metrics import modcrop, psnr_y
from srcli.quality.resize import resize
from srcli.weights import build
from srcli.weights.ncnn import HALF_TAG, read_flat

ODD = (("one", (1, 3, 1, 1), False), ("two", (2, 1, 2, 2), True))
LAYOUT = "srcli.archs.waifu2x:LAYERS"


def flat(state, layers):
    """The file that holds these tensors."""
    out = b""
    for name, _, transposed in layers:
        weight = state[f"{name}.weight"]
        half = (weight.transpose(0, 1) if transposed else weight).half().contiguous().numpy()
        raw = half.tobytes()
        out += struct.pack("<I", HALF_TAG) + raw + b"\0" * (-len(raw) % 4)
        out += state[f"{name}.bias"].float().numpy().tobytes()
    return out


def test_round_trip():
    torch.manual_seed(0)
    state = {k: v.half().float() for k, v in UpConv7().state_dict().items()}
    read = read_flat(flat(state, LAYERS), "a.bin", LAYOUT)
    assert read.keys() == state.keys()
    for key, tensor in state.items():
        want = tensor if key.endswith("weight") else tensor.float()
        torch.testing.assert_close(read[key], want, rtol=0, atol=0)


def test_weights_are_filled_up_to_four_bytes(monkeypatch):
    monkeypatch.setattr("srcli.archs.waifu2x.LAYERS", ODD)
    state = {
        "one.weight": torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1),
        "one.bias": torch.tensor([4.0]),
        "two.weight": torch.arange(8.0).view(1, 2, 2, 2),
        "two.bias": torch.tensor([5.0, 6]),
    }
    read = read_flat(flat(state, ODD), "a.bin", LAYOUT)
    assert all(torch.equal(read[key], state[key]) for key in state)


def test_what_does_not_fit_is_refused():
    data = flat(UpConv7().state_dict(), LAYERS)
    assert len(data) == 1_106_248  # as the published ones
    with pytest.raises(WeightsError, match=r"a\.bin has 1106247 bytes, where its layers take"):
        read_flat(data[:-1], "a.bin", LAYOUT)
    with pytest.raises(WeightsError, match=r"no half-precision weights where convs\.0"):
        read_flat(b"\0" * len(data), "a.bin", LAYOUT)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("level", "db"),
    [
        ("none", 37.14),
        pytest.param("0", 37.01, marks=pytest.mark.long),
        pytest.param("1", 37.05, marks=pytest.mark.long),
        pytest.param("2", 36.78, marks=pytest.mark.long),
        ("3", 34.50),
    ],
)
def test_the_published_levels_on_set5(shared, level, db):
    model = denoised(get("waifu2x_photo.nihui"), parse_strength(level))
    name = "scale2.0x_model.bin" if level == "none" else f"noise{level}_scale2.0x_model.bin"
    data = (shared / "weights/real" / f"waifu2x_upconv_7_photo_{name}").read_bytes()
    network = build(model.variants[0], model.arch, read_flat(data, name, LAYOUT))
    scores = []
    for path in sorted((shared / "benchmarks/Set5/HR").glob("*.png")):
        hr = np.ascontiguousarray(modcrop(np.array(Image.open(path).convert("RGB")), 2))
        lr = torch.tensor(resize(hr, (hr.shape[0] // 2, hr.shape[1] // 2)))
        sr = network(lr.permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0)
        scores.append(psnr_y((sr.clamp(0, 1) * 255).round().byte().numpy(), hr, 2))
    assert np.mean(scores) == pytest.approx(db, abs=0.02)
