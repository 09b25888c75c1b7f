"""The PNG encoder, against decoders that know nothing of it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srcli.media import deflate, png
from srcli.media.png import PngEncoder


def encode(samples: np.ndarray, steps: list[int], **more: object) -> bytes:
    height, width, channels = samples.shape
    out: list[bytes] = []
    bits = samples.dtype.itemsize * 8
    encoder = PngEncoder(
        out.append, height=height, width=width, channels=channels, bits=bits, **more
    )  # type: ignore[arg-type]
    row = 0
    while row < height:
        step = max(1, steps.pop(0) if steps else height)
        encoder.rows(samples[row : row + step])
        row += step
    encoder.finish()
    return b"".join(out)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    assert found[-1] == (b"IEND", b"")
    return found


def decode(data: bytes) -> tuple[np.ndarray, set[int]]:
    """The samples, by the letter of the specification (a byte at a time), and the filters used."""
    parts = chunks(data)
    width, height, bits, colour = struct.unpack_from(">IIBB", parts[0][1])
    bpp = {0: 1, 4: 2, 2: 3, 6: 4}[colour] * bits // 8
    raw = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    above, rows, used = bytearray(width * bpp), [], set()
    for y in range(height):
        start = y * (width * bpp + 1)
        line, kind = bytearray(raw[start + 1 : start + 1 + width * bpp]), raw[start]
        used.add(kind)
        for i in range(len(line)):
            a, b = (line[i - bpp] if i >= bpp else 0), above[i]
            c = above[i - bpp] if i >= bpp else 0
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        rows.append(bytes(line))
        above = line
    flat = np.frombuffer(b"".join(rows), np.uint8 if bits == 8 else ">u2")
    return flat.reshape(height, width, -1), used


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 23),
    st.integers(1, 23),
    st.integers(1, 4),
    st.sampled_from(["u1", "u2"]),
    st.sampled_from(["noise", "smooth", "flat", "few"]),
    st.lists(st.integers(1, 9), max_size=5),
    st.sampled_from([1, 100, 1 << 20]),
)
def test_every_shape_comes_back(
    height: int, width: int, channels: int, dtype: str, kind: str, steps: list[int], block: int
) -> None:
    rng = np.random.default_rng(height * 31 + width)
    top = int(np.iinfo(dtype).max)
    shape = (height, width, channels)
    samples = {
        "noise": rng.integers(0, top, shape, endpoint=True),
        "smooth": np.cumsum(rng.integers(0, 3, shape), axis=1) * 9 % (top + 1),
        "flat": np.full(shape, top),
        "few": rng.choice([0, top // 2], shape),
    }[kind].astype(dtype)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deflate, "BLOCK_BYTES", block)
        patched.setattr(png, "_FILTER_BYTES", 50)
        data = encode(samples, list(steps))
    got, _ = decode(data)
    assert (got == samples).all()
    with Image.open(io.BytesIO(data)) as image:
        pillow = np.asarray(image).reshape(height, width, -1)
    if dtype == "u1":
        assert (pillow == samples).all()
    elif channels == 1:
        assert (pillow == samples).all()  # I;16


def test_every_filter_is_used_where_it_is_best() -> None:
    rng = np.random.default_rng(3)
    line = rng.integers(60, 190, 64)
    ramp = np.arange(64) * 37 % 256
    flat = np.zeros(64, int)
    flat[::9] = 255  # |255| counts 1: filter 0 wins over differences
    picture = np.stack([flat, ramp, line, line, line + 1, np.add.outer([9], np.cumsum(line))[0]])
    two = (
        np.cumsum(rng.integers(-9, 9, (20, 64)), axis=1)
        + np.cumsum(rng.integers(-90, 90, 20))[:, None]
    )
    samples = np.concatenate([picture, two]).astype(np.uint8)[:, :, None]
    got, used = decode(encode(samples, []))
    assert (got == samples).all() and {0, 1, 2, 4} == used


def test_blocks_join_into_one_stream_with_a_right_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (900, 1000, 3), np.uint8)  # 2.7 MB: three blocks
    samples[400:] = 17  # and one that goes through the full search
    data = encode(samples, [1, 500, 7])
    parts = [body for kind, body in chunks(data) if kind == b"IDAT"]
    assert len(parts) == 4  # and zlib checks the Adler-32 of the whole:
    assert len(zlib.decompress(b"".join(parts))) == 900 * 3001
    assert (np.asarray(Image.open(io.BytesIO(data))) == samples).all()
    assert len(data) < 400 * 3000 * 1.01 + 40_000


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_adler32_combine(first: bytes, second: bytes) -> None:
    together = deflate.adler32_combine(zlib.adler32(first), zlib.adler32(second), len(second))
    assert together == zlib.adler32(first + second)


def test_repeats_beyond_run_lengths_are_found() -> None:
    # A pattern of 64 x 64 noise, tiled: runs do not exist, and the full search must be tried.
    tile = np.random.default_rng(0).integers(0, 2, (8, 8, 3), np.uint8) * 200
    samples = np.tile(tile, (64, 64, 1))
    ours = len(encode(samples, []))
    out = io.BytesIO()
    Image.fromarray(samples).save(out, "PNG")
    assert ours < 3 * len(out.getvalue())


def test_metadata_chunks() -> None:
    samples = np.zeros((1, 1, 3), np.uint8)
    data = encode(samples, [], icc=b"profile", exif=b"II*\0", dpi=(72.0, 300.0))
    parts = dict(chunks(data))
    assert zlib.decompress(parts[b"iCCP"].split(b"\0\0", 1)[1]) == b"profile"
    assert parts[b"eXIf"] == b"II*\0"
    assert struct.unpack(">IIB", parts[b"pHYs"]) == (2835, 11811, 1)
