"""Photos made by a seed, a pack of them, and a recipe small enough for a test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srcli.training import packing
from srcli.training.data import Photos

RECIPE = """
arch = "bcrn"
scale = 2
config = { n_feats = 16, n_blocks = 2 }
quiet = ["conv2.dw"]
precision = "fp32"
validate_every = 4
log_every = 2
checkpoint_every = 3
ema = 0.9

[[stage]]
steps = 8
batch = 4
patch = 16
learning_rate = 1e-3
warmup = 2
loss = { l1 = 1.0, fft = 0.05 }

[[stage]]
steps = 4
batch = 2
patch = 20
learning_rate = 1e-4
loss = { l2 = 1.0 }
"""


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth shapes with edges, uint8 RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width][..., None]
    angle, wave = rng.uniform(0, 6, 3), rng.uniform(0.05, 0.5, 3)
    bands = np.sin(wave * (x * np.cos(angle) + y * np.sin(angle)))
    return ((bands > rng.uniform(-0.5, 0.5)) * 90 + 60 * bands + 80).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for k, (name, size) in enumerate(
        [("a.png", (70, 91)), ("sub/b.png", (64, 64)), ("c.png", (97, 50))]
    ):
        Image.fromarray(picture(k, *size)).save(folder / name)
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "HR").mkdir()
    Image.fromarray(picture(9, 64, 80)).save(folder / "HR" / "x.png")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def photos(folder, cache) -> Photos:
    pack = packing.pack(packing.find([folder]), cache)
    packing.add_scale(pack, 2)
    return Photos(pack, 2, torch.device("cpu"))


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
