"""Tiling that cannot be seen, for every network of the catalogue."""

import numpy as np
import pytest

from srcli import catalog
from srcli.catalog import WeightsFile
from srcli.engine.passes import Network
from srcli.engine.result import Report
from srcli.engine.upscaler import Settings, Upscaler
from srcli.weights import load

TILES = (0, 48, 128)
SLOW = {"drrn_b1u25"}  # half a minute here
MODELS = [
    pytest.param(
        model,
        min(model.scales),
        id=model.name,
        marks=pytest.mark.slow if model.arch.name in SLOW else [],
    )
    for model in catalog.models()
    if model.variants
]
WITH_WEIGHTS = [p for p in MODELS if p.values[0].variants[0].weights is not None]
VARIANTS = [
    pytest.param(model, variant.scale, id=f"{model.name}-x{variant.scale}")
    for model in catalog.models()
    for variant in model.variants
    if isinstance(variant.weights, WeightsFile)
]


def upscaled(network, pixels, tile):
    engine = Upscaler(lambda scale: network, Settings(device="cpu", tile=tile))
    report = Report()
    size = tuple(n * network.scale for n in pixels.shape[:2])
    strips = list(engine.strips(pixels, [network.scale], size, report=report))
    return np.concatenate(strips), report


def assert_no_seam(network, pixels):
    """At most one level of 255 between the whole picture at once and any tiles."""
    results = {}
    for tile in TILES:
        results[tile], report = upscaled(network, pixels, tile)
        height, width = pixels.shape[:2]
        pieces = 1 if tile == 0 else -(-height // tile) * -(-width // tile)
        if network.arch.tiling == "exact":
            assert report.tiles == pieces
            assert pieces > 1 or tile == 0
        assert (report.notes, report.precision) == ([], "fp32")
    for tile in TILES[1:]:
        off = np.abs(results[tile].astype(int) - results[0])
        assert off.max() <= 1
        assert off.mean() < 1e-3  # and that one level only where rounding tips


def real(model, scale, shared, weights):
    file = model.variant(scale).weights
    if file is None or not (shared / "weights" / file.file).is_file():
        pytest.skip("the shared folder has no weights of it")
    return Network(load(model, scale, weights), model.arch, model.door, scale)


@pytest.mark.parametrize(("model", "scale"), MODELS)
def test_random_weights(model, scale, lively, picture):
    assert_no_seam(lively(model, scale), picture(60, 131))


@pytest.mark.shared
@pytest.mark.parametrize(("model", "scale"), VARIANTS)
def test_published_weights(model, scale, shared, weights, picture):
    assert_no_seam(real(model, scale, shared, weights), picture(113, 150))


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("model", "smallest"), WITH_WEIGHTS)
def test_published_weights_full_size(model, smallest, shared, weights, picture):
    """At one scale: what sees the whole picture works before the enlarging."""
    files = {v.scale: v.weights.file for v in model.variants if v.weights is not None}
    there = [s for s, file in files.items() if (shared / "weights" / file).is_file()]
    scale = min(there, default=smallest)
    size = (225, 300) if model.door.enlarged else (450, 600)  # as much work as the others
    assert_no_seam(real(model, scale, shared, weights), picture(*size))
