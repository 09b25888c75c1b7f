"""GhostSR: half of what a convolution gives is the other half, shifted. A change of any network.

Nie et al., "GhostSR: learning ghost features for efficient image super-resolution", TMLR 2022,
arXiv 2101.08525. Code of origin: github.com/mindspore-ai/models (research/cv/GhostSR), Apache-2.0,
in MindSpore, where EDSR is changed so. In training the code adds Gumbel noise, less of it from
epoch to epoch, before it chooses a shift; here the choice is made without. The paper's clustering
of a trained network's filters is in neither.

A shift looks one pixel further than the network's own ``stages`` say. `Ghosted` finds out which of
their locals contain shifts, on one small picture, and widens the halos of those.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.merging import Expanded, Mergeable
from srcli.archs.stages import Map, Output, Run
from srcli.archs.whole import Whole, WholeRun

SHIFTS = 3  # rows and columns of where a shift may come from
SIDE = 32  # of a picture that every network takes


class Shift(Mergeable):
    """All channels moved by one and the same pixel at most, to where the largest weight is.

    Args:
        n_feats: channels.
    """

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.n_feats = n_feats
        self.weight = nn.Parameter(torch.randn(1, 1, SHIFTS, SHIFTS))

    def kernel(self) -> Tensor:
        """(1, 1, 3, 3): one 1, the rest 0; its gradient is that of the weights."""
        size = self.weight.abs().flatten()
        chosen = F.one_hot(size.argmax(), len(size)).to(self.weight).view_as(self.weight)
        return chosen + self.weight - self.weight.detach() if self.training else chosen

    def merged(self) -> nn.Module:
        """The choice itself for weights, which no rounding changes."""
        fixed = Shifted(self.kernel()).eval()
        return fixed.requires_grad_(self.weight.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel().expand(self.n_feats, 1, SHIFTS, SHIFTS)
        return F.conv2d(x.to(kernel.dtype), kernel, padding=SHIFTS // 2, groups=self.n_feats)


class Shifted(nn.Module):
    """A `Shift` whose choice is made; no product is needed for it.

    Args:
        weight: (1, 1, 3, 3): a 1 where the pixel comes from, among zeros.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.place: tuple[int, int] | None = None  # of the 1; None: to be looked up
        self.register_load_state_dict_post_hook(_look_up_again)  # type: ignore[no-untyped-call]
        self.look_up()

    def look_up(self) -> tuple[int, int]:
        if self.place is None:
            self.place = divmod(int(self.weight.detach().argmax()), SHIFTS)
        return self.place

    def forward(self, x: Tensor) -> Tensor:
        i, j = self.look_up()
        return F.pad(x, (1, 1, 1, 1))[:, :, i : i - 2 or None, j : j - 2 or None]


def _look_up_again(shifted: nn.Module, _: Any) -> None:
    cast("Shifted", shifted).place = None


