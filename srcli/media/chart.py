"""Charts on a Pillow canvas: a frame with a grid, lines and bubbles."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

COLOURS = ("#1f6fb2", "#c8501e", "#2a8a4a", "#7a4fa3", "#b58900", "#167f8c", "#b03060", "#555555")
PARTS = 4  # of an evenly divided axis, at least
ROUND = (1, 2, 5)

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, upper, right, lower


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

    def ticks(self) -> list[float]:
        """Round numbers along the axis: 1, 2 and 5 of every power of ten, or even steps."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**k for k in powers for m in ROUND]
            inside = [v for v in found if self.low <= v <= self.high]
            if len(inside) > 1:
                return inside
        rough = (self.high - self.low) / PARTS
        if rough <= 0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(rough))
        step = max(m * power for m in ROUND if m * power <= rough * 1.001)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


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
        self._taken: list[Box] = []  # by bubbles and their names
        left, upper, right, lower = box
        self.draw.rectangle(box, outline="#888888")
        self.draw.text((left, upper - 20), title, fill="black")
        for value in y.ticks():
            level = lower - (lower - upper) * y.share(value)
            self.draw.line((left, level, right, level), fill="#dddddd")
            self.draw.text((left - 75, level - 6), f"{value:.4g}", fill="black")
        for value in x.ticks():
            across = left + (right - left) * x.share(value)
            self.draw.line((across, lower, across, lower + 4), fill="#888888")
            self.draw.text((across - 10, lower + 5), f"{value:{digits}}", fill="black")

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
        width, away = self.draw.textlength(text), radius + 4
        places = [(x + away, y - 6), (x - away - width, y - 6)]
        places += [(x - width / 2, y + s * (away + 6) - 6) for s in (-1, 1)]
        places += [
            (x + t * away - (t < 0) * width, y + s * 14 - 6) for s in (-1, 1) for t in (1, -1)
        ]
        boxes = [(left, top, left + width, top + 12) for left, top in places]
        free = min(boxes, key=self._crowd)
        self.draw.text(free[:2], text, fill="black")
        self._taken += [ring, free]

    def reserve(self, point: Point, radius: float) -> None:
        """Keep names away from a bubble that is yet to come."""
        x, y = self.at(*point)
        self._taken.append((x - radius, y - radius, x + radius, y + radius))

    def _crowd(self, place: Box) -> float:
        """How much of a place is taken, or out of the frame."""
        inside = _common(place, self.box)
        area = (place[2] - place[0]) * (place[3] - place[1])
        return area - inside + sum(_common(place, other) for other in self._taken)


def _common(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def png(canvas: Image.Image, text: str = "") -> bytes:
    """The canvas as a file, with ``text`` in it under the key "data" if there is any."""
    buffer = io.BytesIO()
    info = PngInfo()
    if text:
        info.add_text("data", text)
    canvas.save(buffer, "PNG", pnginfo=info, optimize=True)
    return buffer.getvalue()
