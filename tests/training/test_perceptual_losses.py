"""Losses that look through networks, at structure, spectra and artefacts."""

import copy

import pytest
import torch
from torch.nn import functional as F

from srcli.archs.alexnet import AlexNet
from srcli.archs.vgg import VGG
from srcli.catalog import Preprocessing
from srcli.engine.pytorch.adapter import RgbAdapter
from srcli.errors import UsageError, WeightsError
from srcli.quality.perceptual import Dists, Lpips
from srcli.training.config import load
from srcli.training.loop import train
from srcli.training.losses import Loss
from srcli.training.networks import spec_of
from srcli.training.optimiser import Vectors
from srcli.training.perceptual import GRID, FeatureExtractors, place
from srcli.training.prepare import Run
from srcli.training.similarity import checkerboard, focal_frequency, locally_discriminative, ms_ssim
from srcli.training.step import Step
from srcli.weights import WeightsOptions


def waves(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, side // 8, side // 8, generator=generator)
    return F.interpolate(small, size=side, mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """AlexNet and VGG-16 with random weights, as files of the user's own."""
    folder = tmp_path_factory.mktemp("features")
    paths = []
    for name, network in (("alexnet", AlexNet()), ("vgg16", VGG(depth=16))):
        torch.manual_seed(3)
        for p in network.parameters():
            torch.nn.init.normal_(p, std=(2 / max(1, p[0].numel())) ** 0.5 if p.dim() > 1 else 0.1)
        paths.append(folder / f"{name}.pth")
        torch.save(network.state_dict(), paths[-1])
    return tuple(paths)


@pytest.fixture
def options(tmp_path):
    return WeightsOptions(tmp_path / "cache", offline=True)


@pytest.fixture
def extractors(files, options):
    return FeatureExtractors(options, files)


def one(extractors, name, sr, hr, **more):
    return Loss({name: 1.0}, extractors, **more)(sr, hr, hr)


def test_features_layer_by_layer(extractors, files):
    network = VGG(depth=16).eval()
    network.load_state_dict(torch.load(files[1]))
    hr, sr = waves(2, 32), waves(2, 32, 1).requires_grad_(True)
    weights = {"vgg16.conv1_2": 0.5, "vgg16.relu3_3.l2": 2.0, "vgg16.relu3_3": 0.25, "l1": 3.0}
    loss = Loss(weights, extractors)(sr, hr, hr)
    with torch.no_grad():
        pairs = zip(*(network(x, ("conv1_2", "relu3_3")) for x in (sr, hr)), strict=True)
        first, third = (a - b for a, b in pairs)
        wanted = 0.5 * first.abs().mean() + 2 * third.square().mean() + 0.25 * third.abs().mean()
        wanted = wanted + 3 * (sr - hr).abs().mean()
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-4)
    loss.backward()
    assert sr.grad.abs().max() > 0
    assert not any(p.requires_grad for p in Loss(weights, extractors).parameters())


def test_each_step_looks_from_another_pixel(extractors):
    hr, sr = waves(1, 80), waves(1, 80, 1)
    loss = Loss({"vgg16.relu1_2": 1.0}, extractors, moving=True)
    from_the_corner = float(loss(sr, hr, hr))
    loss.start.copy_(torch.tensor([5, 11]))
    y, x = slice(5, 5 + 80 - GRID + 1), slice(11, 11 + 80 - GRID + 1)
    part = Loss({"vgg16.relu1_2": 1.0}, extractors).perceptual["vgg16"](
        sr[:, :, y, x], hr[:, :, y, x]
    )
    assert float(loss(sr, hr, hr)) == pytest.approx(float(part), rel=1e-5)
    assert float(part) != pytest.approx(from_the_corner, rel=1e-3)

    places = {tuple(place(7, k).tolist()) for k in range(200)}
    assert len(places) > 100
    assert {n for at in places for n in at} == set(range(GRID))
    assert torch.equal(place(7, 3), place(7, 3))


def test_metrics_as_losses(extractors, files):
    alex, vgg, pooled = AlexNet(), VGG(depth=16), VGG(depth=16, pooling="l2")
    alex.load_state_dict(torch.load(files[0]))
    for network in (vgg, pooled):
        network.load_state_dict(torch.load(files[1]))
    hr, sr = waves(2, 64), (waves(2, 64) + 0.1 * torch.randn(2, 3, 64, 64)).requires_grad_(True)
    metrics = {"lpips": Lpips.alex(alex), "lpips_vgg": Lpips.vgg(vgg), "dists": Dists(pooled)}
    for name, metric in metrics.items():
        loss = one(extractors, name, sr, hr)
        assert float(loss.detach()) == pytest.approx(float(metric(sr, hr).mean().detach()))
        assert torch.autograd.grad(loss, sr)[0].abs().max() > 0
        assert float(one(extractors, name, hr, hr)) == pytest.approx(0, abs=1e-5)
    both = Loss({"lpips": 0.5, "l2": 2.0}, extractors)(sr, hr, hr)
    assert float(both.detach()) == pytest.approx(
        float((0.5 * metrics["lpips"](sr, hr).mean() + 2 * (sr - hr).square().mean()).detach()),
        rel=1e-4,
    )


@pytest.mark.parametrize("colour", ["y", "bgr", "ycbcr"])
def test_pictures_are_looked_at_in_rgb(extractors, colour):
    adapter = RgbAdapter(torch.nn.Identity(), Preprocessing(colour=colour), 2)
    hr, sr = waves(1, 64), waves(1, 64, 1)
    seen = [adapter.colour(x) for x in (sr, hr)]
    loss = one(extractors, "lpips", *seen, as_rgb=adapter.as_rgb)
    plain = [x.expand(-1, 3, -1, -1) for x in seen] if colour == "y" else [sr, hr]
    assert float(loss) == pytest.approx(float(one(extractors, "lpips", *plain)), rel=1e-3)


def test_a_pattern_of_the_grid_is_seen_and_texture_is_not():
    hr = waves(2, 96)
    weave = torch.zeros(4, 4)
    weave[::2, ::2] = 0.04
    grid = hr + weave.repeat(24, 24)
    wanted = float((weave - weave.mean()).abs().mean())
    assert float(checkerboard(grid, hr, 4)) == pytest.approx(wanted, rel=1e-4)
    assert float(checkerboard(hr + 0.1, hr, 4)) == pytest.approx(0, abs=1e-6)
    noise = 0.04 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(1))
    assert float(checkerboard(hr + noise, hr, 4)) < float(noise.abs().mean()) / 5
    lr = torch.zeros(2, 3, 24, 24)
    assert float(Loss({"checkerboard": 2.0})(grid, hr, lr)) == pytest.approx(2 * wanted, rel=1e-4)


