"""One bad input never stops a batch: each kind of it, from finding to writing."""

import os
from pathlib import Path

import pytest
from fake_engine import Nearest
from PIL import Image

from srcli import catalog
from srcli.errors import UsageError
from srcli.jobs import inputs, outputs, plan, prefetch
from srcli.jobs import run as running
from srcli.jobs.events import Done, Failed, LeftOut, Noted, Summary
from srcli.media import image

BCRN = catalog.resolve("bcrn.authors")
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links, names of any bytes")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "teal").save(name)


def upscale(*names, engine=None, **more):
    """(names of inputs done, {input: what is wrong}, summary)."""
    options = plan.Options(model=BCRN, **{"scale": 2.0, "output": "out", **more})
    events = []
    jobs = plan.plan(names, options, tell=events.append)
    summary = running.run(jobs, options, engine or Nearest(), tell=events.append)
    for event in events:
        if isinstance(event, LeftOut):
            summary.count(event)
    done = [e.source.as_posix() for e in events if isinstance(e, Done)]
    failed = {e.source.as_posix(): e.error for e in events if isinstance(e, Failed)}
    assert (summary.done, summary.failed) == (len(done), len(failed))
    assert not [p for p in Path("out").rglob("*") if p.name.endswith(".part")]
    return done, failed, summary


LONG = "L" * 252 + ".png"  # one byte more than file systems take
LONGEST = "L" * 251 + ".png"


def test_missing_among_several(here):
    put("a.png", "b.png")
    done, failed, summary = upscale("a.png", "nope.jpg", "b.png", "z*.png", "no/such.png")
    assert done == ["a.png", "b.png"]
    assert failed == {
        "nope.jpg": "nope.jpg does not exist",
        "z*.png": "nothing matches z*.png",
        "no/such.png": "no/such.png does not exist",
    }
    assert summary.exit_code == 1


@pytest.mark.parametrize("name", ["nope.png", "z*.png"])
def test_missing_alone(here, name):
    with pytest.raises(UsageError, match=r"does not exist|nothing matches"):
        upscale(name)


def test_names_that_are_too_long(here):
    """As an input, and as the output of an input whose name just fits."""
    put("in/a.png", f"in/{LONGEST}", "in/z.png", "b.png")
    done, failed, _ = upscale("in", LONG, f"{LONG}/c.png", "b.png")
    assert done == ["in/a.png", "in/z.png", "b.png"]
    assert set(failed) == {f"in/{LONGEST}", LONG, f"{LONG}/c.png"}
    assert all("too long" in error for error in failed.values())
    assert len(list(Path("out").iterdir())) == 3
    # alone as well
    assert upscale(LONG)[1].keys() == {LONG}
    for output in (LONG, f"{LONG}/", f"{LONG}/c.png", f"out/{{stem}}{'L' * 251}.png"):
        _, failed, _ = upscale("b.png", output=output)
        assert "too long" in failed["b.png"]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_cannot_be_listed(here, monkeypatch, recursive):
    put("a.png", "in/b.png", "in/locked/c.png", "in/open/d.png", "z.png")
    locked = "in/locked" if recursive else "in"
    real = os.scandir

    def scandir(path):  # root may list everything
        if Path(path) == Path(locked):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done, failed, _ = upscale("a.png", "in", "z.png", recursive=recursive)
    inside = ["in/b.png", "in/open/d.png"] if recursive else []
    assert done == ["a.png", *inside, "z.png"]
    assert failed == {locked: f"cannot list {locked}: Permission denied"}


@posix
def test_links(here):
    """To itself, and to nothing, in a folder and named."""
    put("in/a.png", "in/z.png")
    Path("in/loop.png").symlink_to("loop.png")
    Path("in/dangling.png").symlink_to("nothing.png")
    Path("gone.png").symlink_to("nothing.png")
    Path("round.png").symlink_to("round.png")
    done, failed, _ = upscale("in", "gone.png", "round.png")
    assert done == ["in/a.png", "in/z.png"]
    assert set(failed) == {"in/loop.png", "in/dangling.png", "gone.png", "round.png"}


@posix
def test_a_pipe_in_a_folder_is_not_waited_for(here):
    put("in/a.png")
    os.mkfifo("in/b.png")
    done, failed, _ = upscale("in")
    assert done == ["in/a.png"]
    assert "pipe" in failed["in/b.png"]


