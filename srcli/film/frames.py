"""One frame through the engine: samples in, samples out, in float between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from srcli.engine.engine import Engine
from srcli.engine.resampler import Resampler
from srcli.engine.result import Report
from srcli.film.colour import MATRICES, Conversion, assumed_matrix
from srcli.film.decode import Planes
from srcli.film.description import Colour
from srcli.film.formats import Layout
from srcli.film.options import AlphaMode
from srcli.media.alpha import bleed


@dataclass(frozen=True)
class Prepared:
    """A frame before the network.

    Attributes:
        lr: (h, w, 1 or 3), 0..1.
        beyond: what of the frame lies beyond, (h, w, 1 or 3); None if nothing does.
        alpha: (h, w) samples of transparency, if they shall be kept.
    """

    lr: Tensor
    beyond: Tensor | None
    alpha: NDArray[Any] | None


@dataclass(frozen=True)
class Enlarged:
    """A frame behind the network: ``sr`` (height, width, 1 or 3), ``beyond`` as it was, and
    ``alpha`` (height, width), 0 to 1."""

    sr: Tensor
    beyond: Tensor | None
    alpha: Tensor | None


class FrameUpscaler:
    """Enlarges the frames of one film; all have the same size and layout. What comes before the
    network and what comes behind it may run in threads of their own.

    Args:
        engine: its networks are used frame after frame.
        passes: native scales to run one after the other.
        size: (height, width) of the result.
        before, after: what samples mean, in and out.
        alpha: how transparency is enlarged, where the frames have some and the result shall.
        reserve_bytes: memory that frames waiting elsewhere take.
    """

    def __init__(
        self,
        engine: Engine,
        passes: Sequence[int],
        size: tuple[int, int],
        before: Conversion,
        after: Conversion,
        reserve_bytes: int = 0,
        alpha: AlphaMode = "network",
    ) -> None:
        self.engine, self.passes, self.size = engine, passes, size
        self.before, self.after, self.reserve_bytes = before, after, reserve_bytes
        self.alpha_mode = alpha

    def prepared(self, planes: Planes) -> Prepared:
        """A frame's samples as the network is given them.

        The network sees what it was trained on, 0..1. What lies beyond (whiter than white, colours
        that only YUV has) goes past it, enlarged linearly, and is added again.
        """
        whole = self.before.to_rgb(planes)
        lr = whole.clamp(0, 1)
        beyond = whole - lr
        if self._keeps_alpha:  # hidden colours must not come in from under transparent pixels
            sixteen = (lr * 65535).round_().to(torch.uint16).numpy()
            filled = bleed(sixteen, planes[-1].astype(np.uint16))
            if filled is not sixteen:
                hidden = torch.from_numpy(planes[-1] == 0)[:, :, None]
                lr = torch.where(hidden, torch.from_numpy(filled.astype(np.float32)) / 65535, lr)
                beyond = torch.where(hidden, 0, beyond)
        plane = planes[-1] if self._keeps_alpha else None
        return Prepared(lr, beyond if bool(beyond.any()) else None, plane)

    def enlarged(self, frame: Prepared, report: Report | None = None) -> Enlarged:
        """The network's work."""
        sr = self._through_network(frame.lr, report)
        alpha = None if frame.alpha is None else self._enlarged_alpha(frame.alpha)
        return Enlarged(sr, frame.beyond, alpha)

    def rgb(self, frame: Enlarged) -> Tensor:
        """The frame in float, (height, width, 1 or 3), beyond 0..1 where the source is."""
        if frame.beyond is None:
            return frame.sr
        return frame.sr + functional.interpolate(
            frame.beyond.permute(2, 0, 1)[None], self.size, mode="bilinear", align_corners=False
        )[0].permute(1, 2, 0)

    def alpha(self, frame: Enlarged) -> Tensor:
        """The frame's transparency, (height, width), 0 to 1: 1 where the source has none."""
        return torch.ones(self.size) if frame.alpha is None else frame.alpha

    def raw(self, frame: Enlarged) -> bytes:
        """The frame's samples."""
        return self.after.raw(
            self.rgb(frame), self.alpha(frame) if self.after.layout.alpha else None
        )

    def _enlarged_alpha(self, plane: NDArray[Any]) -> Tensor:
        """Transparency enlarged. What resampling finds full or empty stays so: a network leaves it
        a level or two off, which shows."""
        if (plane == plane[0, 0]).all():
            return torch.full(self.size, float(plane[0, 0]) / self.before.layout.maximum)
        lr = torch.from_numpy(plane.astype(np.float32))[:, :, None] / self.before.layout.maximum
        resampler = Resampler("lanczos" if self.alpha_mode == "lanczos" else "bicubic")
        strips = resampler.strips(lr.numpy(), (), self.size)
        coarse = torch.from_numpy(np.concatenate(list(strips))).clamp_(0, 1)[:, :, 0]
        if self.alpha_mode == "lanczos":
            return coarse
        fine = self._through_network(lr, None).clamp_(0, 1)[:, :, 0]
        level = 0.5 / self.after.layout.maximum
        return torch.where((coarse < level) | (coarse > 1 - level), coarse, fine)

    @property
    def _keeps_alpha(self) -> bool:
        return self.before.layout.alpha and self.after.layout.alpha and self.alpha_mode != "discard"

    def _through_network(self, lr: Tensor, report: Report | None) -> Tensor:
        strips = self.engine.strips(
            lr.numpy(), self.passes, self.size, reserve_bytes=self.reserve_bytes, report=report
        )
        parts = [torch.from_numpy(np.ascontiguousarray(strip)) for strip in strips]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def conversions(
    source: Layout,
    result: Layout,
    colour: Colour,
    lr_size: tuple[int, int],
    sr_size: tuple[int, int],
) -> tuple[Conversion, Conversion, Colour]:
    """How frames are read and written, and the colour that the result is marked with.

    Args:
        source, result: layouts.
        colour: of the source.
        lr_size, sr_size: (height, width).
    """
    before = Conversion.of(source, colour, lr_size)
    marked = colour
    if result.kind == "rgb":
        marked = replace(colour, matrix="gbr", full_range=True, location=None)
    elif result.kind == "yuv" and source.kind == "rgb":
        marked = replace(colour, matrix="bt709", full_range=False, location="left")
    elif result.kind == "yuv" and source.kind == "grey":
        marked = replace(colour, matrix=before.matrix, full_range=before.full_range)
    elif colour.matrix is None and assumed_matrix(lr_size) != assumed_matrix(sr_size):
        # a player would guess another matrix by the new size
        marked = replace(colour, matrix=before.matrix)
    known = marked if marked.matrix in MATRICES else replace(marked, matrix=before.matrix)
    return before, Conversion.of(result, known, lr_size), marked
