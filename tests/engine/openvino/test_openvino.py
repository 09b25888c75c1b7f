"""OpenVINO beside PyTorch: the same pictures, its files, what it refuses."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from catalogue_samples import short
from tiny_networks import Enlarge, network

from srcli import catalog
from srcli.engine import memory
from srcli.engine.backends import BACKENDS, BackendEntry
from srcli.engine.choice import as_tuned, resolve_auto
from srcli.engine.open import open_engine
from srcli.engine.openvino import graph, graph_files, importing
from srcli.engine.openvino import upscaler as openvino
from srcli.engine.openvino.upscaler import OpenVinoUpscaler
from srcli.engine.pytorch.upscaler import Upscaler
from srcli.engine.result import Report
from srcli.engine.settings import Settings
from srcli.errors import SrcliError, UsageError
from srcli.weights import WeightsOptions, new_network, save_file, tuned

needs_openvino = pytest.mark.skipif(
    not BACKENDS["openvino"].is_installed(), reason='needs pip install "srcli[openvino]"'
)
# whole-picture statistics; ESA's windows; plain; on luma alone; on the enlarged picture
QUICK = {
    "bcrn.authors-x4",
    "rlfn_s.authors-x2",
    "lesrcnn.authors-x3",
    "fsrcnn.yjn870-x3",
    "srcnn_915.nhat_thanh-x2",
}


VARIANTS = [
    pytest.param(
        short(model),
        variant.scale,
        id=f"{model.name}-x{variant.scale}",
        marks=[] if f"{model.name}-x{variant.scale}" in QUICK else [pytest.mark.long],
    )
    for model in catalog.models()
    # drrn_b1u9 with more turns; and one that OpenVINO converts and cannot run, tested below
    if model.arch.name not in ("drrn_b1u25", "esrt")
    # what is given the enlarged picture is the same at every scale
    for variant in (model.variants[:1] if model.preprocessing.enlarged else model.variants)
]


@pytest.fixture
def both(tmp_path):
    """Function (load, model, **settings) -> engines through OpenVINO and PyTorch.

    The first has `said`, the lines it had to say.
    """

    def make(load, model="lesrcnn.authors", folder=tmp_path / "cache", asked=True, **settings):
        how = Settings(device="cpu", border="network", tile=0)
        how = replace(how, **settings)
        said = []

        def upscaler():
            return Upscaler(load, replace(how, tile=None))

        entry = catalog.get(model)
        entry = replace(entry, arch=replace(entry.arch, min_size=1, multiple=1))
        compiled = OpenVinoUpscaler(entry, how, folder, load, upscaler, said.append, asked=asked)
        compiled.said = said
        return compiled, Upscaler(load, how)

    return make


def tiny(scale):
    return network(Enlarge(scale))


def forbidden(scale):
    raise AssertionError("the network was loaded")


def run(engine, pixels, passes=(2,), size=None, **more):
    """The joined result and the report."""
    report = Report()
    size = size or tuple(n * int(np.prod(passes)) for n in pixels.shape[:2])
    return np.concatenate(list(engine.strips(pixels, passes, size, report=report, **more))), report


def levels(a, b):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return np.abs(a.astype(np.float64) - b).max()


# the same pictures


@needs_openvino
@pytest.mark.parametrize(("model", "scale"), VARIANTS)
def test_every_network(model, scale, lively, tmp_path, picture):
    loaded = lively(model, scale)
    settings = Settings(device="cpu", border="network", tile=0)

    def load(scale):
        return loaded

    plain = Upscaler(load, settings)
    compiled = OpenVinoUpscaler(model, settings, tmp_path, load, lambda: plain)
    for height, width in [(45, 62), (33, 24)]:
        pixels = picture(height, width)
        got, report = run(compiled, pixels, [scale])
        wanted, _ = run(plain, pixels, [scale])
        assert (report.tiles, report.precision, report.notes) == (1, "fp32", [])
        assert levels(got, wanted) <= 1
        assert (got != wanted).mean() < 1e-2  # and that where rounding tips


@needs_openvino
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_types_sizes_and_chains(dtype, channels, both, picture):
    floats = picture(33, 41, channels).astype(np.float32) / 255
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = floats if dtype == np.float32 else np.rint(floats * white).astype(dtype)
    bound = 2e-6 if dtype == np.float32 else 1
    for border in ("network", "reflect"):
        compiled, plain = both(tiny, border=border)
        for passes, size in [((2,), None), ((2, 2), None), ((2,), (70, 100)), ((), (50, 60))]:
            wanted, _ = run(plain, pixels, passes, size)
            got, report = run(compiled, pixels, passes, size)
            assert levels(got, wanted) <= bound
            assert report.notes == []
    assert (report.device, report.precision) == ("cpu", "fp32")


@needs_openvino
def test_pictures_at_once_keep_apart(both, picture):
    """A picture's transparency is enlarged between its own strips."""
    compiled, plain = both(tiny)
    first, second = picture(300, 700, seed=1), picture(300, 700, seed=2)
    strips = compiled.strips(first, (2,), (600, 1400))
    begun = [next(strips)]
    assert len(begun[0]) < 600
    assert levels(run(compiled, second)[0], run(plain, second)[0]) <= 1
    assert levels(np.concatenate([*begun, *strips]), run(plain, first)[0]) <= 1


