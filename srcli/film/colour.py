"""Samples of a film to RGB in float and back, once, without a loss that is not asked for.

YUV to RGB and back is the stream's own matrix and range (ITU-T H.273), unclipped. Chroma is
interpolated linearly where its samples lie, and reduced again by the dual of that: the analysis
filters of the biorthogonal spline wavelets (5, 3) for samples that lie on a luma sample, and (3, 1)
for those between two (Cohen, Daubechies, Feauveau, doi:10.1002/cpa.3160450502). So chroma that
nobody changed comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srcli.film.decode import Planes
from srcli.film.description import Colour
from srcli.film.formats import Layout

# kr and kb of the matrices, H.273 table 4
MATRICES = {
    "bt709": (0.2126, 0.0722),
    "fcc": (0.30, 0.11),
    "bt470bg": (0.299, 0.114),
    "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
}


def assumed_matrix(size: tuple[int, int]) -> str:
    """The matrix of a film that does not name one, as players guess it by (height, width)."""
    return "bt709" if size[0] > 576 or size[1] >= 1280 else "smpte170m"


@dataclass(frozen=True)
class Conversion:
    """From a layout's samples to RGB in float, and back.

    Attributes:
        layout: of the frames.
        matrix: a name in MATRICES; only yuv asks for it.
        full_range: black is 0 and white the greatest value; else 16 and 235, scaled to the bits.
        on_column, on_row: chroma lies on a luma column (row), not between two.
    """

    layout: Layout
    matrix: str
    full_range: bool
    on_column: bool = True
    on_row: bool = False

    @classmethod
    def of(cls, layout: Layout, colour: Colour, size: tuple[int, int]) -> Conversion:
        """For frames of a colour; what it does not say is assumed as players do.

        Args:
            size: (height, width) of the film, by which an unknown matrix is guessed.
        """
        matrix = colour.matrix or assumed_matrix(size)
        full = layout.kind != "yuv" if colour.full_range is None else colour.full_range
        location = colour.location or "left"
        return cls(
            layout,
            matrix if matrix in MATRICES else "bt709",
            full or layout.kind == "rgb",
            on_column=location in ("left", "topleft", "bottomleft"),
            on_row=location in ("top", "topleft"),
        )

    def to_rgb(self, planes: Planes) -> Tensor:
        """Samples as RGB (h, w, 3), or grey (h, w, 1); black is 0, white 1, and beyond."""
        height, width = planes[0].shape
        colours = planes[:-1] if self.layout.alpha else planes
        floats = [torch.from_numpy(p.astype(np.float32)) for p in colours]
        if self.layout.kind != "yuv":
            scaled = [self._luma(f) for f in floats]
            order = (0,) if len(scaled) == 1 else (2, 0, 1)
            return torch.stack([scaled[k] for k in order], 2)
        kr, kb = MATRICES[self.matrix]
        y = self._luma(floats[0])
        cb, cr = (self._enlarged(self._chroma(f), (height, width)) for f in floats[1:])
        rgb = torch.empty(height, width, 3)
        rgb[:, :, 0] = y + 2 * (1 - kr) * cr
        rgb[:, :, 2] = y + 2 * (1 - kb) * cb
        rgb[:, :, 1] = (y - kr * rgb[:, :, 0] - kb * rgb[:, :, 2]) / (1 - kr - kb)
        return rgb

    def from_rgb(self, rgb: Tensor) -> list[Tensor]:
        """RGB (h, w, 3) or grey (h, w, 1) as samples: planes of whole numbers, in float."""
        layout = self.layout
        grey = rgb.shape[2] == 1
        kr, kb = MATRICES[self.matrix]
        r, g, b = (rgb[:, :, 0],) * 3 if grey else rgb.permute(2, 0, 1).contiguous()
        if layout.kind == "rgb":
            return [self._quantised(c * self._span) for c in (g, b, r)]
        y = r if grey else kr * r + (1 - kr - kb) * g + kb * b
        planes = [self._quantised(y * self._span + self._black)]
        if layout.kind == "yuv":
            for c, k in ((b, kb), (r, kr)):
                plane = self._reduced((c - y) / (2 * (1 - k)))
                planes.append(self._quantised(plane * self._chroma_span + self._neutral))
        return planes

    def raw(self, rgb: Tensor, alpha: Tensor | None = None) -> bytes:
        """RGB or grey as a raw frame of the layout; alpha (h, w) from 0 to 1, if it has some."""
        dtype = "u1" if self.layout.bits == 8 else "<u2"
        planes = self.from_rgb(rgb)
        if self.layout.alpha:
            assert alpha is not None
            planes.append(self._quantised(alpha * self.layout.maximum))
        kind = torch.uint8 if self.layout.bits == 8 else torch.uint16
        return b"".join(
            p.to(kind).cpu().numpy().astype(dtype, copy=False).tobytes() for p in planes
        )

    @property
    def _span(self) -> float:
        """From black to white."""
        bits = self.layout.bits
        return (1 << bits) - 1 if self.full_range else 219 << (bits - 8)

    @property
    def _black(self) -> float:
        return 0 if self.full_range else 16 << (self.layout.bits - 8)

    @property
    def _chroma_span(self) -> float:
        bits = self.layout.bits
        return (1 << bits) - 1 if self.full_range else 224 << (bits - 8)

    @property
    def _neutral(self) -> float:
        return 1 << (self.layout.bits - 1)

    def _luma(self, samples: Tensor) -> Tensor:
        return (samples - self._black) / self._span

    def _chroma(self, samples: Tensor) -> Tensor:
        return (samples - self._neutral) / self._chroma_span

    def _quantised(self, samples: Tensor) -> Tensor:
        return samples.round_().clamp_(0, (1 << self.layout.bits) - 1)

    def _enlarged(self, chroma: Tensor, size: tuple[int, int]) -> Tensor:
        for axis, on in ((0, self.on_row), (1, self.on_column)):
            if self.layout.halved[axis]:
                chroma = interpolated(chroma, axis, size[axis], on)
        return chroma

    def _reduced(self, chroma: Tensor) -> Tensor:
        for axis, on in ((1, self.on_column), (0, self.on_row)):
            if self.layout.halved[axis]:
                chroma = halved(chroma, axis, on)
        return chroma


def interpolated(samples: Tensor, axis: int, n: int, on: bool) -> Tensor:
    """Twice as many samples along an axis, by linear interpolation.

    Args:
        samples: (h, w).
        n: how many are wanted: twice as many as there are, or one less.
        on: samples lie on the even ones of the result; else between two of its samples.
    """
    size = list(samples.shape)
    size[axis] = n
    result = samples.new_empty(size)
    even, odd = (result.narrow(axis, k, n - k)[_every_second(axis)] for k in (0, 1))
    m = odd.shape[axis]
    later = _shifted(samples, axis, 1)
    if on:
        even.copy_(samples.narrow(axis, 0, even.shape[axis]))
        torch.lerp(samples.narrow(axis, 0, m), later.narrow(axis, 0, m), 0.5, out=odd)
    else:
        earlier = _shifted(samples, axis, -1).narrow(axis, 0, even.shape[axis])
        torch.lerp(samples.narrow(axis, 0, even.shape[axis]), earlier, 0.25, out=even)
        torch.lerp(samples.narrow(axis, 0, m), later.narrow(axis, 0, m), 0.25, out=odd)
    return result


def _every_second(axis: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(None, None, 2),)


def _shifted(samples: Tensor, axis: int, by: int) -> Tensor:
    """Each sample's neighbour, the last of which is itself."""
    n = samples.shape[axis]
    if by > 0:
        return torch.cat((samples.narrow(axis, 1, n - 1), samples.narrow(axis, n - 1, 1)), axis)
    return torch.cat((samples.narrow(axis, 0, 1), samples.narrow(axis, 0, n - 1)), axis)


