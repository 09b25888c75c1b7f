"""On a CUDA card: what the CPU computes, whole, in tiles and recorded; and memory that runs out."""

import copy
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from catalogue_samples import NETWORKS, short
from tiny_networks import Enlarge, network

import srcli
from srcli import catalog
from srcli.engine.open import open_engine
from srcli.engine.pytorch.upscaler import Upscaler
from srcli.engine.result import Report
from srcli.engine.settings import Settings

pytestmark = pytest.mark.gpu

EVERY = [pytest.param(short(m), m.scales[0], id=m.name) for m in NETWORKS]
BUNDLED = ["bcrn.srcli", "bcrn.photo", "ecbsr_m8c24.srcli"]


@pytest.fixture(scope="module", autouse=True)
def card():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def both(lively):
    """Function (model, scale, **settings of the card) -> (Upscaler on the CPU, on the card)."""

    def make(model, scale, **settings):
        def fresh(s):
            loaded = lively(model, s)
            return replace(loaded, module=copy.deepcopy(loaded.module))

        return (
            Upscaler(fresh, Settings(device="cpu")),
            Upscaler(fresh, Settings(device="cuda", **settings)),
        )

    return make


def run(engine, pixels, scale):
    report = Report()
    size = pixels.shape[0] * scale, pixels.shape[1] * scale
    strips = list(engine.strips(pixels, [scale], size, report=report))
    return np.concatenate(strips), report


def levels(a, b):
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


@pytest.mark.parametrize(("model", "scale"), EVERY)
def test_fp32_is_what_the_cpu_computes(model, scale, both, picture):
    """Whole, in tiles, recorded and replayed: within a level."""
    pixels = picture(60, 77)
    on_cpu, on_card = both(model, scale)
    wanted, _ = run(on_cpu, pixels, scale)
    for _ in range(3):  # the second is recorded, the third replayed
        got, report = run(on_card, pixels, scale)
        assert report.device.startswith("cuda")
        assert levels(got, wanted) <= 1
    if model.arch.tiling == "exact":
        _, tiled = both(model, scale, tile=32)
        got, report = run(tiled, pixels, scale)
        assert report.tiles > 1
        assert levels(got, wanted) <= 1


@pytest.mark.parametrize(("model", "scale"), EVERY)
def test_half_precision(model, scale, both, picture):
    """Of random networks, which amplify rounding: no wrong colours, shifts or unscaled inputs."""
    pixels = picture(60, 77)
    on_cpu, on_card = both(model, scale, precision="fp16")
    if not getattr(on_cpu.network(scale).module, "halvable", True):
        pytest.skip("runs in fp32 only")
    wanted, _ = run(on_cpu, pixels, scale)
    got, _ = run(on_card, pixels, scale)
    assert np.abs(got.astype(int) - wanted).mean() < 12


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_of_the_networks_in_the_package(name, precision, picture, alone):
    pixels = picture(200, 180)
    model = catalog.get(name)
    for scale in model.scales:
        wanted, _ = run(open_engine(model, Settings(device="cpu", backend="torch")), pixels, scale)
        half = open_engine(model, Settings(device="cuda", precision=precision))
        for _ in range(3):
            got, report = run(half, pixels, scale)
            assert report.precision == precision
            assert levels(got, wanted) <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_types_and_channels(dtype, channels, picture):
    floats = picture(33, 41, channels).astype(np.float32) / 255
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = floats if dtype == np.float32 else np.rint(floats * white).astype(dtype)
    for settings in ({}, {"tile": 16}, {"ensemble": 8}, {"border": "reflect"}):
        a, b = (
            run(Upscaler(lambda s: network(Enlarge(s)), Settings(device=d, **settings)), pixels, 2)
            for d in ("cpu", "cuda")
        )
        assert a[0].dtype == b[0].dtype == dtype
        most = 1e-5 if dtype == np.float32 else 2 if dtype == np.uint16 else 1
        assert np.abs(a[0].astype(float) - b[0]).max() <= most


def test_sizes_that_come_again_are_recorded(picture, alone):
    engine = open_engine(catalog.get("bcrn.srcli"), Settings(device="cuda"))
    first, _ = run(engine, picture(64, 80), 4)
    whole = engine.whole(4, torch.float32)
    assert not whole.has((64, 80))
    again, _ = run(engine, picture(64, 80), 4)
    assert whole.has((64, 80))
    other, _ = run(engine, picture(64, 80, 3, 2), 4)
    assert levels(first, again) <= 1
    assert levels(first, other) > 1  # a replay sees the new picture
    plain, _ = run(open_engine(catalog.get("bcrn.srcli"), Settings(device="cpu", backend="torch")),
                   picture(64, 80, 3, 2), 4)  # fmt: skip
    assert levels(other, plain) <= 1
    for width in (30, 31, 32, 33, 34):  # the oldest recordings make room
        run(engine, picture(40, width), 4)
        run(engine, picture(40, width), 4)
    assert not whole.has((64, 80)) and whole.has((40, 34))


def test_memory_that_runs_out_leads_to_smaller_tiles(picture, alone):
    model = catalog.get("bcrn.srcli")
    pixels = picture(700, 700)
    wanted, _ = run(open_engine(model, Settings(device="cuda", tile=350)), pixels, 2)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + 700 * 2**20) / total)
    try:
        got, report = run(open_engine(model, Settings(device="cuda", tile=0)), pixels, 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("memory" in note for note in report.notes)
    assert report.tiles > 1
    assert levels(got, wanted) <= 1


def test_a_picture_and_a_film_through_the_program(tmp_path, picture, alone):
    from PIL import Image

    Image.fromarray(picture(90, 120)).save(tmp_path / "a.png")
    made = [
        srcli.upscale(
            tmp_path / "a.png", 4, device=d, backend="torch", output=tmp_path / f"{d}.png"
        )
        for d in ("cpu", "cuda")
    ]
    a, b = (np.asarray(Image.open(path)) for path in made)
    assert levels(a, b) <= 1
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    film = tmp_path / "a.mkv"
    subprocess.run(
        [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10:duration=2",
         "-c:v", "ffv1", film],
        check=True,
    )  # fmt: skip
    out = srcli.upscale(film, 2, device="cuda", output=tmp_path / "b.mkv")
    frames = subprocess.run(
        [ffmpeg, "-v", "error", "-i", out, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert len(frames) == 20 * 320 * 240 * 3
