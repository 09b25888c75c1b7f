"""What goes into a network and what comes out of it, converted: preprocessing and postprocessing.

Every network is given and gives what it was trained on: RGB or BGR, luma alone, YCbCr, 0..1 or
0..255, the picture as it is or enlarged already; its catalogue entry says which. Everything else in
the program sees RGB in 0..1. The adapter is one affine map of the three channels, and bicubic
enlargement of what the network does not see or wants larger; both are written over maps as a
network is, so they are tiled with it, and both are part of an exported graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli.archs.stages import Map, Run
from srcli.catalog.entries import Colour, Preprocessing
from srcli.quality.resize import phase_weights

BICUBIC_HALO = 2  # four taps: two on either side of the nearest sample

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Space:
    """A colour space of three channels, RGB in 0..1 at the other end.

    Attributes:
        matrix, offset: channel i is matrix[i] . rgb + offset[i].
        inverse: colour i is inverse[i] . (channels - offset).
    """

    matrix: Rows
    offset: tuple[float, ...]
    inverse: Rows

    def of(self, rgb: Tensor, channels: Sequence[int]) -> Tensor:
        """(n, 3, h, w) RGB -> these channels, (n, len(channels), h, w)."""
        rows = [self.matrix[k] for k in channels]
        return _affine(rgb, rows, [self.offset[k] for k in channels])

    def rgb(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) of all channels -> RGB."""
        shift = [-sum(a * o for a, o in zip(row, self.offset, strict=True)) for row in self.inverse]
        return _affine(x, self.inverse, shift)


def _affine(x: Tensor, rows: Sequence[Sequence[float]], offset: Sequence[float]) -> Tensor:
    """Sums of channels, each in fp32 whatever a device does to matrix products."""
    whole = len(rows) == x.shape[1]
    if whole and all(_passes(row, k, offset[k]) for k, row in enumerate(rows)):
        return x
    out = []
    for row, shift in zip(rows, offset, strict=True):
        terms = [x[:, k : k + 1] * a if a != 1 else x[:, k : k + 1] for k, a in enumerate(row) if a]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        out.append(total + shift if shift else total)
    return torch.cat(out, 1)


def _passes(row: Sequence[float], k: int, shift: float) -> bool:
    return shift == 0 and all(a == (i == k) for i, a in enumerate(row))


def _inverse(matrix: Rows) -> Rows:
    return tuple(tuple(map(float, row)) for row in np.linalg.inv(np.array(matrix)))


def _scaled(rows: Sequence[Sequence[float]], factor: float) -> Rows:
    return tuple(tuple(a * factor for a in row) for row in rows)


_RGB: Rows = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_BGR: Rows = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
_601 = _scaled(
    ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214)), 1 / 255
)
# JPEG's own five decimals, both ways, which the weights trained on it were given
_JFIF: Rows = ((0.299, 0.587, 0.114), (-0.16874, -0.33126, 0.5), (0.5, -0.41869, -0.08131))
_JFIF_BACK: Rows = ((1.0, 0.0, 1.402), (1.0, -0.34414, -0.71414), (1.0, 1.772, 0.0))

SPACES: Mapping[Colour, Space] = {
    "rgb": Space(_RGB, (0, 0, 0), _RGB),
    "bgr": Space(_BGR, (0, 0, 0), _BGR),
    "y": Space(_601, (16 / 255, 128 / 255, 128 / 255), _inverse(_601)),
    "ycbcr": Space(_JFIF, (0, 128 / 255, 128 / 255), _JFIF_BACK),
}


def enlarged(x: Tensor, scale: int) -> Tensor:
    """(n, c, h, w) -> (n, c, h s, w s): MATLAB's bicubic, as srcli.quality.resize computes it.

    Equal to ``resize`` of floats up to the rounding of x's dtype, on any cut that is
    ``BICUBIC_HALO`` wider than what is used of it.
    """
    return _stretched(_stretched(x, 2, scale), 3, scale)


def _stretched(x: Tensor, axis: int, scale: int) -> Tensor:
    n = x.shape[axis]
    at = torch.arange(-BICUBIC_HALO, n + BICUBIC_HALO, device=x.device) % (2 * n)
    padded = x.index_select(axis, torch.minimum(at, 2 * n - 1 - at))  # symmetric, at any n
    phases = []
    for row in _weights(scale):
        terms = [padded.narrow(axis, k, n) * w for k, w in enumerate(row) if w]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        phases.append(total)
    return torch.stack(phases, axis + 1).flatten(axis, axis + 1)


@cache
def _weights(scale: int) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, phase_weights(scale).tolist()))


class RgbAdapter(nn.Module):
    """A network with preprocessing and postprocessing.

    RGB (n, 3, h, w) in 0..1 to RGB (n, 3, h s, w s), about 0..1.

    Args:
        network: takes and gives what ``preprocessing`` says, in its parameters' dtype.
        preprocessing: of the catalogue entry.
        scale: native factor.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, scale: int) -> None:
        super().__init__()
        self.network, self.preprocessing, self.scale = network, preprocessing, scale
        self.space = SPACES[preprocessing.colour]
        self.seen = range(preprocessing.channels)
        self.unseen = range(preprocessing.channels, 3)

    def colour(self, rgb: Tensor) -> Tensor:
        """What the network sees of a picture of any size, in its own range, fp32."""
        x = self.space.of(rgb, self.seen)
        return x * self.preprocessing.maximum if self.preprocessing.maximum != 1 else x

    def as_rgb(self, seen: Tensor) -> Tensor:
        """What `colour` gave, white being 1, as RGB; luma alone as grey."""
        return self.space.rgb(seen) if not self.unseen else seen.expand(-1, 3, -1, -1)

    def preprocess(self, rgb: Tensor) -> Tensor:
        """``colour``, enlarged if the network wants that, in fp32."""
        x = self.colour(rgb)
        return enlarged(x, self.scale) if self.preprocessing.enlarged else x

    def around(self, rgb: Tensor) -> Tensor:
        """The channels that the network does not see, enlarged."""
        return enlarged(self.space.of(rgb, self.unseen), self.scale)

    def postprocess(self, sr: Tensor, *around: Tensor) -> Tensor:
        """The network's output, with ``around`` if there is any, as RGB in fp32."""
        sr = sr.float()
        if self.preprocessing.maximum != 1:
            sr = sr / self.preprocessing.maximum
        return self.space.rgb(torch.cat((sr, *around), 1) if around else sr)

    def forward(self, rgb: Tensor) -> Tensor:
        around = (self.around(rgb),) if self.unseen else ()
        return self.postprocess(self.network(self._cast(self.preprocess(rgb))), *around)

    def stages(self, run: Run, rgb: Map) -> Map:
        """``forward`` over maps."""
        halo, scale = (BICUBIC_HALO, self.scale) if self.preprocessing.enlarged else (0, 1)
        x = run.local(lambda rgb: self._cast(self.preprocess(rgb)), rgb, halo=halo, scale=scale)
        network: Any = self.network
        sr = network.stages(run, x)
        if not self.unseen:
            return run.local(self.postprocess, sr)
        around = run.local(self.around, rgb, halo=BICUBIC_HALO, scale=self.scale)
        return run.local(self.postprocess, sr, around)

    def _cast(self, x: Tensor) -> Tensor:
        """In the network's dtype and the memory layout that convolutions like."""
        dtype = next((p.dtype for p in self.network.parameters()), torch.float32)
        return x.to(dtype).contiguous(memory_format=torch.channels_last)
