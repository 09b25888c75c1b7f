"""Animations: a canvas on which each frame draws a part, whatever the file format.

A frame in a GIF, an APNG or a WebP is a still picture of that format without its head. Reading
makes it one again, and writing takes one apart, so that stills and animations share their codecs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # uint8 or uint16
Disposal = Literal["keep", "clear", "restore"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one frame draws.

    Attributes:
        x, y, width, height: where, in pixels of the canvas.
        seconds: how long it is seen.
        disposal: what becomes of its rectangle before the next frame is drawn: it stays, becomes
            transparent, or what it was before.
        blend: it is laid over what is there; else it replaces it, transparency included.
        spans: (offset, length) of its bytes in the file.
        palette, transparent: a GIF's colours (RGB triples), and the index that is none.
    """

    x: int
    y: int
    width: int
    height: int
    seconds: Fraction
    disposal: Disposal
    blend: bool
    spans: tuple[tuple[int, int], ...]
    palette: bytes = b""
    transparent: int | None = None

    @property
    def index(self) -> tuple[slice, slice]:
        """Index of the canvas."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True, slots=True)
class Animation:
    """What a file says of its frames.

    Attributes:
        width, height: of the canvas.
        parts: the frames.
        plays: how many times they are shown; 0: for ever.
        head: what the stills that are made of the frames need of the file's head.
    """

    width: int
    height: int
    parts: tuple[Part, ...]
    plays: int
    head: bytes = b""

    @property
    def leaves_holes(self) -> bool:
        """Whether pixels can be transparent that no frame says are."""
        first = self.parts[0]
        covered = (first.x, first.y, first.width, first.height) == (0, 0, self.width, self.height)
        # what follows the last frame is the first one again, on an empty canvas
        return not covered or any(
            part.disposal == "clear" or (k == 0 and part.disposal == "restore")
            for k, part in enumerate(self.parts[:-1])
        )


def composed(
    animation: Animation,
    decode: Callable[[Part], tuple[Array, Array | None]],
    channels: int,
) -> Iterator[tuple[Array, Array, Fraction]]:
    """The frames as they are seen: (pixels, alpha, seconds).

    Args:
        decode: gives a part's pixels (h, w, c) and alpha (h, w).
        channels: 1 or 3.

    Raises:
        ValueError: a part is not what its head says.
    """
    canvas: Array | None = None
    for k, part in enumerate(animation.parts):
        pixels, alpha = decode(part)
        if pixels.shape[:2] != (part.height, part.width):
            raise ValueError("a frame's pixels and its head disagree")
        if canvas is None:
            size = (animation.height, animation.width, channels + 1)
            canvas = np.zeros(size, pixels.dtype)
        white = np.iinfo(canvas.dtype).max
        drawn = np.empty((*pixels.shape[:2], channels + 1), canvas.dtype)
        drawn[:, :, :-1] = pixels
        drawn[:, :, -1] = white if alpha is None else alpha
        before = canvas.copy() if part.disposal == "restore" else None
        under = canvas[part.index]  # a GIF's part may stick out of the canvas
        drawn = drawn[: under.shape[0], : under.shape[1]]
        under[...] = _over(drawn, under) if part.blend else drawn
        yield canvas[:, :, :-1].copy(), canvas[:, :, -1].copy(), part.seconds
        if part.disposal == "clear" or (part.disposal == "restore" and k == 0):
            under[...] = 0
        elif before is not None:
            canvas = before


def _over(top: Array, bottom: Array) -> Array:
    """One picture over another, colours not multiplied by alpha (PNG specification, 13.16)."""
    white = np.iinfo(top.dtype).max
    alpha = top[:, :, -1:]
    out: Array = np.where(alpha == 0, bottom, top)
    mixed = (alpha[:, :, 0] > 0) & (alpha[:, :, 0] < white) & (bottom[:, :, -1] > 0)
    if mixed.any():
        front, back = (layer[mixed].astype(np.float64) / white for layer in (top, bottom))
        share = back[:, -1:] * (1 - front[:, -1:])
        total = front[:, -1:] + share
        colours = (front[:, :-1] * front[:, -1:] + back[:, :-1] * share) / total
        out[mixed] = np.rint(np.concatenate((colours, total), axis=1) * white)
    return out


class Clock:
    """Durations in whole units. Times, not durations, are rounded: no error adds up."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._now, self._told = Fraction(0), 0

    def ticks(self, seconds: Fraction) -> int:
        """The next duration."""
        self._now += seconds
        end = round(self._now * self._per_second)
        ticks, self._told = end - self._told, end
        return ticks


def changed(before: Array, now: Array) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the smallest rectangle outside which two frames are the same.

    One pixel where they are the same everywhere: a frame has at least that.
    """
    differs = (before != now).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
