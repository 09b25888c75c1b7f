"""Damaged files: whatever a decoder makes of them, only MediaError comes out, and no output."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
import test_media_beside as beside
import tifffile
from icc_profiles import cmyk_profile, rgb_profile
from picture_files import NEGATIVE, dng, hdr, jxl, pnm, psd, qoi, resource, saved, sgi
from PIL import Image, PngImagePlugin
from tiffs import tiff

from srcli import catalog
from srcli.engine.resampler import Resampler
from srcli.errors import MediaError
from srcli.jobs.events import Done, Failed
from srcli.jobs.job import Options
from srcli.jobs.plan import plan
from srcli.jobs.run import run
from srcli.media.image import inspect, read, read_frames

ROUNDS = 60
JOB_ROUNDS = 100
LONG_ROUNDS = 300
LONGEST_S = 10
# Pillow's remarks about files; the program itself filters them out.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXTENSIONS = {"jpeg": "jpg", "tiff": "tif", "jpeg2000": "jp2"}
KINDS = [
    *("png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "deep.png", "deep.tiff"),
    *("moving.gif", "moving.png", "moving.webp", "pages.tiff", "cmyk.jpeg", "palette.png"),
    *("ppm", "deep.pgm", "plain.ppm", "pam", "pfm", "jpeg2000", "deep.jpeg2000"),
    *("tga", "rle.tga", "pcx", "dds", "blocks.dds", "qoi", "sgi", "deep.sgi", "ico", "bmp.ico"),
    *("psd", "runs.psd", "deep.psb", "cmyk.psd", "hdr", "runs.hdr", "exr", "jxl", "dng"),
]
# What holds more than a picture, and TIFFs that are unpacked here and not by Pillow.
BESIDE = {
    "hdr.jpeg": lambda: beside.ultra_hdr(True),
    "motion.jpeg": beside.motion_photo,
    "samsung.jpeg": lambda: beside.samsung(("MotionPhoto_Data", beside.film())),
    "views.jpeg": lambda: beside.mpo(beside.colours(shift=9)),
    "depth.jpeg": beside.depth_in_xmp,
    "noend.jpeg": lambda: beside.jpeg()[:-2],
    "hidden.png": beside.hidden_default,
    "damaged.png": lambda: beside.png(beside.chunk(b"tEXt", b"Title\0a", 1)),
    "below.tiff": lambda: beside.beneath(0, first=1),
    "lzw.tiff": lambda: tiff(noise(5), photometric=5, extra=(2,), packed="lzw", predictor=2),
    "planes.tiff": lambda: tiff(
        noise(4), photometric=2, extra=(1,), packed="packbits", planar=True
    ),
    "float.tiff": lambda: tiff(
        noise(3).astype("f4") / 65535, photometric=2, packed="deflate", predictor=3
    ),
    "tiles.tiff": lambda: tiff(noise(9), photometric=1, tile=16, packed="lzw"),
    "bits.tiff": lambda: tiff(noise(1) & 4095, photometric=1, bits=12),
    "extension.gif": lambda: beside.gif_with(b"\xff", b"MINE    1.0", b"abc"),
    "boxes.avif": lambda: beside.avif_with(beside.MPVD),
    "profile.bmp": beside.bmp_with_profile,
    "chunk.webp": beside.webp_with_a_chunk,
}
# What is not installed everywhere.
NEEDS = {"exr": "OpenEXR", "jxl": "pillow_jxl", "dng": "rawpy"}
# OpenEXR and LibRaw say on stderr what is wrong with a file; their packages have no switch for it.
PRINTING = {"exr", "dng"}


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 65536, (17, 19, samples), np.uint16)


class Named(io.BytesIO):
    """A stream with a file's name: a TGA is known by it alone."""

    def __init__(self, data: bytes, kind: str) -> None:
        super().__init__(data)
        self.name = f"a.{kind}"


