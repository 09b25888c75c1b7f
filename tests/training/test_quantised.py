"""Training for eight bits: ranges that follow, stand in the file and are resumed."""

import threading

import pytest
import torch
from safetensors.torch import load_file as tensors

from srcli.errors import WeightsError
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.prepare import Run
from srcli.weights import build, load_file, new_network

RECIPE = """
arch = "ecbsr_m4c8"
scale = 2
precision = "fp32"
quantise = true
log_every = 1

[[stage]]
steps = 4
batch = 2
patch = 16
learning_rate = 1e-3
loss = { l1 = 1.0 }
"""


@pytest.fixture
def run(folder, cache, tmp_path):
    """Function (name, *sets, **more) -> Run."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)

    def make(name, *sets, **more):
        config = load(str(recipe), sets=sets)
        common = {"data": (folder,), "cache": cache, "device": "cpu"}
        return Run(config=config, out=tmp_path / name, **common, **more)

    return make


def finish(run, stop_after=None):
    stop = threading.Event()
    for event in train(run, stop):
        if event["event"] == "step" and event["step"] == stop_after:
            stop.set()
    return run.out / "ecbsr_m4c8-x2.safetensors"


def test_resumed_bit_for_bit(run):
    whole = tensors(finish(run("whole")))
    assert not finish(run("parts"), stop_after=2).exists()
    parts = tensors(finish(run("parts", resume=True)))
    ranges = {name for name in whole if name.endswith(".input_range")}
    assert ranges == {f"backbone.{k}.conv3x3.input_range" for k in range(6)}
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_the_file_runs_in_fp32_and_begins_another_run(run, benchmark):
    first = finish(run("first"))
    model, variant, state = load_file(first)
    network = build(variant, model.arch, state)
    x = torch.rand(1, 1, 9, 11)
    own = {name: t for name, t in state.items() if not name.endswith("input_range")}
    with torch.no_grad():
        assert torch.equal(network(x), build(variant, model.arch, own)(x))

    more = ("steps=1", "learning_rate=1e-9", "ema=0.0")
    again = tensors(finish(run("again", *more, init=first, validate=(benchmark,))))
    name = "backbone.3.conv3x3"
    assert torch.allclose(again[f"{name}.weight"], state[f"{name}.weight"], atol=1e-6)
    low, high = again[f"{name}.input_range"]
    assert low <= 0 < high


@pytest.mark.parametrize("broken", [[0.5, 1.0], [-1.0, 0.0], [0.0, float("nan")], [0.0]])
def test_a_range_that_is_none(broken):
    from srcli import catalog

    arch = catalog.built_in().architectures["ecbsr_m4c8"]
    variant = catalog.Variant(2, None, 0, config={"n_blocks": 4, "n_feats": 8})
    state = new_network(variant, arch).merge().state_dict()
    state["backbone.0.conv3x3.input_range"] = torch.tensor(broken)
    with pytest.raises(WeightsError, match="not one around zero"):
        build(variant, arch, state)
