"""Scores of made-up pictures, failures, runs that go on, and the papers' figures."""

import json
import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from catalogue_samples import HEADLINE
from PIL import Image

from srcli import catalog
from srcli.engine.open import open_engine
from srcli.engine.resampler import Resampler
from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.quality.benchmarks import Pair, read_folder
from srcli.quality.evaluate import Failure, Score, evaluate, load_pair
from srcli.quality.metrics import psnr_rgb, psnr_y, ssim_y
from srcli.quality.named_metrics import check_metrics, open_metrics
from srcli.quality.resize import imresize, resize
from srcli.quality.score_log import ScoreLog, as_json
from srcli.weights import WeightsOptions


def picture(size=(48, 60), channels=3, seed=0):
    """Smooth enough that enlarging it makes sense."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    return resize(coarse, size)


@pytest.fixture
def bicubic():
    return Resampler("bicubic")


class Perfect:
    """An engine that knows the answer."""

    def __init__(self, hr):
        self.hr, self.calls, self.prepared = hr, 0, 0

    def estimate_bytes(self, lr_size, passes):
        self.prepared += 1
        return 0

    def strips(self, pixels, passes, size, *, reserve_bytes=0, report=None):
        self.calls += 1
        assert tuple(passes) == (2,)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        report.notes.append("all is known")
        yield self.hr[: size[0] // 2]
        yield self.hr[size[0] // 2 :]


def test_a_score_is_that_of_the_metrics(bicubic):
    hr = picture((49, 62))
    cropped = hr[:48, :60]
    lr = imresize(cropped, 1 / 4)
    sr = resize(lr.astype(np.float32), (48, 60)).clip(0, 255).round().astype(np.uint8)
    result = evaluate(bicubic, [Pair("a", hr)], 4)
    [score] = result.scores
    assert score.name == "a"
    assert score.psnr_y == psnr_y(sr, cropped, 4)
    assert score.ssim_y == ssim_y(sr, cropped, 4)
    assert score.psnr_rgb == psnr_rgb(sr, cropped, 4)
    assert score.seconds > 0
    assert (result.psnr_y, result.ssim_y) == (score.psnr_y, score.ssim_y)


def test_a_set_scores_the_mean_of_its_pictures(bicubic):
    pairs = [Pair(str(i), picture(seed=i)) for i in range(3)]
    each = [evaluate(bicubic, [p], 2).psnr_y for p in pairs]
    result = evaluate(bicubic, pairs, 2)
    assert result.psnr_y == pytest.approx(sum(each) / 3, abs=1e-12)
    assert (result.total, [s.name for s in result.scores]) == (3, ["0", "1", "2"])


def test_equal_pictures():
    hr = picture()
    engine = Perfect(hr)
    result = evaluate(engine, [Pair("a", hr), Pair("b", hr)], 2)
    assert (result.psnr_y, result.ssim_y, result.psnr_rgb) == (math.inf, 1, math.inf)
    assert (engine.prepared, engine.calls) == (1, 2)
    assert result.scores[0].notes == ("all is known",)
    assert as_json(result.scores[0])["psnr_y"] is None  # JSON has no infinity


def test_grey_counts_as_rgb(bicubic, tmp_path):
    grey = picture(channels=1)
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(tmp_path / "rgb.png")
    lr, hr = load_pair(Pair("grey", tmp_path / "grey.png"), 2)
    assert (lr.shape, hr.shape) == ((24, 30, 3), (48, 60, 3))
    scores = evaluate(bicubic, [Pair(n, tmp_path / f"{n}.png") for n in ("grey", "rgb")], 2).scores
    assert scores[0].psnr_y == scores[1].psnr_y


def test_lr_of_the_set_is_taken():
    hr = picture()
    black = np.zeros((24, 30, 3), np.uint8)
    lr, _ = load_pair(Pair("a", hr, black), 2)
    assert lr is black


def test_what_cannot_be_scored_is_named_and_the_rest_goes_on(bicubic, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    outcomes = []
    result = evaluate(
        bicubic,
        [
            Pair("gone", tmp_path / "gone.png"),
            Pair("good", picture()),
            Pair("broken", tmp_path / "broken.png"),
            Pair("size", picture(), picture((10, 10))),
            Pair("tiny", picture((12, 12))),
            Pair("speck", picture((1, 1))),
        ],
        2,
        on_picture=lambda pair, outcome: outcomes.append((pair.name, type(outcome))),
    )
    assert [s.name for s in result.scores] == ["good"]
    assert result.total == 6
    assert result.psnr_y == result.scores[0].psnr_y
    said = {f.name: f.error for f in result.failures}
    assert str(tmp_path / "gone.png") in said["gone"]
    assert str(tmp_path / "broken.png") in said["broken"]
    assert "LR picture is 10 x 10 pixels, but the HR picture at x2 wants 30 x 24" in said["size"]
    assert said["tiny"].startswith("tiny: SSIM needs 11x11")
    assert "smaller than the scale" in said["speck"]
    assert [n for n, kind in outcomes if kind is Failure] == [f.name for f in result.failures]


def test_nothing_scored_has_no_mean(bicubic, tmp_path):
    result = evaluate(bicubic, [Pair("gone", tmp_path / "gone.png")], 2)
    assert (result.psnr_y, result.ssim_y, result.psnr_rgb) == (None, None, None)


def test_an_engine_that_fails_on_a_picture(bicubic):
    class Failing(Perfect):
        def strips(self, *args, **kwargs):
            self.calls += 1
            if self.calls == 1:
                raise MemoryError
            raise ResourceError("the disk is full")

    result = evaluate(Failing(None), [Pair("a", picture()), Pair("b", picture())], 2)
    assert [f.error for f in result.failures] == ["a: memory ran out", "the disk is full"]


def test_weights_that_are_not_to_be_had_end_it():
    class Weightless(Perfect):
        def estimate_bytes(self, lr_size, passes):
            raise SrcliError("no weights")

    with pytest.raises(SrcliError, match="no weights"):
        evaluate(Weightless(None), [Pair("a", picture())], 2)


def test_known_scores_are_not_computed_and_need_no_network():
    class Unusable(Perfect):
        def estimate_bytes(self, lr_size, passes):
            raise AssertionError

    known = Score("a", 30.0, 0.9, 29.0, 1.0)
    result = evaluate(Unusable(None), [Pair("a", picture())], 2, known=lambda _: known)
    assert result.scores == (known,)


def test_pictures_are_handed_out_and_further_metrics_computed(bicubic):
    saved = {}
    hr = picture()
    result = evaluate(
        bicubic,
        [Pair("a", hr)],
        2,
        metrics={"mean": lambda sr, hr: float(sr.mean()) - float(hr.mean())},
        save=lambda name, sr: saved.update({name: sr}),
    )
    assert (saved["a"].shape, saved["a"].dtype) == (hr.shape, np.uint8)
    assert result.metric("mean") == result.scores[0].metrics["mean"]
    assert as_json(result.scores[0])["mean"] == result.metric("mean")


def test_importing_it_does_not_import_torch():
    code = "import sys, srcli.quality.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------------- runs that go on

KEY = {"model": "m", "weights": "abc", "scale": 2, "dataset": "d", "tile": None}
SCORE = Score("a", 30.5, 0.91, math.inf, 1.25)


def test_a_score_is_found_again(tmp_path):
    path = tmp_path / "scores.jsonl"
    pair = Pair("a", picture())
    ScoreLog(path).add(KEY, pair, SCORE)
    log = ScoreLog(path)
    assert log.find(KEY, pair) == SCORE
    assert log.find(KEY, Pair("a", picture())) == SCORE
    for other in ({"model": "n"}, {"weights": "abd"}, {"scale": 3}, {"dataset": "e"}, {"tile": 0}):
        assert log.find(KEY | other, pair) is None
    assert log.find(KEY, Pair("b", picture())) is None
    assert log.find(KEY, Pair("a", picture(seed=1))) is None  # the file has changed
    assert log.find(KEY, Pair("a", picture(), picture((24, 30)))) is None
    assert log.find(KEY, pair, ["lpips"]) is None  # it was not asked for then


def test_further_metrics_are_kept(tmp_path):
    score = Score("a", 30.0, 0.9, 29.0, 1.0, {"lpips": 0.2})
    ScoreLog(tmp_path / "s").add(KEY, Pair("a", picture()), score)
    assert ScoreLog(tmp_path / "s").find(KEY, Pair("a", picture()), ["lpips"]) == score


@pytest.mark.parametrize("lines", [0, 1])
def test_a_line_cut_short_is_dropped(tmp_path, lines):
    path = tmp_path / "scores.jsonl"
    log = ScoreLog(path)
    for i in range(lines + 1):
        log.add(KEY, Pair(str(i), picture()), SCORE)
    whole = path.read_bytes()
    for keep in (3, 40, len(whole.splitlines()[-1])):
        last = whole.rstrip().rfind(b"\n") + 1
        path.write_bytes(whole[: last + keep])
        log = ScoreLog(path)
        assert len(log) == lines
        log.add(KEY, Pair("new", picture()), SCORE)
        assert len(path.read_bytes().splitlines()) == lines + 1
        assert len(ScoreLog(path)) == lines + 1


@pytest.mark.parametrize("text", ["hello", "hello\n", '{"a": 1}\n', "[]\n", '{"of": {}}\n'])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a file of scores"):
        ScoreLog(path)
    assert path.read_text() == text


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(MediaError, match="cannot be"):
        ScoreLog(tmp_path)
    with pytest.raises(MediaError, match="cannot be written"):
        ScoreLog(tmp_path / "none" / "scores.jsonl")


def test_each_line_is_json(tmp_path):
    ScoreLog(tmp_path / "s").add(KEY, Pair("ä", picture()), SCORE)
    entry = json.loads((tmp_path / "s").read_text())
    assert entry["of"]["picture"] == "ä"
    assert entry["score"]["psnr_rgb"] is None


# ---------------------------------------------------------------------------- further metrics


@pytest.fixture
def pyiqa(monkeypatch):
    """What srcli uses of the library: its names, and a metric of tensors in 0..1."""
    import torch

    module = types.ModuleType("pyiqa")
    module.list_models = lambda: ["dists", "fid", "musiq", "topiq_fr", "vif"]

    def create_metric(name, device=None):
        print("the library says something")
        if name == "musiq":
            torch.hub.download_url_to_file("https://nowhere/musiq.pth", "x")

        def metric(sr, hr):
            print("and again")
            assert sr.shape == hr.shape
            assert sr.shape[:2] == (1, 3)
            assert 0 <= float(sr.min()) <= float(sr.max()) <= 1
            return (sr - hr).abs().mean()[None]

        return metric

    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)


def test_the_library_is_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)  # as if not installed
    with pytest.raises(SrcliError) as caught:
        check_metrics(["vif"])
    assert "pyiqa" in caught.value.message
    assert caught.value.hint == "run: pip install pyiqa"
    check_metrics(["lpips", "lpips-vgg", "dists", "niqe"])  # computed without it


def test_names_are_checked_before_work(pyiqa):
    check_metrics(["lpips", "vif"])
    with pytest.raises(UsageError, match="no metric lpip") as caught:
        check_metrics(["lpip"])
    assert "lpips" in caught.value.hint
    with pytest.raises(UsageError, match="no metric fid"):  # of sets, not of pictures
        check_metrics(["fid"])


def test_a_metric_of_the_library(pyiqa, bicubic, capsys):
    metrics = open_metrics(["topiq_fr"], "cpu", WeightsOptions(Path()))
    result = evaluate(bicubic, [Pair("a", picture())], 2, metrics=metrics)
    assert 0 < result.metric("topiq_fr") < 0.2
    out = capsys.readouterr()
    assert out.out == ""  # stdout is for results
    assert "the library says something" in out.err


def test_offline_holds_for_the_library_too(pyiqa):
    import torch

    before = torch.hub.download_url_to_file
    with pytest.raises(SrcliError, match=r"SRCLI_OFFLINE forbids downloading.*musiq\.pth"):
        open_metrics(["musiq"], "cpu", WeightsOptions(Path(), offline=True))
    assert torch.hub.download_url_to_file is before


# ------------------------------------------------------------------------- the papers' figures


@pytest.mark.shared
@pytest.mark.parametrize(("scale", "db"), [(2, 33.678), (3, 30.404), (4, 28.431)])
def test_bicubic_on_set5(shared, bicubic, scale, db):
    benchmark = read_folder(shared / "benchmarks/Set5", scale)
    result = evaluate(bicubic, benchmark.pairs, scale)
    assert result.psnr_y == pytest.approx(db, abs=6e-4)  # the figure has three places
    made = evaluate(bicubic, [Pair(p.name, p.hr) for p in benchmark.pairs], scale)
    assert made.psnr_y == result.psnr_y  # the LR pictures are made bit for bit


PUBLISHED = [
    (model.name, variant.scale)
    for model in catalog.models()
    for variant in model.variants
    if variant.weights is not None
]


def _in_ci(chosen):
    """The published weights; `-m long` for those that are not chosen."""
    return [
        pytest.param(name, scale, marks=[] if chosen(name, scale) else [pytest.mark.long])
        for name, scale in PUBLISHED
    ]


def _largest(name, scale):
    """Where a network has least to do."""
    return scale == max(s for n, s in PUBLISHED if n == name)


def _headline(name, scale):
    return _largest(name, scale) and catalog.get(name).arch.name in HEADLINE


def _check_against_catalogue(shared, tmp_path, name, scale, dataset):
    model = catalog.get(name)
    variant = model.variant(scale)
    known = {"Set5": variant.psnr_set5, "Set14": variant.psnr_set14}[dataset]
    if known is None:
        pytest.skip("the catalogue has no figure")
    weights = variant.weights
    if not weights.bundled and not (shared / "weights" / weights.file).is_file():
        pytest.skip("no such file under shared/weights")
    options = WeightsOptions(tmp_path, str(shared / "weights"), offline=True)
    benchmark = read_folder(shared / "benchmarks" / dataset, scale)
    result = evaluate(open_engine(model, weights=options), benchmark.pairs, scale)
    assert not result.failures
    assert result.psnr_y == pytest.approx(known, abs=0.01)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "scale"), _in_ci(_headline))
def test_set5_as_in_the_catalogue(shared, tmp_path, name, scale):
    _check_against_catalogue(shared, tmp_path, name, scale, "Set5")


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize(("name", "scale"), PUBLISHED)
def test_set14_as_in_the_catalogue(shared, tmp_path, name, scale):
    _check_against_catalogue(shared, tmp_path, name, scale, "Set14")
