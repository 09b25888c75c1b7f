"""What a network asks of memory, read off one run over a very small picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from srcli.engine.pytorch.adapter import RgbAdapter
from srcli.engine.pytorch.maps import Source
from srcli.engine.pytorch.storage import Budget
from srcli.engine.pytorch.tiling import TileRun

SIDE = 32  # LR pixels of the very small picture: over every network's least size


@dataclass(frozen=True)
class Profile:
    """Bytes are for one LR pixel in fp32.

    Attributes:
        sweeps: passes over the tiles, the last one included.
        map_bytes: maps stored at one time, at most.
        widest_bytes: the largest tensor inside a tile.
    """

    sweeps: int
    map_bytes: int
    widest_bytes: int


class _Widest(TorchFunctionMode):
    """Notes the largest tensor that any operation returns.

    Not a TorchDispatchMode: its first call imports PyTorch's compiler, which takes a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_bytes = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.n_bytes = max(self.n_bytes, out.numel() * out.element_size())
        return out


def profile(adapted: RgbAdapter) -> Profile:
    """Run the network by stages over SIDE x SIDE pixels on its own device."""
    first = next(adapted.parameters())
    budget = Budget(2**34)
    run = TileRun((SIDE, SIDE), (SIDE, SIDE), budget, device=first.device, dtype=torch.float32)
    lr = torch.zeros((1, 3, SIDE, SIDE), device=first.device)
    widest = _Widest()
    with torch.inference_mode(), widest:
        result = adapted.stages(run, Source(lambda region: lr[:, :, *region.index]))
        for _ in run.rows(result, 3, torch.float32):
            pass
    pixels = SIDE * SIDE
    bytes_per_element = first.element_size()
    return Profile(
        run.statistics.sweeps,
        budget.peak_bytes // pixels,
        widest.n_bytes * 4 // bytes_per_element // pixels,
    )
