"""What all engines share: pixel types and the report on one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY = (0.299, 0.587, 0.114)  # BT.601: a grey picture's luma stays what the network made of it

Pixels = NDArray[Any]  # (height, width, channels) of uint8, uint16, or float32 in 0..1


def peak(dtype: np.dtype[Any]) -> int:
    """The value of white: 255, 65535, or 1 for floats."""
    return 1 if dtype == np.float32 else int(np.iinfo(dtype).max)


def quantised(rows: NDArray[np.float32], dtype: np.dtype[Any]) -> Pixels:
    """Floats in 0..white to the nearest value of ``dtype``; floats as they are. May reuse rows."""
    if dtype == np.float32:
        return rows
    rows = np.rint(rows, out=rows)
    return rows.astype(np.uint8) if dtype == np.uint8 else rows.astype(np.uint16)


def native_size(pixels: Pixels, passes: Sequence[int]) -> tuple[int, int]:
    """(height, width) of the result of these native scales one after the other."""
    factor = int(np.prod(passes, dtype=np.int64)) if passes else 1
    return pixels.shape[0] * factor, pixels.shape[1] * factor


def pass_shares(passes: Sequence[int]) -> list[float]:
    """Each pass's share of the work, which goes with the pixels it reads."""
    pixels = np.cumprod([1, *(s * s for s in passes[:-1])])
    return [float(p) for p in pixels / pixels.sum()]


@dataclass
class Report:
    """What was done for one picture; filled in while strips are handed out.

    Attributes:
        tiles: pieces the picture was cut into, all passes together; 1: in one go.
        spilled_bytes: feature maps written to a temporary file.
        notes: what a user should know, in plain sentences.
        on_note: called with each as it is made.
    """

    device: str = ""
    precision: str = ""
    tiles: int = 0
    spilled_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    on_note: Callable[[str], None] = lambda _: None

    def note(self, text: str) -> None:
        """Add a note and tell it at once."""
        self.notes.append(text)
        self.on_note(text)
