"""Small ICC profiles (ICC.1:2001-04), so that tests know exactly what the colours mean."""

import functools
import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
# sRGB and Display P3 to XYZ, adapted to D50 by Bradford's matrix: red, green, blue in rows
SRGB = np.array(
    [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]
)
P3 = np.array(
    [[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]]
)
GRID = 9  # of the CMYK profile: inks in eighths are exact


def linear(values: np.ndarray) -> np.ndarray:
    """sRGB's curve, 0..1 to light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(xyz: np.ndarray) -> np.ndarray:
    """CIE L*a*b* for D50."""
    ratio = xyz / D50
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack(
        [
            116 * f[..., 1] - 16,
            500 * (f[..., 0] - f[..., 1]),
            200 * (f[..., 1] - f[..., 2]),
        ],
        axis=-1,
    )


def lab_of_rgb(rgb: np.ndarray, primaries: np.ndarray = SRGB) -> np.ndarray:
    """RGB in 0..1 with sRGB's curve."""
    return lab(linear(np.asarray(rgb, float)) @ primaries)


def lab_of_cmyk(cmyk: np.ndarray) -> np.ndarray:
    """What cmyk_profile says, 0..1."""
    cmyk = np.asarray(cmyk, float)
    return lab_of_rgb((1 - cmyk[..., :3]) * (1 - cmyk[..., 3:]))


def delta_e(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """CIE76: half a unit of it is less than half a unit of any later one, near enough."""
    return np.sqrt(((first - second) ** 2).sum(axis=-1))


def _fixed(values: np.ndarray) -> bytes:
    return np.rint(np.asarray(values) * 65_536).astype(">i4").tobytes()


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _curve(values: np.ndarray) -> bytes:
    table = np.rint(values * 65_535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(table)) + table.tobytes()


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"test"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + text + b"\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + text + b"\0",
        b"wtpt": _xyz(D50),
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytearray(128)
    head[0:4] = struct.pack(">I", start + len(body))
    head[8:12] = b"\x02\x40\0\0"
    head[12:16], head[16:20], head[20:24] = kind, space, pcs
    head[36:40] = b"acsp"
    head[68:80] = _fixed(D50)
    return bytes(head) + table + body


@functools.cache
def rgb_profile(p3: bool = True) -> bytes:
    """Display P3, or sRGB."""
    curve = _curve(linear(np.linspace(0, 1, 4096)))
    rows = P3 if p3 else SRGB
    tags = {name: _xyz(row) for name, row in zip((b"rXYZ", b"gXYZ", b"bXYZ"), rows, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


@functools.cache
def grey_profile(gamma: float = 1.8) -> bytes:
    """Grey with a pure power."""
    curve = _curve(np.linspace(0, 1, 4096) ** gamma)
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


@functools.cache
def cmyk_profile() -> bytes:
    """Inks that multiply, all of whose colours lie within sRGB."""
    levels = np.linspace(0, 1, GRID)
    inks = np.stack(np.meshgrid(*[levels] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    colours = lab_of_cmyk(inks)
    encoded = np.empty(colours.shape)
    encoded[:, 0] = colours[:, 0] * 652.8  # 0xFF00 is 100
    encoded[:, 1:] = (colours[:, 1:] + 128) * 256
    ramp = struct.pack(">HH", 0, 65_535)
    matrix = _fixed(np.eye(3).ravel())
    head = b"mft2" + bytes(4) + struct.pack(">BBBB", 4, 3, GRID, 0) + matrix
    table = np.rint(encoded).clip(0, 65_535).astype(">u2").tobytes()
    lut = head + struct.pack(">HH", 2, 2) + ramp * 4 + table + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})
