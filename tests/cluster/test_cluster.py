"""``srcli upscale --cluster local`` as a user calls it, with workers that are really killed."""

import contextlib
import filecmp
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="workers are found through /proc"),
]

CLUSTER = ("--cluster", "local", "--workers", "2")
PATIENCE_S = 240


@pytest.fixture
def here(tmp_path, monkeypatch, alone):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    """Function of arguments: the running command, its output in ``events`` and ``err``."""
    begun = []

    def begin(*arguments):
        with Path("events").open("wb") as out, Path("err").open("wb") as err:
            command = [sys.executable, "-m", "srcli", "upscale", *map(str, arguments)]
            begun.append(subprocess.Popen(command, stdout=out, stderr=err))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.wait()


def events(kind=None):
    """What was told, whole lines only."""
    told = [json.loads(line) for line in Path("events").read_text().split("\n")[:-1]]
    return [one for one in told if kind in (None, one["event"])]


def err():
    return Path("err").read_text()


def put(folder, n, size=(24, 32)):
    rng = np.random.default_rng(0)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for k in range(n):
        pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize(size[::-1], 3).save(f"{folder}/{k:04d}.png")


def below(parent):
    """(id, arguments) of all processes that a process has begun, and these, and so on."""
    rows = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    every = [(int(pid), int(above), args) for pid, above, args in (r.split(None, 2) for r in rows)]
    found, todo = [], [parent]
    while todo:
        above = todo.pop()
        for pid, its_parent, args in every:
            if its_parent == above:
                found.append((pid, args))
                todo.append(pid)
    return found


def until(condition, process=None):
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end
        assert process is None or process.poll() is None, err()
        time.sleep(0.02)
    return found


def names(folder):
    """Half-written files included."""
    return sorted(path.name for path in Path(folder).iterdir())


def assert_same(folder, other):
    assert names(folder) == names(other)
    assert all(filecmp.cmp(f"{folder}/{n}", f"{other}/{n}", False) for n in names(folder))


