"""Where weights begin: so that step 0 already enlarges, for any network.

A network as PyTorch starts it must first learn to pass the picture through: sigmoid masks halve the
signal in every block, and what is left at the end has little to do with the input. So:

1. Gates open: bias 3 before every attention's sigmoid, which then multiplies by 0.95.
2. The picture is carried along the shallow path, the way from input to output with the fewest
   convolutions: one channel per colour passes it on unchanged, the sub-pixel layer repeats each
   sample, and the last layer hears the other channels at a tenth. That is nearest-neighbour
   enlargement.
3. What is added to that path begins at a tenth (``quiet``): the ends of deep and residual branches.

All other weights are PyTorch's own. Where values on the path can be negative, each colour has a
second channel of the opposite sign: for ReLU, PReLU and GELU alike f(x) - f(-x) is a multiple of x.
"""

from __future__ import annotations

import fnmatch
import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import CCA, ESA, BSConv
from srcli.errors import UsageError

GATE_BIAS = 3.0
QUIET = 0.1  # of PyTorch's own weights
RIDGE = 1e-4  # of the mean square of a feature
MAX_SAMPLES = 100_000  # places that the last layer is fitted to

Squash = Literal["none", "tanh"]


@torch.no_grad()
def initialise(
    network: nn.Module,
    lr: Tensor,
    hr: Tensor,
    *,
    squash: Squash = "none",
    quiet: Sequence[str] = (),
) -> None:
    """Give a network as PyTorch made it its first weights.

    Args:
        network: takes ``lr``.
        lr, hr: (n, c, h, w) and (n, c, h s, w s) crops as the network takes and gives them.
        squash: what the network does to its last layer's output, besides shuffling it.
        quiet: names of layers that begin at a tenth; * stands for anything.

    Raises:
        UsageError: a pattern in ``quiet`` names no layer.
    """
    open_gates(network)
    scale_down(network, quiet)
    path = shallow_path(network, lr)
    if any(hop.conv.groups == 1 for hop in path):
        carry_picture(path, hr.shape[2], lr.shape[1])
        match_levels(network, path, lr, hr, squash)


@torch.no_grad()
def open_gates(network: nn.Module) -> None:
    """Bias 3 before the sigmoids of ESA and CCA."""
    for module in network.modules():
        if isinstance(module, ESA | CCA):
            last = module.conv4 if isinstance(module, ESA) else module.conv_du[2]
            conv = last.dw if isinstance(last, BSConv) else last
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            conv.bias.fill_(GATE_BIAS)


@torch.no_grad()
def scale_down(network: nn.Module, quiet: Sequence[str]) -> None:
    """Weights and biases of these layers to a tenth."""
    modules = dict(network.named_modules())
    for pattern in quiet:
        names = fnmatch.filter(modules, pattern)
        if not names:
            raise UsageError(f"quiet: the network has no layer {pattern!r}.")
        for name in names:
            for p in modules[name].parameters(recurse=False):
                p.mul_(QUIET)


@dataclass(frozen=True)
class Hop:
    """A convolution on the shallow path: what it saw first, (n, c, h, w), and the height of its
    output."""

    conv: nn.Conv2d
    saw: Tensor
    height: int


def shallow_path(network: nn.Module, lr: Tensor) -> list[Hop]:
    """The trained convolutions between input and output, along the way that has the fewest; none
    if a transposed one is among them, which has no middle tap."""
    first: dict[nn.Module, Hop] = {}

    def note(conv: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        first.setdefault(conv, Hop(conv, args[0].detach(), out.shape[2]))

    x = lr.clone().requires_grad_(True)
    with torch.enable_grad(), _hooks(network, note), _eval(network):
        end = network(x).grad_fn
    by_weight = {id(hop.conv.weight): hop for hop in first.values()}
    queue: list[tuple[int, int, Any, tuple[Hop | None, ...]]] = [(0, 0, end, ())]
    seen, number = set(), 0
    while queue:  # Dijkstra's, backwards through the autograd graph
        cost, _, node, path = heapq.heappop(queue)
        if getattr(node, "variable", None) is x:
            hops = [hop for hop in path if hop is not None]
            return hops if len(hops) == len(path) else []
        if node in seen:
            continue
        seen.add(node)
        before = [n for n, _ in node.next_functions if n is not None]
        if node.name().startswith("ConvolutionBackward"):
            weight = node.next_functions[1][0]
            if weight is not None:
                path = (by_weight.get(id(getattr(weight, "variable", None))), *path)
            cost, before = cost + 1, before[:1]
        for n in before:
            number += 1  # among equals, the one met first; nodes themselves have no order
            heapq.heappush(queue, (cost, number, n, path))
    return []


@torch.no_grad()
def carry_picture(path: Sequence[Hop], hr_height: int, colours: int = 3) -> None:
    """Identity taps for the first channels of every layer on the path, see above."""
    full = [k for k, hop in enumerate(path) if hop.conv.groups == 1]
    first, last = full[0], full[-1]
    signs = 2 if bool((path[first].saw < 0).any()) else 1
    heights = [hop.saw.shape[2] for hop in path[1:]] + [hr_height]
    heights[last] = hr_height  # depthwise layers may lie between the last one and its shuffling
    for k, (hop, after) in enumerate(zip(path, heights, strict=True)):
        conv, w = hop.conv, hop.conv.weight
        middle = w.shape[2] // 2, w.shape[3] // 2
        if conv.groups > 1:  # depthwise; behind the last full layer, all channels are the picture
            n = conv.out_channels if not first < k < last else colours * signs
            w[:n] = 0
            w[(slice(n), 0, *middle)] = 1
        else:
            if k == last:
                w.mul_(QUIET)
            copies = (after // hop.height) ** 2  # what PixelShuffle makes one of
            n = colours * copies if k == last else colours * signs * copies
            w[:n, : colours * signs] = 0
            if k != last:
                w[:n] = 0
            for channel in range(n):
                colour = channel // copies
                if k == first:  # the picture comes in here
                    w[(channel, colour % colours, *middle)] = 1 - 2 * (colour // colours)
                else:
                    w[(channel, colour, *middle)] = 1
                    if k == last and signs == 2:
                        w[(channel, colour + colours, *middle)] = -1
        if conv.bias is not None:
            conv.bias[:n] = 0


@torch.no_grad()
def match_levels(
    network: nn.Module, path: Sequence[Hop], lr: Tensor, hr: Tensor, squash: Squash
) -> None:
    """One factor and one bias for the last layer, by least squares: what it carries may have been
    added to itself on the way, and has to come out of ``squash`` as large as it went in."""
    last = [hop.conv for hop in path if hop.conv.groups == 1][-1]
    end = path[-1].conv
    weight = last.weight.clone()
    last.weight.zero_()
    with _eval(network):
        base = _undo(network(lr), squash)  # what comes out when the layer says nothing
        last.weight.copy_(weight)
        said = (_undo(network(lr), squash) - base).flatten().double()
    wanted = (_undo(hr, squash) - base).flatten().double()
    if end.bias is None:
        last.weight.mul_(said @ wanted / (said @ said))
        return
    gain = ((said - said.mean()) @ (wanted - wanted.mean())) / (said - said.mean()).square().sum()
    last.weight.mul_(gain)
    end.bias.add_(wanted.mean() - gain * said.mean())


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