@needs_openvino
def test_bf16_is_near(lively, both, picture):
    model = catalog.get("lesrcnn.authors")
    loaded = lively(model, 2)
    compiled, _ = both(lambda scale: loaded, precision="bf16")
    got, report = run(compiled, picture(40, 40))
    assert report.precision == ("bf16" if openvino.multiplies_bf16("CPU") else "fp32")
    wanted = np.concatenate(
        list(
            Upscaler(lambda scale: loaded, Settings(device="cpu")).strips(
                picture(40, 40), (2,), (80, 80)
            )
        )
    )
    assert np.abs(got.astype(int) - wanted).mean() < 3


@needs_openvino
def test_what_does_not_fit_is_tiled(both, picture, monkeypatch):
    compiled, plain = both(tiny)
    compiled.prepare([2])
    wanted, _ = run(plain, picture(300, 150))
    assert compiled.estimate_bytes((300, 150), [2]) > 0
    monkeypatch.setattr(memory, "resident_bytes", lambda: 0)
    monkeypatch.setattr(openvino, "LITTLE_BYTES", 0)
    compiled.settings = replace(compiled.settings, memory_bytes=2**20)
    got, report = run(compiled, picture(300, 150))
    assert levels(got, wanted) <= 1
    assert report.tiles > 1
    assert any("PyTorch works through it in tiles" in note for note in report.notes)
    # what a picture of the same size needed before is taken already
    compiled.settings = replace(compiled.settings, memory_bytes=None)
    run(compiled, picture(300, 150))
    compiled.settings = replace(compiled.settings, memory_bytes=300 * 150 * 4 * 3 * 4 * 2)
    got, report = run(compiled, picture(300, 150, seed=3))
    assert (report.tiles, report.notes) == (1, [])


PEAK = """
import sys
from pathlib import Path
import numpy as np
from srcli import catalog
from srcli.engine.open import open_engine
from srcli.engine.settings import Settings
def line(name):
    text = Path("/proc/self/status").read_text()
    return int(text.split(name)[1].split()[0]) * 1024
engine = open_engine(catalog.get(sys.argv[1]), Settings(backend="openvino"))
engine.prepare([4])
pixels = np.zeros((400, 400, 3), np.uint8)
allowed = engine._whole_bytes((400, 400), [4])
for strip in engine.strips(pixels, [4], (1600, 1600)):
    pass
print(line("VmHWM:"), allowed)
"""


