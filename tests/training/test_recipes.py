"""Every recipe of the package trains."""

import json

import numpy as np
import pytest
import torch

from srcli.archs.alexnet import AlexNet
from srcli.archs.mobilenet_v2 import MobileNetV2
from srcli.archs.vgg import VGG
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.training.config import load, recipes
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.prepare import Run
from srcli.weights import build, load_file

ADVERSARIAL = ["srgan-x4", "esrgan-x4", "swift_srgan-x4", "realesrgan"]
SMALL = ["steps=2", "batch=1", "patch=15", "log_every=1", "precision=fp32"]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Files with random weights for what the recipes' losses look through."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("features")
    networks = {"vgg19": VGG(depth=19), "mobilenet": MobileNetV2(), "alexnet": AlexNet()}
    for name, network in networks.items():
        torch.save(network.half().state_dict(), folder / f"{name}.pth")
    return tuple(folder.glob("*.pth"))


IN_CI = {"bcrn-x4", "ecbsr_m8c24-x2", "lesrcnn-x4", "srgan-x4", "swift_srgan-x4"}


@pytest.mark.long
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_stage_of_the_adversarial_recipes(name, folder, cache, features, tmp_path):
    small = ["steps=2", "batch=2", "patch=8", "log_every=1", "precision=fp32"]
    config = load(name, sets=[*small, "discriminator_config={n_feats=4}"])
    run = Run(config, (folder,), tmp_path, cache, device="cpu", features=features)
    events = list(train(run))
    rivals = [e.get("discriminator_loss") for e in events if e["event"] == "step"]
    wanted = [stage.adversarial for stage in config.stages for _ in range(2)]
    assert [loss is not None for loss in rivals] == wanted
    assert sum(wanted) >= 2
    assert all(0 < loss < 5 for loss in rivals if loss is not None)
    assert events[-1]["event"] == "done"


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "name",
    # the last one by the general recipe
    [
        *(pytest.param(n, marks=[] if n in IN_CI else [pytest.mark.long]) for n in recipes()),
        "espcn-x2",
    ],
)
def test_two_steps_of_every_recipe(name, folder, cache, benchmark, features, tmp_path):
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
        features=features,
    )
    events = list(train(run))
    losses = [e["loss"] for e in events if e["event"] == "step"]
    assert len(losses) == 2
    assert all(0 < loss < 1 for loss in losses)
    model, variant, state = load_file(tmp_path / f"{config.name}.safetensors")
    assert (model.arch.name, variant.scale) == (config.arch, config.scale)
    assert model.preprocessing == spec_of(config.arch, config.scale).preprocessing
    network = Network(
        build(variant, model.arch, state), model.arch, model.preprocessing, variant.scale
    )
    engine = Upscaler(lambda _: network, Settings(device="cpu"))
    grey = np.full((20, 21, 3), 128, np.uint8)
    assert engine(grey, [variant.scale]).shape == (20 * variant.scale, 21 * variant.scale, 3)
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["event"] == "done"