def test_no_weights_no_such_layer(options, files):
    with pytest.raises(UsageError, match="no layer 'conv9_9'"):
        Loss({"vgg16.conv9_9": 1.0}, FeatureExtractors(options, files))
    with pytest.raises(WeightsError, match="alexnet"):
        Loss({"lpips": 1.0}, FeatureExtractors(options, files[1:]))


def test_the_recipe_names_layers():
    config = load("bcrn-x4", sets=["loss={l1=1, vgg16.conv5_3=0.1, vgg16.relu1_2.l2=2}"])
    wanted = {"l1": 1, "vgg16.conv5_3": 0.1, "vgg16.relu1_2.l2": 2}
    assert config.stages[0].loss == wanted
    quoted = load("bcrn-x4", sets=['loss={"vgg16.conv5_3"=1}'])
    assert quoted.stages[0].loss == {"vgg16.conv5_3": 1}
    for wrong in ("vgg17.conv1_1", "vgg16", "vgg16.conv1_1.l3", "metrics.x"):
        with pytest.raises(UsageError, match=f"no loss '{wrong}'"):
            load("bcrn-x4", sets=[f'loss={{"{wrong}"=1}}'])


@pytest.mark.parametrize("side", [16, 64, 176])
def test_ms_ssim(side):
    hr = waves(2, side)
    assert float(ms_ssim(hr, hr)) == pytest.approx(0, abs=1e-5)
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    losses = [float(ms_ssim(hr + s * noise, hr)) for s in (0.02, 0.1, 0.3)]
    assert 0 < losses[0] < losses[1] < losses[2] < 1
    with pytest.raises(ValueError, match="11 pixels"):
        ms_ssim(hr[..., :8, :8], hr[..., :8, :8])