def other_kinds(kind: str, small: np.ndarray, folder: Path) -> bytes | None:
    """A sound file of a kind that is read and not written; None: it is no such kind."""
    colours, deep = small[:, :, :3], small.astype(np.uint16) * 257
    match kind:
        case "ppm":
            return pnm(b"P6", colours, 255)
        case "deep.pgm":
            return pnm(b"P5", deep[:, :, :1], 65_535)
        case "plain.ppm":
            return pnm(b"P3", colours, 255)
        case "pam":
            head = b"P7\nWIDTH 17\nHEIGHT 13\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
            return head + small.tobytes()
        case "pfm":
            return b"PF\n17 13\n-1\n" + (colours / 255).astype("<f4").tobytes()
        case "jpeg2000":
            return saved(small, "JPEG2000")
        case "deep.jpeg2000":
            return saved(deep[:, :, 0], "JPEG2000", irreversible=False)
        case "tga" | "pcx" | "dds":
            return saved(colours if kind == "pcx" else small, kind.upper())
        case "rle.tga":
            return saved(small, "TGA", compression="tga_rle")
        case "blocks.dds":
            return saved(small, "DDS", pixel_format="DXT5")
        case "qoi":
            return qoi(colours)
        case "sgi":
            return sgi(small, packed=True)
        case "deep.sgi":
            return sgi(deep, packed=True)
        case "ico" | "bmp.ico":
            form = "png" if kind == "ico" else "bmp"
            return saved(np.tile(small, (2, 2, 1)), "ICO", sizes=[(16, 16)], bitmap_format=form)
        case "psd":
            return psd(small, 3, layers=NEGATIVE, resources=resource(1039, rgb_profile()[:400]))
        case "runs.psd":
            return psd(colours, 3, packed=True)
        case "deep.psb":
            return psd(deep[:, :, :3], 3, large=True, packed=True)
        case "cmyk.psd":
            return psd(small, 4)
        case "hdr" | "runs.hdr":
            return hdr(np.maximum(small, 2), packed=kind == "runs.hdr")
        case "exr":
            import OpenEXR

            channels = {n: deep[:, :, k].astype(np.float32) for k, n in enumerate("RGBA")}
            OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(folder / "a.exr"))
            return (folder / "a.exr").read_bytes()
        case "jxl":
            return jxl(small, use_container=True)
        case "dng":
            return dng(folder / "a.dng").read_bytes()
    return None


def sound(kind: str, folder: Path) -> bytes:
    """A sound file."""
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind])
    small = np.random.default_rng(5).integers(0, 256, (13, 17, 4), np.uint8)
    other = other_kinds(kind, small, folder)
    return sample(kind) if other is None else other


