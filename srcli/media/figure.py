"""Charts, drawn by matplotlib, which is an extra."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

from srcli.errors import SrcliError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100


def is_installed() -> bool:
    """Whether there can be charts."""
    return importlib.util.find_spec("matplotlib") is not None


def check() -> None:
    """Raises:
    SrcliError: matplotlib is not installed.
    """
    if not is_installed():
        raise SrcliError(
            "Charts are drawn by matplotlib, which is not installed.",
            'Run: pip install "srcli[plots]"',
        )


def new(width_px: int, height_px: int) -> Figure:
    """An empty figure, outside of pyplot, which would look for a screen."""
    from matplotlib.figure import Figure

    size = width_px / DOTS_PER_INCH, height_px / DOTS_PER_INCH
    return Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
