"""Reading pictures: every kind of file, and every kind of damage."""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from srcli.errors import MediaError
from srcli.media.image import inspect, read
from srcli.media.metadata import icc_space

EXTENSIONS = ["png", "jpg", "webp", "tif", "bmp", "gif", "avif"]


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


def png(width: int, height: int, bits: int, colour: int, raw: bytes, **more: bytes) -> bytes:
    """A PNG by hand; `raw` is what is deflated, filter bytes included."""
    interlace = int.from_bytes(more.pop("interlace", b"\0"), "big")
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), *((k.encode(), v) for k, v in more.items() if k != "eXIf")]
    chunks += [(b"IDAT", zlib.compress(raw))]
    chunks += [(b"eXIf", more["eXIf"])] if "eXIf" in more else []
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in [*chunks, (b"IEND", b"")]:
        out += struct.pack(">I", len(data)) + kind + data
        out += struct.pack(">I", zlib.crc32(kind + data))
    return out


def unfiltered(samples: np.ndarray) -> bytes:
    big = samples.astype(samples.dtype.newbyteorder(">"))
    return b"".join(b"\0" + row.tobytes() for row in big)


def to_8(samples: np.ndarray) -> np.ndarray:
    return np.floor(samples * (255 / 65535) + 0.5).astype(np.uint8)


# Kinds


@pytest.mark.parametrize("ext", EXTENSIONS)
def test_rgb_of_every_format(tmp_path: Path, ext: str) -> None:
    path = tmp_path / f"a.{ext}"
    Image.fromarray(np.full((5, 7, 3), (200, 100, 50), np.uint8)).save(path)
    info = inspect(path)
    assert (info.width, info.height, info.channels, info.has_alpha) == (7, 5, 3, False)
    assert (info.bits, info.n_frames, info.notes) == (8, 1, ())
    picture = read(path, info)
    assert picture.pixels.shape == (5, 7, 3) and picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous and picture.alpha is None
    assert np.abs(picture.pixels.astype(int) - (200, 100, 50)).max() <= 4
    with path.open("rb") as stream:
        assert (read(stream).pixels == picture.pixels).all()


def test_the_name_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    Image.new("RGB", (3, 2)).save(path, "PNG")
    assert inspect(path).format == "png"


@pytest.mark.parametrize("ext", ["png", "jpg", "tif", "bmp"])
def test_grey_stays_one_channel(tmp_path: Path, ext: str) -> None:
    grey = np.full((4, 6), 77, np.uint8)
    Image.fromarray(grey).save(tmp_path / f"a.{ext}")
    assert inspect(tmp_path / f"a.{ext}").channels == 1
    assert (read(tmp_path / f"a.{ext}").pixels[:, :, 0] == grey).all()


@pytest.mark.parametrize("ext", ["png", "tif"])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_comes_apart(tmp_path: Path, ext: str, mode: str) -> None:
    samples = noise(5, 4, len(mode))
    Image.fromarray(samples, mode).save(tmp_path / f"a.{ext}")
    assert inspect(tmp_path / f"a.{ext}").has_alpha
    picture = read(tmp_path / f"a.{ext}")
    assert (picture.pixels == samples[:, :, :-1]).all()
    assert picture.alpha is not None and (picture.alpha == samples[:, :, -1]).all()


@pytest.mark.parametrize("ext", ["png", "tif", "bmp"])
def test_one_bit(tmp_path: Path, ext: str) -> None:
    bits = noise(6, 9) > 127
    Image.fromarray(bits).save(tmp_path / f"a.{ext}")
    info = inspect(tmp_path / f"a.{ext}")
    assert (info.bits, info.channels) == (1, 1)
    assert (read(tmp_path / f"a.{ext}").pixels[:, :, 0] == bits * 255).all()