@needs_openvino
@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is Linux's to tell")
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("bcrn.authors", marks=pytest.mark.long),
        "rlfn_s.authors",
        pytest.param("swift_srgan.authors", marks=pytest.mark.long),
    ],
)
def test_the_estimate_holds(model, shared, tmp_path):
    """The most that a process of its own takes is what was estimated, and what it is without."""
    environment = os.environ | {
        "SRCLI_CACHE_DIR": str(tmp_path),
        "SRCLI_MIRROR": str(shared / "weights"),
    }
    peaks = []
    for _ in range(2):  # the second time nothing is converted, nor torch imported
        done = subprocess.run(
            [sys.executable, "-c", PEAK, model], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        peaks.append(tuple(map(int, done.stdout.split())))
    taken, allowed = peaks[1]
    assert 0.2 * allowed < taken < allowed + 200 * 2**20


# files


@needs_openvino
def test_nothing_is_done_twice(both, picture, monkeypatch):
    compiled, _ = both(tiny)
    wanted, _ = run(compiled, picture(20, 30))
    assert len(compiled.said) == 1
    assert "once" in compiled.said[0]
    files = sorted(p.name for p in compiled.folder.iterdir() if p.is_file())
    assert [Path(name).suffix for name in files] == [".compiled", ".graph"]
    assert "30x20" in files[0]

    again, _ = both(forbidden)
    again.prepare([2])
    monkeypatch.setattr(again.graph(2), "_parts", forbidden)  # compiled is enough
    assert np.array_equal(run(again, picture(20, 30))[0], wanted)
    assert again.said == []


@needs_openvino
@pytest.mark.parametrize("suffix", [".graph", ".compiled"])
@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_files_are_made_again(suffix, damage, both, picture):
    compiled, _ = both(tiny)
    wanted, _ = run(compiled, picture(20, 30))
    (path,) = compiled.folder.glob(f"*{suffix}")
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    path.write_bytes({"cut": data[:middle], "changed": flipped, "empty": b""}[damage])
    again, _ = both(tiny)
    if suffix == ".graph":  # which is not looked at while what is compiled of it serves
        for other in compiled.folder.glob("*.compiled"):
            other.unlink()
    assert np.array_equal(run(again, picture(20, 30))[0], wanted)
    told = ["is damaged", "Converting"] if suffix == ".graph" else []
    assert len(again.said) == len(told)
    assert all(part in line for part, line in zip(told, again.said, strict=True))
    last, _ = both(forbidden)
    assert np.array_equal(run(last, picture(20, 30))[0], wanted)


@needs_openvino
def test_a_cache_that_cannot_be_written(both, picture, tmp_path):
    (tmp_path / "file").write_text("no folder")
    compiled, plain = both(tiny, folder=tmp_path / "file" / "cache")
    assert levels(run(compiled, picture(20, 30))[0], run(plain, picture(20, 30))[0]) <= 1
    assert (tmp_path / "file").read_text() == "no folder"


@needs_openvino
def test_many_sizes_share_one_compiled_network(both, picture):
    compiled, plain = both(tiny)
    for width in range(20, 27):
        pixels = picture(20, width)
        assert levels(run(compiled, pixels)[0], run(plain, pixels)[0]) <= 1
    names = [p.name for p in compiled.folder.glob("*.compiled")]
    assert len(names) == graph.FIXED_SIZES + 1
    assert sum("-any-" in name for name in names) == 1


@needs_openvino
def test_other_weights_and_precisions_have_their_own(both, picture):
    for model in ("lesrcnn.authors", "rlfn.authors"):
        for precision in ("fp32", "bf16"):
            compiled, _ = both(tiny, model, precision=precision)
            run(compiled, picture(20, 30))
    assert len(list(compiled.folder.glob("*.graph"))) == 2
    assert len(list(compiled.folder.glob("*.compiled"))) == 4


def test_the_oldest_go_first(tmp_path):
    for age, name in enumerate("dbac"):
        path = tmp_path / f"{name}.compiled"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "x.graph").write_bytes(bytes(1000))
    graph._prune(tmp_path, 250)
    assert {p.name for p in tmp_path.iterdir()} == {"d.compiled", "b.compiled", "x.graph"}
    graph._prune(tmp_path, 0)
    assert {p.name for p in tmp_path.iterdir()} == {"d.compiled", "x.graph"}  # it is in use


def test_packed_files(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(FileNotFoundError):
        graph_files.unpack(path, "a")
    data = graph_files.pack({"a": b"first", "b": bytes(range(256))})
    path.write_bytes(data)
    assert graph_files.unpack(path, "b", "a") == [bytes(range(256)), b"first"]
    with pytest.raises(graph_files.DamagedError):
        graph_files.unpack(path, "c")
    for k in range(len(data)):
        path.write_bytes(data[:k])
        with pytest.raises(graph_files.DamagedError):
            graph_files.unpack(path, "a", "b")
        path.write_bytes(data[:k] + bytes([data[k] ^ 0x55]) + data[k + 1 :])
        with contextlib.suppress(graph_files.DamagedError):
            assert graph_files.unpack(path, "a", "b") == [b"first", bytes(range(256))]


# what it refuses


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"precision": "fp16"}, "fp16"),
        ({"device": "cuda"}, "cuda"),
        ({"tile": 64}, "--tile"),
        ({"ensemble": 8}, "ensemble"),
        ({"color_fix": True}, "--color-fix"),
    ],
)
def test_refused(settings, text, tmp_path, monkeypatch):
    monkeypatch.setattr(BackendEntry, "is_installed", lambda self: True)
    options = WeightsOptions(tmp_path, offline=True)
    how = Settings(backend="openvino", **settings)
    with pytest.raises(UsageError, match=text) as caught:
        open_engine(catalog.get("bcrn.authors"), how, weights=options)
    assert caught.value.hint == "use --backend torch"
    # and where it was tuned to be best, auto goes without
    choice = tuned.Choice("openvino", "fp32", 1, None, 1.0, (9, 9))
    tuned.store({("bcrn.authors", 4): choice}, options)
    model, auto = catalog.get("bcrn.authors"), replace(how, backend="auto")
    assert as_tuned(model, auto, options).backend == "auto"
    assert as_tuned(model, Settings(), options).backend == "openvino"


