"""The second networks of adversarial training."""

import pytest
import torch

from srcli.archs.patch_discriminator import PatchDiscriminator
from srcli.archs.swift_discriminator import SwiftDiscriminator
from srcli.archs.unet_discriminator import UNetDiscriminator
from srcli.archs.vgg_discriminator import VGGDiscriminator


@pytest.mark.parametrize(
    ("network", "parameters", "logits"),
    [
        (UNetDiscriminator, 4_376_897, (2, 1, 64, 64)),  # the authors' numbers
        (PatchDiscriminator, 2_764_737, (2, 1, 11, 11)),
        (SwiftDiscriminator, None, (2, 1)),
    ],
)
def test_parameters_and_logits(network, parameters, logits):
    made = network()
    if parameters is not None:
        assert sum(p.numel() for p in made.parameters()) == parameters
    assert made(torch.rand(2, 3, 64, 64)).shape == logits


def test_vgg_is_for_one_size():
    made = VGGDiscriminator()
    assert sum(p.numel() for p in made.parameters()) == 14_499_401
    small = VGGDiscriminator(side=64, n_feats=4)
    assert small(torch.rand(2, 3, 64, 64)).shape == (2, 1)
    with pytest.raises(RuntimeError):
        small(torch.rand(2, 3, 96, 96))


def test_a_logit_of_patchgan_sees_70_pixels():
    torch.manual_seed(0)
    network = PatchDiscriminator(n_feats=8).eval()
    picture = torch.rand(1, 3, 160, 160, requires_grad=True)
    network(picture)[0, 0, 10, 10].backward()
    rows = torch.nonzero(picture.grad.abs().sum((0, 1, 3)))[:, 0]
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize("network", [UNetDiscriminator, PatchDiscriminator])
def test_spectral_norm(network):
    """After some rounds of the power method each normalised weight has 1 as its largest value."""
    torch.manual_seed(0)
    made = network(n_feats=4)
    for _ in range(60):
        made(torch.rand(1, 3, 32, 32))
    normalised = [m for m in made.modules() if hasattr(m, "weight_orig")]
    assert len(normalised) >= 5
    for module in normalised:
        largest = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
        assert float(largest.detach()) == pytest.approx(1, abs=0.02)
