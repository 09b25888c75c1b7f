"""Linear light, as renderers and high dynamic range files have it, to sRGB."""

import numpy as np
from numpy.typing import NDArray

from srcli.media.picture import Pixels

_ROWS = 64
# CIE x and y of red, green, blue and white: ITU-R BT.709, the primaries of sRGB
BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)


def to_srgb(
    light: NDArray[np.float32], primaries: tuple[float, ...] = BT709
) -> tuple[Pixels, tuple[str, ...]]:
    """Samples of linear light (h, w, 1 or 3), white 1, as uint16 in sRGB, and notes."""
    matrix = None
    if light.shape[2] == 3 and not np.allclose(primaries, BT709, atol=2e-3):
        matrix = np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(primaries)
    out = np.empty(light.shape, np.uint16)
    beyond = False
    for row in range(0, len(light), _ROWS):
        part = light[row : row + _ROWS].astype(np.float64)
        part = np.nan_to_num(part, nan=0.0, posinf=1e30, neginf=0.0)
        if matrix is not None:
            part = part @ matrix.T
        beyond = beyond or bool((part > 1).any() or (part < 0).any())
        part = np.clip(part, 0, 1)
        curve = np.where(part <= 0.0031308, 12.92 * part, 1.055 * part ** (1 / 2.4) - 0.055)
        out[row : row + _ROWS] = np.rint(curve * 65_535)
    notes = ("linear light was converted to sRGB",)
    if beyond:
        notes = ("linear light was converted to sRGB, and what is brighter than white was clipped",)
    return out, notes


def _to_xyz(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Of RGB with these primaries (SMPTE RP 177)."""
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    xyz = np.stack((x / y, np.ones(4), (1 - x - y) / y))
    share = np.linalg.solve(xyz[:, :3], xyz[:, 3])
    return np.asarray(xyz[:, :3] * share)
