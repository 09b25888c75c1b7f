"""Networks in expanded form: trained so, written so, and run as the plain equal."""

import pytest
import torch
from safetensors.torch import load_file as tensors

from srcli.archs.ghostsr import GhostConv
from srcli.errors import UsageError
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.prepare import Run
from srcli.weights import build, load_file, new_network

RECIPE = """
arch = "{arch}"
scale = 2
precision = "fp32"

[[stage]]
steps = 3
batch = 2
patch = 16
learning_rate = 1e-3
loss = {{ l1 = 1.0 }}
"""


@pytest.mark.parametrize(
    "arch", ["plainusr_u", "rt4ksr", "span_ch28", "sesr_m5", "ecbsr_m4c8", "srgan5"]
)
def test_the_written_file(arch, folder, cache, benchmark, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(arch=arch))
    out = tmp_path / "out"
    run = Run(
        config=load(str(recipe)), data=(folder,), out=out, cache=cache, validate=(benchmark,),
        device="cpu",
    )  # fmt: skip
    assert list(train(run))[-1]["event"] == "done"

    path = out / f"{arch}-x2.safetensors"
    model, variant, state = load_file(path)
    fresh = new_network(variant, model.arch)
    assert tensors(path).keys() == fresh.state_dict().keys()
    fresh.load_state_dict(state)
    plain = build(variant, model.arch, state)
    assert len(plain.state_dict()) < len(state)
    again = build(variant, model.arch, plain.state_dict())

    lr = torch.rand(1, model.preprocessing.channels, 18, 22) * model.preprocessing.maximum
    with torch.no_grad():
        wanted = fresh.eval()(lr)
        assert float((plain(lr) - wanted).abs().max()) < 1e-5 * model.preprocessing.maximum
        assert torch.equal(again(lr), plain(lr))


def test_trained_in_its_merged_form(folder, cache, benchmark, tmp_path):
    """The file holds the merged kernels, and loads as the expanded one does."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(arch="ecbsr_m4c8") + "muon_rate = 1e-3\n")
    run = Run(
        config=load(str(recipe), sets=["merged=true"]), data=(folder,), out=tmp_path / "out",
        cache=cache, validate=(benchmark,), device="cpu",
    )  # fmt: skip
    assert list(train(run))[-1]["event"] == "done"
    model, variant, state = load_file(run.out / "ecbsr_m4c8-x2.safetensors")
    plain = build(variant, model.arch, state)
    assert state.keys() == plain.state_dict().keys()
    assert state.keys() < new_network(variant, model.arch).state_dict().keys()


def test_what_has_no_expanded_form_cannot_be_trained_merged(recipe, folder, cache, tmp_path):
    run = Run(
        config=load(str(recipe), sets=["merged=true"]), data=(folder,), out=tmp_path / "out",
        cache=cache, device="cpu",
    )  # fmt: skip
    with pytest.raises(UsageError, match="no expanded form"):
        list(train(run))


def test_ghost_convolutions_are_trained_and_read_back(folder, cache, benchmark, recipe, tmp_path):
    """All between features, by ``ghost = true``; the file names them."""
    sets = [
        "arch=edsr_baseline", "config={n_feats=8, n_blocks=1}", "config.ghost=true", "quiet=[]",
        "steps=2",
    ]  # fmt: skip
    config = load(str(recipe), sets=sets)
    asked = Run(config, (folder,), tmp_path / "out", cache, validate=(benchmark,), device="cpu")
    assert list(train(asked))[-1]["event"] == "done"
    model, variant, state = load_file(tmp_path / "out" / "edsr_baseline-x2.safetensors")
    assert variant.config["ghost"] == ("body.0.body.0", "body.0.body.2", "body.1")
    network = build(variant, model.arch, state)
    ghosts = [m for m in network.modules() if isinstance(m, GhostConv)]
    assert len(ghosts) == 3
    with pytest.raises(UsageError, match="bcrn has no regular convolutions"):
        spec_of("bcrn", 2, {"ghost": True})
    with pytest.raises(UsageError, match=r"no regular convolution 'tail.9'"):
        spec_of("edsr_baseline", 2, {"ghost": ["tail.9"]})