class GhostConv(nn.Module):
    """In the place of a `regular` convolution; looks one pixel further.

    Args:
        conv: whose channels, kernel, padding and bias it has.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        n_primary = -(-conv.out_channels // 2)
        self.n_ghosts = conv.out_channels - n_primary
        self.primary_conv = nn.Conv2d(
            conv.in_channels,
            n_primary,
            cast("tuple[int, int]", conv.kernel_size),
            padding=cast("tuple[int, int]", conv.padding),
            bias=conv.bias is not None,
        )
        self.cheap_conv = Shift(self.n_ghosts)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        return torch.cat([primary, self.cheap_conv(primary[:, : self.n_ghosts])], 1)


def ghosted(network: nn.Module, patterns: Sequence[str]) -> nn.Module:
    """The network, changed: ghost convolutions in the place of regular ones.

    Args:
        network: as its constructor left it.
        patterns: names of the convolutions; * stands for anything.

    Raises:
        ValueError: a pattern names no regular convolution.
    """
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise ValueError(f"ghost must be a list of names of convolutions, not {patterns!r}")
    known = regular(network)
    for pattern in patterns:
        names = fnmatch.filter(known, pattern)
        if not names:
            raise ValueError(f"ghost: the network has no regular convolution {pattern!r}")
        for name in names:
            if isinstance(conv := network.get_submodule(name), nn.Conv2d):
                network.set_submodule(name, GhostConv(conv))
    kind: Any = type(network)
    network.__class__ = _ghosted_class(kind)
    return network


def regular(network: nn.Module) -> list[str]:
    """Names of the convolutions that a ghost convolution can stand for: of all channels, with
    stride 1, an odd kernel larger than 1 and "same" zero padding; none that will be merged."""
    merged = [f"{name}." for name, m in network.named_modules() if isinstance(m, Mergeable)]
    return [
        name
        for name, m in network.named_modules()
        if type(m) is nn.Conv2d
        and m.groups == 1
        and m.out_channels > 1
        and m.stride == m.dilation == (1, 1)
        and min(m.kernel_size) > 1
        and m.padding_mode == "zeros"
        and all(k % 2 and p == k // 2 for k, p in zip(m.kernel_size, m.padding, strict=True))
        and m.weight.requires_grad
        and not name.startswith(tuple(merged))
    ]


def between_features(network: nn.Module, channels: int) -> list[str]:
    """Of the `regular` convolutions those that make features of features: the paper's choice.

    Left out are those that see the picture, those after which no other one comes, and those whose
    channels are shuffled into pixels.

    Args:
        network: as its constructor left it; it is left so.
        channels: of the picture.
    """
    picture = torch.zeros((1, channels, SIDE, SIDE), requires_grad=True)
    with torch.enable_grad(), _evaluating(network):
        end = network(picture).grad_fn
    ends = set(_convolutions_before(end))
    first: set[Any] = set()
    for node in _nodes(end):
        if node.name().startswith("PixelShuffle"):
            ends.update(_convolutions_before(node.next_functions[0][0]))
        elif _is_convolution(node) and _sees(node.next_functions[0][0], picture):
            first.add(node)
    left_out = {id(_weight(node)) for node in ends | first}
    return [n for n in regular(network) if id(network.get_submodule(n).weight) not in left_out]


def _is_convolution(node: Any) -> bool:
    """Whether a trained convolution; a fixed one, that shifts the mean colour, is as none."""
    return node.name().startswith("ConvolutionBackward") and _weight(node) is not None


def _weight(node: Any) -> Any:
    """The parameter of a convolution in the graph, if it is trained."""
    return getattr(node.next_functions[1][0], "variable", None)


def _nodes(start: Any, *, through: bool = True) -> Iterator[Any]:
    """The graph behind a node, itself included; ``through``: also behind convolutions."""
    waiting, seen = [start], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if through or not _is_convolution(node):
            waiting.extend(n for n, _ in node.next_functions)


def _convolutions_before(node: Any) -> list[Any]:
    """Those whose outputs come here without another convolution between."""
    return [n for n in _nodes(node, through=False) if _is_convolution(n)]


def _sees(node: Any, picture: Tensor) -> bool:
    """Whether the picture comes here without a convolution between."""
    return any(getattr(n, "variable", None) is picture for n in _nodes(node, through=False))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


# ------------------------------------------------------------------------------------- its tiles


class Ghosted(Expanded):
    """What a changed network is besides; stands before its class."""

    further: tuple[int, ...] | None = None  # pixels, of each local in its order

    def stages(self, run: Run, lr: Map) -> Map:
        plain: Any = super()
        if self.further is None:
            self.further = _measured(self, plain.stages)
        result: Map = plain.stages(Wider(run, self.further), lr)
        return result


@cache
def _ghosted_class(kind: Any) -> Any:
    return type(f"Ghost{kind.__name__}", (Ghosted, kind), {})


def _measured(network: nn.Module, stages: Callable[[Run, Map], Map]) -> tuple[int, ...]:
    """How many shifts each local contains, by one run over a small picture."""
    run = Counting()
    first = next(network.parameters())
    handles = [
        m.register_forward_pre_hook(run.count)
        for m in network.modules()
        if isinstance(m, Shift | Shifted)
    ]
    try:
        with torch.no_grad():
            for channels in (3, 1):  # RGB, or luma alone
                run.found.clear()
                with suppress(RuntimeError):
                    picture = torch.zeros((1, channels, SIDE, SIDE)).to(first)
                    stages(run, Whole(picture))
                    return tuple(run.found)
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError("the network takes neither RGB nor luma")


class Counting(WholeRun):
    """Counts the shifts inside each local."""

    def __init__(self) -> None:
        self.n = 0
        self.found: list[int] = []

    def count(self, *_: Any) -> None:
        self.n += 1

    def local(
        self,
        fn: Callable[..., Tensor],
        *inputs: Map,
        halo: int = 0,
        scale: int | Fraction = 1,
        where: bool = False,
    ) -> Map:
        before = self.n
        result = super().local(fn, *inputs, halo=halo, scale=scale, where=where)
        self.found.append(self.n - before)
        return result

    def sweep(self, *outputs: Output) -> tuple[Any, ...]:
        before = self.n
        results = super().sweep(*outputs)
        assert self.n == before, "windows have no shifts, for those pad"
        return results


class Wider:
    """A run whose locals look further.

    Args:
        run: that it stands for.
        further: pixels of each local's larger map, in their order.
    """

    def __init__(self, run: Run, further: Sequence[int]) -> None:
        self.run, self.further = run, iter(further)
        self.sweep, self.keep, self.cache = run.sweep, run.keep, run.cache

    def local(
        self,
        fn: Callable[..., Tensor],
        *inputs: Map,
        halo: int = 0,
        scale: int | Fraction = 1,
        where: bool = False,
    ) -> Map:
        further = next(self.further) * Fraction(scale).denominator
        return self.run.local(fn, *inputs, halo=halo + further, scale=scale, where=where)