@pytest.mark.parametrize(
    ("settings", "installed", "card", "backend"),
    [
        ({}, True, False, "openvino"),
        ({"precision": "bf16", "threads": 1}, True, False, "openvino"),
        ({}, False, False, "torch"),
        ({}, True, True, "torch"),
        ({"device": "cpu"}, True, True, "openvino"),
        ({"ensemble": 8}, True, False, "torch"),
        ({"tile": 64}, True, False, "torch"),
        ({"backend": "torch"}, True, False, "torch"),
    ],
)
def test_auto_takes_what_is_fastest(settings, installed, card, backend, tmp_path, monkeypatch):
    there = {"torch", "openvino"} if installed else {"torch"}
    monkeypatch.setattr(BackendEntry, "is_installed", lambda self: self.name in there)
    monkeypatch.setattr("srcli.engine.openvino.backend.may_have_gpu", lambda: card)
    options = WeightsOptions(tmp_path, offline=True)
    assert resolve_auto(catalog.get("bcrn.srcli"), Settings(**settings), options).backend == backend


PACKAGED = [
    (model, variant.scale)
    for model in catalog.built_in().models.values()
    for variant in model.variants
    if variant.weights is not None and variant.weights.bundled
]


@pytest.mark.parametrize(("model", "scale"), PACKAGED, ids=lambda v: getattr(v, "name", f"x{v}"))
def test_the_packages_networks_are_converted_already(model, scale):
    """After new weights: python docs/models/convert_for_openvino.py."""
    parts = openvino.packaged(model, scale)
    assert parts is not None
    assert set(parts) == {graph_files.GRAPH, graph_files.CONSTANTS, graph_files.FACTS}


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "scale"),
    [
        pytest.param(model, scale, marks=[] if scale == 2 else [pytest.mark.long])
        for model, scale in PACKAGED
    ],
    ids=lambda v: getattr(v, "name", f"x{v}"),
)
def test_and_they_compute_what_pytorch_does(model, scale, tmp_path, picture):
    options = WeightsOptions(tmp_path, offline=True)
    pixels = picture(33, 42)
    made = []
    for backend in ("openvino", "torch"):
        engine = open_engine(model, Settings(device="cpu", backend=backend), weights=options)
        made.append(run(engine, pixels, [scale])[0])
    assert levels(*made) <= 1


def test_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        open_engine(
            catalog.get("bcrn.authors"),
            Settings(backend="openvino"),
            weights=WeightsOptions(tmp_path, offline=True),
        )
    assert 'pip install "srcli[openvino]"' in caught.value.hint


class Odd(Enlarge):
    def tail(self, x, mean):
        return torch.special.bessel_j0(super().tail(x, mean))


@needs_openvino
def test_a_network_that_cannot_be_converted_goes_to_pytorch_if_it_may(both, picture):
    loads = []

    def load(scale):
        loads.append(scale)
        return network(Odd(scale))

    for _ in range(2):
        compiled, plain = both(load, asked=False)
        compiled.prepare([2])
        wanted, _ = run(plain, picture(20, 30))
        loads.clear()
        got, report = run(compiled, picture(20, 30))
        assert levels(got, wanted) == 0
        assert report.notes == []
        assert compiled.estimate_bytes((20, 30), [2]) == plain.estimate_bytes((20, 30), [2])
    assert len(compiled.said) == 0  # the second engine knows
    compiled, _ = both(load)
    with pytest.raises(SrcliError, match="OpenVINO cannot convert tiny x2"):
        run(compiled, picture(20, 30))


@needs_openvino
def test_a_network_that_cannot_be_converted_is_named(both, picture):
    compiled, _ = both(lambda scale: network(Odd(scale)))
    with pytest.raises(SrcliError, match="OpenVINO cannot convert tiny x2") as caught:
        run(compiled, picture(20, 30))
    assert "--backend torch" in caught.value.hint
    assert not list(compiled.folder.glob("*.graph"))


@needs_openvino
@pytest.mark.slow
def test_a_network_that_openvino_cannot_run_is_named(lively, both, picture):
    loaded = lively(catalog.get("esrt.untrained"), 2)
    compiled, _ = both(lambda scale: loaded)
    with pytest.raises(SrcliError, match="cannot run esrt x2") as caught:
        run(compiled, picture(40, 40))
    assert "--backend torch" in caught.value.hint