_ON = ((-2, -0.125), (-1, 0.25), (0, 0.75), (1, 0.25), (2, -0.125))
MOST_TAPS = 2  # on either side
_BETWEEN = ((-1, -0.25), (0, 0.75), (1, 0.75), (2, -0.25))


def halved(samples: Tensor, axis: int, on: bool) -> Tensor:
    """Half as many samples along an axis: what ``interpolated`` made of them comes back.

    Args:
        samples: (h, w). Of an odd number of samples between which chroma lies, the last is
            repeated.
        on: as ``interpolated``.
    """
    n = samples.shape[axis]
    m = -(-n // 2)
    taps: Sequence[tuple[int, float]] = _ON if on else _BETWEEN
    index = torch.arange(-MOST_TAPS, 2 * m + MOST_TAPS, device=samples.device)
    if on:  # mirrored about the outermost samples
        index = index.abs()
        index = torch.where(index > n - 1, 2 * (n - 1) - index, index)
    else:  # mirrored about the edges of the picture
        index = torch.where(index < 0, -1 - index, index)
        index = torch.where(index > n - 1, 2 * n - 1 - index, index)
    padded = samples.index_select(axis, index.clamp_(0, n - 1))
    # even and odd samples apart, each in a row, are read many times as fast as every second one
    pairs: Any = padded.unflatten(axis, (-1, 2))  # type: ignore[no-untyped-call]
    apart = [p.contiguous() for p in pairs.unbind(axis + 1)]
    total: Tensor | None = None
    for offset, weight in taps:
        place = MOST_TAPS + offset
        part = apart[place % 2].narrow(axis, place // 2, m) * weight
        total = part if total is None else total.add_(part)
    assert total is not None
    return total
