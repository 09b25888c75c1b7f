"""Networks nobody published weights for: the origin's code's outputs with seeded random weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from srcli import catalog
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.weights import build, load_file

SHARED = Path(os.environ.get("SRCLI_SHARED", Path(__file__).parents[3] / "shared"))
KNOWN = {a.name for a in catalog.architectures()}
FILES = [
    path
    for path in sorted((SHARED / "synthetic").glob("*.pth"))
    if path.name.split(".")[0] in KNOWN and not path.name.endswith(".rep.pth")
]


@pytest.mark.shared
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_synthetic(path):
    """Within 1e-4 of white: through the adapter, tiled or not, and the network alone."""
    scale = int(path.stem.rsplit("-x", 1)[1])
    golden = np.load(path.with_suffix(".npz"))
    model, variant, state = load_file(path, path.name.split(".")[0], scale)
    assert variant.scale == scale
    network = Network(build(variant, model.arch, state), model.arch, model.preprocessing, scale)
    adapted, lr = network.adapted(), golden["lr"].astype(np.float32) / 255

    rgb = torch.from_numpy(lr).permute(2, 0, 1)[None]
    given = adapted.preprocess(rgb)
    with torch.inference_mode():
        sr = padded(network, given)[0].permute(1, 2, 0).numpy() / model.preprocessing.maximum
    wanted = golden["sr"] if "sr" in golden else golden["sr_y"][:, :, None]
    assert np.abs(sr - wanted).max() < 1e-4
    if "net_in" in golden:
        seen = given[0, 0].numpy() / model.preprocessing.maximum
        assert np.abs(seen - golden["net_in"]).max() < 1e-6

    results = [
        Upscaler(lambda _: network, Settings(device="cpu", tile=tile))(lr, [scale])
        for tile in (0, 16)
    ]
    assert np.abs(results[0] - results[1]).max() < 1e-4


def padded(network, given):
    """Of a network that takes multiples only: the last pixels repeated, and cut off again."""
    height, width = given.shape[2:]
    down, right = (-n % network.arch.multiple for n in (height, width))
    large = torch.nn.functional.pad(given, (0, right, 0, down), mode="replicate")
    factor = 1 if network.preprocessing.enlarged else network.scale
    return network.module(large)[:, :, : height * factor, : width * factor]


@pytest.mark.shared
def test_a_pyramid_in_one_file(shared):
    """LapSRN's x4 file: its first level's picture is its result at x2."""
    path = shared / "synthetic" / "lapsrn.synthetic-x4.pth"
    golden = np.load(path.with_suffix(".npz"))
    model, variant, state = load_file(path, "lapsrn", 4)
    network = build(variant, model.arch, state)
    given = (
        Network(network, model.arch, model.preprocessing, 4)
        .adapted()
        .preprocess(torch.from_numpy(golden["lr"].astype(np.float32) / 255).permute(2, 0, 1)[None])
    )
    with torch.inference_mode():
        first, last = network.levels(given)
    assert np.abs(first[0, 0].numpy() - golden["sr_y_x2"]).max() < 1e-4
    assert np.abs(last[0, 0].numpy() - golden["sr_y"]).max() < 1e-4

    model, variant, state = load_file(path, "lapsrn", 2)
    assert (variant.scale, dict(variant.config)) == (2, {})
    with torch.inference_mode():
        again = build(variant, model.arch, state)(given)
    assert torch.equal(again, first)
