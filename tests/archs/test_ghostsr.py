"""Ghost convolutions in any network of the catalogue: found, exact in tiles, read back."""

from dataclasses import replace

import pytest
import torch
from catalogue_samples import NETWORKS, one_of_a_kind
from test_stages import assert_equal, at_once, by_stages, random_lr

from srcli import catalog
from srcli.archs.ghostsr import GhostConv, Shift, between_features, ghosted, regular
from srcli.weights import build, load_file, new_network, save_file

FEW = {"fsrcnn_pi", "esrn"}  # one on luma, and one whose maps are halved on the way
ALL = [m for m in NETWORKS if m.arch.tiling == "exact" and m.arch.name != "ghostsr_edsr"]
SAMPLES = [
    pytest.param(*p.values, id=p.id, marks=[] if p.values[0].arch.name in FEW else pytest.mark.long)
    for p in one_of_a_kind(ALL)
]


def ghostly(model, scale):
    """The model with ghost convolutions for all that make features of features; None if there are
    none of those."""
    variant = model.variant(scale)
    names = between_features(new_network(variant, model.arch), model.preprocessing.channels)
    if not names:
        return None
    config = {**variant.config, "ghost": tuple(names)}
    variants = (replace(variant, config=config, parameters=0, weights=None),)
    return replace(model, arch=replace(model.arch, expanded=True), variants=variants)


@pytest.mark.parametrize(("model", "scale"), SAMPLES)
def test_tiles_are_exact(model, scale, lively):
    changed = ghostly(model, scale)
    if changed is None:
        pytest.skip("it has no regular convolutions between features")
    network = lively(changed, scale)
    assert any(isinstance(m, GhostConv) for m in network.module.modules())
    lr = random_lr(network, 33, 29)
    whole = at_once(network, lr)
    for tile in ((16, 17), (20, 64)):
        assert_equal(by_stages(network, lr, tile)[0], whole)


def test_what_is_replaced_by_itself():
    """In EDSR the blocks' convolutions and the last of the body; neither the picture's own nor what
    is shuffled into pixels."""
    network = new_network(*entry("edsr_baseline", 4, n_blocks=2))
    inside = {f"body.{k}.body.{n}" for k in (0, 1) for n in (0, 2)}
    tail = {"tail.0.0", "tail.0.2", "tail.1"}
    assert set(regular(network)) == {"head.0", "body.2", *inside, *tail}
    assert set(between_features(network, 3)) == {"body.2", *inside}
    # of two ways to the picture, both ends are left out
    esrt = between_features(new_network(*entry("esrt", 4)), 3)
    assert not [name for name in esrt if name.startswith(("tail", "up", "head"))]


def entry(name, scale, **config):
    model = catalog.resolve(name)
    variant = model.variant(scale)
    return replace(variant, config={**variant.config, **config}), model.arch


def test_half_of_the_channels_are_the_other_half_moved():
    torch.manual_seed(0)
    layer = GhostConv(torch.nn.Conv2d(3, 5, 3, padding=1)).eval()
    layer.cheap_conv.weight.data[0, 0, 0, 1] = -9  # the largest
    out = layer(torch.rand(1, 3, 6, 7))
    assert out.shape == (1, 5, 6, 7)
    assert torch.equal(out[:, 3:, 1:], out[:, :2, :-1])
    assert not out[:, 3:, 0].any()


@pytest.mark.parametrize("wrong", ["body.*.body.1", "tail.2", "add_mean"])
def test_what_is_no_regular_convolution_is_named(wrong):
    with pytest.raises(ValueError, match=f"no regular convolution '{wrong.replace('*', '.')}'"):
        ghosted(new_network(*entry("edsr_baseline", 2, n_blocks=2)), [wrong])
    with pytest.raises(ValueError, match="list of names"):
        ghosted(torch.nn.Conv2d(3, 3, 3), "head")


def test_files_are_read_back(tmp_path):
    """With and without metadata, strictly, and the choice of shifts made once."""
    torch.manual_seed(0)
    variant, arch = entry("carn", 2, ghost=("b1.b1.body.*", "b2.b1.body.0"))
    network = new_network(variant, arch)
    path = tmp_path / "ghost.safetensors"
    save_file(
        path, network.state_dict(), arch=arch.name, scale=2, config=variant.config, provenance={}
    )
    model, found, state = load_file(path)
    ready = build(found, model.arch, state)
    lr = torch.rand(1, 3, 18, 20)
    assert torch.equal(ready(lr), network.eval()(lr))
    assert not any(isinstance(m, Shift) for m in ready.modules())
    assert found.parameters == sum(p.numel() for p in network.parameters() if p.requires_grad)
    bare = tmp_path / "ghostsr.pth"
    variant, arch = entry("ghostsr_edsr", 2)
    torch.save(new_network(variant, arch).state_dict(), bare)
    assert load_file(bare)[0].arch.name == "ghostsr_edsr"
