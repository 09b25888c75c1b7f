"""The kinds of picture that are read and not written: as deep as the file, alpha and profile."""

import importlib.util
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from icc_profiles import rgb_profile
from picture_files import NEGATIVE, box, pnm, psd, qoi, resource, saved, sgi
from PIL import Image

from srcli.errors import MediaError
from srcli.media import image as media

RNG = np.random.default_rng(3)
SMALL = RNG.integers(0, 256, (13, 17, 4), np.uint8)
DEEP = RNG.integers(0, 65_536, (13, 17, 4)).astype(np.uint16)


def read(data: bytes, name: str = "a", folder: Path | None = None, depth: int = 16):
    if folder is None:
        return media.read(io.BytesIO(data), depth=depth)
    path = folder / name
    path.write_bytes(data)
    return media.read(path, depth=depth)


# PNM and PFM


@pytest.mark.parametrize("maxval", [1, 15, 200, 255, 256, 1023, 4095, 40_000, 65_535])
@pytest.mark.parametrize("magic", [b"P2", b"P3", b"P5", b"P6"])
def test_pnm_is_exact(magic: bytes, maxval: int) -> None:
    samples = DEEP[:, :, :3] if magic in (b"P3", b"P6") else DEEP[:, :, :1]
    samples = samples.astype(int) % (maxval + 1)
    picture = read(pnm(magic, samples, maxval))
    full = 65_535 if maxval > 255 else 255
    assert picture.pixels.dtype == (np.uint16 if maxval > 255 else np.uint8)
    assert np.abs(picture.pixels - samples * (full / maxval)).max() < 0.501  # rounded
    assert picture.notes == ()


@pytest.mark.parametrize("magic", [b"P1", b"P4"])
def test_bitmaps(magic: bytes) -> None:
    bits = SMALL[:, :, 0] & 1
    body = b"".join(bytes(row + 48) + b"\n" for row in bits)
    if magic == b"P4":
        body = np.packbits(bits, axis=1).tobytes()
    picture = read(magic + b"\n17 13\n" + body)
    assert np.array_equal(picture.pixels[:, :, 0], np.where(bits, 0, 255))


