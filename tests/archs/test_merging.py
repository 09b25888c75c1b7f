"""From the form that was trained to the plain one: the same function."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from catalogue_samples import NETWORKS, at_one_scale

from srcli import catalog
from srcli.archs.merging import Mergeable
from srcli.catalog import Variant
from srcli.weights import build, load_file, new_network, save_file

EXPANDED = at_one_scale([m for m in NETWORKS if m.arch.expanded])


def trained(model, scale, dtype):
    """As after a few steps: biases, norms' statistics and gates are not as constructors leave
    them. And a picture for it."""
    torch.manual_seed(7)
    network = new_network(model.variant(scale), model.arch)
    for parameter in network.parameters():
        if parameter.ndim == 1 and parameter.requires_grad:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    network = network.to(dtype).train()
    channels = 1 if model.preprocessing.colour == "y" else 3
    with torch.no_grad():
        for _ in range(3):  # statistics
            network(torch.rand(2, channels, 16, 18, dtype=dtype) * model.preprocessing.maximum)
    lr = torch.rand(1, channels, 18, 22, dtype=dtype) * model.preprocessing.maximum
    return network.eval().requires_grad_(False), lr


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("model", "scale"), EXPANDED)
def test_both_forms_compute_the_same(model, scale, dtype, bound):
    network, lr = trained(model, scale, dtype)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plain = network.merge()
    wanted, got = network(lr), plain(lr)
    assert got.dtype == dtype
    # of white, or of what comes out if that is more
    peak = max(model.preprocessing.maximum, float(wanted.abs().max()))
    assert float((got - wanted).abs().max()) <= bound * peak
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    norms = [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not norms
    left = plain.state_dict()
    assert len(left) < len(before) or any(not torch.equal(left[k], before[k]) for k in before)


@pytest.mark.parametrize(("model", "scale"), EXPANDED)
def test_files_of_both_forms_load(model, scale, tmp_path):
    network, lr = trained(model, scale, torch.float32)
    plain = network.merge()
    wanted = plain(lr)
    for name, state in (("expanded", network.state_dict()), ("plain", plain.state_dict())):
        path = tmp_path / f"{name}.safetensors"
        save_file(
            path, state, arch=model.arch.name, scale=scale, config=model.variant(scale).config,
            provenance={},
        )  # fmt: skip
        found, loaded, tensors = load_file(path)
        ready = build(loaded, found.arch, tensors)
        assert ready.state_dict().keys() == plain.state_dict().keys()
        assert torch.equal(ready(lr), wanted)
    again = plain.merge()
    assert torch.equal(again(lr), wanted)


SHARED = Path(os.environ.get("SRCLI_SHARED", Path(__file__).parents[3] / "shared"))
MORE = {"idt": {"residual": True}, "rgb": {"colours": 3}}  # after the architecture's name
FORMS = [
    path
    for path in sorted((SHARED / "synthetic").glob("*.pth"))
    if path.name.startswith(("sesr", "ecbsr"))
]


@pytest.mark.shared
@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_synthetic_weights_in_both_forms(path):
    """The origins' code's outputs for seeded random weights: expanded and merged, one result."""
    arch_name, scale = path.name.split(".")[0], int(path.name.split("-x")[1][0])
    *_, last = arch_name.split("_")
    model = catalog.resolve(arch_name.removesuffix(f"_{last}") if last in MORE else arch_name)
    config = {**model.variant(scale).config, **MORE.get(last, {})}
    state = torch.load(path, weights_only=True)
    network = build(Variant(scale, None, 0, config=config), model.arch, state)
    golden = np.load(str(path).replace(".rep.pth", ".pth").replace(".pth", ".npz"))
    lr = golden["lr"].astype(np.float64)
    wanted = golden["sr"] if "sr" in golden else golden["sr_y"][:, :, None]
    if wanted.shape[2] == 1:
        lr = (16 + lr @ [65.481 / 255, 128.553 / 255, 24.966 / 255])[:, :, None]
    given = torch.from_numpy((lr / 255).astype(np.float32)).permute(2, 0, 1)[None]
    got = network(given)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).max() < 1e-5


def test_there_is_something_to_merge():
    """Each of these architectures says so in the catalogue, and no other does."""
    for model in catalog.models():
        for variant in model.variants[:1]:
            network = new_network(variant, model.arch)
            merges = any(isinstance(m, Mergeable) for m in network.modules())
            assert merges == model.arch.expanded, model.name
