"""Sizes in bytes as words, and back; numbers of pixels as words."""

from __future__ import annotations

import re

from srcli.errors import UsageError

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_MOST_DIGITS = 6
_FEW_PIXELS, _MANY_PIXELS = 100_000, 10_000_000
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Bytes of ``2G``, ``1.5GiB``, ``800M`` or ``1000000``.

    Raises:
        UsageError: it is none of these, or 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match or float(match[1]) == 0:
        raise UsageError(f"{text} is not a size", "for example 2G or 800M")
    return int(float(match[1]) * _FACTORS[match[2]])


def size_text(n_bytes: float) -> str:
    """In the unit that fits: ``1.3 GiB``, ``40.2 MiB``, ``912 bytes``."""
    return _text(n_bytes, 1)


def sizes_apart(one: float, other: float) -> tuple[str, str]:
    """Two sizes that a sentence compares, with as many digits as it takes to tell them apart."""
    for digits in range(1, _MOST_DIGITS):
        texts = _text(one, digits), _text(other, digits)
        if texts[0] != texts[1] or one == other:
            return texts
    return f"{one:.0f} bytes", f"{other:.0f} bytes"


def pixels_apart(one: int, other: int) -> tuple[str, str]:
    """Two numbers of pixels that a sentence compares, the first with its unit:
    ``900 megapixels``, ``500``; ``48 pixels``, ``10``."""
    least = min(one, other)
    if least >= _FEW_PIXELS:
        for digits in range(0 if least >= _MANY_PIXELS else 1, _MOST_DIGITS):
            texts = f"{one / 1e6:,.{digits}f}", f"{other / 1e6:,.{digits}f}"
            if texts[0] != texts[1]:
                return f"{texts[0]} megapixels", texts[1]
    return f"{one:,} pixels", f"{other:,}"


def _text(n_bytes: float, digits: int) -> str:
    unit = 0
    # what would be rounded to 1024 of a unit is 1 of the next
    while unit + 1 < len(_UNITS) and round(abs(n_bytes) / 1024**unit, digits) >= 1024:
        unit += 1
    return f"{n_bytes / 1024**unit:.{digits if unit else 0}f} {_UNITS[unit]}"