@pytest.mark.parametrize("name", ["a\0b.png", "\0", "a" * 5000, "//", "in/a.png/b.png", "~nobody"])
def test_names_that_no_file_can_have(here, name):
    put("in/a.png")
    done, failed, _ = upscale("in/a.png", name)
    assert done == ["in/a.png"]
    assert len(failed) == 1 or name == "//"


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        PermissionError(13, "Permission denied"),
        RecursionError("maximum recursion depth exceeded"),
        MemoryError(),
        ValueError("embedded null byte"),
        RuntimeError("can't start new thread"),
        StopIteration(),
        KeyError("oops"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("srcli.jobs.inputs", "_status"),  # finding
        ("srcli.jobs.outputs.Naming", "target"),  # naming
        ("srcli.media.image", "inspect"),  # planning
        ("srcli.jobs.prefetch", "open_source"),
        ("srcli.jobs.run", "enlarge"),
        ("srcli.jobs.run", "open_writer"),
        ("srcli.jobs.run.Reader", "take"),
    ],
)
def test_whatever_is_raised_about_one(here, monkeypatch, module, function, error):
    """In any place, it is the one's failure, with a sentence; the others are done."""
    put("a.png", "b.png", "c.png")
    owner = {
        "srcli.jobs.inputs": inputs,
        "srcli.jobs.outputs.Naming": outputs.Naming,
        "srcli.media.image": image,
        "srcli.jobs.prefetch": prefetch,
        "srcli.jobs.run": running,
        "srcli.jobs.run.Reader": running.Reader,
    }[module]
    real = getattr(owner, function)
    calls = []

    def second_fails(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return real(*arguments, **more)

    monkeypatch.setattr(owner, function, second_fails)
    done, failed, summary = upscale("a.png", "b.png", "c.png")
    assert done == ["a.png", "c.png"]
    [text] = failed.values()
    assert text and "Traceback" not in text
    assert summary.exit_code == 1


def test_what_is_wrong_with_an_option_is_no_picture_s_fault(here):
    put("a.png", "b.png")
    with pytest.raises(UsageError, match="not a field"):
        upscale("a.png", "b.png", output="{stam}.png")


# own outputs


def test_own_outputs_left_out_are_told(here):
    put("in/wall.png", "in/wall_1920x1080.png", "in/wall_x4.jpg", "other_x4.png", "other.png")
    options = plan.Options(model=BCRN, scale=2.0, output="out")
    events = []
    jobs = plan.plan(["in", "other*.png"], options, tell=events.append)
    assert [job.source.as_posix() for job in jobs] == ["in/wall.png", "other.png"]
    assert events == [
        LeftOut(Path("in"), (Path("in/wall_1920x1080.png"), Path("in/wall_x4.jpg"))),
        LeftOut(Path("other*.png"), (Path("other_x4.png"),)),
    ]
    summary = Summary()
    for event in events:
        summary.count(event)
    assert summary.as_json()["left_out"] == 3
    assert summary.exit_code == 0


def test_a_folder_without_pictures_among_others_is_told(here):
    put("a.png")
    Path("empty").mkdir()
    events = []
    jobs = plan.plan(["a.png", "empty"], plan.Options(model=BCRN, scale=2.0), tell=events.append)
    assert [job.source.name for job in jobs] == ["a.png"]
    assert events == [Noted(Path("empty"), "there are no pictures or films in it")]


# pipes


@posix
def test_a_pipe_is_read_once(here):
    """``<(cat p.png)``: looked at, then decoded, though it can be read but once."""
    put("p.png")
    reader, writer = os.pipe()
    os.write(writer, Path("p.png").read_bytes())
    os.close(writer)
    name = f"/dev/fd/{reader}"
    try:
        done, failed, _ = upscale(name, output="q.png")
    finally:
        os.close(reader)
    assert (done, failed) == ([name], {})
    with Image.open("q.png") as made:
        assert made.size == (12, 8)


@posix
def test_what_is_wrong_with_a_pipe_names_it(here):
    os.mkfifo("pipe")
    handle = os.open("pipe", os.O_RDWR)  # neither end waits
    try:
        _, failed, _ = upscale("pipe", output=None)
        assert "pipe" in failed["pipe"] and "name" in failed["pipe"]
        os.write(handle, b"no picture")
    finally:
        os.close(handle)
    reader, writer = os.pipe()
    os.write(writer, b"\x89PNG\r\n\x1a\n cut")
    os.close(writer)
    try:
        _, failed, _ = upscale(f"/dev/fd/{reader}", output="q.png")
    finally:
        os.close(reader)
    assert f"/dev/fd/{reader} is" in failed[f"/dev/fd/{reader}"]


def test_a_failed_job_of_a_film_without_ffmpeg(here, monkeypatch):
    """A machine without ffmpeg enlarges the pictures of a folder."""
    put("in/a.png")
    Path("in/b.mp4").write_bytes(b"a film")

    def none(path):
        raise UsageError("ffmpeg was not found")

    monkeypatch.setattr("srcli.film.plan.find_ffmpeg", none)
    done, failed, _ = upscale("in")
    assert done == ["in/a.png"]
    assert failed == {"in/b.mp4": "ffmpeg was not found"}
