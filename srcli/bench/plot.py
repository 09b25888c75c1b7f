"""Quality against latency, as the papers draw it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from srcli.bench.measure import Row
from srcli.media.chart import COLOURS, Axis, Chart, png

SIZE = 900, 600
BOX = 90, 50, 870, 550
LEAST_DB = 0.5  # of the axis: less would make differences look large
RADIUS = 6, 34  # of the smallest and the largest network, pixels


def plot(rows: Sequence[Row], psnr: Sequence[float], title: str) -> bytes:
    """A PNG: a bubble for each network's fastest row, its area growing with the parameters.

    Args:
        rows: at least one.
        psnr: of each row's network, dB.
        title: over the frame.
    """
    fastest: dict[tuple[str, int], tuple[Row, float]] = {}
    for row, quality in zip(rows, psnr, strict=True):
        key = row.setup.model, row.setup.scale
        if key not in fastest or row.median_s < fastest[key][0].median_s:
            fastest[key] = row, quality
    found = list(fastest.values())
    assert found, "there is something to draw"
    canvas = Image.new("RGB", SIZE, "white")
    qualities = [quality for _, quality in found]
    short = max(0.0, LEAST_DB - (max(qualities) - min(qualities))) / 2
    chart = Chart(
        canvas,
        BOX,
        title,
        Axis.around([row.median_s * 1e3 for row, _ in found], logarithmic=True, room=0.15),
        Axis.around([min(qualities) - short, max(qualities) + short], room=0.15),
        digits=".3g",
    )
    most = max(row.cost.parameters for row, _ in found) or 1
    for k, (row, quality) in enumerate(found):
        radius = max(RADIUS[0], RADIUS[1] * (row.cost.parameters / most) ** 0.5)
        setup = row.setup
        text = f"{setup.model} ({setup.backend}, {setup.precision})"
        chart.bubble((row.median_s * 1e3, quality), radius, COLOURS[k % len(COLOURS)], text)
    return png(canvas)
