"""Every network of the catalogue: parameter counts, and the authors' outputs."""

import numpy as np
import pytest
import torch

from srcli import catalog
from srcli.engine.passes import Network
from srcli.engine.upscaler import Settings, Upscaler
from srcli.weights import load, new_network

VARIANTS = [
    pytest.param(model, variant, id=f"{model.name}-x{variant.scale}")
    for model in catalog.models()
    for variant in model.variants
]


@pytest.mark.parametrize(("model", "variant"), VARIANTS)
def test_parameter_count(model, variant):
    """As the catalogue says: of the network that runs, fixed convolutions left out."""
    network = new_network(variant, model.arch)
    learnable = [p.requires_grad for p in network.parameters()]
    folds = any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    if model.arch.expanded and not folds:
        network = network.merge()
        learnable = [True] * len(list(network.parameters()))
    pairs = zip(network.parameters(), learnable, strict=True)
    assert sum(p.numel() for p, learns in pairs if learns) == variant.parameters


@pytest.mark.shared
@pytest.mark.parametrize(("model", "variant"), VARIANTS)
def test_golden(model, variant, shared, weights):
    """The authors' own code's outputs within 1e-4 of white (what a rounding to fp32 leaves)."""
    path = shared / "golden" / f"{model.name}-x{variant.scale}.npz"
    if variant.weights is None or not (shared / "weights" / variant.weights.file).is_file():
        assert not path.is_file()
        pytest.skip("the shared folder has no weights of it")
    golden = np.load(path)
    lr, sr = golden["lr"].astype(np.float32) / 255, golden["sr"]
    module = load(model, variant.scale, weights)
    network = Network(module, model.arch, model.door, variant.scale)

    # as a user gets it, tiled or not; floats come out cut to 0..1
    for tile in (0, 16):
        engine = Upscaler(lambda scale: network, Settings(device="cpu", tile=tile))
        assert np.abs(engine(lr, [variant.scale]) - sr.clip(0, 1)).max() < 1e-4

    # the network alone, where its door is plain: beyond 0..1 too
    if model.door.colour == "rgb" and not model.door.enlarged:
        tensor = torch.from_numpy(lr).permute(2, 0, 1)[None] * model.door.maximum
        with torch.inference_mode():
            out = module(tensor)[0].permute(1, 2, 0).numpy() / model.door.maximum
        assert np.abs(out - sr).max() < 1e-4


@pytest.mark.shared
def test_every_golden_of_these_architectures_is_tried(shared):
    ours = {a.name for a in catalog.architectures()}
    tried = {f"{m.name}-x{v.scale}" for m in catalog.models() for v in m.variants}
    golden = {p.stem for p in (shared / "golden").glob("*.npz") if p.stem.split(".")[0] in ours}
    assert len(golden) >= 10
    assert golden <= tried
