"""Faults of the network and the disk, against a real server on 127.0.0.1."""

import errno
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from srcli.errors import ResourceError, WeightsError
from srcli.weights import WeightsOptions, cached_path, load, locate
from srcli.weights.download import NotThereError, download


@pytest.fixture
def fetch(origin, server, tmp_path):
    """Download the origin's file; returns (path, seconds slept between tries)."""

    def fetch(url=None, **changes):
        part = tmp_path / "tiny.part"
        slept = []
        arguments = {
            "size_bytes": len(origin.data),
            "sha256": origin.weights.sha256,
            "sleep": slept.append,
            **changes,
        }
        download(url or server.url, part, **arguments)
        return part, slept

    return fetch


def cut(upto):
    return lambda handler, server: server.behave(handler, upto=upto)


def other(data, **how):
    return lambda handler, server: server.behave(handler, data=data, **how)


def endless(handler, server):
    """No length announced, and ever more bytes."""
    handler.send_response(200)
    handler.end_headers()
    sent = 0
    try:
        while sent < 100 * len(server.data):
            handler.wfile.write(b"x" * 65536)
            sent += 65536
    except OSError:
        server.requests.append(("cut off after", sent))
    handler.close_connection = True


def range_header(server, n):
    return server.requests[n][1].get("Range")


def test_a_good_server_is_asked_once(fetch, origin, server):
    seen = []
    part, slept = fetch(progress=lambda *a: seen.append(a))
    assert part.read_bytes() == origin.data
    assert len(server.requests) == 1
    assert slept == []
    assert seen[0] == (0, len(origin.data))
    assert seen[-1] == (len(origin.data), len(origin.data))
    assert seen == sorted(seen)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    assert server.requests[0][1]["User-Agent"].startswith("srcli/")


def test_a_cut_connection_is_continued(fetch, origin, server):
    server.script = [cut(50_000), cut(90_000)]
    seen = []
    part, slept = fetch(progress=lambda *a: seen.append(a))
    assert part.read_bytes() == origin.data
    assert len(server.requests) == 3
    assert len(slept) == 2
    held = int(range_header(server, 1).removeprefix("bytes=").removesuffix("-"))
    assert 0 < held <= 50_000
    assert server.requests[1][1]["If-Range"] == '"one"'
    assert seen == sorted(seen)  # progress never goes back


def test_a_partial_file_of_an_earlier_run_is_continued(fetch, origin, server, tmp_path):
    (tmp_path / "tiny.part").write_bytes(origin.data[:1000])
    part, _ = fetch()
    assert part.read_bytes() == origin.data
    assert range_header(server, 0) == "bytes=1000-"


def test_a_whole_partial_file_needs_no_request(fetch, origin, server, tmp_path):
    (tmp_path / "tiny.part").write_bytes(origin.data)
    fetch()
    assert server.requests == []


@pytest.mark.parametrize("extra", [0, 5])
def test_a_partial_file_of_something_else_is_started_over(fetch, origin, server, tmp_path, extra):
    (tmp_path / "tiny.part").write_bytes(b"?" * (len(origin.data) + extra))
    part, _ = fetch()
    assert part.read_bytes() == origin.data
    assert range_header(server, 0) is None


def test_a_file_that_changed_meanwhile_is_started_over(fetch, origin, server):
    """If-Range: another ETag makes the server send everything."""
    server.script = [other(b"?" * len(origin.data), upto=50_000, etag='"old"')]
    part, _ = fetch()
    assert part.read_bytes() == origin.data


def test_a_server_without_range_is_started_over(fetch, origin, server):
    server.ranges = False
    server.script = [cut(50_000)]
    part, _ = fetch()
    assert part.read_bytes() == origin.data
    assert range_header(server, 1) is not None


def lying_range(handler, server):
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 7-{len(server.data) - 1}/{len(server.data)}")
    handler.send_header("Content-Length", str(len(server.data) - 7))
    handler.end_headers()
    handler.wfile.write(server.data[7:])


