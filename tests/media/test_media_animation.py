"""Animations and pages: frames composed as browsers compose them, times exact, one file or none."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from srcli.errors import MediaError
from srcli.media import apng, gif
from srcli.media.animation import Clock, changed
from srcli.media.gif import palette_of
from srcli.media.image import Frame, inspect, read, read_frames
from srcli.media.metadata import Metadata
from srcli.media.pngchunks import SIGNATURE, chunk
from srcli.media.write import Page, Sequence, open_writer

RED, GREEN, BLUE, CLEAR = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)
COLOURS = np.array([RED, GREEN, BLUE, CLEAR], np.uint8)


def gif_of(
    size: tuple[int, int],
    frames: list[tuple[int, int, np.ndarray, int, int, bool]],
    loop: int | None = 0,
) -> bytes:
    """A GIF of (x, y, indices into COLOURS, disposal, centiseconds, 3 is transparent)."""
    width, height = size
    table = COLOURS[:, :3].tobytes()
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x81, 0, 0), table]
    if loop is not None:
        parts.append(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loop, 0))
    for x, y, indices, disposal, delay, key in frames:
        control = struct.pack("<BHB", disposal << 2 | key, delay, 3)
        parts.append(b"!\xf9\x04" + control + b"\0")
        one = io.BytesIO()
        image = Image.fromarray(indices.astype(np.uint8))
        image.putpalette(bytes(range(256)) * 3)
        image.save(one, "GIF", optimize=False, interlace=0)
        data = one.getvalue()
        h, w = indices.shape
        start = data.rindex(b"," + struct.pack("<HHHH", 0, 0, w, h)) + 10
        parts += [b",", struct.pack("<HHHHB", x, y, w, h, 0), data[start:-1]]
    return b"".join([*parts, b";"])


def seen(frame: Frame) -> np.ndarray:
    """RGBA."""
    pixels, alpha = frame.picture.pixels, frame.picture.alpha
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if alpha is None:
        alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    return np.dstack([pixels, alpha])


def frames_of(data: bytes | Path, **more: int) -> list[Frame]:
    source = data if isinstance(data, Path) else io.BytesIO(data)
    return list(read_frames(source, **more))  # type: ignore[arg-type]


def test_disposal_of_gif_frames() -> None:
    whole, part = np.zeros((4, 6), int), np.full((2, 2), 1)
    for disposal, left in ((0, GREEN), (1, GREEN), (2, CLEAR), (3, RED)):
        last = np.full((1, 1), 2)
        data = gif_of(
            (6, 4),
            [
                (0, 0, whole, 1, 7, False),
                (2, 1, part, disposal, 0, False),
                (0, 0, last, 1, 9, False),
            ],
        )
        first, second, third = frames_of(data)
        assert (seen(first) == RED).all()
        assert (seen(second)[1:3, 2:4] == GREEN).all() and (seen(second)[0] == RED).all()
        assert (seen(third)[1:3, 2:4] == left).all() and (seen(third)[0, 0] == BLUE).all()
        assert [f.seconds for f in (first, second, third)] == [
            Fraction(7, 100),
            0,
            Fraction(9, 100),
        ]
        assert inspect(io.BytesIO(data)).has_alpha == (disposal == 2)


def test_transparent_pixels_show_what_was_there() -> None:
    whole, part = np.zeros((3, 3), int), np.array([[3, 1], [1, 3]])
    _, second = frames_of(gif_of((3, 3), [(0, 0, whole, 1, 5, False), (1, 1, part, 1, 5, True)]))
    assert (seen(second)[1:, 1:] == [[RED, GREEN], [GREEN, RED]]).all()
    assert second.picture.alpha is None  # nothing can be seen through


def test_a_frame_that_leaves_room_and_one_that_sticks_out() -> None:
    small, large = np.zeros((2, 2), int), np.full((5, 5), 1)
    data = gif_of((4, 4), [(1, 1, small, 1, 5, False), (2, 2, large, 1, 5, False)])
    first, second = frames_of(data)
    assert (seen(first)[0] == CLEAR).all() and (seen(first)[1, 1] == RED).all()
    assert (seen(second)[2:, 2:] == GREEN).all() and seen(second).shape == (4, 4, 4)


@st.composite
def gifs(draw: st.DrawFn) -> tuple[bytes, list[np.ndarray], list[int]]:
    """A GIF, its frames as the specification has them, and their durations."""
    width, height = draw(st.integers(2, 7)), draw(st.integers(2, 7))
    canvas = np.zeros((height, width, 4), np.uint8)
    frames, expected, delays = [], [], []
    for k in range(draw(st.integers(2, 5))):
        w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
        x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
        cells = draw(st.lists(st.integers(0, 3), min_size=w * h, max_size=w * h))
        indices = np.array(cells).reshape(h, w)
        disposal, delay = draw(st.integers(0, 3)), draw(st.integers(0, 300))
        frames.append((x, y, indices, disposal, delay, True))
        before = canvas.copy()
        area = canvas[y : y + h, x : x + w]
        area[indices != 3] = COLOURS[indices[indices != 3]]
        expected.append(canvas.copy())
        delays.append(delay)
        if disposal == 2 or (disposal == 3 and k == 0):
            area[...] = 0
        elif disposal == 3:
            canvas = before
    return gif_of((width, height), frames), expected, delays


@given(gifs())
@settings(max_examples=60, deadline=None)
def test_any_gif_is_composed_as_specified(made: tuple[bytes, list[np.ndarray], list[int]]) -> None:
    data, expected, delays = made
    frames = frames_of(data)
    assert [f.seconds for f in frames] == [Fraction(d, 100) for d in delays]
    for frame, want in zip(frames, expected, strict=True):
        got = seen(frame)
        assert (got[..., 3] == want[..., 3]).all()
        visible = want[..., 3] > 0
        assert (got[visible] == want[visible]).all()


# Written, and read by us and by Pillow


def moving(n: int = 4, alpha: bool = False, dtype: str = "u1") -> list[np.ndarray]:
    """Frames in which a square moves over a gradient; with alpha, over nothing."""
    frames = []
    for k in range(n):
        y, x = np.mgrid[:20, :31]
        frame = np.stack([x * 8, y * 12, x * 0 + 60], axis=2).astype(dtype)
        square = (slice(4 + k, 11 + k), slice(3 + 3 * k, 10 + 3 * k))
        frame[square] = (250, 10, 20)
        if alpha:
            mask = np.zeros((20, 31, 1), dtype)
            mask[square] = 255
            frame = np.concatenate([frame, mask], axis=2)
        frames.append(frame * np.dtype(dtype).type(257) if dtype == "u2" else frame)
    return frames


def write(
    target: Path | io.BytesIO, frames: list[np.ndarray], seconds: list[Fraction], **more: object
) -> None:
    alpha = frames[0].shape[2] in (2, 4)
    bits = 16 if frames[0].dtype == np.uint16 else 8
    channels = frames[0].shape[2] - alpha
    metadata = more.pop("metadata", Metadata())
    page = Page(frames[0].shape[:2], channels, alpha, bits, metadata)  # type: ignore[arg-type]
    palette = None
    if "gif" in (more.get("format"), str(target)[-3:]):
        halves = ((f[..., :3], f[..., 3] if alpha else None) for f in frames)
        palette = palette_of(halves, enlarged=True)
    sequence = Sequence(len(frames), more.pop("plays", 0), palette)  # type: ignore[arg-type]
    with open_writer(
        target,
        size=page.size,
        channels=page.channels,
        alpha=alpha,
        bits=bits,  # type: ignore[arg-type]
        metadata=metadata,  # type: ignore[arg-type]
        sequence=sequence,
        **more,  # type: ignore[arg-type]
    ) as writer:
        for frame, duration in zip(frames, seconds, strict=True):
            writer.begin(page, duration)
            for row in range(0, len(frame), 7):
                writer.rows(frame[row : row + 7])


SECONDS = [Fraction(1, 30), Fraction(1, 30), Fraction(1, 30), Fraction(5, 2)]


@pytest.mark.parametrize("ext", ["gif", "webp", "png"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_round_trip(tmp_path: Path, ext: str, alpha: bool, plays: int) -> None:
    path, frames = tmp_path / f"a.{ext}", moving(alpha=alpha)
    write(path, frames, SECONDS, plays=plays, lossless=ext == "webp")
    info = inspect(path)
    assert (info.width, info.height, info.n_frames, info.plays) == (31, 20, 4, plays)
    assert info.has_alpha == alpha
    got = frames_of(path)
    units = {"gif": 100, "webp": 1000, "png": 30}[ext]
    times = np.cumsum([float(f.seconds or 0) for f in got])
    assert np.abs(times - np.cumsum([float(s) for s in SECONDS])).max() <= 0.5 / units + 1e-9
    if ext == "png":
        assert [f.seconds for f in got] == SECONDS
    for want, frame in zip(frames, got, strict=True):
        visible = want[..., 3] > 0 if alpha else np.ones((20, 31), bool)
        difference = np.abs(seen(frame)[visible][:, :3].astype(int) - want[visible][:, :3])
        assert difference.max() <= (20 if ext == "gif" else 0)
        assert ((seen(frame)[..., 3] > 0) == visible).all()
    with Image.open(path) as other:  # another reader sees as many, for as long
        assert other.n_frames == 4
        lengths = [f.info["duration"] for f in ImageSequence.Iterator(other) if f.load()]
    assert lengths == pytest.approx([float(f.seconds or 0) * 1000 for f in got], abs=1e-6)


def test_durations_do_not_drift() -> None:
    clock = Clock(100)
    told = [clock.ticks(Fraction(1, 30)) for _ in range(3000)]
    assert sum(told) == 10_000 and set(told) == {3, 4}


def test_16_bit_frames(tmp_path: Path) -> None:
    frames = moving(dtype="u2")
    write(tmp_path / "a.png", frames, SECONDS)
    got = frames_of(tmp_path / "a.png", depth=16)
    assert all((f.picture.pixels == want).all() for f, want in zip(got, frames, strict=True))


def test_what_does_not_change_is_not_written_again(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for ext in ("gif", "webp", "png"):
        write(tmp_path / f"one.{ext}", [still] * 2, [Fraction(1)] * 2)
        write(tmp_path / f"ten.{ext}", [still] * 10, [Fraction(1)] * 10)
        sizes = [(tmp_path / f"{name}.{ext}").stat().st_size for name in ("one", "ten")]
        assert sizes[1] < sizes[0] + 8 * 250
        assert len(frames_of(tmp_path / f"ten.{ext}")) == 10
    assert changed(still, still) == (0, 0, 1, 1)


def test_the_head_of_an_animation(tmp_path: Path) -> None:
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    metadata = Metadata(srgb, exif.tobytes()[6:], (300, 300), b"<x:xmpmeta/>")
    for ext in ("webp", "png"):
        write(tmp_path / f"a.{ext}", moving(), SECONDS, metadata=metadata)
        carried = read(tmp_path / f"a.{ext}").metadata
        assert (carried.icc, carried.xmp) == (srgb, b"<x:xmpmeta/>")
        assert carried.dpi == pytest.approx((300, 300), abs=0.1) and b"maker" in (
            carried.exif or b""
        )
        with Image.open(tmp_path / f"a.{ext}") as other:
            assert other.info["icc_profile"] == srgb


def test_pages_keep_their_own_sizes_and_kinds(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pages = [
        rng.integers(0, 256, (20, 30, 3), np.uint8),
        rng.integers(0, 65_536, (9, 14, 1), np.uint16),
        rng.integers(0, 256, (40, 8, 4), np.uint8),
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pages[0], photometric="rgb")
        file.write(pages[0][::2, ::2], photometric="rgb", subfiletype=1)  # no page: a thumbnail
        file.write(pages[1][..., 0], photometric="minisblack", compression="zlib")
        file.write(pages[2], photometric="rgb", extrasamples=[2])
    assert inspect(tmp_path / "a.tif").n_frames == 3
    got = frames_of(tmp_path / "a.tif", depth=16)
    for page, frame in zip(pages, got, strict=True):
        whole = seen(frame) if page.shape[2] == 4 else frame.picture.pixels
        assert frame.seconds is None and (whole == page).all()


# Damage


def test_frames_that_lie() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    place = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2, 2, 1, 0, 1, 10, 0, 0))
    data = chunk(b"IDAT", b"")
    for body in (place + data, place + data + place + data):
        with pytest.raises(MediaError, match="damaged"):
            inspect(io.BytesIO(SIGNATURE + header + control + body + chunk(b"IEND", b"")))


def test_a_frame_that_cannot_be_decoded_is_an_error(tmp_path: Path) -> None:
    for ext in ("gif", "png", "webp"):
        write(tmp_path / f"a.{ext}", moving(), SECONDS)
        data = (tmp_path / f"a.{ext}").read_bytes()
        with pytest.raises(MediaError):
            frames_of(data[: len(data) * 9 // 10])


def test_palettes() -> None:
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:, 4:] = (255, 255, 255)
    palette = palette_of([(flat, None)], enlarged=False)
    triples = [palette[k : k + 3] for k in range(0, len(palette), 3)]
    assert b"\0\0\0" in triples and b"\xff\xff\xff" in triples
    assert 2 < len(triples) <= 255  # and greys between, for the edges of the larger picture


def names() -> Iterator[str]:
    yield from ("gif", "apng")


def test_scans_agree_with_pillow(tmp_path: Path) -> None:
    frames = [Image.fromarray(f) for f in moving()]
    for ext in names():
        path = tmp_path / f"a.{ext}"
        frames[0].save(
            path,
            "PNG" if ext == "apng" else "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[30, 40, 50, 600],
            loop=2,
        )
        with path.open("rb") as stream:
            scanned = (apng if ext == "apng" else gif).scan(stream)
        assert [float(p.seconds) for p in scanned.parts] == pytest.approx([0.03, 0.04, 0.05, 0.6])
        assert scanned.plays == (2 if ext == "apng" else 3)
        with Image.open(path) as other:
            for k, frame in enumerate(read_frames(path)):
                other.seek(k)
                assert (np.asarray(other.convert("RGB")) == frame.picture.pixels).all()