@pytest.mark.parametrize("transparency", [None, 1, b"\xff\x00\x80"])
def test_palette(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "a.png", **options)
    info, picture = inspect(tmp_path / "a.png"), read(tmp_path / "a.png")
    assert info.has_alpha == (transparency is not None) and info.channels == 3
    assert picture.pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    expected = {None: None, 1: [[255, 0, 255]], b"\xff\x00\x80": [[255, 0, 128]]}[transparency]
    assert (None if picture.alpha is None else picture.alpha.tolist()) == expected


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_with_a_transparent_value(bits: int) -> None:
    # Samples 1, 0 with the key 1: the key counts in the file's own bits.
    raw = {1: b"\x80", 2: b"\x40", 4: b"\x10", 8: b"\1\0", 16: b"\0\1\0\0"}[bits]
    file = io.BytesIO(png(2, 1, bits, 0, b"\0" + raw, tRNS=b"\0\1"))
    assert inspect(file).has_alpha
    alpha = read(file, depth=16).alpha
    assert alpha is not None and alpha.tolist() == [[0, 65535 if bits == 16 else 255]]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_rgb_png_with_a_transparent_colour(dtype: str) -> None:
    samples = noise(2, 3, 3, dtype=dtype)
    samples[1, 2] = 7, 8, 9
    bits = samples.dtype.itemsize * 8
    key = struct.pack(">HHH", 7, 8, 9)
    picture = read(io.BytesIO(png(3, 2, bits, 2, unfiltered(samples), tRNS=key)), depth=16)
    assert (picture.pixels == samples).all() and picture.alpha is not None
    assert picture.alpha[1, 2] == 0 and (picture.alpha > 0).sum() == 5


def test_cmyk_without_and_with_a_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 3), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    info, picture = inspect(tmp_path / "a.jpg"), read(tmp_path / "a.jpg")
    assert info.channels == 3 and picture.pixels[0, 0, 0] > 240 and picture.pixels[0, 0, 1] < 15
    assert any("without a profile" in note for note in picture.notes)
    # A profile that says CMYK and is none: still a picture, and the profile does not go on.
    broken = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    broken[16:20] = b"CMYK"
    Image.new("CMYK", (4, 3)).save(tmp_path / "b.tif", icc_profile=bytes(broken))
    picture = read(tmp_path / "b.tif")
    assert picture.metadata.icc is None or icc_space(picture.metadata.icc) == "RGB"
    assert picture.notes


def test_animations_give_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    for ext in ("gif", "webp", "png", "tif"):
        path = tmp_path / f"a.{ext}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert inspect(path).n_frames == 3
        picture = read(path)
        assert any("first of 3" in note for note in picture.notes)
        assert picture.pixels[0, 0, 0] > 240 and picture.pixels[0, 0, 1] < 15


def test_the_second_picture_of_a_phones_jpeg_is_no_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    info = inspect(tmp_path / "a.jpg")
    assert (info.format, info.n_frames, info.notes) == ("jpeg", 1, ())


# Orientation


@pytest.mark.parametrize("ext", ["png", "jpg", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, ext: str, orientation: int) -> None:
    blocks = np.zeros((16, 32, 3), np.uint8)
    blocks[:8, :16], blocks[:8, 16:], blocks[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ext}"
    Image.fromarray(blocks).save(path, exif=exif, quality=100)
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose
    upright = Image.fromarray(blocks)
    if orientation > 1:
        upright = upright.transpose(Image.Transpose(turned[orientation]))
    info, picture = inspect(path), read(path)
    assert (info.width, info.height) == upright.size
    # Lossy formats mix colours at the edges of the blocks.
    wrong = np.abs(picture.pixels.astype(int) - np.asarray(upright)).max(axis=2) > 60
    assert wrong.mean() < 0.2


def test_orientation_of_deep_and_alpha_pictures(tmp_path: Path) -> None:
    samples = noise(3, 5, 4, dtype="u2")
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples,
        photometric="rgb",
        extrasamples=["unassalpha"],
        extratags=[(274, 3, 1, 6, True)],
    )
    info, picture = inspect(tmp_path / "a.tif"), read(tmp_path / "a.tif", depth=16)
    assert (info.width, info.height) == (3, 5)
    assert picture.alpha is not None
    assert (np.dstack([picture.pixels, picture.alpha]) == np.rot90(samples, -1)).all()


def test_exif_behind_the_pixels_of_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(2, 1, 8, 0, b"\0\1\2", eXIf=exif.tobytes()[6:])
    info = inspect(io.BytesIO(data))
    assert (info.width, info.height) == (1, 2)
    assert read(io.BytesIO(data)).pixels[:, 0, 0].tolist() == [1, 2]


# More than 8 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(channels: int) -> None:
    samples = noise(9, 5, channels, dtype="u2")
    file = io.BytesIO(png(5, 9, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], unfiltered(samples)))
    info = inspect(file)
    assert (info.bits, info.channels, info.has_alpha) == (
        16,
        1 + channels // 3 * 2,
        channels % 2 == 0,
    )
    picture, deep = read(file), read(file, depth=16)
    assert "16-bit picture read at 8 bits" in picture.notes and not deep.notes
    for got, expected in ((picture, to_8(samples)), (deep, samples)):
        assert (got.pixels == expected[:, :, : info.channels]).all()
        if got.alpha is not None:
            assert (got.alpha == expected[:, :, -1]).all()
    assert (picture.bits, deep.bits) == (8, 16)


