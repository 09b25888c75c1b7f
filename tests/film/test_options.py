"""Codecs, containers, parts of a film, previews, rows of pictures."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srcli.errors import UsageError
from srcli.film.options import parse_rate, parse_time
from tests.film.films import header, make, packets, raw, run, slow, times

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "20", "-bf", "2")
BICUBIC = ("-x2", "-m", "bicubic")
FAST = (*BICUBIC, "--preset", "ultrafast")


PARTS = list(
    itertools.product(
        ["ultrafast", "fast"],  # without B-frames, and with them
        ["film.mp4", "film.mkv", "offset.mkv"],
        ["out.mp4", "out.mkv"],
    )
)
QUICK_PARTS = [
    ("fast", "film.mp4", "out.mkv"),
    ("ultrafast", "film.mkv", "out.mp4"),
    ("fast", "offset.mkv", "out.mp4"),
]


@pytest.mark.parametrize(
    ("preset", "name", "out"), [*QUICK_PARTS, *slow(*(p for p in PARTS if p not in QUICK_PARTS))]
)
def test_a_part_of_a_film(preset, name, out, here, upscale):
    offset = ("-output_ts_offset", "2") if name == "offset.mkv" else ()
    make(name, "-f", "lavfi", "-i", "sine=d=4", *X264, "-c:a", "aac", *offset, seconds=4)
    done = upscale(
        *(name, *BICUBIC, "--preset", preset, "--start", "1.3", "--end", "0:02.5", "-o", out)
    )
    assert done.code == 0, done.err
    whole = times(name)
    start = whole[0] + Fraction(13, 10)
    inside = [t - start for t in whole if start <= t < whole[0] + Fraction(5, 2)]
    after = times(out)
    assert len(inside) == 30
    assert len(after) == len(inside)
    assert max(abs(a - b) for a, b in zip(after, inside, strict=True)) <= Fraction(1, 1000)
    # the same packets of sound, at the same distance from the picture
    moved = {r[1:]: r[0] for r in packets(out, "a:0")}
    theirs = {r[1:]: r[0] - start for r in packets(name, "a:0")}
    assert all(abs(moved[k] - theirs[k]) <= Fraction(1, 1000) for k in moved)
    assert all(-0.05 <= t <= 1.25 for t in moved.values())
    assert len(moved) >= 1.1 * 44100 / 1024


def test_only_the_end_is_cut(here, upscale):
    make("film.mp4", "-f", "lavfi", "-i", "sine=d=2", *X264, "-c:a", "aac", seconds=2)
    assert upscale("film.mp4", *BICUBIC, "--end", "0.8", "-o", "out.mp4").code == 0
    assert times("out.mp4") == times("film.mp4")[:20]
    sound = packets("out.mp4", "a:0")
    assert packets("film.mp4", "a:0")[: len(sound)] == sound
    assert 0.7 < sound[-1][0] < 0.8


def test_chapters_of_a_part(here, upscale):
    (here / "chapters.txt").write_text(
        ";FFMETADATA1\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1200\ntitle=Two\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1200\nEND=2000\ntitle=Three\n"
    )
    make("film.mkv", "-i", "chapters.txt", "-map", "0", "-map_metadata", "1", *X264, seconds=2)
    assert upscale("film.mkv", *BICUBIC, "--start", "0.6", "--end", "1", "-o", "out.mkv").code == 0
    said = header("out.mkv")
    assert len(times("out.mkv")) == 10
    assert "Chapter #0:0: start 0.000000, end 0.4" in said
    assert "Two" in said
    assert "One" not in said
    assert "Three" not in said


def test_times_and_rates():
    assert parse_time("90.5") == parse_time("1:30.5") == parse_time("0:01:30.5") == 90.5
    assert parse_rate("25") == 25
    assert parse_rate("23.976") == parse_rate("24000/1001") == Fraction(24000, 1001)
    assert parse_rate("29.97") == Fraction(30000, 1001)
    assert parse_rate("59.94") == Fraction(60000, 1001)
    assert parse_rate("12.5") == Fraction(25, 2)
    for wrong in ("", "1:2:3:4", "-1", "1m"):
        with pytest.raises(UsageError):
            parse_time(wrong)
    for wrong in ("", "0", "1/0", "-5", "fast"):
        with pytest.raises(UsageError):
            parse_rate(wrong)


def test_pictures_in(here, upscale):
    make("%03d.png", "-start_number", "7", seconds=0.4)
    assert Path("016.png").exists()
    done = upscale("%03d.png", *BICUBIC, "--codec", "ffv1", "--fps", "23.976", "-o", "out.mkv")
    assert done.code == 0, done.err
    assert "23.98 fps" in header("out.mkv")
    before = [np.asarray(Image.open(f"{k:03d}.png")) for k in range(7, 17)]
    after = raw("out.mkv", "rgb24").reshape(10, 128, 192, 3)
    for a, b in zip(after, before, strict=True):
        assert np.abs(a[::2, ::2].astype(int) - b).mean() < 12
    Path("009.png").unlink()
    done = upscale("%03d.png", *BICUBIC, "-o", "gap.mkv")
    assert done.code == 1
    assert "009.png is missing" in done.err


def test_pictures_out(here, upscale):
    flat = ("-pix_fmt", "yuv444p", "-c:v", "ffv1")  # chroma can be interpolated in many ways
    make("film.mkv", "-f", "lavfi", "-i", "sine=d=0.4", *flat, seconds=0.4)
    done = upscale("film.mkv", "-x1", "-m", "bicubic", "-o", "frames/a_%04d.png")
    assert done.code == 0, done.err
    assert "neither sound" in done.err
    names = sorted(p.name for p in Path("frames").iterdir())
    assert names == [f"a_{k:04d}.png" for k in range(1, 11)]
    ours = np.stack([np.asarray(Image.open(f"frames/{n}")) for n in names]).astype(int)
    theirs = run(
        *("-v", "error", "-i", "film.mkv", "-fps_mode", "passthrough"),
        *("-vf", "scale=flags=bilinear+full_chroma_int+accurate_rnd,format=rgb24"),
        *("-f", "rawvideo", "-"),
    )
    theirs = np.frombuffer(theirs, "u1").reshape(ours.shape)
    assert np.abs(ours - theirs).max() <= 2
    assert upscale("film.mkv", "-x1", "-m", "bicubic", "-o", "frames/a_%04d.png").code == 1
    Path("frames/a_0003.png").unlink()
    kept = Path("frames/a_0001.png").stat().st_mtime_ns
    done = upscale(
        *("film.mkv", "-x1", "-m", "bicubic", "-o", "frames/a_%04d.png"),
        *("--skip-existing", "--json"),
    )
    assert done.code == 0, done.err
    assert next(e for e in done.events if e["event"] == "done")["resumed_frames"] == 9
    assert Path("frames/a_0003.png").exists()
    assert Path("frames/a_0001.png").stat().st_mtime_ns == kept


def test_ten_bits_become_sixteen_in_png(here, upscale):
    make("film.mkv", "-pix_fmt", "yuv420p10le", "-c:v", "ffv1", seconds=0.2)
    assert upscale("film.mkv", *BICUBIC, "-o", "%d.png").code == 0
    assert "rgb48be" in header("1.png")


def test_a_preview(here, upscale):
    make("film.mp4", *X264, seconds=4)
    preview = ("film.mp4", "-x1", "-m", "bicubic", "--preview")
    done = upscale(*preview, "4")
    assert done.code == 0, done.err
    assert "film.mp4 -> film_x1_preview_001.png to film_x1_preview_004.png " in done.out
    assert "film_x1_preview_001.png exists" in upscale(*preview, "1").err
    again = upscale(*preview, "1", "--skip-existing")
    assert "film.mp4 -> film_x1_preview_001.png  96x64" in again.out and ", 1 frame" in again.out
    planned = upscale(*preview, "2", "--skip-existing", "--dry-run").out
    assert planned.startswith("film.mp4 -> film_x1_preview_001.png to film_x1_preview_002.png  ")
    row = upscale(*preview[:-1], "-o", "row/%02d.png", "--dry-run").out
    assert row.startswith("film.mp4 -> row/01.png and so on  ")
    names = sorted(p.name for p in here.glob("*.png"))
    assert names == [f"film_x1_preview_00{k}.png" for k in (1, 2, 3, 4)]
    assert upscale("film.mp4", "-x1", "-m", "bicubic", "-o", "all/%03d.png").code == 0
    for name, number in zip(names, (13, 38, 63, 88), strict=True):
        assert (here / name).read_bytes() == (here / f"all/{number:03d}.png").read_bytes()
    assert not (here / "film_x1.mp4").exists()


def test_a_turned_film_gives_turned_pictures(here, upscale):
    make("plain.mp4", *X264, seconds=0.2)
    run("-v", "error", "-display_rotation:v:0", "90", "-i", "plain.mp4", "-c", "copy", "film.mp4")
    assert upscale("film.mp4", "-x1", "-m", "bicubic", "-o", "%d.png").code == 0
    shown = run("-v", "error", "-i", "film.mp4", "-frames:v", "1", "-pix_fmt", "rgb24",
                "-f", "rawvideo", "-")  # fmt: skip
    shown = np.frombuffer(shown, "u1").reshape(96, 64, 3).astype(int)
    assert np.abs(np.asarray(Image.open("1.png")) - shown).mean() < 8


CODECS = {
    "h264": ("mkv", "h264", "yuv420p"),
    "hevc": ("mp4", "hevc", "yuv420p"),
    "av1": ("webm", "av1", "yuv420p"),
    "vp9": ("webm", "vp9", "yuv420p"),
    "prores": ("mov", "prores", "yuv422p10le"),
    "ffv1": ("mkv", "ffv1", "yuv420p"),
    "png": ("mov", "png", "rgb24"),
}


@pytest.mark.parametrize("codec", ["av1", "prores", "png", *slow("h264", "hevc", "vp9", "ffv1")])
def test_codecs(codec, here, upscale):
    container, name, pix_fmt = CODECS[codec]
    make("film.mkv", *X264)
    done = upscale("film.mkv", *BICUBIC, "--codec", codec, "--container", container)
    assert done.code == 0, done.err
    said = header(f"film_x2.{container}")
    assert f"Video: {name}" in said
    assert f" {pix_fmt}" in said
    assert "192x128" in said
    assert times(f"film_x2.{container}") == times("film.mkv")
    # the picture is the one it should be
    small = run("-v", "error", "-i", f"film_x2.{container}", "-vf", "scale=96:64:flags=area",
                "-pix_fmt", "gray", "-f", "rawvideo", "-")  # fmt: skip
    small = np.frombuffer(small, "u1").astype(int)
    assert np.abs(small - raw("film.mkv", "gray")).mean() < 4


def test_pixel_formats(here, upscale):
    make("film.mkv", *X264, seconds=0.4)
    done = upscale("film.mkv", *FAST, "--pix-fmt", "yuv444p10le", "--codec", "h264", "-o", "a.mkv")
    assert done.code == 0, done.err
    assert "yuv444p10le" in header("a.mkv")
    for wrong in ("yuv411p", "no_such", "gbrp16le"):
        done = upscale("film.mkv", *FAST, "--pix-fmt", wrong, "--codec", "h264", "-o", "b.mkv")
        assert done.code == 1
        assert f"h264 does not take --pix-fmt {wrong}" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--codec", "mpeg2"), "--codec mpeg2 is not one of"),
        (("--codec", "prores", "-o", "out.mp4"), "cannot hold prores"),
        (("--container", "avi"), "--container avi is not one of"),
        (("-o", "out.avi"), "is not a kind of film that srcli writes"),
        (("-o", "out.png"), "or out_%05d.png for pictures"),
        (("-o", "-"), "cannot go to standard output"),
        (("--preset", "no-such"), "the encoder libx264 failed"),
        (("--encoder-args", "-no_such 1"), "the encoder libx264 failed"),
        (("--encoder-args", "'"), "--encoder-args cannot be read"),
        (("--codec", "ffv1", "--crf", "3"), "ffv1 does not take --crf"),
        (("--start", "later"), "is not a time"),
        (("--start", "2", "--end", "1"), "--end is not after --start"),
        (("--start", "50"), "no frame lies between"),
        (("--codec", "hevc_nvenc"), "hevc_nvenc"),
        (("--ffmpeg", "/no/such"), "is not a program"),
        (("--ffmpeg", "/bin/true"), "is not ffmpeg"),
    ],
)
def test_wishes_that_cannot_be_met(arguments, said, here, upscale):
    make("film.mkv", *X264, seconds=0.4)
    done = upscale("film.mkv", *BICUBIC, *arguments)
    assert done.code in (1, 2)
    assert said in done.err
    assert sorted(p.name for p in here.iterdir()) == ["film.mkv"]
