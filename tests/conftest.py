"""Fixtures shared by all tests."""

import functools
import math
import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# Small pictures gain nothing from threads, which fight for cores when tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor shall a developer's own models join the catalogue under test.
os.environ["SRCLI_DATA_DIR"] = os.devnull + "/none"

# How long a busy machine takes to think of examples is no fault of what is tried with them.
hypothesis.settings.register_profile(
    "shared machine", suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared machine")

SHARED = Path(os.environ.get("SRCLI_SHARED", Path(__file__).parents[2] / "shared"))


HEAVY = 4 * 10**6  # parameters from which a network's tests are slow ones


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        callspec = getattr(item, "callspec", None)
        variants = getattr(callspec and callspec.params.get("model"), "variants", ())
        if any(variant.parameters > HEAVY for variant in variants):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared data folder; skips where there is none."""
    if not (SHARED / "weights" / "INDEX.tsv").is_file():
        pytest.skip(f"no shared data at {SHARED} (set SRCLI_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def weights(shared, tmp_path_factory):
    """WeightsOptions that serve the shared folder's weights, with a cache of the session's own."""
    from srcli.weights import WeightsOptions

    cache = tmp_path_factory.mktemp("cache")
    return WeightsOptions(cache, mirror=str(shared / "weights"), offline=True)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An environment in which nothing of the machine's, and no network, plays a part."""
    for name in ("SRCLI_MIRROR", "SRCLI_TMP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SRCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SRCLI_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")


@functools.cache
def _picture(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.empty((height, width, channels))
    for c in range(channels):
        fy, fx, phase = rng.uniform(0.02, 0.5, 3)
        waves = np.sin(fy * y + phase) * np.cos(fx * x)
        disc = (y - height * phase) ** 2 + (x - width * fy) ** 2 < (min(height, width) / 3) ** 2
        picture[:, :, c] = 128 + 60 * waves + 50 * disc
    picture += rng.normal(0, 8, picture.shape)
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="session")
def picture():
    """Function (height, width, channels=3, seed=0) -> uint8: waves, sharp edges, some noise."""

    def make(height, width, channels=3, seed=0):
        return _picture(height, width, channels, seed)

    return make


@functools.cache
def _lively(model, scale, seed):
    import torch

    from srcli.engine.pytorch.network import Network
    from srcli.weights import new_network

    module = new_network(model.variant(scale), model.arch)
    if model.arch.expanded:
        module = module.merge()
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, std):
        return torch.randn(shape, generator=generator) * std

    convolutions = []
    for layer in module.modules():
        kinds = torch.nn.Conv2d | torch.nn.Linear | torch.nn.ConvTranspose2d
        if isinstance(layer, kinds) and layer.weight.requires_grad:
            convolutions.append(layer)
            fan_in = layer.weight[0].numel()
            if isinstance(layer, torch.nn.ConvTranspose2d):
                fan_in = layer.weight[:, 0].numel() / math.prod(layer.stride)
            layer.weight.data = normal(layer.weight.shape, 1 / math.sqrt(fan_in))
            if layer.bias is not None:
                layer.bias.data = normal(layer.bias.shape, 0.1)
        elif isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.copy_(normal(layer.running_mean.shape, 0.1))
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    for parameter in module.parameters():
        if (
            float(parameter.detach().abs().max()) < 1e-3
        ):  # what a constructor switches off, or nearly
            parameter.data = normal(parameter.shape, 0.3)

    # products of features (SAFMN's modulation) would square what is large from block to block
    def tamed(layer, _, out):
        most = 3 * model.preprocessing.maximum
        share = most / max(most, float(out.std()))
        for parameter in layer.parameters():
            parameter.data *= share
        return out * share

    # inside, numbers are of the order of 1 whatever white is: else the attention runs wild
    # (the first convolution knows: RLFN is given 0..255, SPAN multiplies by 255 itself)
    seen = []
    hooks = [convolutions[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))]
    hooks += [layer.register_forward_hook(tamed) for layer in convolutions]
    with torch.no_grad():
        lr = torch.rand(1, model.preprocessing.channels, 32, 32, generator=generator)
        module.eval()(lr * model.preprocessing.maximum)
    for hook in hooks:
        hook.remove()
    convolutions[0].weight.data /= max(1.0, float(seen[0].abs().max()))
    for parameter in convolutions[-1].parameters():
        parameter.data *= model.preprocessing.maximum
    return Network(module.eval().requires_grad_(False), model.arch, model.preprocessing, scale)


@pytest.fixture(scope="session")
def lively():
    """Function (model, scale, seed=1) -> engine Network with random weights.

    A constructor's weights leave attention nearly constant, and seams too small to see. With
    convolutions of gain 1, cutting a picture in two moves samples by a third of the range at the
    cut, and by 4e-4 to 4e-3 far from it where a network looks at the whole picture.
    """

    def make(model, scale, seed=1):
        return _lively(model, scale, seed)

    return make
