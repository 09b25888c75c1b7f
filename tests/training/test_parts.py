"""Forms, losses and starts."""

import copy

import pytest
import torch
from torch.nn import functional as F

from srcli.archs.blocks import CCA
from srcli.catalog import Preprocessing
from srcli.errors import UsageError
from srcli.training import packing
from srcli.training.config import load
from srcli.training.data import Photos
from srcli.training.initialise import fit_last, initialise, shallow_path
from srcli.training.losses import Contrastive, Loss, attention_transfer
from srcli.training.module_swaps import swap_modules
from srcli.training.networks import spec_of, take_over
from srcli.training.optimiser import Vectors
from srcli.training.step import Step


@pytest.mark.parametrize(("arch", "scale"), [("bcrn", 2), ("rlfn_s", 4), ("swift_srgan", 2)])
@pytest.mark.parametrize("form", ["train", "compiled"])
def test_forms_compute_the_same(arch, scale, form):
    torch.manual_seed(0)
    network = spec_of(arch, scale).build()
    x = torch.rand(2, 3, 24, 31)
    results = []
    for f in ("plain", form):
        other = copy.deepcopy(network)
        swap_modules(other, f)
        params = [p for p in other.parameters() if p.requires_grad]
        y = other(x)
        grads = torch.autograd.grad(
            y.square().mean(), params, allow_unused=True, materialize_grads=True
        )
        results.append([y, *grads])
        assert list(other.state_dict()) == list(network.state_dict())
    # sums in another order: rounding of fp32, and now and then a PReLU on its other side
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() <= 1e-3 * a.abs().max() + 1e-7
    swap_modules(other, "plain")
    assert torch.equal(other.train()(x), results[0][0])


def test_channel_attention_has_a_gradient_where_nothing_varies():
    network = CCA(16)
    swap_modules(network, "train")
    x = torch.full((1, 16, 8, 8), 0.5, requires_grad=True)
    (grad,) = torch.autograd.grad(network(x).sum(), x)
    assert grad.isfinite().all()


def test_losses():
    torch.manual_seed(0)
    hr, lr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 8, 8)
    sr = hr + 0.1
    value = {
        n: float(Loss({n: 1.0})(sr, hr, lr, hr)) for n in ("l1", "l2", "charbonnier", "fft", "tv")
    }
    assert value["l1"] == pytest.approx(0.1, rel=1e-4)
    assert value["l2"] == pytest.approx(0.01, rel=1e-4)
    assert value["charbonnier"] == pytest.approx(0.1, rel=1e-3)
    # a constant is one frequency of 0.1 * 16 among 16 * 9 complex numbers
    assert value["fft"] == pytest.approx(1.6 / (16 * 9 * 2), rel=1e-3)
    assert value["tv"] == pytest.approx(
        float(hr.diff(dim=2).abs().mean() + hr.diff(dim=3).abs().mean())
    )
    both = Loss({"l1": 2.0, "l2": 3.0, "distill": 1.0})(sr, hr, lr, hr)
    assert float(both) == pytest.approx(2 * 0.1 + 3 * 0.01 + 0.1, rel=1e-4)
    features = torch.rand(2, 5, 8, 8)
    assert float(attention_transfer(features, 2 * features)) == pytest.approx(0, abs=1e-9)


def test_contrastive_prefers_the_truth():
    torch.manual_seed(0)
    loss = Contrastive()
    lr = torch.rand(2, 3, 8, 8)
    hr = torch.rand(2, 3, 32, 32)
    bicubic = F.interpolate(lr, scale_factor=4, mode="bicubic").clamp(0, 1)
    assert (
        float(loss(hr, hr, lr))
        < float(loss((hr + bicubic) / 2, hr, lr))
        < float(loss(bicubic, hr, lr))
    )
    assert not any(p.requires_grad for p in loss.parameters())
    assert all(
        torch.equal(a, b)
        for a, b in zip(loss.parameters(), Contrastive().parameters(), strict=True)
    )


def entered(spec, crops):
    return spec.preprocessed(spec.build(), *(c.float() / 255 for c in crops))


STARTED = (
    "bcrn-x2", "rlfn_s-x4", "lesrcnn-x4", "swift_srgan-x4", "imdn-x4", "bsrn-x4", "pan-x4",
    "srcnn_915-x3", "vdsr-x4",
    "edsr_baseline-x2",
    "sesr_m5-x2", "lapsrn-x4",
)  # fmt: skip


@pytest.mark.parametrize("name", STARTED)
def test_start_is_about_nearest_neighbour(name, photos):
    """Of what the network is given: the LR picture, or the one enlarged already."""
    config = load(name)
    torch.manual_seed(0)
    spec = spec_of(config.arch, 2)
    network = spec.build()
    where = photos.draw(0, 6, 32)
    lr, hr = entered(spec, photos.crops(where.lr, where.hr, 32))
    initialise(network, lr, hr, squash=config.squash, quiet=config.quiet)
    other = photos.draw(1, 6, 32)
    lr, hr = entered(spec, photos.crops(other.lr, other.hr, 32))
    with torch.no_grad():
        error = (network.eval()(lr) - hr).square().mean()
    nearest = (F.interpolate(lr, hr.shape[2:]) - hr).square().mean()
    # what PyTorch starts with in the other channels is heard at a tenth; a tanh bends the picture
    assert error < 2 * nearest


