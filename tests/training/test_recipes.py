"""Every recipe of the package trains."""

import json

import numpy as np
import pytest

from srcli.engine.passes import Network
from srcli.engine.upscaler import Settings, Upscaler
from srcli.training.config import load, recipes
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.prepare import Run
from srcli.weights import build, load_file

SMALL = ["steps=2", "batch=1", "patch=15", "log_every=1", "precision=fp32"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*recipes(), "espcn-x2"])  # that one by the general recipe
def test_two_steps_of_every_recipe(name, folder, cache, benchmark, tmp_path):
    """Its first stage, on the network as it is; the result is what users load."""
    config = load(name)
    later = [f"{n}.steps=0" for n in range(2, len(config.stages) + 1)]
    run = Run(
        config=load(name, sets=[*SMALL, *later]),
        data=(folder,),
        out=tmp_path,
        cache=cache,
        validate=(benchmark,),
        device="cpu",
    )
    events = list(train(run))
    losses = [e["loss"] for e in events if e["event"] == "step"]
    assert len(losses) == 2
    assert all(0 < loss < 1 for loss in losses)
    model, variant, state = load_file(tmp_path / f"{config.name}.safetensors")
    assert (model.arch.name, variant.scale) == (config.arch, config.scale)
    assert model.door == spec_of(config.arch, config.scale).door
    network = Network(build(variant, model.arch, state), model.arch, model.door, variant.scale)
    engine = Upscaler(lambda _: network, Settings(device="cpu"))
    grey = np.full((20, 21, 3), 128, np.uint8)
    assert engine(grey, [variant.scale]).shape == (20 * variant.scale, 21 * variant.scale, 3)
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["event"] == "done"