def test_a_dark_16_bit_picture_is_16_bits_still() -> None:
    samples = np.full((2, 2, 3), 200, np.uint16)  # no value over 255
    assert (read(io.BytesIO(png(2, 2, 16, 2, unfiltered(samples)))).pixels == 1).all()


def test_interlaced_16_bit_png() -> None:
    samples = noise(9, 11, 3, dtype="u2")
    adam7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in [*adam7, (1, 0, 2, 1)]]
    raw = b"".join(unfiltered(part) for part in passes if part.size)
    file = io.BytesIO(png(11, 9, 16, 2, raw, interlace=b"\1"))
    assert (read(file, depth=16).pixels == samples).all()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff(
    tmp_path: Path, byteorder: str, planar: str, compression: str | None, channels: int
) -> None:
    samples = noise(6, 7, channels, dtype="u2")
    stored = samples[:, :, 0] if channels == 1 else samples
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(stored, 2, 0) if planar == "separate" and channels > 1 else stored,
        byteorder=byteorder,
        photometric="minisblack" if channels == 1 else "rgb",
        planarconfig=planar if channels > 1 else None,
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
    )
    info = inspect(tmp_path / "a.tif")
    assert (info.bits, info.has_alpha) == (16, channels == 4)
    picture = read(tmp_path / "a.tif", depth=16)
    assert (picture.pixels == samples[:, :, : info.channels]).all()
    assert picture.alpha is None or (picture.alpha == samples[:, :, 3]).all()
    assert (read(tmp_path / "a.tif").pixels == to_8(samples[:, :, : info.channels])).all()


def test_float_and_white_is_zero_and_premultiplied_tiffs(tmp_path: Path) -> None:
    values = np.array([[[0, 0.5, 1], [-1, 2, np.nan]]], np.float32)
    tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb")
    picture = read(tmp_path / "f.tif")
    assert picture.pixels.tolist() == [[[0, 128, 255], [0, 255, 0]]]
    clipped = "values below 0 and above 1 were clipped"
    assert {"32-bit picture read at 8 bits", clipped} <= {*picture.notes}
    tifffile.imwrite(tmp_path / "g.tif", values.clip(0, 1)[:, :1], photometric="rgb")
    assert clipped not in read(tmp_path / "g.tif").notes
    grey = noise(3, 4, dtype="u2")
    tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
    assert (read(tmp_path / "w.tif", depth=16).pixels[:, :, 0] == 65535 - grey).all()
    rgba = np.array([[[100, 50, 0, 32768]]], np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", rgba, photometric="rgb", extrasamples=["assocalpha"])
    assert read(tmp_path / "p.tif", depth=16).pixels.tolist() == [[[200, 100, 0]]]


# Refusals


def test_what_is_sound_but_not_read_is_not_called_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise(3, 4, 3, dtype="u2"), photometric="cielab")
    with pytest.raises(MediaError, match="does not read: its colours") as caught:
        read(tmp_path / "a.tif")
    assert "damaged" not in caught.value.message


def refused(path: Path, *words: str, **options: int) -> MediaError:
    for call in (inspect, read):
        with pytest.raises(MediaError) as caught:
            call(path, **options)
        assert str(path) in caught.value.message
        assert all(word in caught.value.message for word in words), caught.value.message
    return caught.value


def test_what_is_no_picture(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "does not exist")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("Dear diary,\n" * 50)
    assert "PNG" in (refused(tmp_path / "text.png", "not a picture").hint or "")
    for head in (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0",
        b"BM",
        b"GIF89a",
        b"RIFF1234WEBP",
    ):
        (tmp_path / "head.png").write_bytes(head)
        refused(tmp_path / "head.png")
        (tmp_path / "zeros.png").write_bytes(head + bytes(500))
        refused(tmp_path / "zeros.png")


@pytest.mark.parametrize("ext", EXTENSIONS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_short(tmp_path: Path, ext: str, share: float) -> None:
    path = tmp_path / f"a.{ext}"
    image = Image.fromarray(noise(60, 80, 3))
    image.save(path, **({"lossless": True} if ext == "webp" else {}))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MediaError, match=r"a\."):
        read(path)


def interlaced(samples: np.ndarray) -> bytes:
    passes = ("0 0 8 8", "0 4 8 8", "4 0 8 4", "0 2 4 4", "2 0 4 2", "0 1 2 2", "1 0 2 1")
    parts = [tuple(map(int, one.split())) for one in passes]
    return b"".join(unfiltered(samples[y::dy, x::dx]) for y, x, dy, dx in parts)