def test_start_keeps_pytorch_s_own_elsewhere():
    torch.manual_seed(0)
    network = spec_of("rlfn_s", 2).build()
    before = copy.deepcopy(network.state_dict())
    lr = 255 * torch.rand(2, 3, 24, 24)
    initialise(network, lr, F.interpolate(lr, scale_factor=2), quiet=["conv_2"])
    changed = [n for n, t in network.state_dict().items() if not torch.equal(t, before[n])]
    gates = [f"block_{k}.esa.conv4.bias" for k in range(1, 7)]
    ends = ["conv_2.weight", "conv_2.bias", "upsampler.0.weight", "upsampler.0.bias"]
    assert changed == ["conv_1.weight", "conv_1.bias", *gates, *ends]
    assert torch.equal(network.conv_1.weight[3:], before["conv_1.weight"][3:])
    with pytest.raises(UsageError, match="conv_9"):
        initialise(network, lr, F.interpolate(lr, scale_factor=2), quiet=["conv_9"])


def test_shallow_path():
    path = {}
    for arch in ("bcrn", "lesrcnn"):
        network = spec_of(arch, 2).build()
        names = {module: name for name, module in network.named_modules()}
        path[arch] = [names[hop.conv] for hop in shallow_path(network, torch.rand(1, 3, 24, 24))]
    assert path["bcrn"] == ["conv1.pw", "conv1.dw", "upsample_block.0", "upsample_block.1"]
    refine = [f"conv17_{k}.0" for k in range(1, 5)]
    assert path["lesrcnn"] == ["conv1.0", "upsample.up.body.0", *refine, "conv18.0"]


@pytest.mark.parametrize("arch", ["lapsrn", "srcnn_915"])
def test_the_loss_is_of_what_the_network_sees(arch, photos):
    """Luma alone: of each picture of a pyramid, or of the picture enlarged before."""
    packing.add_scale(photos.pack, 4)
    quarter = Photos(photos.pack, 4, torch.device("cpu"))
    config = load(f"{arch}-x4" if arch == "lapsrn" else f"{arch}-x3", sets=[*SMALL, "scale=4"])
    spec = spec_of(arch, 4)
    torch.manual_seed(0)
    network = spec.build()
    vectors = Vectors.of(network, copy.deepcopy(network))
    stage = config.stages[0]
    step = Step(network, vectors, quarter, config, stage, steps=4, preprocessing=spec.preprocessing)
    where = step.draw(0)
    lr8, hr8 = quarter.crops(where.lr, where.hr, stage.patch)
    given, hr = spec.preprocessed(network, lr8.float() / 255, hr8.float() / 255)
    assert given.shape[1] == hr.shape[1] == 1
    loss = Loss(stage.loss)
    with torch.no_grad():
        wanted = loss(network(given), hr, given)
        if arch == "lapsrn":
            small = F.interpolate(hr, scale_factor=0.5, mode="bicubic", antialias=True)
            wanted = wanted + loss(network.levels(given)[0], small, given)
    step(0)
    assert step.fetch()[0] == pytest.approx(float(wanted), rel=1e-5)


SMALL = ("batch=2", "patch=15", "precision=fp32")


@pytest.fixture
def fp16(photos):
    """A step in fp16, and its state."""
    config = load("rlfn_s-x4", sets=["scale=2", "precision=fp16", "batch=2", "patch=16"])
    torch.manual_seed(0)
    network = spec_of("rlfn_s", 2, {"channels": 8, "hidden": 8, "n_blocks": 1}).build()
    vectors = Vectors.of(network, copy.deepcopy(network))
    preprocessing = Preprocessing(maximum=255)
    return Step(
        network, vectors, photos, config, config.stages[0], steps=100, preprocessing=preprocessing
    ), vectors


def test_fp16_skips_what_overflows_and_halves_the_scale(fp16):
    step, vectors = fp16
    before = [v.clone() for v in vectors.all()[:4]]
    vectors.loss[3] = 2.0**60
    step(0)
    assert all(torch.equal(a, b) for a, b in zip(vectors.all()[:4], before, strict=True))
    assert vectors.loss[3:].tolist() == [2.0**59, 0]
    for k in range(1, 60):
        step(k)
    loss, bad = step.fetch()
    assert bad == -1
    assert loss < 1
    assert vectors.loss[3] < 2.0**50
    assert vectors.loss[4] > 0
    assert not torch.equal(vectors.weights, before[0])
    assert all(v.isfinite().all() for v in vectors.all())


def test_fp16_grows_the_scale_when_all_is_calm(fp16):
    step, vectors = fp16
    vectors.loss[3:] = torch.tensor([8.0, 1999.0])
    step(0)
    assert vectors.loss[3:].tolist() == [16, 0]


def test_fp16_does_not_hide_a_loss_that_is_not_finite(fp16):
    step, vectors = fp16
    vectors.weights.fill_(1e30)
    step(0)
    assert step.fetch()[1] == 0


def test_warm_start_from_another_scale(photos):
    torch.manual_seed(0)
    x4, x2 = spec_of("bcrn", 4).build(), spec_of("bcrn", 2).build()
    left = take_over(x2, x4.state_dict())
    assert left and all(name.startswith("upsample_block") for name in left)
    assert torch.equal(x2.conv1.pw.weight, x4.conv1.pw.weight)
    where = photos.draw(0, 8, 32)
    lr, hr = (c.float() / 255 for c in photos.crops(where.lr, where.hr, 32))
    assert fit_last(x2, lr, hr) == "upsample_block.0"
