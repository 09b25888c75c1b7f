"""PyTorch's engine: types, sizes, chains, precision, memory."""

import copy
import gc
import shutil
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from catalogue_samples import NETWORKS, one_of_a_kind
from tiny_networks import Enlarge, Spot, network, whole

from srcli import catalog
from srcli.catalog import Preprocessing
from srcli.engine import memory
from srcli.engine.pytorch import upscaler as upscaler_module
from srcli.engine.pytorch.profile import profile
from srcli.engine.pytorch.storage import Budget
from srcli.engine.pytorch.upscaler import GREY, Settings, Upscaler, turned_back
from srcli.engine.result import Report
from srcli.errors import ResourceError, UsageError
from srcli.quality.resize import resize

CLASSES = one_of_a_kind()
HALVES = one_of_a_kind(rest=pytest.mark.long)


def engine(make, **settings):
    """An Upscaler on the CPU; ``make``: scale -> module, a new one each time."""
    return Upscaler(lambda scale: network(make(scale)), Settings(device="cpu", **settings))


def run(engine, pixels, passes, size=None, **more):
    """The joined result and the report."""
    report = Report()
    native = tuple(n * int(np.prod(passes, dtype=int)) for n in pixels.shape[:2])
    strips = list(engine.strips(pixels, passes, size or native, report=report, **more))
    return np.concatenate(strips), report


def levels(a, b):
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


@pytest.fixture
def budgets(monkeypatch):
    """Every Budget that the engine makes."""
    made = []

    class Watched(Budget):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(upscaler_module, "Budget", Watched)
    return made


