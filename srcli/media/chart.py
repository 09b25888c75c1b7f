"""Charts on a Pillow canvas: a frame with a grid, lines and bubbles."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLOURS = ("#1f6fb2", "#c8501e", "#2a8a4a", "#7a4fa3", "#b58900", "#167f8c", "#b03060", "#555555")
PARTS = 4  # of the grid, each way

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """What lies between ``low`` and ``high``, evenly or by powers."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, logarithmic: bool = False, room: float = 0) -> Axis:
        """The axis that holds all values, and ``room`` of its length more at both ends."""
        scaled = [math.log10(v) for v in values] if logarithmic else list(values)
        low, high = min(scaled), max(scaled)
        more = ((high - low) or 1.0) * room
        low, high = low - more, high + more
        return cls(10**low, 10**high, True) if logarithmic else cls(low, high)

    def share(self, value: float) -> float:
        """How far along a value lies, 0..1."""
        low, high, value = (
            math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value)
        )
        return (value - low) / ((high - low) or 1.0)

    def value(self, share: float) -> float:
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


class Chart:
    """One frame on a canvas.

    Args:
        canvas: RGB.
        box: left, upper, right, lower of the frame; labels stand outside.
        title: over the frame.
        digits: how the ticks of x are written.
    """

    def __init__(
        self,
        canvas: Image.Image,
        box: tuple[int, int, int, int],
        title: str,
        x: Axis,
        y: Axis,
        *,
        digits: str = ".4g",
    ) -> None:
        self.draw, self.box, self.x, self.y = ImageDraw.Draw(canvas, "RGBA"), box, x, y
        left, upper, right, lower = box
        self.draw.rectangle(box, outline="#888888")
        self.draw.text((left, upper - 20), title, fill="black")
        for part in range(PARTS + 1):
            share = part / PARTS
            level = lower - (lower - upper) * share
            self.draw.line((left, level, right, level), fill="#dddddd")
            self.draw.text((left - 75, level - 6), f"{y.value(share):.4g}", fill="black")
            across = left + (right - left) * share - 10
            self.draw.text((across, lower + 5), f"{x.value(share):{digits}}", fill="black")

    def at(self, x: float, y: float) -> Point:
        left, upper, right, lower = self.box
        return (
            left + (right - left) * self.x.share(x),
            lower - (lower - upper) * self.y.share(y),
        )

    def line(self, points: Sequence[Point], colour: str) -> None:
        self.draw.line([self.at(*p) for p in points], fill=colour, width=2)

    def name(self, k: int, text: str, colour: str) -> None:
        """Text k of those beside the title."""
        left, upper = self.box[:2]
        self.draw.text((left + 120 + 120 * k, upper - 20), text, fill=colour)

    def bubble(self, point: Point, radius: float, colour: str, text: str) -> None:
        """A disc one can see through, and its name beside it, inside the frame."""
        x, y = self.at(*point)
        ring = (x - radius, y - radius, x + radius, y + radius)
        self.draw.ellipse(ring, fill=colour + "80", outline=colour)
        width = self.draw.textlength(text)
        right = x + radius + 4
        start = right if right + width <= self.box[2] else x - radius - 4 - width
        self.draw.text((start, y - 6), text, fill="black")


def png(canvas: Image.Image) -> bytes:
    """The canvas as a file."""
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