@pytest.mark.parametrize(
    ("channels", "bits", "kind"),
    [(1, 8, 0), (3, 8, 2), (1, 8, 3), (4, 8, 6), (1, 16, 0), (3, 16, 2)],
)
@pytest.mark.parametrize("is_interlaced", [False, True])
def test_png_whose_packed_data_ends_before_the_picture(
    channels: int, bits: int, kind: int, is_interlaced: bool
) -> None:
    """The packed data, its checksum and the end marker are sound; only rows are missing."""
    samples = noise(18, 23, channels, dtype=f"u{bits // 8}")
    raw = interlaced(samples) if is_interlaced else unfiltered(samples)
    more = {"PLTE": noise(768).tobytes()} if kind == 3 else {}
    more["interlace"] = bytes([is_interlaced])
    whole = read(io.BytesIO(png(23, 18, bits, kind, raw + b"more than there must be", **more)))
    assert whole.pixels.shape[:2] == (18, 23)
    for share in (raw[:-1], raw[: len(raw) // 2], b""):
        with pytest.raises(MediaError):
            read(io.BytesIO(png(23, 18, bits, kind, share, **more)))


def test_palette_png_without_its_palette() -> None:
    with pytest.raises(MediaError, match="palette is missing"):
        read(io.BytesIO(png(8, 8, 8, 3, unfiltered(noise(8, 8, 1)))))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_deep_tiff_cut_short(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(40, 40, 3, dtype="u2"), photometric="rgb", compression=compression)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(MediaError):
        read(path)


def test_too_many_pixels_are_refused_from_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, 8, 2, b"") + bytes(2_700_000))
    error = refused(path, "900 megapixels", "limit of 500")
    assert error.hint and "--max-pixels" in error.hint
    assert inspect(path, max_pixels=900_000_000).width == 30_000
    Image.new("RGB", (40, 30)).save(tmp_path / "small.png")
    refused(tmp_path / "small.png", "over the limit", max_pixels=1199)
    assert read(tmp_path / "small.png", max_pixels=1200).pixels.shape == (30, 40, 3)
    # Pillow's own limit (about 90 million) does not stand in the way.
    (tmp_path / "wide.png").write_bytes(png(20_000, 20_000, 1, 0, b"") + bytes(50_000))
    assert inspect(tmp_path / "wide.png").height == 20_000


def test_a_file_that_changed_between_planning_and_reading(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    info = inspect(tmp_path / "a.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="changed"):
        read(tmp_path / "a.png", info)


def test_a_stream_that_cannot_seek() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.inner = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(size)

        def seekable(self) -> bool:
            return False

    assert read(Pipe(png(2, 1, 8, 0, b"\0\1\2"))).pixels.shape == (1, 2, 1)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="the standard input is empty"):
        read(Pipe(b""))  # type: ignore[arg-type]


# HEIC, an extra


def heic(path: Path) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.add.outer(np.arange(64) * 2, np.arange(80))[:, :, None] + np.arange(3) * 20
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", 6
    pillow_heif.register_heif_opener()
    image = Image.fromarray(smooth.clip(0, 255).astype(np.uint8))
    try:
        image.save(path, "HEIF", quality=90, exif=exif, xmp=b"<x:xmpmeta/>")
    except (OSError, RuntimeError) as exc:
        pytest.skip(f"this libheif cannot encode: {exc}")
    return path


def test_heic(tmp_path: Path) -> None:
    path = heic(tmp_path / "a.heic")
    info, picture = inspect(path), read(path)
    assert (info.format, info.bits, info.channels, info.has_alpha) == ("heif", 8, 3, False)
    assert picture.pixels.shape == (info.height, info.width, 3)
    assert picture.metadata.xmp == b"<x:xmpmeta/>" and b"a maker" in (picture.metadata.exif or b"")
    with pytest.raises(MediaError):
        read(io.BytesIO(path.read_bytes()[:400]))


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match="HEIC") as caught:
        inspect(tmp_path / "a.heic")
    assert caught.value.hint == 'pip install "srcli[heic]"'


def test_a_directory_farther_away_than_files_reach(tmp_path: Path) -> None:
    """Found among the thousands of test_media_fuzz."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 9), np.float32), bigtiff=True, byteorder="<")
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[8:16], "little")
    after = first + 8 + 20 * int.from_bytes(data[first : first + 8], "little")
    data[after : after + 8] = (1 << 63).to_bytes(8, "little")
    assert inspect(io.BytesIO(data)).height == 8
