"""Choice of device and precision."""

import pytest
import torch

from srcli.engine.pytorch.device import DTYPES, choose_device, choose_precision, make_exact
from srcli.errors import UsageError


def test_names():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "meta", "cpu:cpu"])
def test_no_such_kind_of_device(name):
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert caught.value.exit_code == 2
    assert "cuda:N" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_not_here(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"no {name}"):
        choose_device(name)
    assert choose_device("auto").type == "cpu"


def test_one_device_too_far(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="sees 2 CUDA devices"):
        choose_device("cuda:2")
    assert choose_device("auto").type == "cuda"


def test_precision():
    assert choose_precision("auto") == "fp32"
    assert {DTYPES[choose_precision(p)] for p in ("fp32", "bf16", "fp16")} == {
        torch.float32,
        torch.bfloat16,
        torch.float16,
    }


def test_fp32_is_fp32():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        make_exact()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
