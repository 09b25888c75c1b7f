"""Standard streams that are closed, full, or of an encoding that holds no name; what ends a
command, for people and for scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell and its redirections")
SRCLI = f"{sys.executable} -m srcli"
BICUBIC = f"{SRCLI} upscale -m bicubic -x2"


@pytest.fixture
def shell(tmp_path, monkeypatch, alone):
    """Function (command, **environment) -> what came of it; streams as bytes."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (6, 5), "teal").save("p.png")

    def run(command, **environment):
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            env=os.environ | environment,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode()
        return done

    return run


def size_of(name):
    with Image.open(name) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("streams", ["<&- 2>&-", "2>/dev/full"])
def test_streams_that_a_picture_does_not_need(shell, streams):
    done = shell(f"{BICUBIC} p.png -o q.png {streams}")
    assert done.returncode == 0
    assert b"q.png" in done.stdout
    assert size_of("q.png") == (12, 10)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("target", "reason"), [(">/dev/full", b"No space left"), (">&-", b"it is closed")]
)
def test_results_that_cannot_be_printed(shell, target, reason, unbuffered):
    for arguments in ("models list", "--help"):
        done = shell(f"{SRCLI} {arguments} {target}", PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 1, arguments
        [line] = done.stderr.splitlines()
        assert line.startswith(b"srcli: standard output cannot be written: ") and reason in line


def test_a_batch_goes_on_without_its_results(shell):
    Image.new("RGB", (6, 5)).save("q.png")
    for more in ("", "--json"):
        done = shell(f"{BICUBIC} p.png q.png -o out/ --overwrite {more} >/dev/full")
        assert done.returncode == 1
        assert done.stderr.count(b"No space left") == 2  # when it happens, and what it ends with
        assert size_of("out/p_x2.png") == size_of("out/q_x2.png") == (12, 10)
        for path in Path("out").iterdir():
            path.unlink()


def test_no_file_gets_a_closed_stream_s_number(shell):
    """Else what is said on stderr would be written into a picture."""
    Path("bad.png").write_text("no picture")
    assert shell(f"{BICUBIC} bad.png p.png -o out/ >&- 2>&- <&-").returncode == 1
    assert size_of("out/p_x2.png") == (12, 10)


@pytest.mark.parametrize("arguments", ["- -o q.png", "--from-file -"])
def test_a_closed_stream_that_is_to_be_read(shell, arguments):
    done = shell(f"{BICUBIC} {arguments} <&-")
    assert done.returncode in (1, 2)
    assert b"standard input cannot be read: it is closed" in done.stderr


NAMES = ("ä", "日本", "😀", "line\nfeed", "\x1b[31mred", os.fsdecode(b"\xff\xfe"))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8:strict"])
def test_any_name_on_any_stream(shell, encoding):
    Path("in").mkdir()
    for name in NAMES:
        Image.new("RGB", (4, 4)).save(f"in/{name}.png")
        Path(f"in/{name} bad.png").write_text("no picture")
    done = shell(f"{BICUBIC} in -o out/", PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert len(list(Path("out").iterdir())) == len(NAMES)
    assert len(done.stdout.splitlines()) == len(NAMES)
    assert b"\x1b" not in done.stdout + done.stderr
    assert "in/日本.png".encode() in done.stdout or rb"in/\u65e5\u672c.png" in done.stdout
    # to scripts the very name
    done = shell(f"{BICUBIC} in -o out/ --overwrite --json", PYTHONIOENCODING=encoding)
    codec = encoding.partition(":")[0]
    events = [json.loads(line) for line in done.stdout.decode(codec).splitlines()]
    assert {e["input"] for e in events if e["event"] == "done"} == {f"in/{n}.png" for n in NAMES}
    assert {e["input"] for e in events if e["event"] == "failed"} == {
        f"in/{n} bad.png" for n in NAMES
    }


# what ends a command


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("upscale nothing.png", 2, "nothing.png does not exist"),
        ("upscale p.png --no-such-option", 2, "--no-such-option"),
        ("upscale p.png -o - -m bicubic", 2, "standard output"),
        ("upscale p.png -m lesrcnn.authors", 1, "not on this computer"),
        ("models show no-such", 2, "no-such"),
        ("no-such-command", 2, "no-such-command"),
    ],
)
def test_an_error_is_an_object_too(shell, arguments, code, words):
    done = shell(f"{SRCLI} {arguments} --json")
    assert done.returncode == code
    [line] = done.stdout.splitlines()
    event = json.loads(line)
    assert set(event) == {"event", "error", "hint"}
    assert event["event"] == "error"
    assert words in event["error"]
    assert words in done.stderr.decode()
