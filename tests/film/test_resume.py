"""Stopped by anything, the same command goes on, and the result is the same."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from srcli.film import segments
from srcli.film.decode import Decoder
from srcli.film.ffmpeg import find_ffmpeg
from tests.film.films import header, make, raw, slow, times

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "2")
FAST = ("-x2", "-m", "bicubic", "--preset", "ultrafast")
WORK = ".out.mkv.srcli"
IGNORING = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def command(*arguments):
    return [sys.executable, "-m", "srcli", "upscale", *map(str, arguments)]


@pytest.mark.long
def test_killed_at_five_moments(here):
    """kill -9 five times in a film of 300 frames; the last run ends what they began."""
    make("film.mkv", *X264, seconds=12)
    started = time.monotonic()
    subprocess.run(command("film.mkv", *FAST, "-o", "whole.mkv"), check=True, capture_output=True)
    whole_s = time.monotonic() - started
    rng = random.Random(7)
    killed = 0
    while killed < 5:
        child = subprocess.Popen(
            command("film.mkv", *FAST, "-o", "out.mkv", "--json"), stdout=subprocess.PIPE, text=True
        )
        while json.loads(child.stdout.readline())["event"] != "progress":
            pass
        time.sleep(rng.uniform(0, whole_s / 5))  # what is finished stays finished
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        killed += 1
        assert not (here / "out.mkv").exists()
    done = subprocess.run(
        command("film.mkv", *FAST, "-o", "out.mkv", "--json"), check=True, capture_output=True
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    [event] = [e for e in events if e["event"] == "done"]
    assert event["frames"] == 300
    assert times("out.mkv") == times("film.mkv") == times("whole.mkv")
    np.testing.assert_array_equal(raw("out.mkv", "yuv420p"), raw("whole.mkv", "yuv420p"))
    assert not (here / WORK).exists()


def stop_after(monkeypatch, n):
    """Make the work die once n segments are finished."""
    add = segments.Work.add

    def stopping(self, *arguments):
        if len(self.segments) == n:
            raise KeyboardInterrupt
        add(self, *arguments)

    monkeypatch.setattr(segments.Work, "add", stopping)
    return lambda: monkeypatch.setattr(segments.Work, "add", add)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder for what is made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def stopped(here, kept, upscale, monkeypatch):
    """A film of 200 frames that was stopped after two segments; the whole one beside it."""
    monkeypatch.setattr("srcli.film.upscale.LEAST_FRAMES", 40)
    if any(kept.iterdir()):
        shutil.copytree(kept, here, dirs_exist_ok=True)
        return here
    make("film.mkv", *X264, "-output_ts_offset", "5", "-f", "matroska", seconds=8)
    assert upscale("film.mkv", *FAST, "-o", "whole.mkv").code == 0
    again = stop_after(monkeypatch, 2)
    done = upscale("film.mkv", *FAST, "-o", "out.mkv")
    assert done.code == 130
    assert "stopped; the same command continues after the 100 finished frames" in done.err
    hint = (
        f"hint: to continue: {shlex.join(['srcli', 'upscale', 'film.mkv', *FAST, '-o', 'out.mkv'])}"
    )
    assert done.err.splitlines()[-2:] == ["srcli: interrupted", hint]
    again()
    assert len((here / WORK / "journal").read_text().splitlines()) == 3
    assert sorted(p.name for p in (here / WORK).iterdir() if p.suffix) == [
        "000000.nut",
        "000001.nut",
    ]
    for path in here.iterdir():
        if path.suffix == ".mkv":
            shutil.copy2(path, kept)
    shutil.copytree(here / WORK, kept / WORK)
    return here


def finish(upscale, *arguments):
    done = upscale("film.mkv", *FAST, "-o", "out.mkv", "--json", *arguments)
    assert done.code == 0, done.err
    return done, next(e for e in done.events if e["event"] == "done")


def same():
    assert times("out.mkv") == times("whole.mkv")
    np.testing.assert_array_equal(raw("out.mkv", "yuv420p"), raw("whole.mkv", "yuv420p"))
    return True


def test_it_goes_on(stopped, upscale):
    done, event = finish(upscale)
    assert event["resumed_frames"] == 100
    assert "continues after the 100 finished frames" in done.err
    assert event["frames"] == 200
    assert same()
    assert not (stopped / WORK).exists()


def test_from_a_key_frame_on(stopped, upscale, monkeypatch):
    """Far into a film, decoding begins at a key frame before the place; nothing changes."""
    monkeypatch.setattr("srcli.film.upscale.LEAD_S", 1)
    decoded, frames = [], Decoder.__iter__

    def noting(self):
        for frame in frames(self):
            decoded.append(float(frame.seconds))
            yield frame

    monkeypatch.setattr(Decoder, "__iter__", noting)
    _, event = finish(upscale)
    assert event["resumed_frames"] == 100  # up to 8.96 s
    assert 7 <= decoded[0] <= 8
    assert decoded == sorted(set(decoded))
    assert same()


def test_a_changed_setting_starts_afresh_and_says_so(stopped, upscale):
    done, event = finish(upscale, "--crf", "30")
    assert event["resumed_frames"] == 0
    assert "starts again" in done.err


@pytest.mark.slow
def test_a_changed_input_starts_afresh(stopped, upscale):
    make("other.mkv", *X264, "-vf", "negate", "-f", "matroska", seconds=8)
    shutil.copy("other.mkv", "film.mkv")
    done, event = finish(upscale)
    assert event["resumed_frames"] == 0
    assert "starts again" in done.err


@pytest.mark.parametrize("damage", ["segment", *slow("journal", "missing")])
def test_what_a_crash_damaged_is_made_again(damage, stopped, upscale):
    work = stopped / WORK
    if damage == "journal":  # a line half written
        with (work / "journal").open("rb+") as file:
            file.truncate((work / "journal").stat().st_size - 20)
    elif damage == "segment":
        with (work / "000001.nut").open("rb+") as file:
            file.seek(3000)
            file.write(b"\0" * 50)
    else:
        (work / "000001.nut").unlink()
    (work / ".000002.nut.0123abcd.part").write_bytes(b"half")
    _, event = finish(upscale)
    assert event["resumed_frames"] == 50
    assert same()


def test_two_at_once_are_refused(stopped, upscale):
    with segments.Work(stopped / "out.mkv", "any"):
        done = upscale("film.mkv", *FAST, "-o", "out.mkv")
    assert done.code == 1
    assert "another srcli is already writing out.mkv" in done.err


def test_an_encoder_that_dies_leaves_what_is_finished(here, upscale, monkeypatch):
    """The disk fills up, or the encoder is killed: an error, and the same command goes on."""
    monkeypatch.setattr("srcli.film.upscale.LEAST_FRAMES", 40)
    make("film.mkv", *X264, seconds=4)
    real = find_ffmpeg().exe
    wrapper = here / "ffmpeg"
    wrapper.write_text(
        f"#!/bin/bash\nif [[ $* == *000001.nut*.part* && $* == *libx264* ]]; then\n"
        f"  head -c 300000 | {real} -v quiet -f ivf -i - -f null -\n"
        "  echo '[out#0] [error] Error muxing a packet: No space left on device' >&2\n"
        "  exit 228\nfi\n"
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    done = upscale("film.mkv", *FAST, "-o", "out.mkv", "--ffmpeg", wrapper)
    assert done.code == 1
    assert "no space is left on the disk" in done.err
    assert not (here / "out.mkv").exists()
    wrapper.write_text(f'#!/bin/bash\nexec {real} "$@"\n')
    done, event = finish(upscale, "--ffmpeg", wrapper)
    assert event["resumed_frames"] == 50
    assert times("out.mkv") == times("film.mkv")


@pytest.mark.long
def test_ctrl_c_is_for_srcli_not_for_ffmpeg(here):
    """A terminal sends it to all processes of a group; here srcli ignores it, as under nohup."""
    make("film.mkv", *X264, seconds=8)
    ignoring = [sys.executable, "-c", IGNORING, *command("film.mkv", *FAST, "--json")]
    child = subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while json.loads(child.stdout.readline())["event"] != "progress":
        pass
    os.killpg(child.pid, signal.SIGINT)
    rest = child.communicate()[0].splitlines()
    assert child.returncode == 0
    assert json.loads(rest[-1])["done"] == 1
    assert times("film_x2.mkv") == times("film.mkv")


def test_repeated_frames_are_computed_once(here, upscale, monkeypatch):
    from srcli.engine.resampler import Resampler

    made = []
    strips = Resampler.strips

    def counting(self, pixels, *arguments, **options):
        made.append(pixels)
        return strips(self, pixels, *arguments, **options)

    monkeypatch.setattr(Resampler, "strips", counting)
    still = ("-vf", "trim=end_frame=1,loop=9:1,setpts=N/25/TB")
    make("film.mkv", *still, "-c:v", "ffv1")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "--codec", "ffv1", "--json")
    assert done.code == 0, done.err
    [event] = [e for e in done.events if e["event"] == "done"]
    assert event["frames"] == 10
    assert event["repeated_frames"] == 9
    assert len(made) == 1
    frames = raw("film_x2.mkv", "yuv444p").reshape(10, -1)
    assert (frames == frames[0]).all()
    assert "192x128" in header("film_x2.mkv")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "-o", "row/%02d.png", "--json")
    assert [e["repeated_frames"] for e in done.events if e["event"] == "done"] == [9]
    assert len(made) == 2
    pictures = {path.read_bytes() for path in Path("row").iterdir()}
    assert len(pictures) == 1 and len(list(Path("row").iterdir())) == 10
