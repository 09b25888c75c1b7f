"""The form for inference equals the plain network."""

import pytest
import torch
from catalogue_samples import NETWORKS, at_one_scale
from torch import nn

from srcli import catalog
from srcli.archs import inference
from srcli.archs.blocks import BSConv
from srcli.archs.inference import by_pixels, derive, pointwise
from srcli.weights import new_network

RGB = at_one_scale([m for m in NETWORKS if m.preprocessing.colour in ("rgb", "bgr")])


@pytest.fixture(params=[pytest.param(p.values, id=p.id, marks=p.marks) for p in RGB])
def network(request, lively):
    return lively(*request.param)


def lr(network, height=47, width=45):  # more than a chunk
    multiple = network.arch.multiple
    size = -(-height // multiple) * multiple, -(-width // multiple) * multiple
    lr = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    return (lr * network.preprocessing.maximum).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_equal_in_fp32(network):
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    picture = lr(network)
    wanted = network.module(picture)
    found = derive(network.module)(picture)
    peak = max(network.preprocessing.maximum, float(wanted.abs().max()))
    # 1.3e-6 at most with trained weights; these random ones are steeper
    assert float((found - wanted).abs().max()) <= 5e-5 * peak
    after = network.module.state_dict()  # the plain network is left as it was
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@torch.inference_mode()
def test_bf16_keeps_more_than_bf16_holds(network):
    picture = lr(network)
    wanted = network.module(picture)
    found = derive(network.module, torch.bfloat16)(picture)
    assert found.dtype == torch.float32  # the last convolution is not rounded
    wanted, found = wanted.double(), found.double()  # squares of random networks' results are large
    signal = float((wanted - wanted.mean()).square().mean())
    noise = float((found - wanted).square().mean())
    # SAFMN multiplies features with each other, which doubles relative errors from block to block
    share = 3e-2 if network.arch.name.startswith("safmn") else 3e-3
    assert 0 < noise < signal * share


def test_folding_a_row_of_pointwise_layers():
    torch.manual_seed(0)
    row = [BSConv(5, 7, 1), nn.Conv2d(7, 3, 1, bias=False), nn.Conv2d(3, 4, 1)]
    x = torch.randn(2, 5, 6, 8)
    wanted = nn.Sequential(*row)(x).detach()
    folded = pointwise(row)
    assert float((folded(x) - wanted).abs().max()) < 1e-5
    for other in (
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.ReLU(),
        BSConv(4, 4, 3),
    ):
        assert pointwise([nn.Conv2d(3, 4, 1), other]) is None


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 64), (65, 47)])
def test_chunks_make_no_difference(size):
    x, y = torch.randn(1, 6, *size), torch.randn(1, 2, *size)
    seen = []

    def fn(out, x):
        seen.append(len(x))
        out.mul_(x[:, :1]).add_(x[:, 4:])

    found = by_pixels(fn, y.clone(), x)
    assert torch.equal(found, x[:, :1] * y + x[:, 4:])
    assert max(seen) <= inference.CHUNK
    assert sum(seen) == size[0] * size[1]


@torch.inference_mode()
@pytest.mark.parametrize("fused", [False, True])
def test_nothing_wide_is_left_in_one_piece(monkeypatch, fused):
    """What lies between two 1x1 convolutions never stands whole in memory."""
    if fused and torch.float32 not in inference._fusible():
        pytest.skip("this PyTorch has no oneDNN")
    entry = catalog.resolve("bcrn", 4)
    name = "_onednn_linear" if fused else "_torch_linear"
    monkeypatch.setattr(inference, "_fusible", lambda: (torch.float32,) if fused else ())
    network = new_network(entry.variant(4), entry.arch).eval()
    lr = torch.rand(1, 3, 48, 64)
    wanted = network(lr)
    seen = []
    linear = getattr(inference, name)

    def watched(x, layer, act):
        out = linear(x, layer, act)
        seen.append(out.shape)
        return out

    monkeypatch.setattr(inference, name, watched)
    assert float((derive(network)(lr) - wanted).abs().max()) < 1e-5
    wide = [n for n, channels in seen if channels == 256]
    assert max(wide) == 48 * 64 // inference.LEAST_CHUNKS
    assert sum(wide) == 48 * 64 * 6  # blocks
