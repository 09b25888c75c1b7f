"""Regions: integer rectangles, compared with sets of pixels."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from srcli.engine.pytorch.regions import Region, cuts, tile_rows

sides = st.integers(1, 9)
places = st.integers(0, 12)
regions = st.builds(Region, places, places, sides, sides)


def pixels(region):
    return {(y, x) for y in range(region.y, region.bottom) for x in range(region.x, region.right)}


@given(regions, regions)
def test_common_part(a, b):
    both = a & b
    assert pixels(both) == pixels(a) & pixels(b)
    assert both.pixels == len(pixels(both))
    assert both.h >= 0
    assert both.w >= 0


@given(regions, regions)
def test_hull(a, b):
    hull = a | b
    union = pixels(a) | pixels(b)
    assert pixels(hull) >= union
    assert hull.y == min(y for y, _ in union)
    assert hull.bottom == max(y for y, _ in union) + 1
    assert hull.x == min(x for _, x in union)
    assert hull.right == max(x for _, x in union) + 1
    assert (b in a) == (pixels(b) <= pixels(a))


@given(regions, st.integers(0, 5))
def test_grow(region, halo):
    reach = range(-halo, halo + 1)
    around = {(y + dy, x + dx) for y, x in pixels(region) for dy in reach for dx in reach}
    assert pixels(region.grow(halo)) == around


@given(regions, st.integers(1, 4))
def test_scaled_and_coarsened(region, factor):
    scaled = region.scaled(factor)
    assert scaled.pixels == region.pixels * factor**2
    assert {(y // factor, x // factor) for y, x in pixels(scaled)} == pixels(region)
    assert scaled.coarsened(factor) == region
    # the smallest that covers, also where the edges do not fall on whole pixels
    assert pixels(region.coarsened(factor)) == {
        (y // factor, x // factor) for y, x in pixels(region)
    }


@given(regions, st.integers(1, 4))
def test_of_a_smaller_map_the_pixels_that_begin_inside(region, factor):
    small = region.scaled(Fraction(1, factor))
    begin = {
        (y // factor, x // factor) for y, x in pixels(region) if not (y % factor or x % factor)
    }
    assert pixels(small) == begin
    assert region.coarsened(Fraction(1, factor)) == region.scaled(factor)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 4))
def test_tiles_cover_a_smaller_map_once(height, width, tile, factor):
    share = Fraction(1, factor)
    whole = Region(0, 0, height, width).scaled(share)
    assert (whole.h, whole.w) == (-(-height // factor), -(-width // factor))
    found = [t.scaled(share) for row in tile_rows(height, width, (tile, tile)) for t in row]
    assert sorted(p for r in found for p in pixels(r)) == sorted(pixels(whole))


@given(regions, regions)
def test_coordinates_of_another(a, b):
    moved = a - b
    assert {(y + b.y, x + b.x) for y, x in pixels(moved)} == pixels(a)


@given(regions.filter(lambda r: r.pixels > 1))
def test_halves(region):
    first, second = region.halves()
    assert pixels(first) | pixels(second) == pixels(region)
    assert not pixels(first) & pixels(second)
    assert abs(first.pixels - second.pixels) <= min(region.h, region.w)
    assert max(first.h, first.w) <= max(region.h, region.w)


@given(st.integers(1, 500), st.integers(1, 90))
def test_cuts(length, most):
    pieces = cuts(length, most)
    assert [start for start, _ in pieces] == [
        sum(n for _, n in pieces[:k]) for k in range(len(pieces))
    ]
    assert sum(n for _, n in pieces) == length
    sizes = [n for _, n in pieces]
    assert max(sizes) <= most
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1  # no sliver at the end
    assert len(pieces) == -(-length // most)


@given(st.integers(1, 60), st.integers(1, 60), st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_tiles_partition_the_picture(height, width, tile):
    rows = list(tile_rows(height, width, tile))
    seen = [p for row in rows for region in row for p in pixels(region)]
    assert len(seen) == len(set(seen)) == height * width
    assert set(seen) == pixels(Region(0, 0, height, width))
    bottom = 0
    for row in rows:  # from top to bottom, from left to right
        assert {(r.y, r.h) for r in row} == {(bottom, row[0].h)}
        assert [r.x for r in row] == sorted(r.x for r in row)
        bottom = row[0].bottom
    assert all(r.h <= tile[0] and r.w <= tile[1] for row in rows for r in row)
