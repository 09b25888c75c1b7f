"""PSNR-Y on benchmark folders while training, by the code and the engine of ``srcli eval``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from srcli.archs.merging import Expanded
from srcli.archs.quantised import attach, imitate, split
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Upscaler
from srcli.engine.settings import Settings
from srcli.errors import MediaError, UsageError
from srcli.quality.benchmarks import Pair, read_folder
from srcli.quality.evaluate import evaluate, load_pair
from srcli.quality.resize import resize
from srcli.training.networks import Spec

Pixels = NDArray[Any]

NO_LIMIT = 2**40  # bytes: benchmark pictures are small, and packed photos count as resident
STRIP_PICTURES, STRIP_SIDE = 4, 96


class Validation:
    """Benchmark folders, decoded once, scored with the engine that users get.

    Args:
        folders: each with HR/ and perhaps LRxN/, as ``srcli eval`` takes them.
        spec: the network that will be scored.
        device: where.

    Raises:
        SrcliError: a folder has no pictures, or one cannot be read.
    """

    def __init__(self, folders: Sequence[Path], spec: Spec, device: torch.device) -> None:
        self.scale = spec.scale
        self.sets: dict[str, list[Pair]] = {}
        for folder in folders:
            found = read_folder(folder, spec.scale)
            if found.name in self.sets:
                raise UsageError(f"Two folders of --validate are named {found.name}.")
            pairs = []
            for pair in found.pairs:
                lr, hr = load_pair(pair, spec.scale)
                pairs.append(Pair(pair.name, hr, lr))
            self.sets[found.name] = pairs
        self._spec = spec
        self._module = self._plain(spec.build())  # what is trained has another form
        self._settings = Settings(device=str(device), precision="fp32", memory_bytes=NO_LIMIT)

    def score(self, network: nn.Module) -> tuple[dict[str, float], dict[str, Pixels]]:
        """Mean PSNR-Y of each folder, dB, and the enlarged pictures of the first by name."""
        state = self._plain(network).state_dict()
        attach(self._module, split(state)[1])
        imitate(self._module)
        self._module.load_state_dict(state)
        with _flags():
            # an engine of its own each time: it derives what it runs from the weights of that time
            engine = Upscaler(self._network, self._settings)
        scores: dict[str, float] = {}
        pictures: dict[str, Pixels] = {}
        for name, pairs in self.sets.items():
            save = pictures.__setitem__ if not scores else None
            with _flags():
                result = evaluate(engine, pairs, self.scale, save=save)
            if result.failures or result.psnr_y is None:
                raise MediaError(f"{name} cannot be scored: {result.failures[0].error}")
            scores[name] = round(result.psnr_y, 4)
        return scores, pictures

    def _network(self, scale: int) -> Network:
        return Network(self._module, self._spec.entry, self._spec.preprocessing, scale)

    def _plain(self, network: nn.Module) -> nn.Module:
        """As the engine runs it: an expanded network merged."""
        return network.merge() if isinstance(network, Expanded) else network

    def strips(self, pictures: Mapping[str, Pixels]) -> Pixels:
        """Crops of the first folder's first pictures in rows: LR (pixels repeated), bicubic, now,
        HR; uint8 RGB."""
        pairs = next(iter(self.sets.values()))[:STRIP_PICTURES]
        return np.concatenate([_row(pair, pictures[pair.name], self.scale) for pair in pairs])


def _row(pair: Pair, sr: Pixels, scale: int) -> Pixels:
    lr, hr = pair.lr, pair.hr
    assert isinstance(lr, np.ndarray) and isinstance(hr, np.ndarray)
    y, x = (max(0, (n - STRIP_SIDE) // 2 // scale * scale) for n in hr.shape[:2])
    cut = np.s_[y : y + STRIP_SIDE, x : x + STRIP_SIDE]
    near = lr.repeat(scale, 0).repeat(scale, 1)
    bicubic = resize(lr, (hr.shape[0], hr.shape[1]))
    row = np.concatenate([picture[cut] for picture in (near, bicubic, sr, hr)], 1)
    room = np.zeros((STRIP_SIDE, 4 * STRIP_SIDE, 3), np.uint8)
    room[: row.shape[0], : row.shape[1]] = row
    return room


@contextmanager
def _flags() -> Iterator[None]:
    """The engine forbids TF32 for the whole process; training has it back afterwards. And no
    trying of algorithms for pictures of every size."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = False, False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