def test_ms_ssim_of_one_scale_is_ssim():
    """Written out, window by window."""
    hr = waves(1, 16)[:, :1]
    sr = hr * 0.8 + 0.05
    at = torch.arange(11.0) - 5
    g = torch.exp(-(at**2) / 4.5)
    window = (g[:, None] * g[None]) / (g.sum() ** 2)
    values = []
    for y in range(6):
        for x in range(6):
            a, b = (p[0, 0, y : y + 11, x : x + 11] for p in (sr, hr))
            ma, mb = (a * window).sum(), (b * window).sum()
            va, vb = (a * a * window).sum() - ma**2, (b * b * window).sum() - mb**2
            cov = (a * b * window).sum() - ma * mb
            alike = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
            values.append(alike / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert float(ms_ssim(sr, hr)) == pytest.approx(float(1 - torch.stack(values).mean()), abs=1e-5)


def test_focal_frequency():
    """One wave: two of the spectrum's places, at which the weight is 1."""
    x = torch.arange(16.0)
    wave = 0.1 * torch.cos(2 * torch.pi * 3 * x / 16).expand(1, 1, 16, 16)
    hr = waves(1, 16)[:, :1]
    # Parseval: 16 * 16 places hold 16 * 16 * 0.1^2 / 2, in two of equal size
    assert float(focal_frequency(hr + wave, hr)) == pytest.approx(0.005, rel=1e-3)
    assert float(focal_frequency(hr, hr)) == 0


def test_ldl_counts_what_the_average_does_better():
    hr = waves(2, 32)
    noise = 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    sr = (hr + noise).requires_grad_(True)
    assert float(locally_discriminative(sr, hr, hr + 2 * noise).detach()) == 0
    loss = locally_discriminative(sr, hr, hr)
    assert torch.autograd.grad(loss, sr)[0].isfinite().all()
    even = locally_discriminative(hr + 0.1, hr, hr)  # a steady difference is no artefact
    assert float(even) < 1e-3 * float(loss.detach())
    # written out at one place
    apart = (sr - hr).abs().sum(1).detach()
    local = apart[0, 10:17, 10:17].var()
    weight = apart[0].var() ** 0.2 * local
    place = (sr - hr).abs()[0, :, 13, 13].detach() * weight
    alone = hr.clone()
    alone[0, :, 13, 13] = 2 * hr[0, :, 13, 13] - sr[0, :, 13, 13].detach()
    average = torch.where(torch.zeros_like(hr) > 0, hr, hr - 9)
    average[0, :, 13, 13] = hr[0, :, 13, 13]
    got = locally_discriminative(sr.detach(), hr, average)
    assert float(got) == pytest.approx(float(place.sum() / hr.numel()), rel=1e-3)


def test_the_average_is_what_ldl_compares_with(photos):
    config = load("bcrn-x4", sets=["scale=2", "batch=2", "patch=16", "loss={ldl=1}", "2.steps=0"])
    spec = spec_of("bcrn", 2, {"n_feats": 16, "n_blocks": 2})
    torch.manual_seed(0)
    network = spec.build()
    averaged = copy.deepcopy(network).eval()
    vectors, stage = Vectors.of(network, averaged), config.stages[0]
    step = Step(
        network,
        vectors,
        photos,
        config,
        stage,
        steps=4,
        preprocessing=spec.preprocessing,
        averaged=averaged,
    )
    vectors.ema.add_(0.01 * torch.randn(vectors.ema.shape))
    where = step.draw(0)
    lr8, hr8 = photos.crops(where.lr, where.hr, 16)
    with torch.no_grad():
        lr, hr = lr8 / 255, hr8 / 255
        wanted = locally_discriminative(network(lr), hr, averaged(lr))
        assert wanted != locally_discriminative(network(lr), hr, network(lr))
    step(0)
    assert step.fetch()[0] == pytest.approx(float(wanted), rel=1e-4)


def test_a_run_looks_through_files_of_ones_own(recipe, folder, cache, files, options, tmp_path):
    def run(name, *features):
        sets = ["loss={l1=1, lpips=0.1, vgg16.conv2_2=0.1, ms_ssim=0.1, ldl=1}", "2.steps=0"]
        config = load(str(recipe), sets=[*sets, "steps=2", "patch=20"])
        more = {"features": features, "weights": options}
        return Run(config, (folder,), tmp_path / name, cache, device="cpu", **more)

    assert list(train(run("a", *files)))[-1]["event"] == "done"
    with pytest.raises(WeightsError, match="vgg16"):
        next(train(run("b", files[0])))
    assert not run("b").out.exists()
