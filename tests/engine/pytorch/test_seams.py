"""Tiling that cannot be seen, for every network of the catalogue."""

import math

import numpy as np
import pytest
from catalogue_samples import FEWER, NETWORKS, at_one_scale

from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.engine.result import Report
from srcli.weights import load

TILE = 48
PUBLISHED = [
    pytest.param(
        model,
        variant.scale,
        id=f"{model.name}-x{variant.scale}",
        # at one scale: what sees the whole picture works before the enlarging
        marks=[] if variant.scale == model.scales[-1] else [pytest.mark.long],
    )
    for model in NETWORKS
    for variant in model.variants
    if variant.weights is not None
]


def upscaled(network, pixels, tile):
    engine = Upscaler(lambda scale: network, Settings(device="cpu", tile=tile))
    report = Report()
    size = tuple(n * network.scale for n in pixels.shape[:2])
    strips = list(engine.strips(pixels, [network.scale], size, report=report))
    return np.concatenate(strips), report


def assert_no_seam(network, pixels):
    """At most one level of 255 between the whole picture at once and tiles."""
    whole, report = upscaled(network, pixels, 0)
    assert (report.tiles, report.notes, report.precision) == (1, [], "fp32")
    tiled, report = upscaled(network, pixels, TILE)
    assert (report.notes, report.precision) == ([], "fp32")
    pieces = math.prod(-(-n // TILE) for n in pixels.shape[:2])
    assert report.tiles == (pieces if network.arch.tiling == "exact" else 1)
    assert pieces > 1
    off = np.abs(tiled.astype(int) - whole)
    assert off.max() <= 1
    assert off.mean() < 1e-3  # and that one level only where rounding tips


def real(model, scale, shared, weights):
    file = model.variant(scale).weights
    if file is None or not (shared / "weights" / file.file).is_file():
        pytest.skip("the shared folder has no weights of it")
    return Network(load(model, scale, weights), model.arch, model.preprocessing, scale)


@pytest.mark.parametrize(("model", "scale"), at_one_scale())
def test_random_weights(model, scale, lively, picture):
    assert_no_seam(lively(model, scale), picture(50, 67))


@pytest.mark.long
@pytest.mark.parametrize(
    "model",
    [m for m in NETWORKS if m.arch.name in FEWER and not m.trained],
    ids=lambda model: model.name,
)
def test_random_weights_at_full_length(model, lively, picture):
    assert_no_seam(lively(model, model.scales[0]), picture(17, 53))


@pytest.mark.shared
@pytest.mark.parametrize(("model", "scale"), PUBLISHED)
def test_published_weights(model, scale, shared, weights, picture):
    assert_no_seam(real(model, scale, shared, weights), picture(53, 100))


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize("model", [m for m in NETWORKS if m.trained], ids=lambda m: m.name)
def test_published_weights_on_larger_pictures(model, shared, weights, picture):
    """At one scale: what sees the whole picture works before the enlarging."""
    there = [v.scale for v in model.variants if (shared / "weights" / v.weights.file).is_file()]
    size = (80, 113) if model.preprocessing.enlarged else (160, 225)  # as much work as the others
    assert_no_seam(
        real(model, min(there, default=model.scales[0]), shared, weights), picture(*size)
    )
