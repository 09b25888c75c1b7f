"""Samples of any type and number of bits, stretched to the full range of 8 or 16 bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def clipped_notes(samples: NDArray[Any]) -> tuple[str, ...]:
    """A word about what full_range cuts off."""
    if samples.dtype.kind == "i" and samples.size and samples.min() < 0:
        return ("values below 0 were clipped",)
    if samples.dtype.kind != "f":
        return ()
    numbers, inside = True, True
    for row in range(0, len(samples), 64):
        part = samples[row : row + 64]
        numbers = numbers and not np.isnan(part).any()
        inside = inside and not ((part < 0) | (part > 1)).any()
    notes = () if numbers else ("samples that are no numbers (NaN) became black",)
    return notes if inside else (*notes, "values below 0 and above 1 were clipped")


def full_range(
    samples: NDArray[Any], bits: int, *, inverted: bool = False
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Samples of `bits` bits as uint8 (up to 8 bits) or uint16, black 0 and white the maximum."""
    kind = samples.dtype.kind
    if kind not in "uif":
        raise ValueError(f"samples of type {samples.dtype}")
    if kind == "u" and bits in (8, 16) and samples.dtype.itemsize * 8 == bits:
        out: NDArray[np.uint8] | NDArray[np.uint16]
        out = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    else:
        top = 1.0 if kind == "f" else float(2 ** (bits - (kind == "i")) - 1)
        full = 255.0 if bits <= 8 else 65_535.0
        out = empty(samples.shape, bits)
        for row in range(0, len(samples), 64):  # floats need not exist all at once
            with np.errstate(invalid="ignore"):  # what a signalling NaN raises
                wide = samples[row : row + 64].astype(np.float64)
            part = np.nan_to_num(wide, nan=0.0)
            out[row : row + 64] = np.rint(np.clip(part / top, 0, 1) * full)
    return np.iinfo(out.dtype).max - out if inverted else out


def empty(shape: tuple[int, ...], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Room for samples of as many bits."""
    return np.empty(shape, np.uint8) if bits <= 8 else np.empty(shape, np.uint16)