def plain(*arguments):
    command = [sys.executable, "-m", "srcli", "upscale", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_same_events_files_and_exit_code(run):
    put("in", 30)
    Path("in/broken.png").write_bytes(Path("in/0000.png").read_bytes()[:50])
    for folder in ("plain", "many"):
        Path(folder).mkdir()
        Path(folder, "0003_x2.png").write_bytes(b"there already")
    options = ("in", "-x2", "--skip-existing", "--json")
    told = plain(*options, "-o", "plain/")
    process = run(*options, "-o", "many/", *CLUSTER)
    assert process.wait(PATIENCE_S) == told.returncode == 1
    assert_same("plain", "many")

    def comparable(lines):
        rows = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
        return sorted(json.dumps(r).replace("plain/", "many/") for r in rows[:-1]), rows[-1]

    assert comparable(Path("events").read_text().splitlines()) == comparable(
        told.stdout.splitlines()
    )
    assert "ray" not in err().lower()  # Ray itself has nothing to say


@pytest.mark.long
@pytest.mark.parametrize("victim", ["ray::Worker", "ray::DashboardAgent"])  # Ray ends without one
def test_what_is_killed_loses_nothing(run, victim):
    put("in", 160)
    assert plain("in", "-x2", "-o", "plain/").returncode == 0
    process = run("in", "-x2", "-o", "many/", "--json", *CLUSTER)
    until(lambda: len(events("done")) >= 10, process)
    victims = [pid for pid, args in below(process.pid) if args.startswith(victim)]
    os.kill(victims[0], signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 0, err()
    assert_same("plain", "many")
    outputs = [one["output"] for one in events("done")]
    assert len(outputs) == len(set(outputs)) == 160
    assert events()[-1]["done"] == 160
    assert "lost" in err() or "stopped" in err()


def writes(pid, folder, start):
    """Whether a process has a half-written file open whose name begins so."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith(f"{Path(folder).absolute()}/.{start}"):
                    return True
    return False


@pytest.mark.long
def test_a_picture_that_kills_three_workers_fails_by_name(run):
    put("in", 6)
    put("in/large", 1, (500, 500))
    Path("in/large/0000.png").rename("in/bad.png")
    Path("in/large").rmdir()
    process = run("in", "-x2", "-o", "many/", "--json", *CLUSTER)
    killed = set()
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        for pid, args in below(process.pid):
            if args.startswith("ray::Worker") and writes(pid, "many", "bad") and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.05)
    assert process.wait(1) == 1
    assert len(killed) == 3
    (failed,) = events("failed")
    assert failed["input"] == "in/bad.png"
    assert "3 workers" in failed["error"]
    assert len(events("done")) == 6
    assert names("many") == [f"{k:04d}_x2.png" for k in range(6)]


@pytest.mark.long
def test_ctrl_c_and_going_on(run):
    put("in", 120)
    process = run("in", "-x2", "-o", "many/", "--json", *CLUSTER)
    until(lambda: len(events("done")) >= 5, process)
    began = below(process.pid)
    stopped = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert time.monotonic() - stopped < 30
    assert all(name.endswith("_x2.png") for name in names("many"))
    assert 5 <= len(names("many")) < 120
    assert events()[-1]["event"] == "interrupted"
    assert "--skip-existing" in err()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in began))
    there = len(names("many"))
    process = run("in", "-x2", "-o", "many/", "--json", "--skip-existing", *CLUSTER)
    assert process.wait(PATIENCE_S) == 0
    assert events()[-1] == {
        "event": "summary",
        "done": 120 - there,
        "skipped": there,
        "failed": 0,
        "left_out": 0,
    }


@pytest.mark.long
def test_a_killed_command_leaves_no_process(run):
    put("in", 120)
    process = run("in", "-x2", "-o", "many/", "--json", *CLUSTER)
    until(lambda: len(events("done")) >= 2, process)
    began = below(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in began))


@pytest.mark.long
def test_an_address_where_there_is_no_cluster(run):
    put("in", 1)
    process = run("in", "--cluster", "127.0.0.1:1")
    assert process.wait(PATIENCE_S) == 1
    assert "no Ray cluster at 127.0.0.1:1" in err()


@pytest.mark.long
@pytest.mark.ffmpeg
def test_a_film_in_parts_is_the_film_in_one(run):
    """Frames, times and bytes of the segments; one worker is killed meanwhile."""
    make_film("film.mkv", 300)
    assert plain("film.mkv", "-x2", "-m", "bicubic", "-o", "plain.mkv").returncode == 0
    command = ("film.mkv", "-x2", "-m", "bicubic", "-o", "many.mkv", "--json", *CLUSTER)
    process = run(*command)
    until(lambda: Path(".many.mkv.srcli").is_dir() and list(Path(".many.mkv.srcli").glob(".*")))
    victims = [pid for pid, args in below(process.pid) if args.startswith("ray::Worker")]
    if victims:
        os.kill(victims[0], signal.SIGKILL)
    assert process.wait(PATIENCE_S) == 0, err()
    [done] = events("done")
    assert done["frames"] == 300
    assert frames_of("many.mkv") == frames_of("plain.mkv")
    assert len(frames_of("many.mkv")) == 300
    assert not Path(".many.mkv.srcli").exists()


def make_film(path, n):
    from srcli.film.ffmpeg import find_ffmpeg

    source = f"testsrc2=s=64x48:r=25:d={n / 25}"
    arguments = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", "sine=d=12", "-g", "50"]
    subprocess.run([find_ffmpeg(None).exe, "-v", "error", *arguments, path], check=True)


def frames_of(path):
    """Times and checksums of all decoded frames."""
    from srcli.film.ffmpeg import find_ffmpeg

    arguments = ["-i", path, "-map", "0:v", "-f", "framemd5", "-"]
    told = subprocess.run(
        [find_ffmpeg(None).exe, "-v", "error", *arguments], capture_output=True, text=True
    ).stdout
    return [line for line in told.splitlines() if not line.startswith("#")]
