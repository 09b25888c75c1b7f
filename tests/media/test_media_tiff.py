"""TIFFs of every layout: what the file holds is what is read, to the bit."""

import io
import itertools
import struct

import numpy as np
import pytest
import tifffile
from tiffs import tiff

from srcli.errors import MediaError
from srcli.media.image import inspect, read

GREY, RGB, CMYK, CFA, LAB = 1, 2, 5, 32803, 8
# name: (photometric, samples, extra samples, how many are colour)
KINDS = {
    "grey": (GREY, 1, (), 1),
    "grey and alpha": (GREY, 2, (2,), 1),
    "RGB": (RGB, 3, (), 3),
    "RGB and alpha": (RGB, 4, (2,), 3),
    "CMYK": (CMYK, 4, (), 4),
    "CMYK and alpha": (CMYK, 5, (2,), 4),
}


def noise(*shape: int, dtype: str, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.startswith("f"):
        return rng.random(shape, np.float32).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def as_read(data: bytes) -> np.ndarray:
    """All that is read of a file, as it was stored: inks, not what they leave."""
    picture = read(io.BytesIO(data), depth=16, inks=True)
    parts = [picture.pixels]
    if picture.black is not None:
        parts = [~np.dstack((picture.pixels, picture.black))]
    if picture.alpha is not None:
        parts.append(picture.alpha[:, :, None])
    return np.dstack(parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", ["none", "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_samples_are_exact(kind: str, packed: str, dtype: str) -> None:
    photometric, n, extra, _ = KINDS[kind]
    samples = noise(12, 9, n, dtype=dtype)
    for planar, order, predictor in itertools.product((False, True), "<>", (1, 2)):
        data = tiff(
            samples,
            photometric=photometric,
            extra=extra,
            packed=packed,
            planar=planar and n > 1,
            order=order,
            predictor=predictor,
        )
        assert np.array_equal(as_read(data), samples), (planar, order, predictor)


@pytest.mark.parametrize("packed", ["none", "lzw", "deflate"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (40, 21)])
def test_tiles(packed: str, planar: bool, size: tuple[int, int]) -> None:
    samples = noise(*size, 3, dtype="u2")
    for width in (16, 32):
        data = tiff(samples, photometric=RGB, packed=packed, planar=planar, tile=width)
        assert np.array_equal(as_read(data), samples)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("packed", ["none", "lzw", "deflate"])
def test_floats(dtype: str, predictor: int, packed: str) -> None:
    for n, planar, order in itertools.product((1, 3), (False, True), "<>"):
        samples = noise(7, 11, n, dtype=dtype)
        data = tiff(
            samples,
            photometric=GREY if n == 1 else RGB,
            packed=packed,
            predictor=predictor,
            planar=planar and n > 1,
            order=order,
        )
        expected = np.rint(samples.astype("f8") * 65_535)
        assert np.array_equal(as_read(data), expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14, 24, 32])
@pytest.mark.parametrize("packed", ["none", "lzw"])
def test_any_number_of_bits(bits: int, packed: str) -> None:
    top = 2**bits - 1
    for n, order in itertools.product((1, 3), "<>"):
        samples = noise(7, 11, n, dtype="u4") & np.uint32(top)
        if bits == 24:  # whole bytes, in the file's order
            octets = samples.astype(order + "u4").view("u1").reshape(7, -1, 4)
            raw = np.ascontiguousarray(octets[:, :, :3] if order == "<" else octets[:, :, 1:])
            data = tiff(raw.reshape(7, -1, 1), photometric=GREY, packed=packed, order=order, rows=7)
            if n == 3:
                continue
            data = data.replace(_entry(order, 256, 4, 33), _entry(order, 256, 4, 11)).replace(
                _entry(order, 258, 3, 8), _entry(order, 258, 3, 24)
            )
        else:
            data = tiff(
                samples,
                photometric=GREY if n == 1 else RGB,
                bits=None if bits == 32 else bits,
                packed=packed,
                order=order,
            )
        assert inspect(io.BytesIO(data)).bits == bits
        full = 255 if bits <= 8 else 65_535
        expected = np.rint(samples.astype("f8") / top * full)
        assert np.array_equal(as_read(data), expected), (n, order)


def _entry(order: str, tag: int, kind: int, value: int) -> bytes:
    code = "I" if kind == 4 else "HH"
    values = (value,) if kind == 4 else (value, 0)
    return struct.pack(f"{order}HHI{code}", tag, kind, 1, *values)


@pytest.mark.parametrize("packed", ["none", "lzw", "deflate"])
def test_bytes_in_reversed_order_of_bits(packed: str) -> None:
    samples = noise(6, 10, 3, dtype="u1")
    data = tiff(samples, photometric=RGB, packed=packed, reversed_bits=True)
    assert np.array_equal(as_read(data), samples)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("packed", ["none", "lzw"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_multiplied_by_alpha(planar: bool, packed: str, dtype: str) -> None:
    full = np.iinfo(dtype).max
    alpha = noise(8, 9, 1, dtype=dtype) // 2 + full // 2
    colours = noise(8, 9, 3, dtype=dtype, seed=4)
    multiplied = np.rint(colours.astype("f8") * alpha / full).astype(dtype)
    samples = np.dstack((multiplied, alpha))
    data = tiff(samples, photometric=RGB, extra=(1,), packed=packed, planar=planar)
    got = as_read(data).astype(int)
    assert np.array_equal(got[:, :, 3], alpha[:, :, 0])
    assert np.abs(got[:, :, :3] - colours).max() <= 2  # rounded before it was stored


@pytest.mark.parametrize("packed", ["none", "lzw", "deflate"])
@pytest.mark.parametrize(
    ("photometric", "n", "extra", "taken", "left"),
    [
        (GREY, 9, (0,) * 8, 1, 8),
        (GREY, 2, (), 1, 1),
        (GREY, 2, (0,), 1, 1),
        (RGB, 5, (0, 0), 3, 2),
        (RGB, 4, (0,), 3, 1),
        (RGB, 5, (0, 2), 4, 1),
        (RGB, 5, (2, 2), 4, 1),
        (CMYK, 6, (), 4, 2),
        (GREY, 40, (0,) * 39, 1, 39),
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_extra_samples_are_named(
    packed: str,
    photometric: int,
    n: int,
    extra: tuple[int, ...],
    taken: int,
    left: int,
    planar: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    samples = noise(6, 7, n, dtype="u1")
    data = tiff(samples, photometric=photometric, extra=extra, packed=packed, planar=planar)
    got = as_read(data)
    wanted = [*range(min(taken, 3)), 4] if extra == (0, 2) else list(range(taken))
    assert np.array_equal(got, samples[:, :, wanted])
    (note,) = (n for n in read(io.BytesIO(data), inks=True).notes if "extra samples" in n)
    assert note.endswith(f"left out: {left} a pixel")
    assert inspect(io.BytesIO(data)).notes == (note,)
    assert capfd.readouterr() == ("", "")  # the decoder's own words stay with it


def test_signed_samples_are_clipped_with_a_word() -> None:
    samples = np.array([[[-5], [0], [32_767]]], "i2")
    picture = read(io.BytesIO(tiff(samples, photometric=GREY, packed="lzw")), depth=16)
    assert picture.pixels.tolist() == [[[0], [0], [65_535]]]
    assert "values below 0 were clipped" in picture.notes


def test_strips_of_a_wrong_length_that_are_not_packed() -> None:
    """Only libtiff's own file says how long its strips are, and does not look when it reads."""
    samples = noise(8, 9, 3, dtype="u1")
    data = tiff(samples, photometric=RGB, rows=8)
    wrong = data.replace(_entry("<", 279, 4, 8 * 9 * 3), _entry("<", 279, 4, 7))
    assert wrong != data and np.array_equal(as_read(wrong), samples)


@pytest.mark.parametrize("packed", ["none", "lzw", "deflate", "packbits"])
def test_what_is_missing_is_not_made_up(packed: str) -> None:
    samples = noise(20, 9, 4, dtype="u2")
    data = tiff(samples, photometric=CMYK, packed=packed, rows=20)
    short = tiff(samples[:10], photometric=CMYK, packed=packed, rows=20)
    lie = short.replace(_entry("<", 257, 4, 10), _entry("<", 257, 4, 20))
    assert as_read(data).shape == (20, 9, 4)
    with pytest.raises(MediaError):
        read(io.BytesIO(lie))


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("its colours are not grey", {"photometric": LAB}),
        ("floats of 24 bits", {"photometric": RGB, "tags": {258: (3, 3, b"\x18\0" * 3)}}),
        ("predictor 7", {"photometric": RGB, "predictor": 1, "tags": {317: (3, 1, b"\7\0")}}),
        ("packed by", {"photometric": RGB, "tags": {259: (3, 1, b"\x29\x88")}}),
    ],
)
def test_what_is_sound_and_not_read_is_not_called_damaged(words: str, make: dict) -> None:  # type: ignore[type-arg]
    samples = noise(5, 6, 3, dtype="f4" if "floats" in words else "u2")
    with pytest.raises(MediaError, match=f"does not read: .*{words}") as caught:
        read(io.BytesIO(tiff(samples, **make)))
    assert "damaged" not in caught.value.message


@pytest.mark.parametrize(("wrong", "words"), [(np.nan, "NaN"), (2.0, "above 1"), (0.5, None)])
def test_floats_that_cannot_be_kept_are_said(wrong: float, words: str | None) -> None:
    samples = noise(70, 3, 3, dtype="f4")
    samples[-1, 1, 1] = wrong
    notes = read(io.BytesIO(tiff(samples, photometric=RGB)), depth=16).notes
    told = [note for note in notes if "clipped" in note or "NaN" in note]
    assert [words in note for note in told] == ([] if words is None else [True])


@pytest.mark.parametrize(
    ("description", "metadata", "kept"),
    [
        ("A holiday", None, True),
        (None, {"axes": "YXS"}, False),  # tifffile writes the array's shape
        ('<?xml version="1.0"?><OME xmlns="x"><Image ID="1"/></OME>', None, False),
    ],
)
def test_a_description_that_gives_the_old_size(description, metadata, kept) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, noise(6, 8, 3, dtype="u1"), photometric="rgb", description=description,
        metadata=metadata,
    )  # fmt: skip
    picture = read(stream)
    assert (b"A holiday" in (picture.metadata.exif or b"")) == kept
    assert b"OME" not in (picture.metadata.exif or b"")
    assert b"shape" not in (picture.metadata.exif or b"")
    assert any("old size" in note for note in picture.notes) == (not kept)
