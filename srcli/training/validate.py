"""PSNR-Y on benchmark folders while training: whole pictures, on the device, in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srcli.errors import UsageError
from srcli.quality.metrics import modcrop, psnr_y
from srcli.quality.resize import resize
from srcli.training.packing import SUFFIXES, read_rgb


@dataclass(frozen=True)
class Pair:
    """One picture: ``lr`` (1, 3, h, w) uint8 on the device, ``hr`` (h s, w s, 3) uint8."""

    name: str
    lr: Tensor
    hr: NDArray[np.uint8]


@dataclass(frozen=True)
class Benchmark:
    """A folder with ``HR/`` and, if it is there, ``LRx{scale}/``."""

    name: str
    scale: int
    pairs: tuple[Pair, ...]

    @classmethod
    def read(cls, folder: Path, scale: int, device: torch.device) -> Benchmark:
        """All pictures into memory; LR by the exact bicubic where it is missing.

        Raises:
            UsageError: there is no HR folder, or nothing in it.
        """
        paths = sorted(p for p in (folder / "HR").glob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise UsageError(
                f"{folder} has no pictures under HR/.", "--validate wants such a folder."
            )
        pairs = []
        for path in paths:
            hr = modcrop(read_rgb(path), scale)
            lr_path = folder / f"LRx{scale}" / path.name
            size = hr.shape[0] // scale, hr.shape[1] // scale
            lr = read_rgb(lr_path) if lr_path.is_file() else resize(hr, size)
            tensor = torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].to(device)
            pairs.append(Pair(path.stem, tensor, hr))
        return cls(folder.name, scale, tuple(pairs))

    def score(self, network: nn.Module, maximum: float = 1.0) -> float:
        """Mean PSNR-Y, dB, of a network in 0..``maximum``."""
        scores = [psnr_y(enlarge(network, p.lr, maximum), p.hr, self.scale) for p in self.pairs]
        return sum(scores) / len(scores)


@torch.no_grad()
def enlarge(network: nn.Module, lr: Tensor, maximum: float = 1.0) -> NDArray[np.uint8]:
    """(1, 3, h, w) uint8 -> (h s, w s, 3) uint8; fp32, TF32 off."""
    training = network.training
    network.eval()
    with _exact():
        sr = network(lr.float() * (maximum / 255))
    network.train(training)
    out = (sr[0] * (255 / maximum)).clamp(0, 255).round().byte()
    return np.ascontiguousarray(out.permute(1, 2, 0).cpu().numpy())


def strip(
    pairs: Sequence[Pair], network: nn.Module, scale: int, maximum: float = 1.0, side: int = 96
) -> NDArray[Any]:
    """Crops of some pictures in rows: LR (enlarged), bicubic, the network now, HR; uint8 RGB."""
    rows = []
    for pair in pairs:
        sr, hr = enlarge(network, pair.lr, maximum), pair.hr
        lr = pair.lr[0].permute(1, 2, 0).cpu().numpy()
        y, x = ((n - side) // 2 // scale * scale for n in hr.shape[:2])
        cut = np.s_[max(y, 0) : max(y, 0) + side, max(x, 0) : max(x, 0) + side]
        near = lr.repeat(scale, 0).repeat(scale, 1)
        bicubic = resize(np.ascontiguousarray(lr), (hr.shape[0], hr.shape[1]))
        row = np.concatenate([picture[cut] for picture in (near, bicubic, sr, hr)], 1)
        room = np.zeros((side, 4 * side, 3), np.uint8)
        room[: row.shape[0], : row.shape[1]] = row
        rows.append(room)
    return np.concatenate(rows)


@contextmanager
def _exact() -> Iterator[None]:
    """fp32 means fp32; and no trying of algorithms for pictures of every size."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = False, False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
