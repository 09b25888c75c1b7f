"""Muon on flat vectors, beside PyTorch's own on single matrices."""

import pytest
import torch
from torch import nn

from srcli.training.muon import MOMENTUM, UPDATE, Matrices, is_matrix, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 64), (2, 256, 16)])
def test_singular_values_come_to_about_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape) * 1e-3))
    assert values.min() > 0.5 and values.max() < 1.3


def test_zeros_stay_zeros():
    assert torch.equal(orthogonal(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))


def test_depthwise_kernels_biases_and_factors_are_no_matrices():
    pointwise, depthwise = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 3, groups=8)
    assert is_matrix(pointwise.weight)
    assert is_matrix(nn.Conv2d(8, 4, 3).weight)
    assert not is_matrix(depthwise.weight)
    assert not is_matrix(pointwise.bias)
    assert not is_matrix(torch.ones(1, 8, 1, 1))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is of PyTorch 2.9")
def test_steps_are_those_of_pytorch():
    """Two matrices of one shape, one of another and a bias between them, three steps."""
    torch.manual_seed(0)
    align = 32
    params = [torch.randn(6, 10), torch.randn(7), torch.randn(20, 4), torch.randn(6, 10)]
    sizes = [-(-p.numel() // align) * align for p in params]
    weights, momentum = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
    views = []
    for p, part in zip(params, weights.split(sizes), strict=True):
        views.append(part[: p.numel()].view(p.shape))
        views[-1].copy_(p)
    matrices = Matrices(views, weights, align)
    theirs = [nn.Parameter(p.clone()) for p in params if p.dim() == 2]
    optimiser = torch.optim.Muon(
        theirs, lr=0.01, momentum=MOMENTUM, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        grads = [torch.randn_like(p) for p in params]
        flat = torch.zeros_like(weights)
        for g, part in zip(grads, flat.split(sizes), strict=True):
            part[: g.numel()] = g.flatten()
        momentum.lerp_(flat, 1 - MOMENTUM)
        matrices.step(weights, flat, momentum, torch.tensor(0.01))
        for p, g in zip(theirs, (g for g in grads if g.dim() == 2), strict=True):
            p.grad = g
        optimiser.step()
    assert UPDATE == 0.2  # what PyTorch calls match_rms_adamw
    assert torch.equal(views[1], params[1])
    for mine, other in zip((v for v in views if v.dim() == 2), theirs, strict=True):
        # PyTorch's runs in bf16
        assert (mine - other).abs().max() < 2e-3
