"""Convolutions in eight bits: the same in ONNX Runtime, OpenVINO and PyTorch's imitation."""

import copy
import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from srcli import catalog
from srcli.archs.quantised import QuantConv2d, attach, calibrate, imitation
from srcli.engine import testcard as cards
from srcli.engine.backends import BACKENDS
from srcli.engine.export import export_onnx, export_openvino
from srcli.engine.open import open_engine
from srcli.engine.openvino.upscaler import OpenVinoUpscaler
from srcli.engine.pytorch.int8 import imitated
from srcli.engine.pytorch.upscaler import Upscaler
from srcli.engine.result import Report
from srcli.engine.settings import Settings
from srcli.errors import UsageError, WeightsError

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx and onnxruntime are not installed",
)
needs_openvino = pytest.mark.skipif(
    not BACKENDS["openvino"].is_installed(), reason='needs pip install "srcli[openvino]"'
)
# groups, inputs that several convolutions share; 0..255; no biases and a sum; one after the other
FAMILY = [
    pytest.param(name, scale, marks=[pytest.mark.slow if name == "sesr_m5" else pytest.mark.long])
    for name, scale in (
        ("xlsr", 3), ("abpn", 3), ("sesr_m5", 2), ("ecbsr_m8c24", 2), ("plainusr_u", 2)
    )
]  # fmt: skip


@pytest.fixture
def ranged(lively):
    """Function (architecture, scale) -> its model, and a network whose convolutions have ranges."""

    def make(name, scale):
        model = catalog.resolve(name, scale)
        shared = lively(model, scale)
        network = replace(shared, module=copy.deepcopy(shared.module))
        rgb = torch.from_numpy(np.stack([cards.testcard(40, 48, seed) for seed in range(2)]))
        calibrate(network.module, network.adapted().preprocess(rgb))
        return model, network

    return make


@needs_onnx
@needs_openvino
@pytest.mark.parametrize(("name", "scale"), FAMILY)
def test_exports(name, scale, ranged, tmp_path):
    """At a size that the export itself does not look at, whatever the size of picture is free."""
    import onnx
    import onnxruntime
    from openvino import Core

    model, network = ranged(name, scale)
    export_onnx(tmp_path / "a.onnx", network, model, int8=True)
    export_openvino(tmp_path / "a.xml", network, model, int8=True)
    stored = {t.data_type for t in onnx.load(tmp_path / "a.onnx").graph.initializer if t.dims}
    assert onnx.TensorProto.INT8 in stored
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    compiled = Core().compile_model(tmp_path / "a.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert {"i8"} <= _weights(tmp_path / "a.xml")

    lr = cards.testcard(50, 34, seed=5)[None]
    with torch.inference_mode():
        wanted = imitated(network).adapted()(torch.from_numpy(lr)).numpy()
        plain = network.adapted()(torch.from_numpy(lr)).numpy()
    (onnx_sr,) = session.run(None, {"lr": lr})
    rounding = _spread(wanted - plain)
    assert rounding > 1e-4
    for got in (onnx_sr, compiled(lr)[0]):
        assert got.shape == wanted.shape
        assert _spread(got - wanted) < rounding / 2


def _weights(xml):
    from openvino import Core

    nodes = Core().read_model(xml).get_ordered_ops()
    constants = [n for n in nodes if n.get_type_name() == "Constant" and len(n.shape) == 4]
    return {n.get_element_type().get_type_name() for n in constants}


def _spread(difference):
    return float(np.sqrt(np.square(difference, dtype=np.float64).mean()))


def test_without_ranges(lively, tmp_path):
    model = catalog.get("ecbsr_m8c24.srcli")
    for export, file in ((export_onnx, "a.onnx"), (export_openvino, "a.xml")):
        if importlib.util.find_spec(export.__name__.removeprefix("export_")) is not None:
            with pytest.raises(WeightsError, match="no ranges") as caught:
                export(tmp_path / file, lively(model, 2), model, int8=True)
            assert "quantise=true" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@needs_openvino
@pytest.mark.slow
def test_enlarging(ranged, tmp_path):
    """As PyTorch's imitation, to which pictures go that OpenVINO has no memory for."""
    model, network = ranged("ecbsr_m4c8", 2)
    how = Settings(device="cpu", precision="int8", border="network")

    def tiled():
        return Upscaler(lambda _: imitated(network), replace(how, precision="fp32", tile=24))

    engine = OpenVinoUpscaler(model, how, tmp_path, lambda _: network, tiled)
    pixels = (cards.testcard(40, 52, seed=3).transpose(1, 2, 0) * 255).astype(np.uint8)
    report = Report()
    got = np.concatenate(list(engine.strips(pixels, (2,), (80, 104), report=report)))
    assert report.precision == "int8"
    wanted = np.concatenate(list(tiled().strips(pixels, (2,), (80, 104))))
    assert _spread(got.astype(float) - wanted) < 0.5


def test_int8_is_openvinos():
    model = catalog.get("ecbsr_m8c24.srcli")
    with pytest.raises(UsageError, match="OpenVINO only"):
        open_engine(model, Settings(precision="int8", backend="torch"))
    if BACKENDS["openvino"].is_installed():
        with pytest.raises(UsageError, match="cannot use --tile"):
            open_engine(model, Settings(precision="int8", tile=64))


def test_the_imitation():
    """256 levels of the input, zero among them; 127 of the weights, for each output channel."""
    conv = torch.nn.Conv2d(1, 2, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, 0.001]).view(2, 1, 1, 1)
    network = torch.nn.Sequential(conv)
    attach(network, {"0": torch.tensor([-0.1, 0.9])})
    rounding = imitation(network).eval()
    assert isinstance(rounding[0], QuantConv2d) and type(conv) is torch.nn.Conv2d
    with torch.no_grad():
        sr = rounding(torch.linspace(-0.2, 1, 5000).view(1, 1, 50, 100))
    for channel, gain in zip(sr[0], (1, 0.001), strict=True):
        levels = channel.unique() / gain
        assert len(levels) == 256
        assert (levels.abs() < 1e-6).sum() == 1
        assert levels.min() == pytest.approx(-0.1, abs=0.003)
        assert levels.max() == pytest.approx(0.9, abs=0.003)
    rounding.train()(torch.full((1, 1, 4, 4), 5.0))
    assert 0.9 < rounding[0].input_range[1] < 1
    assert rounding[0].input_range[0] > -0.1
