"""What is compared: sizes, scores, what is refused."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from srcli.compare.pictures import as_srgb, compare
from srcli.errors import MediaError, ResourceError, UsageError
from srcli.quality.metrics import psnr_y, ssim_y


@pytest.fixture
def files(tmp_path, picture):
    """A small picture, two large ones and the true one, cut from 65 x 51."""
    hr = picture(51, 65, 3, 1)
    rng = np.random.default_rng(0)
    for name, noise in (("a", 5), ("b", 20)):
        worse = hr[:48, :64] + rng.normal(0, noise, (48, 64, 3))
        Image.fromarray(np.clip(worse, 0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    Image.fromarray(hr).save(tmp_path / "hr.png")
    Image.fromarray(hr[:48:4, :64:4].copy()).save(tmp_path / "lr.png")
    return tmp_path


def test_scores_are_those_of_the_papers(files):
    found = compare(
        files / "lr.png",
        [files / "a.png", files / "b.png"],
        labels=["a", "b"],
        reference=files / "hr.png",
    )
    assert [p.role for p in found.pictures] == ["before", "after", "after", "reference"]
    assert found.size == (48, 64)
    assert found.crop_border == 4
    assert found.notes == ()
    hr = np.asarray(Image.open(files / "hr.png"))[:48, :64]
    a = np.asarray(Image.open(files / "a.png"))
    shown = found.pictures[1]
    assert (shown.psnr_y, shown.ssim_y) == (psnr_y(a, hr, 4), ssim_y(a, hr, 4))
    assert found.best is shown
    assert found.before.psnr_y is None
    assert np.array_equal(found.pictures[3].picture.pixels, hr)


def test_equal_pictures(files):
    found = compare(files / "a.png", [files / "a.png"], labels=["same"], reference=files / "a.png")
    assert found.crop_border == 0
    assert [p.psnr_y for p in found.pictures] == [math.inf, math.inf, None]
    assert found.pictures[1].ssim_y == 1


def test_exchanged_pictures_are_told_of(files):
    found = compare(files / "a.png", [files / "lr.png"], labels=["a"])
    assert found.notes == (
        "BEFORE (a.png, 64 x 48) is larger than AFTER (16 x 12): if you exchanged them, name the "
        "small picture first",
    )


def test_what_cannot_be_scored_is_said(files):
    Image.open(files / "a.png").resize((32, 24)).save(files / "half.png")
    Image.open(files / "a.png").convert("RGBA").save(files / "clear.png")
    found = compare(
        files / "lr.png",
        [files / "half.png", files / "clear.png", files / "a.png"],
        labels=["1", "2", "3"],
        reference=files / "hr.png",
    )
    assert [p.psnr_y is None for p in found.pictures] == [True, True, True, False, True]
    assert found.notes == (
        "half.png is not scored: it is 32 x 24, the reference 64 x 48",
        "clear.png is not scored: there is transparency",
    )


def test_other_shapes_are_refused(files):
    Image.new("RGB", (64, 64)).save(files / "square.png")
    with pytest.raises(UsageError, match=r"square.*differ in shape"):
        compare(files / "lr.png", [files / "square.png"], labels=["x"])


def test_sizes_may_be_rounded(files):
    Image.new("RGB", (161, 120)).save(files / "x10.png")
    assert compare(files / "lr.png", [files / "x10.png"], labels=["x"]).size == (120, 161)


def test_too_much_is_refused_before_it_is_decoded(files):
    with pytest.raises(ResourceError, match="megapixels together"):
        compare(files / "lr.png", [files / "a.png"], labels=["a"], max_pixels=3000)


def test_labels_must_fit(files):
    with pytest.raises(UsageError, match="1 labels"):
        compare(files / "lr.png", [files / "a.png", files / "b.png"], labels=["a"])


def test_broken_picture(files):
    Path(files / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(MediaError, match="broken"):
        compare(files / "lr.png", [files / "broken.png"], labels=["x"])


def test_profiles_are_used(tmp_path):
    """In a profile whose red and green have changed places, red is green."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmp ", 1).replace(b"gXYZ", b"rXYZ", 1)
    swapped = swapped.replace(b"tmp ", b"gXYZ", 1)
    red = np.full((8, 8, 3), (220, 40, 40), np.uint8)
    Image.fromarray(red).save(tmp_path / "a.png", icc_profile=swapped)
    Image.fromarray(red).save(tmp_path / "b.png", icc_profile=srgb)
    found = compare(tmp_path / "a.png", [tmp_path / "b.png"], labels=["b"])
    a, b = (as_srgb(shown).astype(int) for shown in found.pictures)
    assert np.abs(a - (40, 220, 40)).max() <= 2
    assert np.abs(b - (220, 40, 40)).max() <= 1


def test_transparency_is_drawn_on_white(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, :4] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "a.png")
    drawn = as_srgb(compare(tmp_path / "a.png", [tmp_path / "a.png"], labels=["a"]).before)
    assert (drawn[:, :4] == (10, 20, 30)).all()
    assert (drawn[:, 4:] == 255).all()