# types


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [0, 16])
def test_types_and_channels(dtype, channels, tile, picture):
    floats = picture(33, 41, channels).astype(np.float32) / 255
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = floats if dtype == np.float32 else np.rint(floats * white).astype(dtype)
    result, report = run(engine(Enlarge, tile=tile), pixels, [2])
    assert result.dtype == dtype
    assert result.shape == (66, 82, channels)
    assert report.tiles == (1 if tile == 0 else 9)
    assert (report.device, report.precision) == ("cpu", "fp32")
    expected = whole(Enlarge(2), np.repeat(floats, 3 // channels, 2)).clip(0, 1)
    if channels == 1:
        expected = expected @ np.float32(GREY)[:, None]
    # half a level of the input's and half a level of the output's rounding
    assert np.abs(result / np.float32(white) - expected).max() <= 1.01 / min(white, 1e5)


def test_out_of_range_is_cut(picture):
    class Contrast(Enlarge):
        def tail(self, x, mean):
            return super().tail((x - 0.5) * 5, mean)

    pixels = picture(20, 20)
    for dtype in (np.uint8, np.float32):
        given = pixels if dtype == np.uint8 else pixels.astype(np.float32) / 255
        result, _ = run(engine(Contrast, tile=16), given, [2])
        assert result.min() == 0
        assert result.max() == (255 if dtype == np.uint8 else 1)


def test_rounding_is_to_the_nearest():
    pixels = np.full((16, 16, 3), 100, np.uint8)

    class Constant(Spot):
        def tail(self, x, mean):
            return x * 0 + 100.6 / 255

    result, _ = run(engine(Constant, tile=0), pixels, [1])
    assert set(result.reshape(-1)) == {101}


def test_the_input_is_not_touched(picture):
    pixels = picture(20, 24).copy()
    run(engine(Enlarge, tile=16), pixels, [2])
    assert np.array_equal(pixels, picture(20, 24))
    run(engine(Enlarge), np.asfortranarray(pixels), [2])
    run(engine(Enlarge), pixels[:, ::-1], [2])  # a view of negative strides


# preprocessing


@pytest.mark.parametrize("tile", [0, 16])
def test_doors(tile, picture):
    """A network of 0..255 and one of BGR see what they were trained on, and the user RGB."""
    seen = []

    class In255(Spot):
        def head(self, x):
            seen.append((float(x.max()), x.clone()))
            return x

    pixels = picture(20, 24)
    plain, _ = run(engine(Spot, tile=tile), pixels, [2])
    preprocessing = Preprocessing(colour="bgr", maximum=255)
    made = Upscaler(
        lambda s: network(In255(s), preprocessing=preprocessing),
        Settings(device="cpu", tile=tile),
    )
    result, _ = run(made, pixels, [2])
    assert max(value for value, _ in seen) == pytest.approx(int(pixels.max()), abs=1e-3)
    if tile == 0:
        given = seen[-1][1][0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(given[:, :, ::-1], pixels.astype(np.float32), atol=1e-3)
    assert levels(result, plain) <= 1


# sizes


@pytest.mark.parametrize(("model", "scale"), CLASSES)
@pytest.mark.parametrize("size", [(1, 1), (14, 15), (27, 3)])
def test_pictures_smaller_than_the_network_can_take(model, scale, size, lively, picture):
    """Padded by repeating the last row and column, computed, cropped."""
    loaded = lively(model, scale)
    pixels = picture(*size)
    made = Upscaler(lambda s: loaded, Settings(device="cpu", tile=0))
    result, _ = run(made, pixels, [scale])
    assert result.shape == (size[0] * scale, size[1] * scale, 3)
    tiled = Upscaler(lambda s: loaded, Settings(device="cpu", tile=16))
    assert levels(run(tiled, pixels, [scale])[0], result) <= 1
    if model.preprocessing == Preprocessing(maximum=model.preprocessing.maximum):
        least, multiple = model.arch.min_size, model.arch.multiple
        height, width = (max(least, -(-n // multiple) * multiple) for n in size)
        padded = np.pad(pixels, ((0, height - size[0]), (0, width - size[1]), (0, 0)), "edge")
        floats = padded.astype(np.float32) * np.float32(model.preprocessing.maximum / 255)
        expected = whole(loaded.module, floats)[: result.shape[0], : result.shape[1]]
        expected = (expected / model.preprocessing.maximum).clip(0, 1) * 255
        assert np.abs(result - expected).max() <= 0.51


def test_multiples(picture):
    """Networks that halve sizes inside get multiples, and the user the size asked for."""

    class Halving(Spot):
        def head(self, x):
            assert x.shape[2] % 4 == x.shape[3] % 4 == 0
            return x

    made = Upscaler(
        lambda s: network(Halving(s), multiple=4, min_size=8), Settings(device="cpu", tile=0)
    )
    for size in ((5, 7), (8, 12), (13, 17)):
        result, _ = run(made, picture(*size), [2])
        assert result.shape == (size[0] * 2, size[1] * 2, 3)
        plain, _ = run(engine(Spot, tile=0), picture(*size), [2])
        # the blur at the padded border sees repeated pixels where the other sees zeros
        assert levels(result[:-2, :-2], plain[:-2, :-2]) <= 1


def test_a_network_that_tiles_would_change(picture):
    """Whole whatever tiles are asked for; only memory has it cut, and that is said once."""
    pixels = picture(40, 71)

    def result(**settings):
        loaded = network(Enlarge(2), tiling="whole")
        return run(Upscaler(lambda s: loaded, Settings(device="cpu", **settings)), pixels, [2])

    plain, report = result()
    assert (report.tiles, report.notes) == (1, [])
    small, report = result(tile=16)
    assert (report.tiles, report.notes) == (1, [])
    assert np.array_equal(small, plain)
    _, report = result(tile=16, memory_bytes=1)
    assert report.tiles == 3 * 5
    notes = [note for note in report.notes if "differs from that of the whole picture" in note]
    assert len(notes) == 1
    assert "Tiny" in notes[0]


@pytest.mark.parametrize("size", [(50, 61), (25, 90), (80, 100), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_by_lanczos(size, channels, picture):
    pixels = picture(20, 25, channels)
    native, _ = run(engine(Enlarge, tile=0), pixels.astype(np.float32) / 255, [4])
    result, _ = run(engine(Enlarge, tile=16), pixels, [4], size)
    assert result.shape == (*size, channels)
    expected = resize(native, size, "lanczos").clip(0, 1) * 255
    # floats out of 0..1 reach the resampling uncut, and here they do not arise
    assert np.abs(result - expected).max() <= 0.51


def test_no_pass_is_a_resampling(picture):
    pixels = picture(20, 25)
    made = engine(Enlarge)
    assert np.array_equal(run(made, pixels, [], (20, 25))[0], pixels)
    expected = resize(pixels.astype(np.float32), (13, 14), "lanczos").clip(0, 255)
    assert np.abs(run(made, pixels, [], (13, 14))[0] - expected).max() <= 0.51
    grey = picture(20, 25, 1)
    assert np.array_equal(run(made, grey, [], (20, 25))[0], grey)


# chains


@pytest.mark.parametrize("channels", [1, 3])
def test_a_chain_is_computed_in_floats(channels, picture):
    pixels = picture(19, 23, channels)
    floats = np.repeat(pixels.astype(np.float32) / 255, 3 // channels, 2)
    expected = whole(Enlarge(2), whole(Enlarge(4), floats)).clip(0, 1)
    if channels == 1:
        expected = expected @ np.float32(GREY)[:, None]
    for tile in (0, 16, 40):
        result, report = run(engine(Enlarge, tile=tile), pixels, [4, 2])
        assert result.shape == (19 * 8, 23 * 8, channels)
        assert np.abs(result - expected * 255).max() <= 0.51
        assert report.tiles > 2 or tile != 16


@pytest.mark.parametrize(("model", "scale"), CLASSES)
def test_a_chain_of_real_networks(model, scale, lively, picture):
    """Tiled equals whole, through two networks and with each native scale there is."""
    passes = [max(model.scales), scale] if scale == 2 else [scale]
    pixels = picture(9, 11)
    results = []
    for tile in (0, 20):
        made = Upscaler(lambda s: lively(model, s), Settings(device="cpu", tile=tile))
        results.append(run(made, pixels, passes)[0])
    assert levels(*results) <= 1


def test_progress_rises_to_one(picture):
    for passes in ([2], [4, 2]):
        shares = []
        run(engine(Enlarge, tile=16), picture(40, 40), passes, on_progress=shares.append)
        assert shares == sorted(shares)
        assert shares[0] > 0
        assert shares[-1] == pytest.approx(1)
        assert len(shares) > 5


# precision


@pytest.mark.parametrize(("precision", "gain"), [("fp16", 80_000.0), ("bf16", 3.4e38)])
@pytest.mark.parametrize("passes", [[2], [2, 2]])
def test_overflow_leads_to_fp32(precision, gain, passes, picture):
    """The strips that were handed on stay; what follows is fp32; no row twice, none left out."""
    pixels = np.minimum(picture(120, 40), 180)
    pixels[75:80, 10:14] = 255  # only here does gain times the pixel overflow: rows 4 to 5 of 8
    if precision == "fp16":
        assert 180 / 255 * gain < 65_504 < gain
    else:
        assert float(torch.tensor(gain).bfloat16()) == float("inf")
    made = engine(lambda s: Spot(s, gain), precision=precision, tile=16)
    result, report = run(made, pixels, passes)
    expected, fine = run(engine(Spot, tile=16), pixels, passes)
    assert fine.notes == []
    assert result.shape == expected.shape
    assert len(report.notes) == 1
    assert precision in report.notes[0]
    assert "fp32" in report.notes[0]
    assert report.precision == "fp32"
    assert np.array_equal(result[-80:], expected[-80:])  # past the overflow: fp32 itself
    assert levels(result, expected) <= (1 if precision == "fp16" else 3)  # 8 bits of bf16
    # the next picture is tried in half precision again, and the networks are as they were
    again, report = run(made, np.minimum(pixels, 100), passes)
    assert report.notes == []
    assert report.precision == precision
    assert levels(again, run(engine(Spot, tile=16), np.minimum(pixels, 100), passes)[0]) <= 3


def test_fp32_after_half_precision_has_whole_weights(picture):
    """Weights that were rounded to half precision do not come back: the network is loaded anew."""
    pixels = picture(60, 40)
    pixels = np.where(pixels > 180, 255, pixels)
    made = engine(lambda s: Spot(s, 80_000.0), precision="fp16", tile=16)
    result, _ = run(made, pixels, [2])
    assert made.network(2).module.blur.weight.dtype == torch.float32
    assert float(made.network(2).module.blur.weight[0, 0, 0, 0]) == float(np.float32(1 / 9))
    expected, _ = run(engine(Spot, tile=16), pixels, [2])
    assert levels(result, expected) <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("model", "scale"), HALVES)
def test_half_precision_is_near_fp32(model, scale, precision, lively, picture):
    pixels = picture(17, 19)

    def fresh(s):  # the engine rounds what it is given
        loaded = lively(model, s)
        return replace(loaded, module=copy.deepcopy(loaded.module))

    half = Upscaler(fresh, Settings(device="cpu", precision=precision, tile=16))
    full = Upscaler(fresh, Settings(device="cpu", tile=16))
    a, report = run(half, pixels, [scale])
    b, _ = run(full, pixels, [scale])
    assert a.shape == b.shape
    assert report.precision in (precision, "fp32")
    # random networks amplify rounding; this catches wrong colours, shifts and unscaled inputs
    assert np.abs(a.astype(int) - b).mean() < 12


def test_networks_are_loaded_once(picture):
    loads = []

    def load(scale):
        loads.append(scale)
        return network(Enlarge(scale))

    made = Upscaler(load, Settings(device="cpu", tile=16))
    assert loads == []  # not before a picture needs them
    for _ in range(3):
        run(made, picture(20, 20), [4, 2])
    made.estimate_bytes((100, 100), [4, 2])
    assert sorted(loads) == [2, 4]


def test_no_gradients(picture):
    grads = []

    class Watch(Enlarge):
        def head(self, x):
            grads.append((torch.is_inference_mode_enabled(), x.requires_grad))
            return super().head(x)

    for tile in (0, 16):
        run(engine(Watch, tile=tile), picture(20, 20), [2, 2])
    assert set(grads) == {(True, False)}


def test_an_unknown_device():
    with pytest.raises(UsageError):
        Upscaler(lambda s: None, Settings(device="tpu"))


# memory


def test_tile_0_takes_the_whole_picture_at_once(picture):
    sizes = []
    made = engine(lambda s: Enlarge(s, fail=lambda x: sizes.append(x.shape[2:])), tile=0)
    _, report = run(made, picture(70, 90), [2])
    assert sizes[-1] == (70, 90)
    assert report.tiles == 1
    assert report.notes == []


def test_tile_0_beyond_the_memory_allowed(picture):
    pixels = picture(280, 30)
    result, report = run(engine(Enlarge, tile=0, memory_bytes=1), pixels, [2])
    assert report.tiles > 1
    assert "whole picture" in report.notes[0]
    assert levels(result, run(engine(Enlarge, tile=0), pixels, [2])[0]) <= 1


@pytest.mark.parametrize("tile", [0, 64, None])
@pytest.mark.parametrize("passes", [[2], [2, 2]])
def test_out_of_memory(tile, passes, picture):
    """Smaller tiles, a note, the same result."""

    def fail(x):
        if x.shape[2] * x.shape[3] > 1500:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    pixels = picture(100, 110)
    made = engine(lambda s: Enlarge(s, fail=fail), tile=tile)
    result, report = run(made, pixels, passes)
    assert report.tiles >= 100 * 110 / 1500
    assert any("memory" in note for note in report.notes)
    # the mean is joined from other tiles: its last bit may tip a rounding
    assert levels(result, run(engine(Enlarge, tile=32), pixels, passes)[0]) <= 1


@pytest.mark.parametrize("tile", [0, 64])
def test_other_device_errors_are_not_retried(tile, picture):
    calls = []

    def fail(x):
        calls.append(x)
        if x.shape[2] > 32:  # not while the network is profiled
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    made = engine(lambda s: Enlarge(s, fail=fail), tile=tile)
    made.profile(2)
    calls.clear()
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(made, picture(100, 110), [2])
    assert len(calls) == 1


@pytest.mark.parametrize("passes", [[2], [4, 2], []])
@pytest.mark.parametrize("tile", [0, 16])
def test_maps_are_let_go_after_a_run(passes, tile, picture, budgets):
    made = engine(Enlarge, tile=tile)
    pixels = picture(40, 41)
    gc.collect()
    gc.disable()  # no cycles: memory is free when the last strip is out
    try:
        run(made, pixels, passes, (33, 34))
        for budget in budgets:
            assert budget.stored_bytes == 0
            assert budget.peak_bytes > 0 or tile == 0
    finally:
        gc.enable()


def test_maps_are_let_go_by_an_unfinished_run(picture, budgets):
    made = engine(Enlarge, tile=16)
    strips = made.strips(picture(40, 41), [4, 2], (320, 328))
    next(strips)
    assert budgets[0].stored_bytes > 0
    strips.close()
    assert budgets[0].stored_bytes == 0


def test_the_picture_is_let_go(picture):
    made = engine(Enlarge, tile=16)
    pixels = picture(40, 41).copy()
    alive = weakref.ref(pixels)
    run(made, pixels, [2])
    del pixels
    assert alive() is None


@pytest.mark.parametrize("passes", [[2], [4, 2]])
def test_spilling_gives_the_same(passes, picture, tmp_path, budgets):
    pixels = picture(40, 41)
    roomy, report = run(engine(Enlarge, tile=16, memory_bytes=2**40), pixels, passes)
    assert report.spilled_bytes == 0
    tight, report = run(
        engine(Enlarge, tile=16, memory_bytes=1, spill_folder=tmp_path), pixels, passes
    )
    assert np.array_equal(tight, roomy)
    assert str(tmp_path) in report.notes[0]
    assert report.spilled_bytes >= 40 * 41 * 3 * 4
    assert budgets[-1].peak_bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_no_room_to_spill_is_found_before_work(picture, tmp_path, monkeypatch):
    tiles = []
    made = engine(
        lambda s: Enlarge(s, fail=tiles.append), tile=16, memory_bytes=1, spill_folder=tmp_path
    )
    made.prepare([2])
    tiles.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match="feature maps need"):
        run(made, picture(40, 41), [2])
    assert tiles == []


def test_notes_are_told_as_they_are_made(picture):
    heard = []
    report = Report(on_note=heard.append)
    strips = engine(Enlarge, tile=16, memory_bytes=1).strips(
        picture(40, 41), [2], (80, 82), report=report
    )
    assert heard == []
    next(strips)
    assert len(heard) == 1
    assert heard == report.notes


@pytest.mark.parametrize(
    ("model", "scale"), one_of_a_kind([m for m in NETWORKS if m.arch.tiling == "exact"])
)
def test_spilling_real_networks(model, scale, lively, picture, tmp_path, budgets):
    def with_memory(n_bytes):
        settings = Settings(device="cpu", tile=20, memory_bytes=n_bytes, spill_folder=tmp_path)
        return run(Upscaler(lambda s: lively(model, s), settings), picture(21, 23), [scale])

    roomy, report = with_memory(2**40)
    assert report.spilled_bytes == 0
    tight, report = with_memory(1)
    assert np.array_equal(tight, roomy)
    stored = budgets[0].peak_bytes
    assert (report.spilled_bytes > 0) == (stored > 0)
    needs = profile(lively(model, scale).adapted())
    # networks that want even sides (ESRN) store a row and a column more
    assert stored in (needs.map_bytes * 21 * 23, needs.map_bytes * 22 * 24)


def test_profile_of_bcrn(lively):
    """Six blocks' maps pass through three buffers of 64 channels: block, next block, fusion."""
    bcrn = catalog.resolve("bcrn.authors")
    for scale in (2, 4):
        needs = profile(lively(bcrn, scale).module)
        assert needs.map_bytes == 3 * 64 * 4
        assert needs.widest_bytes >= 256 * 4  # ConvNeXt's hidden layer
        assert needs.widest_bytes <= 2 * 256 * 4


@pytest.mark.parametrize("name", ["rlfn", "rlfn_s", "rlfn_ntire"])
def test_profile_of_rlfn(name, lively):
    """A block's map and the next one's; the head is computed again from three channels."""
    model = catalog.resolve(name)
    channels = model.variant(4).config["channels"]
    assert profile(lively(model, 4).module).map_bytes == 2 * channels * 4


@pytest.mark.parametrize("resident", [0, 10**12])
def test_what_is_resident_leaves_less_for_maps(resident, picture, budgets, monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: resident)
    pixels, limit = picture(200, 210), 3 * 2**20
    result, report = run(engine(Enlarge, tile=16, memory_bytes=limit), pixels, [2])
    assert report.spilled_bytes == (200 * 210 * 3 * 4 if resident else 0)
    assert budgets[-1].peak_bytes <= limit
    assert np.array_equal(result, run(engine(Enlarge, tile=16), pixels, [2])[0])


def test_the_caller_s_reserve_leaves_less_for_maps(picture, monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: 0)
    made = engine(Enlarge, tile=16, memory_bytes=3 * 2**20)
    _, report = run(made, picture(200, 210), [2], reserve_bytes=3 * 2**20)
    assert report.spilled_bytes > 0


def test_estimate(picture):
    """Grows with the picture; of a chain it is the last pass that counts."""
    made = engine(Enlarge)
    small, large = (made.estimate_bytes(size, [2]) for size in ((100, 100), (1000, 1000)))
    assert large > small + 900 * 900 * made.profile(2).map_bytes
    assert made.estimate_bytes((100, 100), [4, 2]) >= made.estimate_bytes((400, 400), [2])


# the mean of eight


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("size", [(5, 9), (8, 3)])
def test_turned_back(turn, size):
    whole = torch.arange(size[0] * size[1] * 3).view(*size, 3)
    turned = torch.rot90(whole.flip(1) if turn >= 4 else whole, turn % 4)
    back = torch.full_like(whole, -1)
    for top in range(0, len(turned), 2):
        region, part = turned_back(turned[top : top + 2], top, size, turn)
        back[region.index] = part
    assert torch.equal(back, whole)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_ensemble_is_the_mean_of_the_eight(lively, picture, tile, channels):
    network = lively(catalog.resolve("rlfn_ntire"), 4)
    pixels = picture(23, 38)[:, :, :channels].astype(np.float32) / 255

    def engine(**more):
        return Upscaler(lambda scale: network, Settings(device="cpu", **more))

    plain = engine(tile=0)
    total = 0
    for turn in range(8):
        turned = np.ascontiguousarray(np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4))
        bands = plain._bands(
            turned, (4,), "fp32", reserve_bytes=0, on_progress=lambda _: None, report=Report()
        )
        back = np.rot90(np.concatenate([b.numpy() for b in bands]), -(turn % 4))
        total = total + (back[:, ::-1] if turn >= 4 else back)
    mean = np.clip(total / 8, 0, 1)
    if channels == 1:
        mean = np.clip(total / 8 @ np.array(GREY), 0, 1)[:, :, None]
    got = engine(tile=tile, ensemble=8)(pixels, (4,))
    assert np.abs(got - mean).max() < 2e-5
