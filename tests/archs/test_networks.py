"""Every network of the catalogue: parameter counts, and the authors' outputs."""

import numpy as np
import pytest
import torch

from srcli import catalog
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Settings, Upscaler
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
        learnable = [p.requires_grad for p in network.parameters()]
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
    if not path.is_file():  # one file serves several scales
        others = {v.scale for v in model.variants if v.weights.file == variant.weights.file}
        assert any((path.parent / f"{model.name}-x{s}.npz").is_file() for s in others)
        pytest.skip("the golden is at another scale")
    golden = np.load(path)
    lr, sr = golden["lr"].astype(np.float32) / 255, golden["sr"]
    module = load(model, variant.scale, weights)
    network = Network(module, model.arch, model.preprocessing, variant.scale)

    # as a user gets it, tiled or not; floats come out cut to 0..1
    for tile in (0, 16):
        engine = Upscaler(lambda scale: network, Settings(device="cpu", tile=tile))
        assert np.abs(engine(lr, [variant.scale]) - sr.clip(0, 1)).max() < 1e-4

    # beyond 0..1 too, and the network alone inside its adapter
    adapted, white = network.adapted(), model.preprocessing.maximum
    with torch.inference_mode():
        rgb = torch.from_numpy(lr).permute(2, 0, 1)[None]
        if all(n % model.arch.multiple == 0 for n in lr.shape[:2]):
            assert np.abs(pixels(adapted(rgb)) - sr).max() < 1e-4
        given = adapted.preprocess(rgb)
        if "net_in" in golden:
            assert np.abs(pixels(given) / white - shaped(golden["net_in"])).max() < 1e-6
        for key in {"sr_y", "sr_ycc"} & set(golden):
            assert np.abs(pixels(module(given)) / white - shaped(golden[key])).max() < 1e-4


def pixels(tensor):
    return tensor[0].permute(1, 2, 0).numpy()


def shaped(plane):
    """(h, w) or (h, w, c) -> (h, w, c)."""
    return plane if plane.ndim == 3 else plane[:, :, None]


@pytest.mark.shared
def test_every_golden_of_these_architectures_is_tried(shared):
    ours = {a.name for a in catalog.architectures()}
    tried = {f"{m.name}-x{v.scale}" for m in catalog.models() for v in m.variants}
    golden = {p.stem for p in (shared / "golden").glob("*.npz") if p.stem.split(".")[0] in ours}
    assert len(golden) >= 10
    assert golden <= tried
