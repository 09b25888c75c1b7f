"""Stages over tiles: each verb against what PyTorch makes of the whole picture."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from srcli.archs.stages import Keep, Moments, Windows
from srcli.engine.pytorch.maps import At, Source, Stored
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.storage import Budget
from srcli.engine.pytorch.tiling import SMALLEST_TILE, TileRun, is_out_of_memory

CPU = torch.device("cpu")
shapes = st.tuples(st.integers(7, 40), st.integers(7, 40))
tiles = st.tuples(st.integers(1, 24), st.integers(1, 24))


def random_map(height, width, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, channels, height, width), generator=generator)


def start(whole, tile, budget=None, **more):
    """A run over a picture, and the picture as a map."""
    run = TileRun(
        tuple(whole.shape[2:]), tile, budget or Budget(2**30), device=CPU, dtype=whole.dtype, **more
    )
    return run, Source(lambda region: whole[:, :, *region.index])


def joined(run, result, channels):
    return torch.cat(list(run.rows(result, channels, torch.float32)), 2)


def contents(stored):
    return stored.storage.read(Region(0, 0, *stored.storage.size))


# local


@settings(deadline=None, max_examples=40)
@given(shapes, tiles, st.sampled_from([1, 3, 5]), st.sampled_from([1, 2, 3]))
def test_a_chain_of_convolutions(shape, tile, kernel, scale):
    """Halos add up, zero padding lies at the picture's border only, enlarging comes between."""
    x = random_map(*shape)
    weight = random_map(kernel, kernel, 3, 1).repeat(3, 1, 1, 1)
    halo = kernel // 2

    def convolve(x):
        return F.conv2d(x, weight, padding=halo)

    def enlarge(x):
        return convolve(x).repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    run, lr = start(x, tile)
    once = run.local(convolve, lr, halo=halo)
    up = run.local(enlarge, once, halo=halo, scale=scale)
    assert up.scale == scale
    result = joined(run, run.local(convolve, up, halo=halo), 3)
    torch.testing.assert_close(result, convolve(enlarge(convolve(x))), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(shapes, tiles, st.sampled_from([2, 4]), st.booleans())
def test_through_a_smaller_map(shape, tile, factor, stored):
    """Strided convolutions round up; enlarged again, what is too much is cut off."""
    x = random_map(*shape)
    strided = random_map(3, 3, 3, 1).repeat(3, 1, 1, 1)
    plain = random_map(3, 3, 3, 2).repeat(3, 1, 1, 1)

    def down(x):
        return F.conv2d(x, strided, stride=factor, padding=1)

    def convolve(x):
        return F.conv2d(x, plain, padding=1)

    def up(x):
        return convolve(x).repeat_interleave(factor, 2).repeat_interleave(factor, 3)

    run, lr = start(x, tile)
    small = run.local(down, lr, halo=4, scale=Fraction(1, factor))
    small = run.local(convolve, run.keep(small) if stored else small, halo=1)
    large = run.local(up, small, halo=1, scale=factor)
    assert (small.scale, large.scale) == (Fraction(1, factor), 1)
    whole = up(convolve(down(x)))[:, :, : shape[0], : shape[1]]
    torch.testing.assert_close(joined(run, large, 3), whole, rtol=1e-4, atol=1e-4)


def test_a_halo_that_smaller_maps_cannot_have():
    run, lr = start(random_map(8, 8), (4, 4))
    with pytest.raises(AssertionError, match="halo"):
        run.local(lambda x: x[:, :, ::2, ::2], lr, halo=3, scale=Fraction(1, 2))


@settings(deadline=None, max_examples=20)
@given(shapes, tiles)
def test_a_node_of_several_readers_is_computed_once_per_tile(shape, tile):
    x = random_map(*shape)
    regions = []

    def source(region):
        regions.append(region)
        return x[:, :, *region.index]

    run = TileRun(shape, tile, Budget(2**30), device=CPU, dtype=torch.float32)
    doubled = run.local(lambda x: x * 2, Source(source))
    blurred = run.local(lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=True), doubled, halo=1)
    result = joined(run, run.local(lambda a, b: a + b, doubled, blurred), 3)
    torch.testing.assert_close(result, 2 * x + F.avg_pool2d(2 * x, 3, 1, 1), rtol=1e-5, atol=1e-5)
    assert len(regions) == run.statistics.tiles


