"""Films that are damaged, strange or not films: a plain word, and nothing half-done."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srcli.film.decode import Decoder
from srcli.film.ffmpeg import find_ffmpeg
from srcli.film.packets import Packet, read_packet, read_tick
from srcli.film.probe import probe
from tests.film.films import header, make, raw, run, times

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
FAST = ("-x2", "-m", "bicubic", "--preset", "ultrafast")


def left():
    return sorted(p.name for p in Path().iterdir() if p.name != "cache")


def test_not_a_film(here, upscale):
    (here / "film.mkv").write_bytes(b"not a film at all" * 100)
    (here / "empty.mp4").write_bytes(b"")
    done = upscale("film.mkv", "empty.mp4", *FAST)
    assert done.code == 1
    assert "film.mkv cannot be read as a film" in done.err
    assert "empty.mp4 cannot be read as a film" in done.err
    assert left() == ["empty.mp4", "film.mkv"]


def test_no_video(here, upscale):
    run("-v", "error", "-f", "lavfi", "-i", "sine=d=1", "film.mp4")
    done = upscale("film.mp4", *FAST)
    assert (done.code, left()) == (1, ["film.mp4"])
    assert "film.mp4 has no video stream" in done.err


def test_sound_with_a_cover_is_no_film(here, upscale):
    run("-v", "error", "-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", "c.png")
    run(
        *("-v", "error", "-f", "lavfi", "-i", "sine=d=1", "-i", "c.png", "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v", "attached_pic", "film.mp4"),
    )
    done = upscale("film.mp4", *FAST)
    assert done.code == 1
    assert "has no video stream" in done.err


def test_no_frames(here, upscale):
    make("film.mkv", *X264)
    make("none.mkv", "-vf", "select=0", *X264)
    done = upscale("none.mkv", *FAST)
    assert done.code == 1
    assert "none.mkv" in done.err
    assert left() == ["film.mkv", "none.mkv"]


def test_truncated_mp4(here, upscale):
    make("film.mp4", *X264)
    data = (here / "film.mp4").read_bytes()
    (here / "film.mp4").write_bytes(data[: len(data) // 2])
    done = upscale("film.mp4", *FAST)
    assert done.code == 1
    assert "film.mp4 cannot be read as a film: moov atom not found" in done.err


def test_truncated_matroska_is_done_as_far_as_it_goes(here, upscale):
    make("film.mkv", *X264, "-g", "5", seconds=2)
    data = (here / "film.mkv").read_bytes()
    (here / "film.mkv").write_bytes(data[: len(data) // 2])
    done = upscale("film.mkv", *FAST)
    assert done.code == 0, done.err
    assert "the source is damaged (File ended prematurely" in done.err
    assert "the source claims to last 2.0 s, but it ends after" in done.err
    assert 0 < len(times("film_x2.mkv")) < 40
    assert times("film_x2.mkv") == times("film.mkv")


def corrupt(path):
    make(path, *X264, "-g", "10", seconds=2)
    data = bytearray(Path(path).read_bytes())
    for at in range(6000, len(data) - 3000, 1500):
        data[at] ^= 0xFF
    Path(path).write_bytes(data)


def test_corrupt_packets(here, upscale):
    corrupt("film.mkv")
    done = upscale("film.mkv", *FAST)
    assert done.code == 0, done.err
    assert "the source is damaged" in done.err
    assert times("film_x2.mkv") == times("film.mkv")


def test_complaints_cut_no_frame_short(here):
    """ffmpeg's threads complain of damage into the pipe by which it tells the frames' times."""
    corrupt("film.mkv")
    ffmpeg = find_ffmpeg()
    film, wanted = probe(Path("film.mkv"), ffmpeg), times("film.mkv")
    for _ in range(12):
        with Decoder(film, ffmpeg) as decoder:
            assert [frame.seconds for frame in decoder] == wanted
            assert any("error while decoding" in line for line in decoder.complaints)


@given(
    before=st.sampled_from(["", "[h264 @ 0x5581", "[h264 @ 0x55c211e59580] ", "error 3, 4, 5, 6,"]),
    numbers=st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 2),
    size=st.integers(0, 2**40),
    after=st.sampled_from(["", ", F=0x0", ", F=0x0, S=1, 8, 0x00000000"]),
)
def test_a_line_in_the_middle_of_a_message(before, numbers, size, after):
    dts, pts = numbers
    packet = read_packet(f"{before}0, {dts:10}, {pts:10}, {40:8}, {size:8}, 0x22710246{after}")
    time = None if pts == -(2**63) else pts
    assert packet == Packet(time, 40, size, "0x22710246", key=not after)
    assert read_packet(f"{before}error while decoding MB 3 4, bytestream -5") is None
    assert read_tick(f"{before}#tb 0: 1/25") == Fraction(1, 25)


def test_the_size_changes(here, upscale):
    make("a.ts", "-c:v", "mpeg2video", "-g", "5")
    make("b.ts", "-c:v", "mpeg2video", "-output_ts_offset", "1", size="128x96")
    (here / "film.ts").write_bytes((here / "a.ts").read_bytes() + (here / "b.ts").read_bytes())
    done = upscale("film.ts", *FAST)
    assert done.code == 1
    assert "the picture's size changes at" in done.err
    assert "--end" in done.err
    assert not (here / "film_x2.mkv").exists()


@pytest.mark.parametrize(("codec", "fine"), [("h264", False), ("ffv1", True), ("vp9", True)])
def test_odd_sizes(codec, fine, here, upscale):
    make("film.mkv", "-vf", "scale=33:17", "-pix_fmt", "yuv420p", "-c:v", "ffv1", seconds=0.4)
    done = upscale("film.mkv", "-x3", "-m", "bicubic", "--codec", codec)
    assert (done.code == 0) == fine, done.err
    if fine:
        assert "99x51" in header("film_x3.mkv")
        luma = raw("film_x3.mkv", "gray").reshape(10, 51, 99)[:, 1::3, 1::3].astype(int)
        before = raw("film.mkv", "gray").reshape(10, 17, 33)
        assert np.abs(luma - before).mean() < 4
    else:
        assert "needs an even width and height, but the result is 99x51" in done.err
        assert left() == ["film.mkv"]


def test_odd_sizes_come_back_too(here, upscale):
    make("film.mkv", "-vf", "scale=33:18", "-pix_fmt", "yuv420p", "-c:v", "ffv1", seconds=0.4)
    done = upscale("film.mkv", "-x1", "-m", "bicubic", "--codec", "ffv1", "-o", "out.mkv")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(raw("out.mkv", "yuv420p"), raw("film.mkv", "yuv420p"))


def test_interlaced_films_are_deinterlaced_with_a_word(here, upscale):
    make(
        *("film.mkv", "-vf", "tinterlace=interleave_top,setfield=tff", "-c:v", "mpeg2video"),
        *("-flags", "+ilme+ildct"),
        rate="50",
    )
    done = upscale("film.mkv", *FAST)
    assert done.code == 0, done.err
    assert "the film is interlaced" in done.err
    assert times("film_x2.mkv") == times("film.mkv")
    shown = run("-i", "film_x2.mkv", "-vf", "idet", "-f", "null", "-", text=True)
    assert "progressive" in header("film_x2.mkv")
    assert "TFF:    0 BFF:    0 Progressive:   25" in shown or "TFF:     0 BFF:     0" in shown


def test_an_encoder_that_is_killed(here, upscale):
    """Its signal is said; the one that moves frames would be found out as well."""
    from srcli.film.ffmpeg import find_ffmpeg

    make("film.mkv", *X264)
    wrapper = here / "ffmpeg"
    wrapper.write_text(
        "#!/bin/bash\nif [[ $* == *000000.nut*.part* && $* == *libx264* ]]; then\n"
        f'  head -c 100000 >/dev/null; kill -9 $$\nfi\nexec {find_ffmpeg().exe} "$@"\n'
    )
    wrapper.chmod(0o755)
    done = upscale("film.mkv", *FAST, "--ffmpeg", wrapper)
    assert done.code == 1
    assert "the encoder libx264 failed: ffmpeg was killed by signal 9" in done.err
    assert left() == ["ffmpeg", "film.mkv"]


def test_frames_that_the_encoder_drops_are_found_out(here, upscale):
    make("film.mkv", *X264)
    done = upscale("film.mkv", *FAST, "--encoder-args", r"-vf 'select=mod(n\,5)'")
    assert done.code == 1
    assert "the encoder was given 25 frames and made 20" in done.err
    assert left() == ["film.mkv"]


def test_too_many_pixels(here, upscale):
    make("film.mkv", *X264)
    done = upscale("film.mkv", *FAST, "--max-pixels", "6000")
    assert done.code == 1
    assert "over the limit" in done.err


def test_films_and_pictures_in_one_folder(here, upscale):
    (here / "in").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("in/a.png")
    make("in/b.mp4", *X264, seconds=0.4)
    (here / "in/c.mkv").write_bytes(b"no film")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("in/d.jpg")
    make("in/e.avi", "-c:v", "mpeg4", seconds=0.4)
    done = upscale("in", *FAST, "-o", "out/", "--json")
    assert done.code == 1
    assert sorted(p.name for p in (here / "out").iterdir()) == [
        *("a_x2.png", "b_x2.mp4", "d_x2.jpg", "e_x2.mkv"),
    ]
    assert done.events[-1] == {
        "event": "summary",
        "done": 4,
        "skipped": 0,
        "failed": 1,
        "left_out": 0,
    }
    again = upscale("in", *FAST, "-o", "out/", "--json", "--skip-existing")
    assert again.events[-1] == {
        "event": "summary",
        "done": 0,
        "skipped": 4,
        "failed": 1,
        "left_out": 0,
    }
    beside = upscale("in/b.mp4", *FAST)
    assert beside.code == 0
    assert upscale("in", *FAST, "--dry-run").out.count("b_x2_x2") == 0


def test_events(here, upscale):
    make("film.mp4", "-f", "lavfi", "-i", "sine=d=1", *X264)
    done = upscale("film.mp4", *FAST, "--json")
    progress = [e for e in done.events if e["event"] == "progress"]
    assert progress[-1]["frames"] == progress[-1]["total_frames"] == 25
    assert progress[-1]["eta_s"] == 0
    assert progress[-1]["position_s"] == pytest.approx(0.96)
    assert progress[-1]["fps"] > 0
    [event] = [e for e in done.events if e["event"] == "done"]
    assert event["lr_size"] == [64, 96]
    assert event["output_bytes"] == (here / "film_x2.mp4").stat().st_size
    assert event["check"]["streams"] == ["video", "audio"]
    assert {"decode", "network", "colour", "encode"} == set(event["stage_seconds"])
    line = upscale("film.mp4", *FAST, "--overwrite").out
    assert "; checked: 25 frames, each at its time, 2 streams" in line


def test_an_output_that_exists(here, upscale):
    make("film.mp4", *X264)
    (here / "film_x2.mp4").write_bytes(b"mine")
    assert upscale("film.mp4", *FAST).code == 2
    assert (here / "film_x2.mp4").read_bytes() == b"mine"
    assert upscale("film.mp4", *FAST, "--overwrite").code == 0
    assert times("film_x2.mp4") == times("film.mp4")


def test_dry_run(here, upscale):
    make("film.mp4", *X264)
    done = upscale("film.mp4", *FAST, "--dry-run")
    assert done.code == 0, done.err
    assert "film.mp4 -> film_x2.mp4  96x64 to 192x128" in done.out
    assert left() == ["film.mp4"]


@pytest.mark.long
def test_memory_is_flat(here):
    """Over 2,000 frames; what is resident at the end is what was after the first hundreds."""
    make("film.mkv", *X264, "-g", "60", seconds=80)
    child = subprocess.Popen(
        [sys.executable, "-m", "srcli", "upscale", "film.mkv", *FAST, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            status = Path(f"/proc/{child.pid}/statm")
            if status.exists():
                seen.append((event["frames"], int(status.read_text().split()[1]) * 4096 / 2**20))
    assert child.wait() == 0
    early = [mib for frames, mib in seen if 200 <= frames <= 700]
    late = [mib for frames, mib in seen if frames >= 1500]
    assert seen[-1][0] >= 1900
    assert max(late) <= max(early) + 16
