"""The sheet: what is drawn where."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from srcli.compare.pictures import compare
from srcli.compare.sheet import Crop, detailed, draw, write_sheet
from srcli.errors import UsageError


def comparison(folder, pixels, n_afters=1, scale=4, reference=False):
    """``pixels`` as the reference, reduced by ``scale`` as BEFORE, itself as every AFTER."""
    folder.mkdir(exist_ok=True)
    whole, small = folder / "whole.png", folder / "small.png"
    Image.fromarray(pixels).save(whole)
    Image.fromarray(np.ascontiguousarray(pixels[::scale, ::scale])).save(small)
    names = [f"model {k}" for k in range(n_afters)]
    return compare(small, [whole] * n_afters, labels=names, reference=whole if reference else None)


def test_detail_is_found(tmp_path):
    pixels = np.full((240, 320, 3), 128, np.uint8)
    checks = (np.indices((48, 60)).sum(0) // 2 % 2 * 255).astype(np.uint8)
    pixels[160:208, 200:260] = checks[:, :, None]
    crop = detailed(comparison(tmp_path, pixels))
    assert 0 <= crop.x <= 80 - crop.width
    assert 0 <= crop.y <= 60 - crop.height
    assert crop.x <= 50 and crop.x + crop.width >= 65
    assert crop.y <= 40 and crop.y + crop.height >= 52


@pytest.mark.parametrize(
    ("size", "n"), [((120, 160), 1), ((120, 160), 7), ((40, 400), 2), ((400, 40), 3), ((8, 8), 1)]
)
def test_any_shape_and_number(tmp_path, picture, size, n):
    found = comparison(tmp_path, picture(*size), n, reference=True)
    sheet = draw(found, detailed(found))
    width, height = sheet.size
    assert 300 < width < 4200
    assert 200 < height < 4200
    pixels = np.asarray(sheet)
    edge = np.concatenate([pixels[:8].reshape(-1, 3), pixels[-8:].reshape(-1, 3)])
    assert (edge == 255).all()
    assert (pixels != 255).any(axis=2).mean() > 0.2


def test_pixels_of_a_crop_are_shown_exactly(tmp_path, picture):
    """Somewhere in the sheet stands each AFTER pixel of the crop as a square of one colour."""
    pixels = picture(96, 128)
    found = comparison(tmp_path, pixels)
    sheet = np.asarray(draw(found, Crop(4, 6, 16, 12)))
    part = pixels[24:72, 16:80]
    factor = round(372 / 64)
    cell = part.repeat(factor, 0).repeat(factor, 1)
    rows = [y for y in range(20, 60) if (sheet[y, -32 - cell.shape[1] : -32] == cell[0]).all()]
    assert rows
    y = rows[0]
    right = sheet.shape[1] - 32
    assert np.array_equal(sheet[y : y + len(cell), right - cell.shape[1] : right], cell)


def test_smooth_and_nearest_differ(tmp_path, picture):
    found = comparison(tmp_path, picture(96, 128))
    crop = Crop(0, 0, 16, 12)
    nearest, smooth = (np.asarray(draw(found, crop, how)) for how in ("nearest", "smooth"))
    assert nearest.shape == smooth.shape
    assert not np.array_equal(nearest, smooth)


@pytest.mark.parametrize("crop", [Crop(30, 0, 4, 4), Crop(0, 0, 33, 4), Crop(0, 0, 0, 4)])
def test_a_crop_outside_is_refused(tmp_path, picture, crop):
    with pytest.raises(UsageError, match=r"does not lie inside small\.png, which is 32 x 24"):
        draw(comparison(tmp_path, picture(96, 128)), crop)


def test_names_of_any_kind(tmp_path, picture):
    found = comparison(tmp_path, picture(96, 128))
    strange = compare(
        found.before.path, [found.pictures[1].path], labels=["\u202e\n\ud800" + "long " * 50]
    )
    assert draw(strange, detailed(strange)).width < 2000


def test_what_the_captions_say(tmp_path, picture, monkeypatch):
    said, text = [], ImageDraw.ImageDraw.text

    def recorded(pen, place, words, *args, **kwargs):
        said.append(words)
        return text(pen, place, words, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", recorded)
    for reference, whole in ((False, "model 0"), (True, "reference")):
        said.clear()
        found = comparison(tmp_path, picture(96, 400), reference=reference)
        draw(found, detailed(found))
        assert f"{whole}, the whole picture" in said
        assert {p.label for p in found.pictures} < set(said)


def test_written_whole(tmp_path, picture):
    found = comparison(tmp_path, picture(96, 128))
    crop = write_sheet(found, tmp_path / "sheet.png")
    assert crop == detailed(found)
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.load()
        assert sheet.mode == "RGB"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sheet.png", "small.png", "whole.png"]