def test_inputs_of_different_sizes_are_our_own_bug():
    run, lr = start(random_map(8, 8), (4, 4))
    up = run.local(lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), lr, scale=2)
    with pytest.raises(AssertionError, match="of one size"):
        run.local(lambda a, b: a, lr, up)


# where


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    low=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    data=st.data(),
)
def test_stretch_equals_interpolate(size, low, data):
    low = random_map(*(min(n, m) for n, m in zip(low, size, strict=True)), 4)
    whole = F.interpolate(low, size, mode="bilinear", align_corners=False)
    y, x = (data.draw(st.integers(0, n - 1)) for n in size)
    h, w = (data.draw(st.integers(1, n - at)) for n, at in zip(size, (y, x), strict=True))
    region = Region(y, x, h, w)
    # positions are fp32 numbers of up to 300, hence 3e-5 of the difference of two samples
    torch.testing.assert_close(
        At(region, size).stretch(low), whole[:, :, *region.index], rtol=0, atol=2e-4
    )


def test_stretch_keeps_half_precision():
    low = random_map(3, 4, 2).bfloat16()
    assert At(Region(5, 0, 7, 9), (20, 30)).stretch(low).dtype == torch.bfloat16


@pytest.mark.parametrize("scale", [1, 2])
def test_where_a_tile_lies(scale):
    x = random_map(21, 17)
    low = random_map(4, 3, 3, 1)
    run, lr = start(x, (6, 5))
    up = run.local(
        lambda x: x.repeat_interleave(scale, 2).repeat_interleave(scale, 3), lr, scale=scale
    )
    masked = run.local(lambda x, at: x * at.stretch(low), up, where=True)
    # read with a halo, so that the tiles that are asked for are not the run's own
    result = joined(run, run.local(lambda x: F.max_pool2d(x, 3, 1, 1), masked, halo=1), 3)
    big = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    stretched = F.interpolate(low, big.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(result, F.max_pool2d(big * stretched, 3, 1, 1), rtol=0, atol=1e-5)


# sweeps


@settings(deadline=None, max_examples=40)
@given(shapes, tiles, st.sampled_from([0.0, 1000.0]), st.booleans())
def test_moments(shape, tile, offset, unbiased):
    """Also where the mean is large and the deviation small, where sums of squares cancel."""
    x = random_map(*shape) * torch.tensor([1.0, 0.1, 5.0]).view(1, 3, 1, 1) + offset
    run, lr = start(x, tile)
    ((mean, std),) = run.sweep(Moments(lr, unbiased=unbiased))
    expected_std, expected_mean = torch.std_mean(
        x.double(), (2, 3), correction=int(unbiased), keepdim=True
    )
    assert mean.dtype == std.dtype == torch.float32
    assert mean.shape == std.shape == (1, 3, 1, 1)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(std.double(), expected_std, rtol=1e-3 if offset else 1e-5, atol=0)


def strided(size, stride):
    """A convolution and a pooling as ESA has them, of this joint size and stride."""
    weight = random_map(size, size, 1, 7).repeat(1, 1, 1, 1)

    def fn(x):
        return F.conv2d(
            x, weight.expand(x.shape[1], 1, size, size), None, stride, groups=x.shape[1]
        )

    return fn


@settings(deadline=None, max_examples=60)
@given(shapes, tiles, st.integers(1, 7), st.integers(1, 8))
def test_windows(shape, tile, size, stride):
    x = random_map(*shape)
    fn = strided(size, stride)
    run, lr = start(x, tile)
    (low,) = run.sweep(Windows(lr, fn, size, stride))
    assert low.shape[2:] == tuple((n - size) // stride + 1 for n in shape)
    torch.testing.assert_close(low, fn(x), rtol=1e-4, atol=1e-4)


def test_windows_of_an_enlarged_map():
    x = random_map(11, 9)
    run, lr = start(x, (4, 3))
    up = run.local(lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), lr, scale=2)
    fn = strided(5, 3)
    (low,) = run.sweep(Windows(up, fn, 5, 3))
    expected = fn(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(low, expected, rtol=1e-4, atol=1e-4)


def test_several_outputs_of_one_sweep():
    x = random_map(20, 23)
    run, lr = start(x, (8, 8))
    squared = run.local(torch.square, lr)
    kept, (mean, _), low = run.sweep(
        Keep(squared), Moments(squared), Windows(squared, strided(4, 3), 4, 3)
    )
    assert torch.equal(contents(kept), x.square())
    torch.testing.assert_close(mean, x.square().mean((2, 3), keepdim=True), rtol=1e-5, atol=0)
    torch.testing.assert_close(low, strided(4, 3)(x.square()), rtol=1e-4, atol=1e-4)
    assert run.statistics.sweeps == 1
    assert run.statistics.tiles == 9


def test_progress_adds_up_to_the_sweeps():
    shares = []
    run, lr = start(random_map(20, 23), (7, 8), on_tile=shares.append)
    kept = run.keep(lr)
    joined(run, kept, 3)
    assert len(shares) == 2 * 9
    assert sum(shares) == pytest.approx(2)


# overwriting


def test_a_map_may_be_written_over_in_place():
    x = random_map(20, 23)
    run, lr = start(x, (8, 8))
    kept = run.keep(lr)
    twice = run.keep(run.local(lambda x: x * 2, kept), over=kept)
    assert twice.storage is kept.storage
    assert torch.equal(contents(twice), 2 * x)


def test_a_sweep_may_overwrite_what_it_reads_in_place():
    """BCRN's fusion: the share so far is read and written at one place, another map with a halo."""
    x = random_map(20, 23)
    run, lr = start(x, (8, 8))
    kept, fused = run.keep(lr), run.keep(run.local(torch.neg, lr))
    pooled = run.local(lambda x: F.max_pool2d(x, 3, 1, 1), kept, halo=1)
    total = run.local(torch.add, kept, fused)
    new, fused = run.sweep(Keep(pooled), Keep(total, over=fused))
    assert torch.equal(contents(new), F.max_pool2d(x, 3, 1, 1))
    assert not contents(fused).any()


@pytest.mark.parametrize("halo", [1, 3])
def test_overwriting_what_the_next_tile_reads_is_refused(halo):
    run, lr = start(random_map(20, 23), (8, 8))
    kept = run.keep(lr)
    pooled = run.local(lambda x: F.max_pool2d(x, 2 * halo + 1, 1, halo), kept, halo=halo)
    with pytest.raises(AssertionError, match="overwritten"):
        run.keep(pooled, over=kept)
    with pytest.raises(AssertionError, match="overwritten"):  # read by a neighbour in the sweep
        run.sweep(Keep(run.local(torch.neg, kept), over=kept), Keep(pooled))


def test_only_stored_maps_are_overwritten():
    run, lr = start(random_map(20, 23), (8, 8))
    with pytest.raises(AssertionError, match="only stored"):
        run.keep(lr, over=run.local(torch.neg, lr))


# spilling


@settings(deadline=None, max_examples=15)
@given(shapes, tiles)
def test_spilled_maps_hold_the_same(shape, tile):
    x = random_map(*shape)

    def work(budget):
        run, lr = start(x, tile, budget)
        kept = run.keep(run.local(lambda x: F.avg_pool2d(x, 3, 1, 1), lr, halo=1))
        kept, (mean, _) = run.sweep(Keep(run.local(torch.exp, kept), over=kept), Moments(kept))
        return joined(run, run.local(lambda x: F.max_pool2d(x, 3, 1, 1) - mean, kept, halo=1), 3)

    spilled = Budget(0)
    assert torch.equal(work(Budget(2**30)), work(spilled))
    assert spilled.spilled_bytes == x.numel() * 4


def test_maps_are_let_go():
    budget = Budget(2**30)
    run, lr = start(random_map(20, 23), (8, 8), budget)
    kept = run.keep(lr)
    kept = run.keep(run.local(lambda x: F.avg_pool2d(x, 3, 1, 1), kept, halo=1))
    result = run.local(torch.neg, kept)
    assert budget.stored_bytes == 20 * 23 * 3 * 4  # the first is gone
    joined(run, result, 3)
    del kept, result
    assert budget.stored_bytes == 0  # without the garbage collector: no cycles


# memory running out


def out_of_memory():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Limited:
    """A function that fails on tiles of more than ``most`` pixels."""

    def __init__(self, most, error=out_of_memory):
        self.most, self.error = most, error
        self.calls = self.failures = 0

    def __call__(self, x):
        self.calls += 1
        if x.shape[2] * x.shape[3] > self.most:
            self.failures += 1
            raise self.error()
        return F.avg_pool2d(x, 3, 1, 1)


@pytest.mark.parametrize(
    "error",
    [
        out_of_memory,
        MemoryError,
        lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"),
        lambda: RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_out_of_memory_leads_to_smaller_tiles(error):
    x = random_map(90, 130)
    shares = []
    run, lr = start(x, (64, 130), on_tile=shares.append)
    fn = Limited(1000, error)
    kept, (mean, std) = run.sweep(
        Keep(run.local(fn, lr, halo=1)), Moments(run.local(fn, lr, halo=1))
    )
    expected = F.avg_pool2d(x, 3, 1, 1)
    assert torch.equal(contents(kept), expected)
    torch.testing.assert_close(mean, expected.mean((2, 3), keepdim=True), rtol=0, atol=1e-6)
    torch.testing.assert_close(std, expected.std((2, 3), correction=0, keepdim=True))
    assert fn.failures == run.statistics.smaller > 0
    assert run.statistics.tiles >= 90 * 130 / 1000
    assert sum(shares) == pytest.approx(1)
    # what was learnt holds for the sweeps that follow
    failures = fn.failures
    result = joined(run, run.local(fn, kept, halo=1), 3)
    torch.testing.assert_close(result, F.avg_pool2d(expected, 3, 1, 1), rtol=0, atol=1e-6)
    assert fn.failures <= failures + 1


def test_out_of_memory_while_a_map_is_overwritten():
    """A tile that failed has written nothing; its halves read what was there before."""
    x = random_map(70, 60)
    run, lr = start(x, (70, 60))
    kept = run.keep(lr)

    def double(x):
        if x.shape[2] * x.shape[3] > 800:
            raise out_of_memory()
        return x * 2

    doubled = run.local(double, kept)
    kept, (mean, _) = run.sweep(Keep(doubled, over=kept), Moments(doubled))
    assert run.statistics.smaller > 0
    assert torch.equal(contents(kept), 2 * x)
    torch.testing.assert_close(mean, 2 * x.mean((2, 3), keepdim=True), rtol=0, atol=1e-6)


def test_out_of_memory_in_windows():
    x = random_map(70, 60)
    run, lr = start(x, (70, 60))
    fn = strided(5, 3)

    def limited(x):
        if x.shape[2] * x.shape[3] > 800:
            raise out_of_memory()
        return fn(x)

    (low,) = run.sweep(Windows(lr, limited, 5, 3))
    torch.testing.assert_close(low, fn(x), rtol=1e-4, atol=1e-4)
    assert run.statistics.smaller > 0


def test_out_of_memory_on_the_smallest_tile_is_final():
    run, lr = start(random_map(40, 40), (40, 40))
    fn = Limited(0)
    with pytest.raises(torch.OutOfMemoryError):
        run.keep(run.local(fn, lr))
    assert min(run.tile) >= SMALLEST_TILE
    assert fn.calls < 10


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("Given groups=1, weight of size [3, 3], expected input to have 3 channels"),
        ValueError("memory"),
    ],
)
def test_other_errors_are_not_retried(error):
    calls = []

    def fail(x):
        calls.append(x)
        raise error

    run, lr = start(random_map(40, 40), (20, 20))
    with pytest.raises(type(error)) as caught:
        run.keep(run.local(fail, lr))
    assert caught.value is error
    assert len(calls) == 1
    assert not is_out_of_memory(error)


def test_a_stored_map_is_not_a_copy_of_a_tile():
    """Tiles handed to the sinks are views of nothing that is later overwritten."""
    x = random_map(12, 12)
    run, lr = start(x, (12, 12))
    kept = run.keep(lr)
    x_before = x.clone()
    run.keep(run.local(torch.neg, kept), over=kept)
    assert torch.equal(x, x_before)
    assert isinstance(kept, Stored)