def sample(kind: str) -> bytes:
    if kind in BESIDE:
        return BESIDE[kind]()
    rng = np.random.default_rng(5)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    out = io.BytesIO()
    small = rng.integers(0, 256, (13, 17, 4), np.uint8)
    colours = Image.fromarray(small[:, :, :3])
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "words", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    if kind == "deep.tiff":
        deep = small[:, :, :3].astype(np.uint16) * 257
        tifffile.imwrite(out, deep, photometric="rgb", compression="zlib", rowsperstrip=4)
    elif kind == "pages.tiff":
        with tifffile.TiffWriter(out) as file:
            file.write(small[:, :, :3], photometric="rgb")
            file.write(small[:9, :8, 0], photometric="minisblack")
    elif kind == "deep.png":
        Image.fromarray(small[:, :, 0].astype(np.uint16) * 99).save(out, "PNG", exif=exif)
    elif kind == "palette.png":
        colours.quantize(20).save(out, "PNG", transparency=3, pnginfo=text, dpi=(72, 72))
    elif kind == "cmyk.jpeg":
        image = Image.fromarray(small, "CMYK")
        image.save(out, "JPEG", icc_profile=cmyk_profile()[:9000], xmp=b"<x/>", comment=b"words")
    elif kind.startswith("moving."):
        frames = [Image.fromarray(np.roll(small, k, axis=1)) for k in range(3)]
        frames[0].save(
            out,
            kind.partition(".")[2].upper(),
            save_all=True,
            append_images=frames[1:],
            duration=40,
            disposal=2 if kind == "moving.gif" else 1,
        )
    elif kind in ("jpeg", "bmp", "gif"):
        colours.save(out, kind.upper(), exif=exif, dpi=(72, 72), comment=b"words")
    else:
        more = {"pnginfo": text} if kind == "png" else {}
        Image.fromarray(small).save(
            out, kind.upper(), exif=exif, icc_profile=rgb_profile()[:400], **more
        )
    return out.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(0, len(changed)))
        if rng.random() < 0.5:  # headers are where it hurts
            at %= 160
        match int(rng.integers(0, 5)):
            case 0:
                changed[at % len(changed)] = int(rng.integers(0, 256))
            case 1:
                changed[at % len(changed)] ^= 1 << int(rng.integers(0, 8))
            case 2:
                changed[at : at + 4] = b"\xff\xff\xff\xff"
            case 3:
                del changed[at : at + int(rng.integers(1, 20))]
            case 4:
                changed = changed[: max(1, len(changed) - at // 4)]
        if not changed:
            break
    return bytes(changed)


def check_reader(kind: str, folder: Path, seed: int, rounds: int) -> None:
    data = sound(kind, folder)
    assert read(Named(data, kind)).pixels.size  # the sound one is fine
    rng = np.random.default_rng(seed)
    opened = 0
    for _ in range(rounds):
        damaged = Named(mutated(data, rng), kind)
        try:
            info = inspect(damaged, max_pixels=1_000_000)
            frames = list(read_frames(damaged, info, max_pixels=1_000_000))
        except MediaError as error:
            assert "\n" not in error.message
        else:
            opened += 1
            assert len(frames) == info.n_frames
            picture = frames[0].picture
            assert picture.pixels.shape == (info.height, info.width, info.channels)
            assert (picture.alpha is not None) == info.has_alpha
    assert opened < rounds


@pytest.mark.parametrize("kind", [*KINDS, *BESIDE])
def test_only_media_errors_escape(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_reader(kind, tmp_path, 17, ROUNDS if kind in KINDS else ROUNDS // 2)
    # what decoders print stays with them
    out, err = capfd.readouterr()
    assert not out and (not err or kind in PRINTING)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [*KINDS, *BESIDE])
def test_thousands(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """So many of all kinds together, through the reader."""
    check_reader(kind, tmp_path, 31, LONG_ROUNDS)
    out, err = capfd.readouterr()
    assert not out and (not err or kind in PRINTING)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_what_fails_leaves_nothing(kind: str, tmp_path: Path) -> None:
    check_jobs(kind, tmp_path, JOB_ROUNDS, seed=23)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [*KINDS, *BESIDE])
def test_10_000_files(kind: str, tmp_path: Path) -> None:
    """So many of all kinds together."""
    assert len([*KINDS, *BESIDE]) * LONG_ROUNDS > 10_000
    check_jobs(kind, tmp_path, LONG_ROUNDS, seed=29)


def check_jobs(kind: str, tmp_path: Path, rounds: int, seed: int) -> None:
    """Damaged files through the whole job: an output exactly for what is done, and it opens."""
    data, rng = sound(kind, tmp_path), np.random.default_rng(seed)
    name = kind.rpartition(".")[2]
    extension = EXTENSIONS.get(name, name)
    sources = [tmp_path / f"{number}.{extension}" for number in range(rounds)]
    for source in sources:
        source.write_bytes(mutated(data, rng))
    out = tmp_path / "out"
    options = Options(
        model=catalog.resolve("bicubic"), scale=1.5, output=f"{out}/", max_pixels=300_000
    )
    gaps, last, ended = [0.0], time.process_time(), {}

    def tell(event: object) -> None:
        nonlocal last
        now = time.process_time()
        gaps.append(now - last)
        last = now
        if isinstance(event, Done | Failed):
            ended[event.source] = event

    jobs = []
    for source in sources:  # one by one, so that the time of each is known
        jobs += plan([str(source)], options)
        gaps.append(time.process_time() - last)
        last = time.process_time()
    summary = run(jobs, options, Resampler("bicubic"), tell=tell)
    assert summary.done + summary.failed == rounds and summary.failed
    assert max(gaps) < LONGEST_S
    done = [event for event in ended.values() if isinstance(event, Done)]
    written = sorted(out.iterdir()) if out.exists() else []
    assert written == sorted(event.target for event in done)
    for event in ended.values():
        if isinstance(event, Done):
            assert list(read_frames(event.target))
        else:
            assert "Traceback" not in event.error and "unexpected" not in event.error, event
