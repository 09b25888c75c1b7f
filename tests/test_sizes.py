"""Sizes as words."""

import pytest

from srcli.sizes import pixels_apart, size_text, sizes_apart

KIB, MIB, GIB, TIB = (2 ** (10 * n) for n in range(1, 5))


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (912, "912 bytes"),
        (KIB, "1.0 KiB"),
        (1.5 * MIB, "1.5 MiB"),
        (MIB - 1, "1.0 MiB"),  # and not 1024.0 KiB
        (100 * MIB, "100.0 MiB"),
        (1.3 * GIB, "1.3 GiB"),
        (3 * TIB, "3.0 TiB"),
        (5000 * TIB, "5000.0 TiB"),
    ],
)
def test_the_unit_that_fits(n_bytes, text):
    assert size_text(n_bytes) == text


@pytest.mark.parametrize(
    ("one", "other", "texts"),
    [
        (2 * GIB, GIB, ("2.0 GiB", "1.0 GiB")),
        (1.004 * GIB, GIB, ("1.004 GiB", "1.000 GiB")),
        (20_000, 10_000, ("19.5 KiB", "9.8 KiB")),
        (GIB + 1, GIB, ("1073741825 bytes", "1073741824 bytes")),
        (GIB, GIB, ("1.0 GiB", "1.0 GiB")),
    ],
)
def test_what_is_compared_differs(one, other, texts):
    assert sizes_apart(one, other) == texts


@pytest.mark.parametrize(
    ("one", "other", "texts"),
    [
        (900_000_000, 500_000_000, ("900 megapixels", "500")),
        (10**12, 500_000_000, ("1,000,000 megapixels", "500")),
        (1_440_000, 500_000, ("1.4 megapixels", "0.5")),
        (500_001_000, 500_000_000, ("500.001 megapixels", "500.000")),
        (500_000_001, 500_000_000, ("500,000,001 pixels", "500,000,000")),
        (2400, 10, ("2,400 pixels", "10")),
    ],
)
def test_pixels_are_counted_in_the_unit_that_fits(one, other, texts):
    assert pixels_apart(one, other) == texts
