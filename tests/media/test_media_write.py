"""Writing pictures: what goes in comes out, and a failure leaves nothing behind."""

import errno
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from srcli.errors import MediaError, ResourceError, UsageError
from srcli.media import target
from srcli.media.image import Picture, inspect, read
from srcli.media.metadata import Metadata
from srcli.media.tiff_encoder import TiffEncoder
from srcli.media.write import Writer, memory_needed, open_writer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
HOLDS = {
    "png": {"alpha", "grey", "icc", "exif", "dpi", "exact", "deep"},
    "tif": {"alpha", "grey", "icc", "exif", "dpi", "exact", "deep"},
    "jpg": {"grey", "icc", "exif", "dpi"},
    "webp": {"alpha", "icc", "exif"},
    "avif": {"alpha", "icc", "exif"},
    "bmp": {"grey", "dpi", "exact"},
}


def noise(*shape: int, dtype: str = "u1") -> np.ndarray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def some_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "a maker", "2024:01:02 03:04:05"
    inner = exif.get_ifd(0x8769)
    inner[0xA002], inner[0xA003], inner[0x9003], inner[0x927C] = 40, 30, "2024:01:02", b"MAKER" * 9
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()[6:]


def save(path: Path, samples: np.ndarray, alpha: bool = False, step: int = 3, **more) -> Writer:  # type: ignore[no-untyped-def]
    height, width, count = samples.shape
    bits = 16 if samples.dtype == np.uint16 else 8
    with open_writer(
        path, size=(height, width), channels=count - alpha, alpha=alpha, bits=bits, **more
    ) as writer:
        buffer = np.empty_like(samples[:step])
        for row in range(0, height, step):
            part = samples[row : row + step]
            buffer[: len(part)] = part
            writer.rows(buffer[: len(part)])
            buffer[...] = 0  # the caller may reuse its array
    return writer


def joined(picture: Picture) -> np.ndarray:
    alpha = [] if picture.alpha is None else [picture.alpha[:, :, None]]
    return np.concatenate([picture.pixels, *alpha], axis=2)


