"""Kinds of picture that need a package more: JPEG XL, OpenEXR, Radiance HDR, camera raw."""

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from icc_profiles import rgb_profile
from picture_files import dng, hdr, jxl
from PIL import Image

from srcli.errors import MediaError
from srcli.media.image import inspect, read

RNG = np.random.default_rng(3)
SMALL = RNG.integers(0, 256, (13, 17, 4), np.uint8)


def needs(module: str, package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


def srgb(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# JPEG XL


@needs("pillow_jxl", "pillow-jxl-plugin")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jxl(channels: int) -> None:
    samples = SMALL[:, :, 0] if channels == 1 else SMALL[:, :, :channels]
    picture = read(io.BytesIO(jxl(samples, use_container=True)))
    colours = 1 if channels < 3 else 3
    assert np.array_equal(picture.pixels, SMALL[:, :, :colours])
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.metadata.icc and picture.notes == ()


@needs("pillow_jxl", "pillow-jxl-plugin")
def test_jxl_of_other_sizes() -> None:
    for height, width in ((8, 8), (16, 32), (30, 36), (256, 256), (257, 1), (600, 1200)):
        info = inspect(io.BytesIO(jxl(np.zeros((height, width, 3), np.uint8))))
        assert (info.height, info.width) == (height, width)
    assert read(io.BytesIO(jxl(np.zeros((600, 1200, 3), np.uint8)))).pixels.shape == (600, 1200, 3)


@needs("pillow_jxl", "pillow-jxl-plugin")
def test_jxl_in_16_bits() -> None:
    deep = RNG.integers(0, 65_536, (13, 17)).astype(np.uint16)
    picture = read(io.BytesIO(jxl(deep)), depth=16)
    assert np.array_equal(picture.pixels[:, :, 0], deep)


@needs("pillow_jxl", "pillow-jxl-plugin")
def test_jxl_exif_and_a_jpeg_inside(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    data = jxl(SMALL[:, :, :3], exif=exif.tobytes(), use_container=True)
    assert b"maker" in (read(io.BytesIO(data)).metadata.exif or b"")
    Image.fromarray(SMALL[:, :, :3]).save(
        tmp_path / "a.jpg", exif=exif, icc_profile=rgb_profile(), quality=90
    )
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    picture, own = read(tmp_path / "a.jxl"), read(tmp_path / "a.jpg")
    assert np.array_equal(picture.pixels, own.pixels)
    assert picture.pixels.shape == (17, 13, 3)
    assert picture.metadata.icc == own.metadata.icc


# OpenEXR and Radiance


@needs("OpenEXR", "OpenEXR")
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_exr(kind: type, tmp_path: Path) -> None:
    import OpenEXR

    light = RNG.random((13, 17, 4)).astype(kind)
    light[0, 0, 0] = 7
    light[:, :, 3] = 1
    light[1, :, 3], light[1, :, :3] = 0.5, light[1, :, :3] / 2
    path = tmp_path / "a.exr"
    channels = {name: light[:, :, k].copy() for k, name in enumerate("RGBA")}
    channels["Z"] = light[:, :, 0].copy()
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(path))
    picture = read(path, depth=16)
    alpha = light[:, :, 3:].astype(float)
    wanted = srgb(light[:, :, :3].astype(float) / alpha) * 65_535
    assert np.abs(picture.pixels - wanted).max() < 1
    assert np.abs(picture.alpha - alpha[:, :, 0] * 65_535).max() <= 0.5
    assert "brighter than white was clipped" in picture.notes[-1]
    assert "these channels were left out: Z" in picture.notes


@needs("OpenEXR", "OpenEXR")
def test_exr_that_is_cut_off_says_so_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its module prints a word of its own, which a script would read as a result."""
    import OpenEXR

    path = tmp_path / "a.exr"
    noise = np.random.default_rng(0).random((40, 60), np.float32)
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"Y": noise}).write(str(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="damaged"):
        read(path)
    assert capfd.readouterr().out == ""


@needs("OpenEXR", "OpenEXR")
def test_exr_window_grey_and_primaries(tmp_path: Path) -> None:
    import OpenEXR

    path = tmp_path / "a.exr"
    corner = np.array([0, 0], np.int32), np.array([19, 9], np.int32)
    head = {"type": OpenEXR.scanlineimage, "displayWindow": corner}
    head["dataWindow"] = np.array([4, 2], np.int32), np.array([7, 4], np.int32)
    OpenEXR.File(head, {"Y": np.full((3, 4), 0.25, np.float32)}).write(str(path))
    picture = read(path, depth=16)
    assert picture.pixels.shape == (10, 20, 1)
    assert np.count_nonzero(picture.pixels) == 12
    assert picture.pixels[2:5, 4:8].min() == round(float(srgb(np.array(0.25))) * 65_535)
    white = np.ones((3, 4), np.float32)
    del head["displayWindow"], head["dataWindow"]
    head["chromaticities"] = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.3127, 0.3290)
    OpenEXR.File(head, dict.fromkeys("GB", white * 0) | {"R": white * 0.5}).write(str(path))
    red = read(path, depth=16).pixels[0, 0]
    assert red[0] > 50_000 and red[1] == red[2] == 0  # beyond sRGB's red


@pytest.mark.parametrize("packed", [False, True])
def test_radiance(packed: bool) -> None:
    rgbe = RNG.integers(2, 256, (13, 17, 4), np.uint8)
    rgbe[:, :, 3] = RNG.integers(124, 130, (13, 17))
    rgbe[:, :3] = rgbe[:, :1]
    rgbe[0, 0, 3] = rgbe[0, 1, 3] = rgbe[0, 2, 3] = 0
    picture = read(io.BytesIO(hdr(rgbe, packed=packed)), depth=16)
    light = rgbe[:, :, :3] * 2.0 ** (rgbe[:, :, 3:].astype(int) - 136) / 2
    light[rgbe[:, :, 3] == 0] = 0
    assert np.abs(picture.pixels - srgb(light) * 65_535).max() < 1
    assert (picture.pixels[0, 0] == 0).all()
    with pytest.raises(MediaError, match="cut short"):
        read(io.BytesIO(hdr(rgbe, packed=packed)[:-9]))


# Camera raw


@needs("rawpy", "rawpy")
def test_camera_raw(tmp_path: Path) -> None:
    picture = read(dng(tmp_path / "a.dng"), depth=16)
    assert picture.pixels.shape == (48, 64, 3) and picture.pixels.dtype == np.uint16
    assert picture.pixels.std() < 3000  # even
    assert b"Acme" in (picture.metadata.exif or b"")
    assert "LibRaw" in picture.notes[0]


@pytest.mark.parametrize(
    ("module", "head", "extra"),
    [
        ("pillow_jxl", b"\xff\x0a\x10\x20", "jxl"),
        ("OpenEXR", b"\x76\x2f\x31\x01\x02\0\0\0", "exr"),
        ("rawpy", b"FUJIFILMCCD-RAW 0201", "raw"),
        ("rawpy", None, "raw"),
    ],
)
def test_without_the_package(
    module: str, head: bytes | None, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "a.bin"
    if head is None:
        dng(path)
    else:
        path.write_bytes(head + bytes(99))
    with pytest.raises(MediaError, match="not installed") as caught:
        inspect(path)
    assert caught.value.hint == f'pip install "srcli[{extra}]"'


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_is_no_camera_raw(order: str, tmp_path: Path) -> None:
    """Of all kinds of directory: their ends say 0, where the file begins."""
    for pages in (1, 3):
        for kind in (np.uint8, np.uint16, np.float32):
            path = tmp_path / "a.tif"
            samples = np.ones((pages, 9, 8, 3), kind)
            tifffile.imwrite(path, samples, byteorder=order, photometric="rgb", metadata=None)
            assert inspect(path).format == "tiff"
