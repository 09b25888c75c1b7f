"""Muon: momentum made orthogonal, for the weights that are matrices.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024
(kellerjordan.github.io/posts/muon); the factor 0.2 sqrt(longest side) is of Liu et al., "Muon is
scalable for LLM training", arXiv 2502.16982. A network's learning rate then means the same for
all its matrices and about what it means to Adam. ``torch.optim.Muon`` does the same to 2-D
parameters one by one; here all matrices of one shape go through one batched product, a weight of a
convolution is the matrix (outputs, inputs times taps), and nothing is asked back from the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95  # Nesterov's
ROUNDS = 5  # of Newton and Schulz
QUINTIC = (3.4445, -4.7750, 2.0315)  # its coefficients: steep at zero, singular values to about 1
UPDATE = 0.2  # root mean square of an update, as Adam's are


def orthogonal(matrices: Tensor) -> Tensor:
    """(n, rows, columns) -> the same shape, singular values about 1 (0.7 to 1.2)."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x: Tensor = matrices if wide else matrices.transpose(1, 2)
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.transpose(1, 2)


def is_matrix(weight: Tensor) -> bool:
    """Whether Muon trains it: not biases, factors and depthwise kernels, which are vectors."""
    return weight.dim() >= 2 and weight.shape[0] > 1 and weight.shape[1] > 1


class Matrices:
    """The matrices of a network among its parameters in one flat vector.

    Args:
        params: views of ``weights``, each at a multiple of ``align`` behind the one before.
        weights: the flat vector.
        align: floats.
    """

    def __init__(self, params: Sequence[Tensor], weights: Tensor, align: int) -> None:
        self._places: dict[tuple[int, int], list[int]] = {}
        self.mask = torch.zeros_like(weights)
        start = 0
        for p in params:
            if is_matrix(p):
                self._places.setdefault((p.shape[0], p[0].numel()), []).append(start)
                self.mask[start : start + p.numel()] = 1
            start += -(-p.numel() // align) * align

    def step(self, weights: Tensor, grad: Tensor, momentum: Tensor, rate: Tensor) -> None:
        """Change the matrices in ``weights``; all are flat vectors, ``momentum`` brought up to
        date with ``grad``."""
        ahead = torch.lerp(grad, momentum, MOMENTUM)
        for (rows, columns), places in self._places.items():
            size = rows * columns
            parts = [ahead[s : s + size].view(rows, columns) for s in places]
            update = orthogonal(torch.stack(parts)) * (UPDATE * max(rows, columns) ** 0.5 * rate)
            targets = [weights[s : s + size].view(rows, columns) for s in places]
            torch._foreach_sub_(targets, list(update.unbind(0)))
