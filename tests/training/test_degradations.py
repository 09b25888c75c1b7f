"""Damage: its parts against their definitions, pipelines as data, the same seed."""

import math
import threading
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from srcli.errors import UsageError
from srcli.quality.benchmarks import Benchmark, Pair
from srcli.quality.evaluate import load_pair
from srcli.quality.resize import resize
from srcli.training import checkpoint, packing
from srcli.training.config import Config, load
from srcli.training.damaged import DamagedPhotos
from srcli.training.degradations import names, read
from srcli.training.degradations.benchmark import degraded
from srcli.training.degradations.kernels import convolve, gaussian, sinc
from srcli.training.degradations.pipeline import PRESETS, generator
from srcli.training.degradations.resizing import MODES, resized
from srcli.training.degradations.steps import Frame, Gaussian, Jpeg, OneOf, Poisson, Shuffle, Webp
from srcli.training.degradations.video import CODECS, Video
from srcli.training.loop import train
from srcli.training.prepare import Run, show

FRAME = Frame((8, 8))


def pixels(height, width, seed=0):
    """Smooth, with an edge."""
    y, x = np.mgrid[:height, :width][..., None]
    phase = np.array([0, 1, 2]) + seed
    waves = 128 + 60 * np.sin(y / 9 + phase) * np.cos(x / 7) + 50 * (x + y > (height + width) / 2)
    return waves.clip(0, 255).astype(np.float32)


# ----------------------------------------------------------------------------------- kernels


def test_a_gaussian_is_the_gaussian():
    kernel = gaussian(9, (1.3, 1.3))
    x = np.arange(-4, 5)
    line = np.exp(-(x**2) / (2 * 1.3**2))
    np.testing.assert_allclose(kernel, np.outer(line, line) / line.sum() ** 2, atol=1e-12)


def test_the_axes_turn_with_the_angle():
    wide = gaussian(15, (3, 0.5))  # along x
    assert wide[7].sum() > 5 * wide[:, 7].sum()
    np.testing.assert_allclose(gaussian(15, (3, 0.5), math.pi / 2), wide.T, atol=1e-12)
    point = gaussian(7, (1e-9, 1e-9))
    assert point[3, 3] == pytest.approx(1)


@pytest.mark.parametrize("form", ["generalized", "plateau"])
def test_other_forms_fall_off_by_their_exponent(form):
    for beta in (0.6, 1.0, 2.0):
        kernel = gaussian(21, (2, 2), 0, form, beta)
        far = 4**beta  # two sigmas from the middle, squared, to the power of beta
        want = math.exp(-far / 2) if form == "generalized" else 1 / (1 + far)
        assert kernel[10, 14] / kernel[10, 10] == pytest.approx(want)


def test_sinc_passes_what_is_below_its_cutoff_and_stops_the_rest():
    kernel = sinc(21, math.pi / 2)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() < 0
    spectrum = np.abs(np.fft.fft2(kernel, (64, 64)))[0]
    assert spectrum[4] == pytest.approx(1, abs=0.1)  # pi / 8
    assert spectrum[28] < 0.12  # 7 pi / 8


def test_convolution_is_the_sum_of_shifted_pictures():
    picture, kernel = pixels(20, 33), gaussian(7, (2.0, 0.7), 0.4)
    padded = np.pad(picture.astype(np.float64), ((3, 3), (3, 3), (0, 0)), mode="reflect")
    want = sum(
        kernel[6 - i, 6 - j] * padded[i : i + 20, j : j + 33] for i in range(7) for j in range(7)
    )
    np.testing.assert_allclose(convolve(picture, kernel), want, atol=2e-3)
    assert convolve(pixels(3, 2), gaussian(21, (3, 3))).shape == (3, 2, 3)


# ---------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("size", [(15, 22), (30, 44), (90, 132), (17, 61)])
def test_bicubic_is_the_exact_one(size):
    picture = pixels(60, 88)
    inside = (slice(4, -4), slice(4, -4))  # at the border ours repeats, MATLAB's mirrors
    got, want = resized(picture, size, "bicubic"), resize(picture, size)
    np.testing.assert_allclose(got[inside], want[inside], atol=0.02)


def test_area_is_the_mean_of_what_a_pixel_covers():
    picture = pixels(24, 36)
    want = picture.reshape(8, 3, 12, 3, 3).mean((1, 3))
    np.testing.assert_allclose(resized(picture, (8, 12), "area"), want, atol=1e-3)
    even = resized(picture, (10, 15), "area")
    np.testing.assert_allclose(even.mean(), picture.mean(), atol=1e-2)


