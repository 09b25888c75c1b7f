"""Exports: right at every size, or not kept."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from catalogue_samples import one_of_a_kind
from torch import nn

from srcli import catalog
from srcli.catalog import Preprocessing
from srcli.engine.export import OPSETS, export_onnx, export_safetensors, onnx, provenance_of
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.reference import BOUNDS
from srcli.errors import SrcliError, WeightsError
from srcli.weights import build, load_file, new_network

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
    reason="onnx and onnxruntime are not installed",
)
# with ESA and CCA; without; on luma alone; on the enlarged picture
QUICK = {"bcrn.authors", "lesrcnn.authors", "fsrcnn_s.untrained", "srcnn_915.nhat_thanh"}
KINDS = [
    pytest.param(*p.values, id=p.id, marks=[] if p.id in QUICK else [pytest.mark.long])
    for p in one_of_a_kind()
    # what has weights is exported with them, see test_the_authors_weights
    if p.id in QUICK or not p.values[0].trained
]


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture
def bcrn(lively):
    model = catalog.get("bcrn.authors")
    return model, lively(model, 4)


@needs_onnx
@pytest.mark.parametrize(("model", "scale"), KINDS)
def test_onnx(model, scale, lively, tmp_path):
    """At sizes other than the two that the export itself looks at, batches included."""
    network = lively(model, scale)
    path = tmp_path / "net.onnx"
    if model.arch.tiling == "whole":
        with pytest.raises(SrcliError, match="for each size of picture"):
            export_onnx(path, network, model)
        return
    done = export_onnx(path, network, model)
    assert done.path == path
    assert done.bytes == path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]

    loaded = session(path)
    assert loaded.get_inputs()[0].shape == ["n", 3, "height", "width"]
    facts = loaded.get_modelmeta().custom_metadata_map
    assert facts["srcli.arch"] == model.arch.name
    assert facts["srcli.scale"] == str(scale)
    assert facts["srcli.licence"] == model.licence
    assert "srcli.version" in facts
    module = network.adapted()
    least, multiple = model.arch.min_size, model.arch.multiple
    for n, h, w in [(1, 1, 1), (1, 16, 73), (3, 33, 20), (1, 64, 48)]:
        size = (-(-max(side, least) // multiple) * multiple for side in (h, w))
        lr = torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(h))
        (got,) = loaded.run(None, {"lr": lr.numpy()})
        with torch.inference_mode():
            wanted = module(lr).numpy()
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= BOUNDS["fp32"]


@needs_onnx
@pytest.mark.parametrize(
    "opset", [pytest.param(n, marks=[] if n == 11 else [pytest.mark.long]) for n in OPSETS]
)
def test_opsets(opset, bcrn, tmp_path):
    import onnx

    model, network = bcrn
    path = tmp_path / "net.onnx"
    assert export_onnx(path, network, model, opset=opset).opset == opset
    assert [i.version for i in onnx.load(path).opset_import if i.domain == ""] == [opset]


@needs_onnx
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing("bgr", 255.0), Preprocessing("rgb", 255.0)]
)
def test_the_door_is_in_the_graph(preprocessing, tmp_path):
    class Shift(nn.Module):
        """Adds 255, 510 and 765: which channel is which, and what white is, shows."""

        def forward(self, x):
            shifted = x + torch.tensor([255.0, 510.0, 765.0]).view(1, 3, 1, 1)
            return nn.functional.interpolate(shifted, scale_factor=2.0, mode="nearest")

    model = catalog.get("lesrcnn.authors")
    path = tmp_path / "net.onnx"
    export_onnx(path, Network(Shift(), model.arch, preprocessing, 2), model)
    (got,) = session(path).run(None, {"lr": np.zeros((1, 3, 5, 4), np.float32)})
    order = [3, 2, 1] if preprocessing.colour == "bgr" else [1, 2, 3]
    assert got.shape == (1, 3, 10, 8)
    assert got[0, :, 0, 0].tolist() == order


@needs_onnx
def test_half_onnx_stores_half(bcrn, tmp_path):
    import onnx
    from onnx import TensorProto

    model, network = bcrn
    whole = export_onnx(tmp_path / "a.onnx", network, model)
    half = export_onnx(tmp_path / "b.onnx", network, model, half=True, bound=1.0)
    assert half.bytes < 0.6 * whole.bytes
    assert half.difference > 0
    stored = onnx.load(tmp_path / "b.onnx").graph.initializer
    assert {t.data_type for t in stored if np.prod(t.dims) >= 16} == {TensorProto.FLOAT16}
    (got,) = session(tmp_path / "b.onnx").get_outputs()
    assert got.type == "tensor(float)"


@needs_onnx
def test_a_wrong_export_is_not_kept(bcrn, tmp_path, monkeypatch):
    model, network = bcrn
    path = tmp_path / "net.onnx"
    path.write_bytes(b"the one before")
    with pytest.raises(SrcliError, match=r"differs by .* not kept"):
        export_onnx(path, network, model, half=True, bound=1e-9)
    traced = onnx._traced

    def fixed(module, network, opset):
        """As if every size in the graph were that of the picture it was traced with."""

        class Fixed(nn.Module):
            def forward(self, x):
                return nn.functional.interpolate(x, (192, 248), mode="bilinear")

        return traced(Fixed(), network, opset)

    monkeypatch.setattr(onnx, "_traced", fixed)
    with pytest.raises(SrcliError, match="not kept"):
        export_onnx(path, network, model)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


@needs_onnx
def test_what_cannot_be_traced_is_said(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    model = catalog.get("lesrcnn.authors")
    with pytest.raises(SrcliError, match="cannot be written as ONNX with opset 17"):
        export_onnx(tmp_path / "a.onnx", Network(Odd(), model.arch, model.preprocessing, 2), model)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("model", "scale"), KINDS)
def test_safetensors(model, scale, half, tmp_path):
    torch.manual_seed(0)
    variant = model.variant(scale)
    state = new_network(variant, model.arch).state_dict()
    network = Network(build(variant, model.arch, state), model.arch, model.preprocessing, scale)
    path = tmp_path / "net.safetensors"
    done = export_safetensors(path, network, model, state, half=half)
    assert (done.difference > 0) == half
    found, again, tensors = load_file(path)
    assert (found.arch, found.preprocessing, again.scale) == (
        model.arch,
        model.preprocessing,
        scale,
    )
    assert dict(again.config) == dict(variant.config)
    for name, tensor in state.items():
        kept = tensor.half() if half and tensor.is_floating_point() else tensor
        assert tensors[name].dtype == kept.dtype
        assert torch.equal(tensors[name], kept)
    # what is computed with is fp32
    assert {p.dtype for p in build(again, found.arch, tensors).parameters()} == {torch.float32}
    assert list(tmp_path.iterdir()) == [path]


def small():
    model = catalog.get("lesrcnn.authors")
    state = new_network(model.variant(2), model.arch).state_dict()
    return model, state


def test_values_that_half_cannot_hold(tmp_path):
    model, state = small()
    state["conv1.0.weight"][0, 0, 0, 0] = 1e5
    network = Network(
        build(model.variant(2), model.arch, state), model.arch, model.preprocessing, 2
    )
    with pytest.raises(WeightsError, match=r"conv1\.0\.weight holds values over 65504"):
        export_safetensors(tmp_path / "a.safetensors", network, model, state, half=True)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_safetensors_is_not_kept(tmp_path):
    model, state = small()
    network = Network(
        build(model.variant(2), model.arch, state), model.arch, model.preprocessing, 2
    )
    other = {name: tensor + 0.01 for name, tensor in state.items()}
    with pytest.raises(SrcliError, match="not kept"):
        export_safetensors(tmp_path / "a.safetensors", network, model, other)
    assert list(tmp_path.iterdir()) == []


def test_provenance_keeps_the_file_s_own_word():
    model, _ = small()
    said = {"srcli.provenance": json.dumps({"trained_by": "srcli train", "step": 7})}
    both = provenance_of(model, said, "fp16")
    assert both["step"] == 7
    assert both["exported_from"] == model.name
    for nonsense in ("{", "[1]"):
        assert "step" not in provenance_of(model, {"srcli.provenance": nonsense}, "fp32")
