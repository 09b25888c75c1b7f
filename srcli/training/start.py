"""Where weights begin: so that step 0 already enlarges, for any network.

A network as PyTorch starts it must first learn to pass the picture through: sigmoid masks halve the
signal in every block, and what is left at the end has little to do with the input. Here:

1. Gates open: bias 3 before every attention's sigmoid, which then multiplies by 0.95.
2. Levels: weights orthogonal, biases zero, and every convolution, in the order in which they run,
   scaled so that its output is as large as the picture (after LSUV, arXiv 1511.06422).
3. The last layer is not drawn but computed: least squares from the features that reach it to the
   sub-pixels of real photos. The picture is among those features in every network that adds its
   shallow features to its deep ones, so the fit is at least the best linear filter of the
   neighbourhood that the first layer sees, which is about as good as bicubic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, ESA, BSConv

GATE_BIAS = 3.0
RIDGE = 1e-4  # of the mean square of a feature
MAX_SAMPLES = 100_000  # places that the last layer is fitted to
DEEP = 0.1  # how loud the deep features begin beside the shallow ones

Squash = Literal["none", "tanh"]


@torch.no_grad()
def start(
    network: nn.Module,
    lr: Tensor,
    hr: Tensor,
    *,
    squash: Squash = "none",
    small: tuple[str, ...] = (),
    seed: int = 0,
) -> None:
    """Give a new network its first weights.

    Args:
        network: takes ``lr``.
        lr, hr: (n, 3, h, w) and (n, 3, h s, w s) crops at the network's own range.
        squash: what the network does to its last layer's output, besides shuffling it.
        small: names of convolutions whose output begins at a tenth of the others'.
        seed: of the orthogonal matrices.
    """
    gates = open_gates(network)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module not in gates and module.weight.requires_grad:
            nn.init.orthogonal_(module.weight, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    level(network, lr, gates, small)
    fit_last(network, lr, hr, squash=squash)


@torch.no_grad()
def open_gates(network: nn.Module) -> set[nn.Module]:
    """Bias 3 before the sigmoids of ESA and CCA; all modules inside these."""
    inside: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, ESA | CCA):
            last = module.conv4 if isinstance(module, ESA) else module.conv_du[2]
            conv = last.dw if isinstance(last, BSConv) else last
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            conv.bias.fill_(GATE_BIAS)
            inside.update(module.modules())
    return inside


@torch.no_grad()
def level(
    network: nn.Module, lr: Tensor, leave: set[nn.Module], small: tuple[str, ...] = ()
) -> None:
    """Scale every convolution, in running order, until its output's root mean square is the
    picture's; those in ``leave`` stay as they are."""
    size = lr.square().mean().sqrt()
    quiet = {network.get_submodule(name) for name in small}
    seen: set[nn.Module] = set()

    def scale(conv: Any, _: Any, out: Tensor) -> Tensor:
        if conv in seen or conv in leave or not conv.weight.requires_grad:
            return out
        seen.add(conv)
        gain = size / out.square().mean().sqrt().clamp(min=1e-12)
        if conv in quiet:
            gain = gain * DEEP
        conv.weight.mul_(gain)
        return out * gain

    with _hooks(network, scale), _eval(network):
        network(lr)


@torch.no_grad()
def fit_last(network: nn.Module, lr: Tensor, hr: Tensor, *, squash: Squash = "none") -> str:
    """Compute the last full convolution by least squares; depthwise ones after it pass through.

    Returns:
        The name of the layer.
    """
    last, after = last_conv(network, lr)
    inputs: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    bias_at = last
    for conv in after:
        nn.init.dirac_(conv.weight, groups=conv.groups)
        if conv.bias is not None:
            conv.bias.zero_()
            bias_at = conv
    last.weight.zero_()
    if last.bias is not None:
        last.bias.zero_()
    with _eval(network):
        base = network(lr)  # what comes out when the layer says nothing
    handle.remove()
    target = _undo(hr, squash) - _undo(base, squash)
    x = inputs[-1]
    shuffled = hr.shape[2] // x.shape[2]
    if shuffled > 1:
        target = F.pixel_unshuffle(target, shuffled)
    assert target.shape[1] == last.out_channels, (target.shape, last)
    edge = last.kernel_size[0] // 2 + 2  # zero padding is not what a photo's inside looks like
    n_features = last.weight[0].numel() + 1
    gram = torch.zeros(n_features, n_features, dtype=torch.float64, device=lr.device)
    cross = torch.zeros(n_features, last.out_channels, dtype=torch.float64, device=lr.device)
    for one, wished in zip(x[:, None], target, strict=True):
        columns = F.unfold(one, last.kernel_size, padding=last.padding)  # type: ignore[arg-type]
        columns = columns.view(-1, *one.shape[2:])[:, edge:-edge, edge:-edge].flatten(1).double()
        wanted = wished[:, edge:-edge, edge:-edge].flatten(1).double()
        step = max(1, columns.shape[1] * len(x) // MAX_SAMPLES)
        columns, wanted = columns[:, ::step], wanted[:, ::step]
        columns = torch.cat((columns, torch.ones_like(columns[:1])))
        gram += columns @ columns.t()
        cross += columns @ wanted.t()
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(n_features).to(gram)
    if bias_at.bias is None:
        gram, cross, ridge = gram[:-1, :-1], cross[:-1], ridge[:-1, :-1]
    solution = torch.linalg.solve(gram + ridge, cross)
    n_weights = last.weight[0].numel()
    last.weight.copy_(solution[:n_weights].t().reshape(last.weight.shape))
    if bias_at.bias is not None:
        bias_at.bias.copy_(solution[n_weights])
    names: dict[nn.Module, str] = {m: name for name, m in network.named_modules()}
    return names[last]


def last_conv(network: nn.Module, lr: Tensor) -> tuple[nn.Conv2d, list[nn.Conv2d]]:
    """The last trained convolution that is not depthwise, and the depthwise ones that follow."""
    order: list[nn.Conv2d] = []

    def note(conv: nn.Module, _: Any, out: Tensor) -> None:
        if isinstance(conv, nn.Conv2d) and conv.weight.requires_grad:
            order.append(conv)

    with torch.no_grad(), _hooks(network, note), _eval(network):
        network(lr[:1])
    place = max(k for k, conv in enumerate(order) if conv.groups == 1)
    return order[place], order[place + 1 :]


def _undo(picture: Tensor, squash: Squash) -> Tensor:
    return torch.atanh((2 * picture - 1).clamp(-0.98, 0.98)) if squash == "tanh" else picture


@contextmanager
def _hooks(network: nn.Module, hook: Any) -> Iterator[None]:
    handles = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _eval(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
