"""Whether another runtime computes what PyTorch does: both run, and the results are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from srcli.engine.pytorch.network import Network
from srcli.engine.testcard import testcard
from srcli.errors import SrcliError

StoredAs = Literal["fp32", "fp16", "int8"]  # weights
Pixels = NDArray[np.float32]  # (n, 3, height, width)

# Differences that are allowed, of white. fp32: rounding in another order of sums stays below 1e-5.
# fp16: rounded weights move every sample a little, by at most 2.4e-3 with the authors' weights.
# int8, a root mean square: what lies between two levels is rounded to either, by the order of a
# sum; what rounding to eight bits itself changes is 2.5e-3 and more.
BOUNDS: dict[StoredAs, float] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 4e-3}
# odd, and unlike any multiple of a stride in a network; the second runs as a batch of two
SIZES = ((47, 61), (83, 39))


def sizes(network: Network) -> tuple[tuple[int, int], ...]:
    """(height, width) of the pictures that an export is compared on."""
    least, multiple = network.arch.min_size, network.arch.multiple

    def side(n: int) -> int:
        return -(-max(n, least) // multiple) * multiple

    return tuple((side(h), side(w)) for h, w in SIZES)


def compare(
    path: Path | str,
    run: Callable[[Pixels], Pixels],
    network: Network,
    stored_as: StoredAs,
    bound: float | None = None,
) -> float:
    """How much another runtime differs from the network: the most over pictures of all `sizes`.

    Args:
        path: of the export, for messages.
        run: (n, 3, h, w) to (n, 3, h s, w s), RGB in 0..1.
        stored_as: the largest difference is compared, or in eight bits its root mean square.
        bound: what is allowed, of white; None: as `BOUNDS` says.

    Raises:
        SrcliError: it is over the bound, or the sizes differ.
    """
    bound = BOUNDS[stored_as] if bound is None else bound
    measure = _root_mean_square if stored_as == "int8" else _largest
    module = network.adapted()
    largest = 0.0
    for count, (height, width) in enumerate(sizes(network), 1):
        lr = np.stack([testcard(height, width, seed) for seed in range(count)])
        with torch.inference_mode():
            wanted = module(torch.from_numpy(lr)).numpy()
        got = run(lr)
        if got.shape != wanted.shape:
            raise SrcliError(
                f"The export makes {got.shape[2:]} of {height} x {width} pixels, where "
                f"{network.arch.name} makes {wanted.shape[2:]}; {path} was not kept."
            )
        # of white, or of what comes out if that is more: untrained networks know no white
        peak = max(1.0, float(np.abs(wanted).max()))
        difference = measure(got.astype(np.float64) - wanted) / peak
        if not difference <= bound:  # a NaN is none either
            raise SrcliError(
                f"At {height} x {width} pixels the export differs by {difference:.1e} from "
                f"{network.arch.name} x{network.scale} here, over the bound of {bound:g}; "
                f"{path} was not kept."
            )
        largest = max(largest, difference)
    return largest


def _largest(difference: NDArray[np.float64]) -> float:
    return float(np.abs(difference).max())


def _root_mean_square(difference: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(difference).mean()))
