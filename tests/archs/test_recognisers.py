"""Networks whose features perceptual losses compare."""

import pytest
import torch

from srcli.archs.efficientnet_lite import EfficientNetLite0, SameConv
from srcli.archs.mobilenet_v2 import MobileNetV2
from srcli.archs.vgg import VGG


@pytest.mark.parametrize(
    ("network", "count", "parameters", "shapes"),
    [
        # torchvision's 3,504,872 without the 1,281,000 of its classifier
        (MobileNetV2, 19, 2_223_872, {"stem": 32, "block3": 24, "block17": 320, "head": 1280}),
        (EfficientNetLite0, 18, None, {"stem": 32, "block3": 24, "block16": 320, "head": 1280}),
    ],
)
def test_layers_and_channels(network, count, parameters, shapes):
    made = network().eval()
    assert len(made.names) == count
    if parameters:
        assert sum(p.numel() for p in made.parameters()) == parameters
    found = made(torch.rand(1, 3, 64, 96), tuple(shapes))
    assert [f.shape[1] for f in found] == list(shapes.values())
    assert [f.shape[2:] for f in (found[0], found[1], found[-1])] == [(32, 48), (16, 24), (2, 3)]
    alone = made(torch.rand(1, 3, 64, 96), ("head", "stem"))  # in the order asked for
    assert alone[0].shape[1] == 1280


def test_vgg19_has_sixteen_convolutions():
    names = VGG(depth=19).names
    assert sum(name.startswith("conv") for name in names) == 16
    assert "conv5_4" in names


def test_pictures_as_they_are():
    """What SwiftSRGAN's loss sees: no mean, no deviation."""
    torch.manual_seed(0)
    plain, normal = MobileNetV2(normalised=False).eval(), MobileNetV2().eval()
    normal.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 32, 32)
    given = (x - normal.mean) / normal.deviation
    assert torch.allclose(plain(given, ("block4",))[0], normal(x, ("block4",))[0], atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(32, 3, 2), (33, 3, 2), (32, 5, 2)])
def test_padding_is_tensorflows(size, kernel, stride):
    conv = SameConv(1, 1, kernel, stride)
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, size, size))[0, 0].detach()
    assert out.shape == (-(-size // stride),) * 2
    total = (out.shape[0] - 1) * stride + kernel - size  # zeros before and behind
    assert float(out[0, 0]) == (kernel - total // 2) ** 2
    assert float(out[-1, -1]) == (kernel - (total - total // 2)) ** 2
