"""One frame through the engine: samples in, samples out, in float between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srcli.engine.open import Engine
from srcli.engine.result import Report
from srcli.film.colour import MATRICES, Conversion, assumed_matrix
from srcli.film.decode import Planes
from srcli.film.formats import Layout
from srcli.film.probe import Colour


class FrameUpscaler:
    """Enlarges the frames of one film; all have the same size and layout.

    Args:
        engine: its networks are used frame after frame.
        passes: native scales to run one after the other.
        size: (height, width) of the result.
        before, after: what samples mean, in and out.
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
    ) -> None:
        self.engine, self.passes, self.size = engine, passes, size
        self.before, self.after, self.reserve_bytes = before, after, reserve_bytes
        self.network_s = 0.0  # that the engine took for the last frame

    def rgb(self, planes: Planes, report: Report | None = None) -> Tensor:
        """The enlarged frame, (height, width, 1 or 3), beyond 0..1 where the source is.

        The network sees what it was trained on, 0..1. What lies beyond (whiter than white, colours
        that only YUV has) goes past it, enlarged linearly, and is added again.
        """
        whole = self.before.to_rgb(planes)
        lr = whole.clamp(0, 1)
        beyond = whole - lr
        began = time.perf_counter()
        strips = self.engine.strips(
            lr.numpy(), self.passes, self.size, reserve_bytes=self.reserve_bytes, report=report
        )
        parts = [torch.from_numpy(np.ascontiguousarray(strip)) for strip in strips]
        self.network_s = time.perf_counter() - began
        sr = parts[0] if len(parts) == 1 else torch.cat(parts)
        if bool(beyond.any()):
            sr = sr + functional.interpolate(
                beyond.permute(2, 0, 1)[None], self.size, mode="bilinear", align_corners=False
            )[0].permute(1, 2, 0)
        return sr

    def raw(self, planes: Planes, report: Report | None = None) -> bytes:
        """The enlarged frame's samples."""
        return self.after.raw(self.rgb(planes, report))


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