def test_linear_looks_at_two_pixels_alone():
    comb = np.zeros((8, 32, 3), np.float32)
    comb[:, ::8] = 255
    skipped = resized(comb, (8, 4), "linear")  # its centres lie between columns 3 and 4, ...
    assert np.abs(skipped).max() < 1e-3
    inside = resized(comb, (8, 4), "bilinear")[:, 1:3]
    np.testing.assert_allclose(inside, np.full_like(inside, 255 / 8), rtol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_flat_stays_flat(mode):
    flat = np.full((11, 17, 3), 90, np.float32)
    for size in ((5, 8), (1, 1), (40, 17), (11, 17)):
        np.testing.assert_allclose(resized(flat, size, mode), np.full((*size, 3), 90), atol=1e-2)


# ------------------------------------------------------------------------------------- steps


def test_gaussian_noise_has_its_strength_and_colour():
    flat = np.full((100, 100, 3), 128, np.float32)
    grey = Gaussian(sigma=(10, 10), grey=1)(flat, FRAME, generator(0, 1)) - flat
    assert grey.std() == pytest.approx(10, rel=0.05)
    assert np.ptp(grey, axis=2).max() < 1e-4
    colour = Gaussian(sigma=(10, 10), grey=0)(flat, FRAME, generator(0, 1)) - flat
    assert abs(np.corrcoef(colour.reshape(-1, 3).T)[0, 1]) < 0.05
    related = Gaussian(sigma=(10, 10), grey=0, correlated=1)(flat, FRAME, generator(0, 1)) - flat
    assert np.abs(np.corrcoef(related.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() > 0.05


def test_light_has_more_noise_where_there_is_more():
    step = Poisson(scale=(1, 1), grey=0)
    picture = np.repeat(np.array([20, 200], np.float32), 5000).reshape(100, 100, 1)
    picture = picture.repeat(3, axis=2)
    noise = step(picture, FRAME, generator(0, 1)) - picture
    ratio = noise[picture == 200].std() / noise[picture == 20].std()
    assert ratio == pytest.approx(math.sqrt(10), rel=0.1)
    assert abs(noise.mean()) < 1


@pytest.mark.parametrize("codec", [Jpeg, Webp])
def test_codecs_damage_more_at_lower_quality_and_keep_their_place(codec):
    picture = pixels(48, 40)
    errors = []
    for quality in (95, 50, 5):
        out = codec(quality=(quality, quality))(picture, FRAME, generator(0, 1))
        assert out.shape == picture.shape
        errors.append(float(np.abs(out - picture).mean()))
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 6


@pytest.mark.parametrize("codec", CODECS)
def test_a_film_damages_more_at_lower_quality_and_keeps_its_place(codec):
    picture = pixels(41, 33)
    errors = []
    for quality in (95, 10):
        step = Video((codec,), (quality, quality), frames=(3, 3), motion=(2, 2))
        out = step(picture, FRAME, generator(0, 1))
        assert out.shape == picture.shape
        errors.append(float(np.abs(out - picture).mean()))
    assert errors[0] < errors[1]
    assert errors[0] < 6


def test_the_same_seed_gives_the_same_film():
    step = Video(("h264",), frames=(2, 4))
    first, again, other = (step(pixels(24, 24), FRAME, generator(0, k)) for k in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_grid_of_blocks_lies_anywhere():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None] * 3, (64, 64, 3)).copy()
    step = Jpeg(quality=(5, 5), subsampling=("4:4:4",))
    places = set()
    for number in range(24):
        jumps = np.abs(np.diff(step(ramp, FRAME, generator(0, number))[:, 32, 0], n=1))
        places.add(int(np.argmax([jumps[k::8].sum() for k in range(8)])))
    assert len(places) > 3


def test_one_of_follows_its_weights():
    rows = tuple((Gaussian(sigma=(s, s)),) for s in (0, 50))
    flat = np.full((8, 8, 3), 128, np.float32)
    changed = [OneOf(rows, (3, 1))(flat, FRAME, generator(0, k)).std() > 1 for k in range(400)]
    assert 0.18 < np.mean(changed) < 0.32


def test_a_choice_may_be_a_pipeline_by_its_name():
    named = read({"steps": [{"kind": "one_of", "choices": ["bsrgan"]}]})
    written = read(
        {
            "steps": [
                {
                    "kind": "one_of",
                    "choices": [tomllib.loads(PRESETS.read_text("utf-8"))["bsrgan"]["steps"]],
                }
            ]
        }
    )
    assert named.steps == written.steps
    with pytest.raises(UsageError, match="no degradation 'bsrgun'"):
        read({"steps": [{"kind": "one_of", "choices": ["bsrgun"]}]})


def test_shuffling_keeps_the_order_it_is_told_to_keep():
    seen = []

    def note(k):
        return lambda picture, frame, rng: (seen.append(k), picture)[1]

    orders = set()
    for number in range(60):
        seen.clear()
        steps = tuple(note(k) for k in range(4))
        Shuffle(steps, (1, 3))(pixels(4, 4), FRAME, generator(0, number))
        assert sorted(seen) == [0, 1, 2, 3]
        assert seen.index(1) < seen.index(3)
        orders.add(tuple(seen))
    assert len(orders) == 12


# --------------------------------------------------------------------------------- pipelines


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_every_named_pipeline(name, scale):
    pipeline = read(name)
    hr = pixels(8 * scale, 12 * scale).astype(np.uint8)
    lrs = [pipeline(hr, scale, generator(5, k)) for k in (1, 1, 2)]
    assert lrs[0].shape == (8, 12, 3)
    assert lrs[0].dtype == np.uint8
    assert np.array_equal(lrs[0], lrs[1])
    assert np.array_equal(lrs[0], lrs[2]) == pipeline.plain
    assert pipeline(hr[:scale, :scale], scale, generator(5, 1)).shape == (1, 1, 3)


def test_bicubic_is_matlabs():
    hr = pixels(32, 24).astype(np.uint8)
    assert np.array_equal(read("bicubic")(hr, 4, generator(0, 0)), resize(hr, (8, 6)))


def test_a_pipeline_of_ones_own(tmp_path):
    table = {"steps": [{"kind": "gaussian", "sigma": 20, "grey": 1}]}
    path = tmp_path / "mine.toml"
    path.write_text('steps = [{ kind = "gaussian", sigma = 20, grey = 1 }]')
    hr = pixels(32, 32).astype(np.uint8)
    made = [read(d)(hr, 2, generator(1, 1)) for d in (table, str(path))]
    assert np.array_equal(*made)
    assert read(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("fotos", "no degradation 'fotos'"),
        ("nothing.toml", "cannot be read"),
        ({"step": []}, "unknown key 'step'"),
        ({"steps": {}}, "list of tables"),
        ({"steps": [{"kind": "blurr"}]}, "step 1: there is no kind 'blurr'"),
        ({"steps": ["blur"]}, "no kind 'blur'"),
        ({"steps": [{"kind": "jpeg", "qualty": 5}]}, "jpeg has no key 'qualty'"),
        ({"steps": [{"kind": "jpeg", "quality": [5, 101]}]}, r"1\.\.100"),
        ({"steps": [{"kind": "jpeg", "quality": [50, 10]}]}, "least, most"),
        ({"steps": [{"kind": "jpeg", "quality": "good"}]}, "quality cannot be 'good'"),
        ({"steps": [{"kind": "jpeg", "probability": 2}]}, r"0\.\.1"),
        ({"steps": [{"kind": "jpeg", "subsampling": "4:1:1"}]}, "4:2:0"),
        ({"steps": [{"kind": "video", "codecs": "av9"}]}, "h264"),
        ({"steps": [{"kind": "video", "frames": [0, 4]}]}, r"1\.\.16"),
        ({"steps": [{"kind": "blur", "forms": {"box": 1}}]}, "forms must be"),
        ({"steps": [{"kind": "resize", "of": "hr"}]}, "of cannot be 'hr'"),
        ({"steps": [{"kind": "one_of"}]}, "lacks choices"),
        ({"steps": [{"kind": "one_of", "choices": [[]], "weights": [1, 2]}]}, "as many weights"),
        ({"steps": [{"kind": "one_of", "choices": [[]], "weights": [0]}]}, "weights cannot be"),
        ({"steps": [{"kind": "shuffle", "steps": [], "in_order": [0]}]}, "not there"),
        ({"steps": [{"kind": "shuffle", "steps": [{"kind": "x"}]}]}, "shuffle, step 1"),
    ],
)
def test_what_is_wrong_is_said(table, said):
    with pytest.raises(UsageError, match=said):
        read(table)


# -------------------------------------------------------------------------------- benchmarks


def test_a_set_is_damaged_in_the_same_way_each_time(tmp_path):
    for k, name in enumerate("ab"):
        Image.fromarray(pixels(41, 33, k).astype(np.uint8)).save(tmp_path / f"{name}.png")
    pairs = tuple(Pair(name, tmp_path / f"{name}.png") for name in "ab")
    whole = Benchmark("mine", 4, pairs, "mine")
    one = degraded(Benchmark("mine", 4, pairs[1:], "mine"), read("photo"), 0, load_pair)
    both = degraded(whole, read("photo"), 0, load_pair)
    assert both.name == "mine photo"
    assert both.pairs[0].lr.shape == (10, 8, 3)
    assert np.array_equal(both.pairs[1].lr, one.pairs[0].lr)
    other = degraded(whole, read("photo"), 1, load_pair)
    assert not np.array_equal(other.pairs[1].lr, both.pairs[1].lr)
    lr, hr = load_pair(both.pairs[0], 4)
    assert (lr.shape[:2], hr.shape[:2]) == ((10, 8), (40, 32))


# ---------------------------------------------------------------------------------- training


@pytest.fixture
def damaged(folder, cache):
    pack = packing.pack(packing.find([folder]), cache)
    packing.add_scale(pack, 2)
    return lambda seed=3: DamagedPhotos(
        pack, 2, torch.device("cpu"), pipeline=read("real-esrgan"), seed=seed, workers=2
    )


def test_crops_are_a_function_of_seed_and_step(damaged, photos):
    def crops(photos, step, seed=3):
        where = photos.draw(step, 3, 16, seed)
        return photos.crops(where.lr, where.hr, 16)

    first, again, later = crops(damaged(), 7), crops(damaged(), 7), crops(damaged(), 8)
    assert torch.equal(first[0], again[0])
    assert first[0].shape == (3, 3, 16, 16)
    assert not torch.equal(first[0], later[0])
    clean = crops(photos, 7)
    assert torch.equal(first[1], clean[1])  # the HR crops are what they always were
    assert not torch.equal(first[0], clean[0])
    other = damaged(seed=4)
    where = damaged().draw(7, 3, 16, 3)
    assert not torch.equal(other.crops(where.lr, where.hr, 16)[0], first[0])


def test_a_share_of_a_batch_is_damaged_as_in_the_whole(damaged):
    photos = damaged()
    where = photos.draw(5, 4, 16, 0)
    whole = photos.crops(where.lr, where.hr, 16)[0]
    half = photos.crops(where.lr[:, 1::2], where.hr[:, 1::2], 16)[0]
    assert torch.equal(whole[1::2], half)


@pytest.fixture
def run(recipe, folder, cache, tmp_path):
    def make(name, *sets, **more):
        config = load(str(recipe), sets=["degrade=photo", *sets])
        return Run(config, (folder,), tmp_path / name, cache, device="cpu", **more)

    return make


@pytest.mark.slow
def test_resumed_equals_uninterrupted(run):
    for _ in train(run("whole")):
        pass
    stop = threading.Event()
    for event in train(run("parts"), stop):
        if event["event"] == "step" and event["step"] >= 4:
            stop.set()
    for _ in train(run("parts", resume=True)):
        pass
    whole, parts = (checkpoint.load_newest(run(name).out)["vectors"] for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(whole[:4], parts[:4], strict=True))


def test_the_recipe_keeps_the_description(recipe):
    table = 'degrade={ steps = [{ kind = "jpeg", quality = [30, 60] }] }'
    config = load(str(recipe), sets=[table])
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(UsageError, match="degrade must be a name or a table"):
        load(str(recipe), sets=["degrade=3"])


def test_wrong_damage_is_said_before_any_work(run):
    with pytest.raises(UsageError, match="no degradation"):
        next(train(run("out", "degrade=fotos")))


def test_a_sheet_of_pairs(run, tmp_path):
    path = tmp_path / "out" / "pairs.png"
    event = list(show(run("out"), 5, path))[-1]
    assert event == {"event": "sheet", "path": str(path), "pairs": 5}
    with Image.open(path) as sheet:
        assert min(sheet.size) > 64
        assert len(sheet.convert("RGB").getcolors(10**6)) > 100
