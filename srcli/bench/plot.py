"""Quality against latency, as the papers draw it."""

from __future__ import annotations

from collections.abc import Sequence

from srcli.bench.measure import Row
from srcli.media import figure

SIZE = 900, 600  # pixels
LEAST_DB = 0.5  # of the axis: less would make differences look large
LEAST_AREA, MOST_AREA = 40.0, 1400.0  # of a bubble, square points


def plot(rows: Sequence[Row], psnr: Sequence[float], title: str) -> bytes:
    """A PNG: a bubble for each network's fastest row, its area growing with the parameters.

    Args:
        rows: at least one.
        psnr: of each row's network, dB.
        title: over the frame.

    Raises:
        SrcliError: matplotlib is not installed.
    """
    figure.check()
    from matplotlib.ticker import FuncFormatter

    fastest: dict[tuple[str, int], tuple[Row, float]] = {}
    for row, quality in zip(rows, psnr, strict=True):
        key = row.setup.model, row.setup.scale
        if key not in fastest or row.median_s < fastest[key][0].median_s:
            fastest[key] = row, quality
    found = list(fastest.values())
    assert found, "there is something to draw"
    drawn = figure.new(*SIZE)
    axes = drawn.add_subplot(
        xscale="log",
        xlabel="time for a picture, ms",
        ylabel="PSNR-Y on Set5, dB",
        title=title,
    )
    most = max(row.cost.parameters for row, _ in found) or 1
    for k, (row, quality) in enumerate(found):
        area = max(LEAST_AREA, MOST_AREA * row.cost.parameters / most)
        at = row.median_s * 1e3, quality
        axes.scatter(*at, s=area, color=f"C{k % 10}", alpha=0.5)
        setup = row.setup
        axes.annotate(
            f"{setup.model} x{setup.scale} ({setup.backend}, {setup.precision})",
            at,
            textcoords="offset points",
            xytext=(0, 4 + area**0.5 / 2),
            ha="center",
        )
    axes.margins(0.2)
    low, high = axes.get_ylim()
    short = max(0.0, LEAST_DB - (high - low)) / 2
    axes.set_ylim(low - short, high + short)
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.grid(alpha=0.3)
    return figure.png(drawn)
