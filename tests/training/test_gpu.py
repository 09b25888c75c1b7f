"""The training step on a card: what the CPU computes, with and without graph and compiler."""

from pathlib import Path

import pytest
import torch

from srcli.training import checkpoint
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.prepare import Run

pytestmark = pytest.mark.gpu

HOW = {
    "eager": ["compile=off", "cuda_graph=off"],
    "graph": ["compile=off", "cuda_graph=on"],
    "compiled": ["compile=on", "cuda_graph=off"],
    "compiled graph": ["compile=on", "cuda_graph=on"],
}


@pytest.fixture
def run(recipe, folder, cache, tmp_path):
    def make(name: str, *sets: str, device: str = "cuda", **more) -> Run:
        config = load(str(recipe), sets=["1.muon_rate=1e-3", "crops=detail", *sets])
        return Run(
            config=config, data=(folder,), out=tmp_path / name, cache=cache, device=device, **more
        )

    return make


@pytest.fixture(scope="module", autouse=True)
def card():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def weights(out: Path) -> torch.Tensor:
    return checkpoint.load_newest(out)["vectors"][0]


@pytest.mark.parametrize("how", HOW)
def test_twelve_steps_as_on_the_cpu(run, how):
    list(train(run("cpu", device="cpu")))
    got = list(train(run("card", *HOW[how])))
    said = [e["how"] for e in got if e["event"] == "stage"]
    assert all(("graph" in s) == ("graph" in how) for s in said)
    assert all(("compiled" in s) == ("compiled" in how) for s in said)
    a, b = weights(run("cpu", device="cpu").out), weights(run("card").out)
    # TF32 and another order of sums, twelve steps long, of weights about 0.1 large
    assert (a - b).abs().max() < 5e-3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_the_same(run, precision):
    losses = {}
    for name in ("fp32", precision):
        events = list(train(run(name, f"precision={name}")))
        losses[name] = [e["loss"] for e in events if e["event"] == "step"]
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)


def test_resumed_goes_on_where_it_was(run):
    import threading

    sets = HOW["graph"]
    list(train(run("whole", *sets)))
    stop = threading.Event()
    for event in train(run("parts", *sets), stop):
        if event["event"] == "step" and event["step"] >= 6:
            stop.set()
    assert list(train(run("parts", *sets, resume=True)))[-1]["event"] == "done"
    # atomics of some gradients add in an order of their own
    assert (weights(run("parts").out) - weights(run("whole").out)).abs().max() < 5e-3


@pytest.mark.parametrize("how", ["eager", "graph"])
@pytest.mark.parametrize("name", ["unet", "patch"])
def test_an_adversarial_stage_as_on_the_cpu(run, how, name):
    sets = [
        f"discriminator={name}", "discriminator_config={n_feats=4}", "patch=16",
        "2.loss={l1=1, adversarial=0.05}",
    ]  # fmt: skip
    list(train(run("cpu", *sets, device="cpu")))
    got = list(train(run("card", *sets, *HOW[how])))
    assert "discriminator_loss" in [e for e in got if e["event"] == "step"][-1]
    a, b = weights(run("cpu", *sets, device="cpu").out), weights(run("card", *sets).out)
    assert (a - b).abs().max() < 5e-3  # as above
