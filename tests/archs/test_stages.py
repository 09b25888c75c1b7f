"""Every network of the catalogue: stages equal forward, at any tile size and picture shape."""

import re

import pytest
import torch
from catalogue_samples import NETWORKS, at_one_scale, one_of_a_kind, short
from hypothesis import given, settings
from hypothesis import strategies as st

from srcli.engine.pytorch.maps import Source
from srcli.engine.pytorch.storage import Budget
from srcli.engine.pytorch.tiling import TileRun

EXACT = [m for m in NETWORKS if m.arch.tiling == "exact"]
OTHER_SCALES = [
    pytest.param(short(model), scale, id=f"{model.name}-x{scale}")
    for model in EXACT
    # what is given the enlarged picture is the same at every scale
    for scale in (() if model.preprocessing.enlarged else model.scales[1:])
]
GLOBAL = (
    "bcrn", "rlfn", "rlfn_s", "rlfn_ntire", "imdn", "rfdn", "bsrn", "bsrn_s", "safmn_ntire",
    "smfanet", "smfanet_plus", "lkfmixer_t", "lkfmixer_b", "lkmn_t", "mcan_t", "mcan_s", "mcan_m",
)  # fmt: skip

# Of the result's largest value. Rounding of fp32 sums taken in another order: up to 6.4e-7 was
# seen; of a wrong attention map the smallest effect that was seen is 4e-4, of a variance 6e-5.
TOLERANCE = 1e-5


def random_lr(network, height, width, seed=0):
    """Of at least that size, as the network can take it."""
    least, multiple = network.arch.min_size, network.arch.multiple
    height, width = (max(least, -(-n // multiple) * multiple) for n in (height, width))
    generator = torch.Generator().manual_seed(seed)
    lr = torch.rand((1, network.preprocessing.channels, height, width), generator=generator)
    return lr * network.preprocessing.maximum


def by_stages(network, lr, tile):
    height, width = lr.shape[2:]
    run = TileRun((height, width), tile, Budget(2**30), device=lr.device, dtype=torch.float32)
    with torch.inference_mode():
        result = network.module.stages(run, Source(lambda region: lr[:, :, *region.index]))
        rows = list(run.rows(result, lr.shape[1], torch.float32))
    return torch.cat(rows, 2), run.statistics.tiles


def at_once(network, lr):
    with torch.inference_mode():
        return network.module(lr)


def assert_equal(tiled, whole):
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().max()) <= TOLERANCE * float(whole.abs().max())


def assert_tiled(network, lr, tiles):
    """At each (tile size, how many of them)."""
    whole = at_once(network, lr)
    factor = 1 if network.preprocessing.enlarged else network.scale
    assert whole.shape == (1, lr.shape[1], lr.shape[2] * factor, lr.shape[3] * factor)
    for tile, pieces in tiles:
        tiled, n = by_stages(network, lr, tile)
        assert n == pieces
        assert_equal(tiled, whole)


@pytest.mark.parametrize(("model", "scale"), at_one_scale(EXACT))
def test_stages_equal_forward(model, scale, lively):
    network = lively(model, scale)
    tiles = (((16, 17), 6), ((20, 64), 2), ((64, 64), 1))
    assert_tiled(network, random_lr(network, 33, 29), tiles)


@pytest.mark.parametrize(("model", "scale"), OTHER_SCALES)
def test_stages_equal_forward_at_other_scales(model, scale, lively):
    network = lively(model, scale)
    assert_tiled(network, random_lr(network, 17, 33), [((64, 20), 2)])


@pytest.mark.parametrize(("model", "scale"), one_of_a_kind(EXACT))
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    height=st.integers(15, 48),
    width=st.integers(15, 48),
    tile=st.tuples(st.integers(16, 50), st.integers(16, 50)),
)
def test_any_shape_and_tile(model, scale, lively, height, width, tile):
    network = lively(model, scale)
    lr = random_lr(network, height, width)
    assert_equal(by_stages(network, lr, tile)[0], at_once(network, lr))


@pytest.mark.parametrize(("model", "scale"), at_one_scale(EXACT))
def test_the_tolerance_sees_a_seam(model, scale, lively):
    """Tiles through the whole network, as other tools cut: what the tests above must not accept."""
    network = lively(model, scale)
    lr = random_lr(network, 37, 53)
    whole = at_once(network, lr)
    naive = torch.cat((at_once(network, lr[..., :26]), at_once(network, lr[..., 26:])), 3)
    error = (naive - whole).abs().amax((0, 1, 2)) / whole.abs().max()
    assert float(error.max()) > 1000 * TOLERANCE
    if model.arch.name in GLOBAL:  # its attention is wrong even at the far side
        assert float(error[: 4 * scale].max()) > 5 * TOLERANCE


@pytest.mark.parametrize(("model", "scale"), one_of_a_kind(EXACT))
def test_a_batch_equals_its_pictures(model, scale, lively):
    """Attention looks at each picture of a training batch alone."""
    network = lively(model, scale)
    lr = torch.cat([random_lr(network, 18, 21, seed) for seed in (3, 4)])
    both = at_once(network, lr)
    for k in range(2):
        assert_equal(both[k : k + 1], at_once(network, lr[k : k + 1]))


# parameters that the authors' files hold and their networks do not use
UNUSED = {
    "swift_srgan": r"\.act\.weight$",  # its convblocks have a PReLU
    "esrt": r"\.weight1\.scale$",  # blocks have a factor more
    "carn": r"^upsample\.",  # the other scales' upsamplers
    "carn_m": r"^upsample\.",
    "mcan_t": r"^upsample\.|^cell1\.cell\d\.c0_fix\.|^cell[23]\.cell[23]\.c0\.",
}


@pytest.mark.parametrize(("model", "scale"), one_of_a_kind(EXACT))
def test_forward_differentiates(model, scale):
    """No in-place operation and no detached part in the way of training."""
    from srcli.weights import new_network

    torch.manual_seed(5)
    module = new_network(model.variant(scale), model.arch).train()
    module(torch.rand(2, model.preprocessing.channels, 16, 18)).square().mean().backward()
    unused = {name for name, p in module.named_parameters() if p.requires_grad and p.grad is None}
    known = UNUSED.get(model.arch.name)
    if known is not None:
        unused = {name for name in unused if not re.search(known, name)}
    assert not unused