@pytest.mark.parametrize("answer", [lying_range, 416])
def test_a_range_that_is_not_the_asked_one_is_not_used(fetch, origin, server, answer):
    server.script = [cut(50_000), answer]
    part, _ = fetch()
    assert part.read_bytes() == origin.data


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_in_trouble_is_asked_again(fetch, origin, server, status):
    server.script = [status, status]
    part, slept = fetch()
    assert part.read_bytes() == origin.data
    assert len(slept) == 2
    assert 0.5 <= slept[0] <= 0.63
    assert 1 <= slept[1] <= 1.25


def test_retry_after_is_respected_within_reason(fetch, server):
    def busy(seconds):
        def step(handler, _):
            handler.send_response(503)
            handler.send_header("Retry-After", seconds)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        return step

    server.script = [busy("3"), busy("99999"), busy("Wed, 21 Oct 2026 07:28:00 GMT")]
    _, slept = fetch()
    assert 3 <= slept[0] <= 3.75
    assert 30 <= slept[1] <= 37.5
    assert slept[2] < 3


def test_tries_are_bounded_and_what_arrived_is_kept(fetch, server, tmp_path):
    server.script = [cut(50_000), 500, 500, 500, 500]
    with pytest.raises(WeightsError, match=r"4 tries.*500") as caught:
        fetch()
    assert len(server.requests) == 4
    assert "try again" in caught.value.hint
    assert (tmp_path / "tiny.part").stat().st_size > 0
    server.script = []
    fetch()  # and continues
    assert range_header(server, 4) is not None


def test_nobody_listens(fetch):
    with pytest.raises(WeightsError, match=r"4 tries.*refused"):
        fetch("http://127.0.0.1:9/x")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_clear_no_is_not_asked_again(fetch, server, status, tmp_path):
    server.script = [status]
    with pytest.raises(WeightsError, match=str(status)) as caught:
        fetch()
    assert isinstance(caught.value, NotThereError) == (status in {403, 404, 410})
    assert len(server.requests) == 1
    assert not (tmp_path / "tiny.part").exists()


def test_wrong_content_is_told_and_removed(fetch, origin, server, tmp_path):
    wrong = bytes(len(origin.data))
    server.data = wrong
    with pytest.raises(WeightsError) as caught:
        fetch()
    for part_of_it in (
        server.url,
        origin.weights.sha256,
        hashlib.sha256(wrong).hexdigest(),
        "removed",
    ):
        assert part_of_it in caught.value.message
    assert not (tmp_path / "tiny.part").exists()
    assert len(server.requests) == 1


def test_wrong_content_after_continuing_is_fetched_once_more(fetch, origin, server, tmp_path):
    (tmp_path / "tiny.part").write_bytes(b"?" * 1000)
    part, _ = fetch()
    assert part.read_bytes() == origin.data
    assert [range_header(server, n) for n in (0, 1)] == ["bytes=1000-", None]


@pytest.mark.parametrize("data", [b"<html>please log in</html>", b"x" * 1_000_000])
def test_a_wrong_length_is_refused_before_a_byte_is_written(fetch, server, tmp_path, data):
    server.data = data
    with pytest.raises(WeightsError, match=f"{len(data)} bytes instead of"):
        fetch()
    assert not (tmp_path / "tiny.part").exists()


def test_a_server_that_sends_ever_more_is_cut_off(fetch, origin, server, tmp_path):
    server.script = [endless]
    with pytest.raises(WeightsError, match="sends more than"):
        fetch()
    assert not (tmp_path / "tiny.part").exists()


def test_a_body_without_length_that_ends_early_is_continued(fetch, origin, server):
    def short(handler, server):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(server.data[:60_000])
        handler.close_connection = True

    server.script = [short]
    part, slept = fetch()
    assert part.read_bytes() == origin.data
    assert len(slept) == 1


def test_redirects_are_followed(fetch, origin, server):
    def elsewhere(handler, _):
        handler.send_response(302)
        handler.send_header("Location", "/other")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.script = [elsewhere]
    part, _ = fetch()
    assert part.read_bytes() == origin.data
    assert server.requests[1][0] == "/other"


