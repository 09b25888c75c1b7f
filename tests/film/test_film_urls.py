"""Films that are read from, and written to, places elsewhere."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srcli.film import segments
from srcli.media import remote, scratch
from tests.film.films import make, raw, times

fsspec = pytest.importorskip("fsspec")
pytestmark = [pytest.mark.ffmpeg, pytest.mark.slow]

FAST = ("-x2", "-m", "bicubic", "--preset", "ultrafast")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25")


@pytest.fixture
def store(here, monkeypatch):
    """memory://, where nothing is at first."""
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    return store


def names(store):
    return sorted(store.find("/"))


def same(store, url, whole):
    store.get_file(url, "fetched.mkv")
    assert times("fetched.mkv") == times(whole)
    assert (raw("fetched.mkv", "yuv420p") == raw(whole, "yuv420p")).all()
    return True


def test_stopped_elsewhere_it_goes_on_from_there(store, upscale, monkeypatch):
    """Whatever this machine has left: segments and journal lie beside the result."""
    monkeypatch.setattr("srcli.film.upscale.LEAST_FRAMES", 40)
    make("film.mkv", *X264, "-f", "matroska", seconds=5)
    assert upscale("film.mkv", *FAST, "-o", "whole.mkv").code == 0
    store.put_file("film.mkv", "/in/film.mkv")
    command = ("memory://in/film.mkv", *FAST, "-o", "memory://out/film.mkv")
    add = segments.Work.add

    def add_two(self, *arguments):
        if len(self.segments) == 2:
            raise KeyboardInterrupt
        add(self, *arguments)

    monkeypatch.setattr(segments.Work, "add", add_two)
    assert upscale(*command).code == 130
    assert names(store) == [
        "/in/film.mkv",
        "/out/.film.mkv.srcli/000000.nut",
        "/out/.film.mkv.srcli/000001.nut",
        "/out/.film.mkv.srcli/journal",
    ]
    monkeypatch.setattr(segments.Work, "add", add)
    scratch.clear()
    store.pipe_file("/out/.film.mkv.srcli/000002.0abc.nut", b"a dead worker's")
    done = upscale(*command, "--json")
    assert done.code == 0, done.err
    assert next(e for e in done.events if e["event"] == "done")["resumed_frames"] == 100
    assert names(store) == ["/in/film.mkv", "/out/film.mkv"]
    assert same(store, "/out/film.mkv", "whole.mkv")
    # what is wrong with one, before and when it is written
    store.pipe_file("/in/broken.mkv", b"no film")
    done = upscale("memory://in/broken.mkv", *FAST, "-o", "memory://out/b.mkv")
    assert done.code == 1
    assert "memory://in/broken.mkv cannot be read as a film" in done.err

    def refuse(*arguments):
        raise OSError(5, "the store is full")

    monkeypatch.setattr(type(store), "put_file", refuse)
    done = upscale(*command, "--overwrite")
    assert done.code == 1
    assert "memory://out/.film.mkv.srcli/journal cannot be written, tried 4 times" in done.err
    assert "the store is full" in done.err


def test_what_a_killed_process_has_left_is_removed(here, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(here))
    leave = "from srcli.media import scratch; import os; print(scratch.new_folder()); os._exit(1)"
    environment = os.environ | {"TMPDIR": str(here)}
    for _ in range(2):  # the second is too young to be sure of
        left = subprocess.run(
            [sys.executable, "-c", leave], capture_output=True, text=True, env=environment
        )
        assert Path(left.stdout.strip()).is_dir(), left.stderr
        if _ == 0:
            os.utime(Path(left.stdout.strip()).parent, (0, 0))
    scratch.clear()
    folder = scratch.new_folder()
    assert sorted(here.iterdir()) == sorted([folder.parent, Path(left.stdout.strip()).parent])
    scratch.clear()
    assert not folder.exists()
    assert sorted(here.iterdir()) == [Path(left.stdout.strip()).parent]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="workers are found through /proc")
def test_in_parts_over_s3(here, monkeypatch):
    """300 frames on two workers, one of which is killed."""
    for module in ("ray", "s3fs", "moto"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("bucket")
        make("film.mkv", *X264, "-f", "matroska", seconds=12)
        store.put_file("film.mkv", "bucket/film.mkv")
        command = [sys.executable, "-m", "srcli", "upscale"]
        subprocess.run([*command, "film.mkv", *FAST, "-o", "whole.mkv"], check=True)
        out = ["-o", "s3://bucket/out/film.mkv"]
        out += ["--cluster", "local", "--workers", "2"]
        process = subprocess.Popen([*command, "s3://bucket/film.mkv", *FAST, *out])
        end = time.monotonic() + 240
        while not (victims := workers_of(process.pid)):
            assert time.monotonic() < end
            time.sleep(0.1)
        time.sleep(1)
        os.kill(victims[0], signal.SIGKILL)
        assert process.wait(240) == 0
        store.invalidate_cache()
        assert store.find("bucket") == ["bucket/film.mkv", "bucket/out/film.mkv"]
        assert same(store, "bucket/out/film.mkv", "whole.mkv")
        to_here = [*command, "s3://bucket/film.mkv", *FAST, "-o", "here.mkv"]
        subprocess.run(to_here, check=True)
        assert times("here.mkv") == times("whole.mkv")
    finally:
        server.stop()


def workers_of(parent):
    """Ids of Ray's workers below a process."""
    every = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            every[int(folder.name)] = int(stat[1]), (folder / "cmdline").read_text()
        except OSError:
            continue

    def is_below(pid):
        while pid in every:
            pid = every[pid][0]
            if pid == parent:
                return True
        return False

    return [k for k, (_, said) in every.items() if said.startswith("ray::Worker") and is_below(k)]