@pytest.mark.parametrize(
    ("depth", "kind"), [(1, "GRAYSCALE"), (2, "GRAYSCALE_ALPHA"), (4, "RGB_ALPHA")]
)
def test_pam(depth: int, kind: str) -> None:
    samples = DEEP[:, :, :depth]
    head = f"P7\nWIDTH 17\nHEIGHT 13\nDEPTH {depth}\nMAXVAL 65535\nTUPLTYPE {kind}\nENDHDR\n"
    picture = read(head.encode() + samples.astype(">u2").tobytes())
    colours = 3 if depth > 2 else 1
    assert np.array_equal(picture.pixels, samples[:, :, :colours])
    assert depth == colours or np.array_equal(picture.alpha, samples[:, :, -1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", ["Pf", "PF"])
def test_floats_keep_16_bits(magic: str, order: str) -> None:
    samples = DEEP[:, :, : 3 if magic == "PF" else 1]
    floats = (samples / 65_535).astype(f"{order}f4")
    head = f"{magic}\n17 13\n{-1.0 if order == '<' else 1.0}\n".encode()
    picture = read(head + floats[::-1].tobytes())
    assert np.array_equal(picture.pixels, samples)
    assert picture.notes == ("32-bit picture read at 16 bits",)
    floats[0, 0] = 1.5
    picture = read(head + floats[::-1].tobytes())
    assert "values below 0 and above 1 were clipped" in picture.notes
    assert (picture.pixels[0, 0] == 65_535).all()


def test_the_first_of_several_pnm() -> None:
    one = pnm(b"P5", SMALL[:, :, :1], 255)
    assert read(one + one).notes == ("only the first of several pictures in the file was taken",)


@pytest.mark.parametrize(
    "data",
    [b"P5 17 13 255\n" + bytes(17 * 13 - 1), b"P3 2 2 255 1 2 3", b"P6 17", b"P7\nWIDTH 3\n"],
)
def test_pnm_cut_short(data: bytes) -> None:
    with pytest.raises(MediaError, match="cut short"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [b"P2 2 1 9 1 x", b"P2 2 1 9 1 10", b"P5 0 13 255\n", b"P5 2 1 70000\n1234", b"P5 a 1 2 3"],
)
def test_damaged_pnm(data: bytes) -> None:
    with pytest.raises(MediaError, match="damaged"):
        read(data)


# Photoshop


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("samples", [SMALL, DEEP])
def test_photoshop(samples: np.ndarray, large: bool, packed: bool) -> None:
    profile = rgb_profile()
    data = psd(samples[:, :, :3], 3, large=large, packed=packed, resources=resource(1039, profile))
    picture = read(data)
    assert np.array_equal(picture.pixels, samples[:, :, :3]) and picture.alpha is None
    assert picture.metadata.icc == profile
    grey = read(psd(samples[:, :, :1], 1, large=large, packed=packed))
    assert np.array_equal(grey.pixels, samples[:, :, :1])


def test_photoshop_without_its_white() -> None:
    alpha = np.full((13, 17, 1), 128, np.uint8)
    alpha[0], alpha[1] = 0, 255
    colours = SMALL[:, :, :3]
    on_white = np.rint(colours * (alpha / 255) + 255.0 * (1 - alpha / 255)).astype(np.uint8)
    picture = read(psd(np.dstack((on_white, alpha)), 3, layers=NEGATIVE))
    assert np.array_equal(picture.alpha, alpha[:, :, 0])
    assert np.array_equal(picture.pixels[1], colours[1])
    assert np.abs(picture.pixels[2:].astype(int) - colours[2:]).max() <= 1  # 8 bits, half seen
    plain = read(psd(np.dstack((colours, alpha)), 3, layers=NEGATIVE))  # not by Photoshop
    assert np.array_equal(plain.pixels, colours)
    tagged = struct.pack(">II", 0, 0) + b"8BIMMt16" + struct.pack(">I", 0)
    assert read(psd(DEEP, 3, layers=tagged)).alpha is not None


def test_photoshop_selections_are_not_transparency() -> None:
    picture = read(psd(SMALL, 3))
    assert picture.alpha is None
    assert picture.notes == ("1 saved selection or spot colours were left out",)


def test_photoshop_cmyk_indexed_and_bitmap() -> None:
    left = read(psd(SMALL, 4))
    assert left.pixels.shape == (13, 17, 3) and "CMYK" in left.notes[0]
    inks = media.read(io.BytesIO(psd(DEEP, 4)), depth=16, inks=True)
    assert np.array_equal(inks.pixels, DEEP[:, :, :3])
    assert np.array_equal(inks.black, DEEP[:, :, 3])
    palette = RNG.integers(0, 256, (3, 256), np.uint8)
    picture = read(psd(SMALL[:, :, :1], 2, palette=palette.tobytes()))
    assert np.array_equal(picture.pixels, palette.T[SMALL[:, :, 0]])
    bits = SMALL[:, :, 0] & 1
    data = bytearray(psd(np.packbits(bits, axis=1)[:, :, None], 0))
    data[18:22], data[22:24] = struct.pack(">I", 17), struct.pack(">H", 1)
    assert np.array_equal(read(bytes(data)).pixels[:, :, 0], np.where(bits, 0, 255))


def test_photoshop_lab_is_grey_where_it_is() -> None:
    lab = np.full((4, 4, 3), 128, np.uint8)
    picture = read(psd(lab, 9))
    assert np.ptp(picture.pixels.astype(int)) <= 1 and "Lab" in picture.notes[0]


# JPEG 2000


@pytest.mark.parametrize("ending", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg2000(channels: int, ending: str, tmp_path: Path) -> None:
    samples = SMALL[:, :, :channels]
    path = tmp_path / f"a.{ending}"
    Image.fromarray(samples[:, :, 0] if channels == 1 else samples).save(path, irreversible=False)
    picture = media.read(path)
    assert np.array_equal(picture.pixels, samples[:, :, :3])
    assert (picture.alpha is not None) == (channels == 4)


def test_jpeg2000_grey_keeps_16_bits() -> None:
    picture = read(saved(DEEP[:, :, 0], "JPEG2000", irreversible=False))
    assert np.array_equal(picture.pixels[:, :, 0], DEEP[:, :, 0])


def with_metadata(jp2: bytes) -> bytes:
    """A profile in place of the colour space, and EXIF and XMP behind the header."""
    profile, exif = rgb_profile(), Image.Exif()
    exif[0x010F] = "maker"
    at = jp2.index(b"colr") - 4
    length = int.from_bytes(jp2[at : at + 4], "big")
    colours = box(b"colr", b"\2\0\0" + profile)
    head = jp2.index(b"jp2h") - 4
    size = int.from_bytes(jp2[head : head + 4], "big") - length + len(colours)
    more = box(b"uuid", bytes.fromhex("4a706754696666457869662d3e4a5032") + exif.tobytes()[6:])
    more += box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta/>")
    stream = jp2.index(b"jp2c") - 4
    changed = jp2[:head] + struct.pack(">I", size) + jp2[head + 4 : at] + colours
    return changed + jp2[at + length : stream] + more + jp2[stream:]


def test_jpeg2000_metadata() -> None:
    plain = saved(SMALL[:, :, :3], "JPEG2000", irreversible=False)
    picture = read(with_metadata(plain))
    assert np.array_equal(picture.pixels, SMALL[:, :, :3])
    assert picture.metadata.icc == rgb_profile()
    assert b"maker" in (picture.metadata.exif or b"")
    assert picture.metadata.xmp == b"<x:xmpmeta/>"


# The others


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_tga(channels: int, compression: str | None, tmp_path: Path) -> None:
    samples = SMALL[:, :, 0] if channels == 1 else SMALL[:, :, :channels]
    picture = read(saved(samples, "TGA", compression=compression), "a.TGA", tmp_path)
    assert np.array_equal(picture.pixels, SMALL[:, :, : min(3, channels)])
    assert channels < 4 or np.array_equal(picture.alpha, SMALL[:, :, 3])


def test_tga_without_alpha_bits(tmp_path: Path) -> None:
    data = bytearray(saved(SMALL, "TGA"))
    data[17] &= 0xF0
    picture = read(bytes(data), "a.tga", tmp_path)
    assert picture.alpha is None and "no transparency" in picture.notes[0]


def test_tga_by_its_ending_alone(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is not a picture"):
        read(saved(SMALL, "TGA"), "a.dat", tmp_path)
    with pytest.raises(MediaError, match="is not a picture"):
        read(b"just some words, " * 9, "a.tga", tmp_path)
    assert read(saved(SMALL, "PNG"), "b.tga", tmp_path).alpha is not None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("samples", [SMALL, DEEP])
def test_sgi(samples: np.ndarray, channels: int, packed: bool) -> None:
    picture = read(sgi(samples[:, :, :channels], packed))
    assert np.array_equal(picture.pixels, samples[:, :, : min(3, channels)])
    assert channels < 4 or np.array_equal(picture.alpha, samples[:, :, 3])


@pytest.mark.parametrize("kind", ["PCX", "QOI", "DDS"])
def test_what_pillow_reads(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    if kind == "QOI":
        path.write_bytes(qoi(SMALL[:, :, :3]))
    else:
        Image.fromarray(SMALL[:, :, :3]).save(path)
    assert np.array_equal(media.read(path).pixels, SMALL[:, :, :3])
    grey = media.read(io.BytesIO(saved(SMALL[:, :, 0], "PCX")))
    assert grey.pixels.shape[2] in (1, 3)


@pytest.mark.parametrize("bitmap_format", ["png", "bmp"])
def test_the_largest_picture_of_an_icon(bitmap_format: str) -> None:
    large = np.kron(SMALL, np.ones((4, 4, 1), np.uint8))[:48, :48]
    data = saved(large, "ICO", sizes=[(16, 16), (48, 48)], bitmap_format=bitmap_format)
    picture = read(data)
    assert np.array_equal(picture.pixels, large[:, :, :3])
    assert np.array_equal(picture.alpha, large[:, :, 3])
    assert picture.notes == ("the largest of 2 pictures was taken",)


# Extras


needs_openjpeg = pytest.mark.skipif(
    importlib.util.find_spec("openjpeg") is None, reason="pylibjpeg-openjpeg is not installed"
)


@needs_openjpeg
def test_jpeg2000_in_colour_keeps_16_bits() -> None:
    from openjpeg.utils import encode_array

    for bits in (12, 16):
        samples = np.tile(DEEP[:, :, :3], (6, 6, 1)) >> (16 - bits)
        coded = encode_array(samples, bits_stored=bits, photometric_interpretation=1)
        picture = read(coded)
        assert picture.pixels.dtype == np.uint16
        assert np.array_equal(picture.pixels, np.rint(samples * (65_535 / (2**bits - 1))))


@needs_openjpeg
def test_jpeg2000_in_colour_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from openjpeg.utils import encode_array

    samples = np.tile(DEEP[:, :, :3], (6, 6, 1))
    coded = encode_array(samples, bits_stored=16, photometric_interpretation=1)
    monkeypatch.setitem(sys.modules, "openjpeg", None)
    with pytest.raises(MediaError, match="16 bits in colour") as caught:
        read(coded)
    assert caught.value.hint == 'pip install "srcli[jpeg2000]"'


@pytest.mark.parametrize(
    ("depth", "masks"),
    [
        (16, (0xF800, 0x07E0, 0x001F, 0)),
        (16, (0x0F00, 0x00F0, 0x000F, 0xF000)),
        (32, (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)),
        (24, (0x000000FF, 0x0000FF00, 0x00FF0000, 0)),
    ],
)
def test_dds_of_plain_colours(depth: int, masks: tuple[int, ...]) -> None:
    top = np.array([bin(mask).count("1") for mask in masks])
    samples = SMALL >> (8 - top)
    shifts = [(mask & -mask).bit_length() - 1 if mask else 0 for mask in masks]
    values = sum(samples[:, :, k].astype(np.uint32) << shifts[k] for k in range(4) if masks[k])
    flags = 0x41 if masks[3] else 0x40
    head = struct.pack("<4s7I44x", b"DDS ", 124, 0x1007, 13, 17, 0, 0, 0)
    head += struct.pack("<II4s5I", 32, flags, bytes(4), depth, *masks) + bytes(20)
    body = values.astype("<u4")[..., None].view(np.uint8)[:, :, : depth // 8].tobytes()
    picture = read(head + body)
    wanted = samples[:, :, :3] * (255 / (2 ** top[:3] - 1))
    assert np.abs(picture.pixels - wanted).max() < 0.501
    assert (picture.alpha is not None) == bool(masks[3])
    with pytest.raises(MediaError, match="cut short"):
        read(head + body[:-1])