# from the command line


@pytest.mark.long
@needs_openvino
def test_a_small_picture_without_torch(tmp_path, alone):
    """Once it is converted."""
    arch = catalog.built_in().architectures["lesrcnn"]
    config = {"n_feats": 4}
    state = new_network(catalog.Variant(2, None, 0, config=config), arch).state_dict()
    file = tmp_path / "mine.safetensors"
    save_file(file, state, arch="lesrcnn", scale=2, config=config, provenance={})
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    def srcli(*arguments):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "srcli", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
        return {line.rsplit("|", 1)[1].strip() for line in lines}

    srcli("models", "add", file, "--name", "lesrcnn.mine", "--licence", "MIT")
    upscale = ("upscale", "a.png", "-m", "lesrcnn.mine", "-x2", "--overwrite", "-o")
    assert "torch" in srcli(*upscale, "b.png", "--backend", "openvino")
    modules = srcli(*upscale, "c.png", "--backend", "openvino")
    assert "openvino._pyopenvino" in modules
    assert "torch" not in modules
    assert "torch" in srcli(*upscale, "d.png", "--backend", "torch")
    made = [np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in "bcd"]
    assert np.array_equal(made[0], made[1])
    assert np.abs(made[1] - made[2]).max() <= 1


@needs_openvino
def test_bf16_that_the_processor_has_not_is_said(both, picture, monkeypatch):
    monkeypatch.setattr(openvino, "multiplies_bf16", lambda device: False)
    compiled, _ = both(tiny, precision="bf16")
    _, report = run(compiled, picture(20, 30))
    assert report.precision == "fp32"
    assert report.notes == ["this processor cannot compute in bf16: fp32 is used"]


@needs_openvino
def test_what_needs_no_network_needs_no_pytorch(both, picture):
    compiled, plain = both(forbidden)
    pixels = picture(20, 30)
    got, _ = run(compiled, pixels, passes=(), size=(10, 15))
    wanted, _ = run(plain, pixels, passes=(), size=(10, 15))
    assert levels(got, wanted) <= 1


# its other devices


@needs_openvino
def test_a_device_by_openvinos_name(picture, alone):
    """The CPU under its own name goes the way that a GPU would."""
    engine = open_engine(catalog.get("ecbsr_m8c24.srcli"), Settings(device="openvino:CPU"))
    assert isinstance(engine, OpenVinoUpscaler)
    result, report = run(engine, picture(24, 31))
    plain = open_engine(catalog.get("ecbsr_m8c24.srcli"), Settings(device="cpu"))
    assert np.array_equal(result, run(plain, picture(24, 31))[0])
    assert report.device == "cpu"


@needs_openvino
def test_what_is_asked_of_a_device(monkeypatch):
    """Another device is compiled for by its name, without what is the CPU's alone."""
    asked = []

    class Core:
        available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

        def compile_model(self, model, device, hints):
            asked.append((device, hints))
            raise RuntimeError("no driver")

        def __getattr__(self, name):
            return getattr(openvino_core, name)

    library = importing.import_openvino()
    openvino_core = library.Core()
    monkeypatch.setattr(library, "Core", Core)
    for name in ("openvino:GPU", "openvino:GPU.1", "openvino:NPU", "openvino:CPU", "cpu", "auto"):
        BACKENDS["openvino"].check_device(name)
    for name in ("openvino:GPU.2", "openvino:TPU"):
        with pytest.raises(UsageError, match=f"no {name} here: OpenVINO sees CPU, GPU.0"):
            BACKENDS["openvino"].check_device(name)
    settings = Settings(device="openvino:GPU", threads=2)
    engine = open_engine(catalog.get("ecbsr_m8c24.srcli"), settings)
    with pytest.raises(SrcliError, match="cannot compile"):
        run(engine, np.zeros((20, 20, 3), np.uint8))
    ((device, hints),) = asked
    assert device == "GPU" and not {"INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING"} & set(hints)
    assert engine.identity != open_engine(engine.model, Settings(device="cpu")).identity


def test_each_library_has_its_own_devices():
    with pytest.raises(UsageError, match="device of OpenVINO's"):
        BACKENDS["torch"].check(Settings(device="openvino:NPU", backend="torch"))
    with pytest.raises(UsageError, match="does not run on mps"):
        BACKENDS["openvino"].check(Settings(device="mps", backend="openvino"))
    with pytest.raises(UsageError, match="not a device"):
        Settings(device="openvino:")