def test_a_silent_server_times_out(fetch, server, monkeypatch):
    import threading

    release = threading.Event()
    monkeypatch.setattr("srcli.weights.download.READ_TIMEOUT_S", 0.1)
    server.script = [lambda *_: release.wait(5)] * 2
    with pytest.raises(WeightsError, match=r"2 tries.*timed out"):
        fetch(tries=2)
    release.set()


def test_a_password_in_the_url_is_not_shown(fetch, server):
    server.script = [404]
    with pytest.raises(WeightsError) as caught:
        fetch(server.url.replace("//", "//user:secret@") + "?token=secret")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["http://", "http://[", "https://127.0.0.1:99999/x"])
def test_a_url_that_is_none_is_a_weights_error(fetch, url):
    with pytest.raises(WeightsError):
        fetch(url)


def test_proxies_of_the_environment_are_honoured(fetch, origin, server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url.rsplit("/", 2)[0])
    part, _ = fetch("http://example.invalid/tiny.pth")
    assert part.read_bytes() == origin.data
    assert server.requests[0][0] == "http://example.invalid/tiny.pth"


def test_too_little_room_is_seen_before_asking(fetch, server, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="not enough room") as caught:
        fetch()
    assert str(tmp_path) in caught.value.message
    assert server.requests == []


def test_a_disk_that_fills_up_is_told_and_the_part_removed(fetch, tmp_path):
    """A real failing write: the file-size limit of the process, EFBIG instead of ENOSPC."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(ResourceError, match="not enough room") as caught:
            fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert str(tmp_path) in caught.value.message
    assert caught.value.__cause__.errno == errno.EFBIG
    assert not (tmp_path / "tiny.part").exists()


def test_enospc_while_converting_names_the_folder(origin, options, server, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError) as caught:
        locate(origin.at(server.url).weights, options)
    assert str(options.weights_dir) in caught.value.message
    assert [p.name for p in options.weights_dir.iterdir()] == [".locks"]  # nothing half-written


PROCESS = """
import sys
from pathlib import Path
from srcli.catalog import WeightsFile
from srcli.weights import WeightsOptions, locate
cache, size, sha, url = sys.argv[1:]
print(locate(WeightsFile("tiny.one-x2.pth", int(size), sha, url, "model"),
             WeightsOptions(Path(cache)), announce=lambda s: print(s, file=sys.stderr)))
"""


def test_two_processes_fetch_once(origin, options, server):
    import threading

    waiting = threading.Event()

    def slow(handler, server):
        waiting.wait(20)  # until the second process has said that it waits
        server.behave(handler)

    server.script = [slow]
    arguments = [str(options.cache_dir), str(len(origin.data)), origin.weights.sha256, server.url]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    def listen(process):
        for line in process.stderr:
            if "Waiting for another srcli" in line:
                waiting.set()

    ears = [threading.Thread(target=listen, args=(p,)) for p in processes]
    for ear in ears:
        ear.start()
    paths = [p.stdout.read().strip() for p in processes]
    assert [p.wait(30) for p in processes] == [0, 0]
    for ear in ears:
        ear.join()
    assert waiting.is_set()
    assert len(server.requests) == 1
    assert paths == [str(cached_path(origin.weights, options))] * 2


def test_a_crash_leaves_no_half_written_file(origin, options, server, monkeypatch):
    server.script = [cut(50_000), *[500] * 9]
    with pytest.raises(WeightsError):
        locate(origin.at(server.url).weights, options)
    left = [p for p in options.weights_dir.iterdir() if p.is_file()]
    assert [p.suffix for p in left] == [".part"]
    server.script = []
    path = locate(origin.at(server.url).weights, options)
    assert [p for p in options.weights_dir.iterdir() if p.is_file()] == [path]


def test_it_runs_after_all(origin, options, server):
    network = load(origin.at(server.url).model, 2, options)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert Path(cached_path(origin.weights, options)).is_file()
    assert isinstance(options, WeightsOptions)