@pytest.mark.parametrize("ext", HOLDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_round_trip(tmp_path: Path, ext: str, channels: int, alpha: bool) -> None:
    path, holds = tmp_path / f"a.{ext}", HOLDS[ext]
    smooth = np.add.outer(np.arange(30) * 4, np.arange(41) * 3)[:, :, None]
    samples = (smooth + np.arange(channels + alpha) * 5).clip(0, 255).astype(np.uint8)
    metadata = Metadata(GREY if channels == 1 else SRGB, some_exif(), (300.0, 150.0))
    if alpha and "alpha" not in holds:
        with pytest.raises(UsageError, match="transparency"):
            save(path, samples, alpha)
        assert not list(tmp_path.iterdir())
        return
    writer = save(path, samples, alpha, metadata=metadata)
    unheld = channels == 1 and "grey" not in holds  # a profile for grey in a format without
    assert bool(writer.notes) == (ext == "bmp" or unheld)
    info, picture = inspect(path), read(path)
    assert (info.width, info.height, info.has_alpha) == (41, 30, alpha)
    assert info.channels == (channels if "grey" in holds else 3)
    got = joined(picture)
    if info.channels != channels:
        samples = np.concatenate([samples[:, :, :1]] * 3 + [samples[:, :, 1:]], axis=2)
    difference = np.abs(got.astype(int) - samples)
    assert difference.max() <= (0 if "exact" in holds else 12)
    fits = "icc" in holds and info.channels == channels
    assert picture.metadata.icc == (metadata.icc if fits else None)
    if "dpi" in holds:
        assert picture.metadata.dpi == pytest.approx((300, 150), abs=0.02)
    assert (picture.metadata.exif is not None) == ("exif" in holds)
    if picture.metadata.exif:
        exif = Image.Exif()
        exif.load(picture.metadata.exif)
        assert exif.get(0x0112, 1) == 1
        assert (exif[0x010F], exif[0x0132]) == ("a maker", "2024:01:02 03:04:05")
        inner = exif.get_ifd(0x8769)
        assert (inner[0xA002], inner[0xA003], inner[0x9003]) == (41, 30, "2024:01:02")
        assert inner[0x927C] == b"MAKER" * 9 and exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("ext", ["png", "tif"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_16_bits(tmp_path: Path, ext: str, samples: int) -> None:
    values = noise(11, 7, samples, dtype="u2")
    path = tmp_path / f"a.{ext}"
    save(path, values, alpha=samples % 2 == 0, metadata=Metadata(exif=b"MM" + some_exif()[2:]))
    assert (joined(read(path, depth=16)) == values).all()
    if ext == "tif":
        assert (tifffile.imread(path).reshape(values.shape) == values).all()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tiff_by_other_readers(big: bool, order: str, dtype: str) -> None:
    samples = noise(700, 900, 3, dtype=dtype)  # several strips
    out = io.BytesIO()
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8769).update({0x9003: "2024:01:02", 0xA002: 900})

    def patch(at: int, data: bytes) -> None:
        out.seek(at)
        out.write(data)
        out.seek(0, io.SEEK_END)

    encoder = TiffEncoder(lambda data: out.write(data) and None, patch, big=big)
    metadata = Metadata(SRGB, exif.tobytes()[6:])
    bits = samples.dtype.itemsize * 8
    encoder.page(height=700, width=900, channels=3, bits=bits, metadata=metadata)
    encoder.rows(samples[:333])
    encoder.rows(samples[333:])
    encoder.finish()
    out.seek(0)  # tifffile takes a stream to begin where it stands
    with tifffile.TiffFile(out) as file:
        page = file.pages[0]
        assert (file.is_bigtiff, file.byteorder) == (big, "<")
        assert (
            page.tags[271].value == "a maker" and page.tags[34665].value["PixelXDimension"] == 900
        )
        assert len(page.dataoffsets) > 1
        assert page.tags[34665].value["DateTimeOriginal"] == "2024:01:02"
        assert page.tags[34675].value == SRGB and page.predictor == 2
        assert (page.asarray() == samples).all()
    if dtype == "u1":
        with Image.open(out) as image:
            assert (np.asarray(image) == samples).all()
    assert (read(out, depth=16).pixels == samples).all()


def test_lossless_webp_and_quality(tmp_path: Path) -> None:
    samples = noise(20, 30, 4)
    save(tmp_path / "a.webp", samples, alpha=True, lossless=True)
    assert (joined(read(tmp_path / "a.webp")) == samples).all()
    save(tmp_path / "low.jpg", samples[:, :, :3], quality=20)
    save(tmp_path / "high.jpg", samples[:, :, :3])
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size
    with Image.open(tmp_path / "high.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4
    with pytest.raises(UsageError, match="quality"):
        save(tmp_path / "x.jpg", samples[:, :, :3], quality=0)


def test_a_stream_gets_all_or_nothing() -> None:
    samples = noise(9, 8, 3)
    for name in ("png", "tiff", "jpeg"):
        out = io.BytesIO()
        with open_writer(out, size=(9, 8), channels=3, alpha=False, format=name) as writer:  # type: ignore[arg-type]
            writer.rows(samples)
            assert not out.getvalue()
        assert inspect(out).format == name
    out = io.BytesIO()
    with (
        pytest.raises(KeyboardInterrupt),
        open_writer(out, size=(9, 8), channels=3, alpha=False, format="png") as writer,
    ):
        writer.rows(samples)
        raise KeyboardInterrupt
    assert not out.getvalue()


# Failures


@pytest.mark.parametrize("ext", HOLDS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_inside_leaves_everything_as_it_was(
    tmp_path: Path, ext: str, error: type[BaseException]
) -> None:
    path = tmp_path / f"a.{ext}"
    path.write_bytes(b"the old file")
    with (
        pytest.raises(error),
        open_writer(path, size=(4000, 50), channels=3, alpha=False) as writer,
    ):
        writer.rows(noise(3000, 50, 3))
        assert len(list(tmp_path.iterdir())) == 2  # the hidden part, beside the old file
        raise error
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the old file"


@pytest.mark.parametrize("ext", ["png", "tif", "jpg"])
@pytest.mark.parametrize("rows", [9, 11])
def test_too_few_or_too_many_rows(tmp_path: Path, ext: str, rows: int) -> None:
    path = tmp_path / f"a.{ext}"
    with (
        pytest.raises(AssertionError, match="of 10"),
        open_writer(path, size=(10, 4), channels=3, alpha=False) as writer,
    ):
        writer.rows(noise(rows, 4, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ext", HOLDS)
@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_full_disk(tmp_path: Path, ext: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"a.{ext}"
    path.write_bytes(b"the old file")

    class Full(io.BytesIO):
        write = close = full  # type: ignore[assignment]

    with (
        pytest.raises(ResourceError) as caught,
        open_writer(path, size=(300, 700), channels=3, alpha=False) as writer,
    ):
        if where == "fsync":
            monkeypatch.setattr(target.os, "fsync", full)
        else:
            writer._target._file.close()  # type: ignore[union-attr]
            writer._target._file = Full()  # type: ignore[union-attr]
        writer.rows(noise(300, 700, 3))
    assert str(tmp_path) in caught.value.message and "space" in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the old file"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_what_is_not_a_plain_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/full")):
        with pytest.raises(MediaError, match="cannot be written"):
            open_writer(path, size=(1, 1), channels=3, alpha=False, format="png")


def test_a_missing_folder_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none/a\.png cannot be written"):
        save(tmp_path / "none" / "a.png", noise(2, 2, 3))


def test_names_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".png")
    save(path, noise(2, 2, 3))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_the_file_has_the_usual_mode(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(2, 2, 3))
    (tmp_path / "b").touch()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1


def test_exif_too_long_for_jpeg_is_left_out_with_a_note(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = bytes(70_000)
    metadata = Metadata(exif=exif.tobytes()[6:])
    writer = save(tmp_path / "a.jpg", noise(4, 4, 3), metadata=metadata)
    assert "too long" in writer.notes[0] and read(tmp_path / "a.jpg").metadata.exif is None


def test_memory_needed() -> None:
    size = (20_000, 20_000)
    assert memory_needed("png", size, 3, False) < 1e8 < memory_needed("jpeg", size, 3, False)
    assert memory_needed("jpeg", size, 1, False) == 4e8
    assert memory_needed("webp", size, 1, False) >= 1.6e9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("ext", ["png", "tif", "jpg", "bmp"])
def test_a_real_limit_of_the_system(tmp_path: Path, ext: str) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from srcli.errors import ResourceError
from srcli.media.write import open_writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rows = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)
try:
    with open_writer(Path(sys.argv[1]), size=(600, 900), channels=3, alpha=False) as writer:
        writer.rows(rows)
except ResourceError as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / f"a.{ext}")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path) in done.stdout and not done.stderr
    assert not list(tmp_path.iterdir())
