"""Around a network that changes nothing, nothing changes: depth, colours and greys are exact.

The network is the catalogue's own SRVGGNetCompact with weights of zero: it adds nothing to the
enlarged picture that it starts from, which is nearest neighbour.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import srcli
from srcli import catalog
from srcli.media.image import read

sys.path.append(str(Path(__file__).parent / "media"))
from icc_profiles import (
    P3,
    SRGB,
    cmyk_profile,
    delta_e,
    lab_of_cmyk,
    lab_of_rgb,
    rgb_profile,
)

ARCHITECTURE = "realesr_animevideov3"


@pytest.fixture(scope="session")
def identity(tmp_path_factory) -> Path:
    """Weights of a network that repeats pixels, x4."""
    import torch

    from srcli.weights import new_network

    model = next(
        m for m in catalog.default_catalogue().models.values() if m.arch.name == ARCHITECTURE
    )
    state = {
        k: torch.zeros_like(v)
        for k, v in new_network(model.variant(4), model.arch).state_dict().items()
    }
    path = tmp_path_factory.mktemp("weights") / "identity.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def enlarge(identity, tmp_path, alone):
    """Function (name of the source, name of the output) -> path: x4, through the identity."""

    def run(source: Path, name: str) -> Path:
        return srcli.upscale(
            source, 4, ARCHITECTURE, weights=identity, output=tmp_path / name, overwrite=True
        )

    return run


def test_the_network_repeats_pixels(enlarge, tmp_path, picture) -> None:
    Image.fromarray(picture(17, 23)).save(tmp_path / "a.png")
    got = read(enlarge(tmp_path / "a.png", "b.png")).pixels
    assert np.array_equal(got, picture(17, 23).repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("ext", ["png", "tif"])
def test_a_16_bit_ramp(enlarge, tmp_path, ext) -> None:
    """All 65,536 greys, within one."""
    ramp = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    if ext == "png":
        Image.fromarray(ramp).save(tmp_path / "a.png")
    else:
        tifffile.imwrite(tmp_path / "a.tif", ramp)
    picture = read(enlarge(tmp_path / f"a.{ext}", f"b.{ext}"), depth=16)
    assert picture.pixels.dtype == np.uint16 and picture.pixels.shape == (1024, 1024, 1)
    want = ramp.astype(int).repeat(4, 0).repeat(4, 1)
    assert np.abs(picture.pixels[..., 0] - want).max() <= 1


COLOURS = [(200, 30, 60), (20, 180, 90), (40, 60, 220), (128, 128, 128), (250, 240, 20), (9, 5, 12)]


@pytest.mark.parametrize("space", ["sRGB", "Display P3"])
@pytest.mark.parametrize("ext", ["png", "tif", "jpg", "webp", "avif", "bmp"])
def test_constant_rgb_patches(enlarge, tmp_path, space, ext) -> None:
    """What the output file says, by its own profile, is the colour that went in."""
    primaries, icc = (P3, rgb_profile()) if space == "Display P3" else (SRGB, rgb_profile(p3=False))
    for colour in COLOURS:
        patch = np.full((12, 12, 3), colour, np.uint8)
        if ext == "bmp" and space == "Display P3":  # the format has sRGB only: stay within it
            patch = (patch // 3 + 80).astype(np.uint8)
        Image.fromarray(patch).save(tmp_path / "a.png", icc_profile=icc)
        picture = read(enlarge(tmp_path / "a.png", f"b.{ext}"))
        own = picture.metadata.icc
        assert own == (None if ext == "bmp" else icc)
        got = lab_of_rgb(picture.pixels / 255, primaries if own else SRGB)
        error = delta_e(got, lab_of_rgb(patch[0, 0] / 255, primaries)).max()
        # lossy coders turn 8 bits into YCbCr of 8 bits and back: a level or two
        limit = 2 if ext in ("jpg", "webp", "avif") else 0.5
        assert error < limit, (colour, error)


@pytest.mark.parametrize("ext", ["tif", "jpg"])
def test_constant_cmyk_patches(enlarge, tmp_path, ext) -> None:
    """Inks in eighths, at which the profile is exact, to sRGB."""
    for inks in (
        (2, 4, 0, 0),
        (0, 4, 6, 1),
        (4, 0, 2, 2),
        (0, 0, 0, 4),
        (1, 1, 1, 0),
        (6, 5, 2, 3),
    ):
        patch = np.full((16, 16, 4), np.rint(np.array(inks) * 255 / 8), np.uint8)
        image = Image.fromarray(patch, "CMYK")
        image.save(tmp_path / f"a.{ext}", icc_profile=cmyk_profile(), quality=100)
        picture = read(enlarge(tmp_path / f"a.{ext}", "b.png"))
        error = delta_e(lab_of_rgb(picture.pixels / 255), lab_of_cmyk(patch[0, 0] / 255)).max()
        assert error < 0.5, (inks, error)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_inks_stay_inks(enlarge, tmp_path, picture, bits, alpha) -> None:
    """CMYK with its profile, or without any: no ink is turned into another."""
    inks = np.dstack([picture(9, 11), picture(9, 11, 1, 3)]).astype(f"u{bits // 8}")
    inks *= 257 if bits == 16 else 1
    inks[:, 4:8, :3] = 0  # text is black alone
    stored = np.dstack([inks, np.full((9, 11), 2**bits - 1, inks.dtype)]) if alpha else inks
    for icc in (cmyk_profile(), None):
        tags = [(34675, 7, None, icc, True)] if icc else []
        how = {"extrasamples": ["unassalpha"]} if alpha else {}
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stored, photometric="separated", extratags=tags, **how)
        got = enlarge(path, "b.tif")
        with tifffile.TiffFile(got) as file:
            page = file.pages[0]
            assert page.photometric == 5 and page.dtype == inks.dtype
            assert page.iccprofile == icc
            assert len(page.extrasamples) == alpha
            made = page.asarray().astype(int)
        want = stored.repeat(4, 0).repeat(4, 1)
        assert np.array_equal(made[..., :3], want[..., :3])
        # what resampling finds empty, or full, stays so
        sure = (made[..., 3] > 0) & (made[..., 3] < 2**bits - 1)
        assert np.array_equal(made[..., 3][sure], want[..., 3][sure]) and sure.mean() > 0.5


def test_a_cmyk_jpeg_stays_one(enlarge, tmp_path) -> None:
    for inks in ((255, 0, 0, 0), (0, 128, 64, 0), (0, 0, 0, 255), (30, 30, 30, 200)):
        patch = np.full((16, 16, 4), inks, np.uint8)
        image = Image.frombytes("CMYK", (16, 16), patch.tobytes())
        image.save(tmp_path / "a.jpg", icc_profile=cmyk_profile(), quality=100)
        with Image.open(enlarge(tmp_path / "a.jpg", "b.jpg")) as large:
            assert (large.mode, large.size) == ("CMYK", (64, 64))
            assert large.info["icc_profile"] == cmyk_profile()
            assert np.abs(np.asarray(large).astype(int) - inks).max() <= 1


def test_the_identity_through_a_pipe_of_formats(enlarge, tmp_path, picture) -> None:
    """Alpha, grey and profile through lossless formats, one after the other."""
    rgba = np.dstack([picture(9, 11), picture(9, 11, 1, 3)])
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=rgb_profile())
    got = read(enlarge(tmp_path / "a.png", "b.tif"))
    assert got.alpha is not None and got.metadata.icc == rgb_profile()
    assert np.abs(got.alpha.astype(int) - rgba[..., 3].repeat(4, 0).repeat(4, 1)).max() <= 1
    seen = rgba[..., 3].repeat(4, 0).repeat(4, 1) > 0
    assert np.array_equal(got.pixels[seen], rgba[..., :3].repeat(4, 0).repeat(4, 1)[seen])


# with a real network


@pytest.fixture(scope="module")
def authors(shared, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRCLI_MIRROR", str(shared / "weights"))
        patch.setenv("SRCLI_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield srcli.load_model("bcrn.authors", 4)


@pytest.mark.shared
@pytest.mark.parametrize("colour", COLOURS)
def test_a_constant_patch_through_bcrn(authors, colour) -> None:
    """16 LR pixels or more from the border, under 1 delta E."""
    large = authors(np.full((48, 48, 3), colour, np.uint8))[64:-64, 64:-64]
    error = delta_e(lab_of_rgb(large / 255), lab_of_rgb(np.array(colour) / 255)).max()
    assert error < 1, error


@pytest.mark.shared
def test_grey_comes_back_grey(authors, tmp_path, picture) -> None:
    grey = picture(24, 31, 1)[..., 0]
    for ext in ("png", "jpg", "webp", "avif", "tif"):
        Image.fromarray(grey).save(tmp_path / "a.png")
        out = authors.to_file(tmp_path / "a.png", tmp_path / f"b.{ext}", overwrite=True)
        pixels = read(out).pixels.astype(int)
        assert pixels.shape[2] == (3 if ext in ("webp", "avif") else 1)
        # their decoders turn YCbCr into RGB, each channel rounded by itself
        assert np.ptp(pixels, axis=2).max() <= (1 if ext in ("webp", "avif") else 0)
