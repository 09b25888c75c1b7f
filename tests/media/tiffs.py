"""TIFFs by hand: any kind of sample, packed in any way."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.media.exif import pack_ifd

PACKED = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773}


def lzw(data: bytes) -> bytes:
    """TIFF's LZW without any compression: a clear code now and then, and 9-bit literals."""
    codes = [
        code for i, byte in enumerate(data) for code in ([256] if i % 200 == 0 else []) + [byte]
    ]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def packbits(data: bytes) -> bytes:
    """PackBits, of literal runs alone."""
    runs = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes((len(run) - 1,)) + run for run in runs)


def bits_of(rows: NDArray[Any], bits: int) -> bytes:
    """Rows of samples (rows, n) packed from the highest bit on, each row to whole bytes."""
    return b"".join(
        np.packbits([int(v) >> k & 1 for v in row for k in range(bits)[::-1]]).tobytes()
        for row in rows
    )


def differences(block: NDArray[Any], predictor: int, order: str) -> bytes:
    """A block (rows, width, samples) as bytes, after a predictor."""
    kind = block.dtype.newbyteorder(order)
    if predictor == 2:
        whole = block.view(f"u{block.dtype.itemsize}").copy()
        whole[:, 1:] = np.diff(whole, axis=1)
        return whole.astype(whole.dtype.newbyteorder(order)).tobytes()
    if predictor == 3:
        rows = block.astype(block.dtype.newbyteorder(">")).reshape(len(block), -1)
        octets = rows.view("u1").reshape(len(block), -1, block.dtype.itemsize)
        apart = octets.transpose(0, 2, 1).reshape(len(block), -1, block.shape[2]).copy()
        apart[:, 1:] = np.diff(apart, axis=1)
        return apart.tobytes()
    return block.astype(kind).tobytes()


def tiff(
    samples: NDArray[Any],
    *,
    photometric: int,
    bits: int | None = None,
    extra: tuple[int, ...] = (),
    packed: str = "none",
    predictor: int = 1,
    planar: bool = False,
    order: str = "<",
    rows: int = 5,
    tile: int | None = None,
    reversed_bits: bool = False,
    tags: dict[int, Any] | None = None,
) -> bytes:
    """A TIFF of one page.

    Args:
        samples: (height, width, samples) of uint, int or float.
        bits: per sample, if they are fewer than the type has.
        rows: of a strip.
        tile: the side of tiles, instead of strips.
        tags: more of them: (type, count, bytes).
    """
    height, width, n = samples.shape
    depth = bits or samples.dtype.itemsize * 8
    planes = [samples[:, :, k : k + 1] for k in range(n)] if planar else [samples]
    blocks = []
    for plane in planes:
        if tile:
            edge = ((0, -height % tile), (0, -width % tile), (0, 0))
            padded = np.pad(plane, edge)
            blocks += [
                padded[y : y + tile, x : x + tile]
                for y in range(0, height, tile)
                for x in range(0, width, tile)
            ]
        else:
            blocks += [plane[y : y + rows] for y in range(0, height, rows)]
    pieces = []
    for block in blocks:
        if bits is not None and bits % 8:
            raw = bits_of(block.reshape(len(block), -1), bits)
        else:
            raw = differences(np.ascontiguousarray(block), predictor, order)
        pack = {"lzw": lzw, "deflate": zlib.compress, "packbits": packbits}.get(packed, bytes)
        data = pack(raw)
        if reversed_bits:
            data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
        pieces.append(data + bytes(len(data) % 2))
    offsets = [8 + sum(map(len, pieces[:k])) for k in range(len(pieces))]

    def numbers(kind: int, *values: int) -> tuple[int, int, bytes]:
        return (
            kind,
            len(values),
            struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values),
        )

    form = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    all_tags: dict[int, Any] = {
        256: numbers(4, width),
        257: numbers(4, height),
        258: numbers(3, *[depth] * n),
        259: numbers(3, PACKED[packed]),
        262: numbers(3, photometric),
        277: numbers(3, n),
        284: numbers(3, 2 if planar else 1),
        317: numbers(3, predictor),
        339: numbers(3, *[form] * n),
    }
    all_tags |= {338: numbers(3, *extra)} if extra else {}
    all_tags |= {266: numbers(3, 2)} if reversed_bits else {}
    at, counts = numbers(4, *offsets), numbers(4, *map(len, pieces))
    if tile:
        all_tags |= {322: numbers(3, tile), 323: numbers(3, tile), 324: at, 325: counts}
    else:
        all_tags |= {273: at, 278: numbers(4, rows), 279: counts}
    all_tags |= tags or {}
    start = 8 + sum(map(len, pieces))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + b"".join(pieces) + pack_ifd(all_tags, order, False, start)  # type: ignore[arg-type]
