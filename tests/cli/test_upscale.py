"""``srcli upscale``: the contract, through the real command."""

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

import srcli.cli
from srcli.engine.settings import parse_tile
from srcli.errors import UsageError
from srcli.sizes import parse_size


@pytest.fixture
def here(tmp_path, monkeypatch, alone):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def srcli_upscale(monkeypatch, capsys, here):
    """Function of arguments -> (exit code, stdout, stderr): the command's main(), in here."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["srcli", "upscale", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            srcli.cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code or 0, out, err

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def put(picture):
    def put(*names, size=(6, 8), mode="RGB"):
        for seed, name in enumerate(names):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(*size, 3, seed)).convert(mode).save(name)

    return put


def size_of(name):
    """(width, height)."""
    with Image.open(name) as image:
        image.load()
        return image.size


def events_of(out):
    return [json.loads(line) for line in out.splitlines()]


def files():
    return sorted(p.as_posix() for p in Path().rglob("*") if p.is_file() and "cache" not in p.parts)


# results and words


def test_plain(srcli_upscale, put):
    put("a.png")
    code, out, err = srcli_upscale("a.png", "-m", "bicubic")
    assert code == 0
    assert size_of("a_x4.png") == (32, 24)
    [line] = out.splitlines()
    assert line.startswith("a.png -> a_x4.png")
    assert "32x24" in line
    assert err == "bicubic x4: a.png, 8x6 to 32x24\n"  # no bars where there is no terminal


def test_several(srcli_upscale, put):
    put("in/a.png", "in/b.jpg")
    code, out, err = srcli_upscale("in", "-m", "lanczos", "-x2", "-o", "out")
    assert code == 0
    assert [line.split(" -> ")[0] for line in out.splitlines()] == ["in/a.png", "in/b.jpg"]
    assert err.splitlines() == [
        "lanczos x2: 2 pictures, together 96 pixels before and 384 after",
        "2 done",
    ]
    assert files() == ["in/a.png", "in/b.jpg", "out/a_x2.png", "out/b_x2.jpg"]


def test_quiet(srcli_upscale, put):
    put("a.png", "b.png")
    Path("c.png").write_text("no picture")
    code, out, err = srcli_upscale("a.png", "b.png", "c.png", "-m", "bicubic", "-q")
    assert (code, out) == (1, "")
    [line] = err.splitlines()  # failures are never kept quiet
    assert "c.png" in line
    assert "not a picture" in line
    assert srcli_upscale("a.png", "-m", "bicubic", "--quiet", "--overwrite") == (0, "", "")


def test_a_failure_stands_on_stderr(srcli_upscale, put):
    put("a.png")
    Path("bad.png").write_text("no picture")
    code, out, err = srcli_upscale("bad.png", "a.png", "-m", "bicubic")
    assert code == 1
    assert len(out.splitlines()) == 1
    assert "bad.png" in err
    assert "bad.png" not in out
    assert err.splitlines()[-1] == "1 done, 1 failed: bad.png"
    more = srcli_upscale("bad.png", "c.png", "d.png", "e.png", "f.png", "-m", "bicubic")[2]
    assert more.splitlines()[-1] == "0 done, 5 failed: bad.png, c.png, d.png and 2 more"
    assert not set("│╭╰─\x1b") & set(err)
    assert files() == ["a.png", "a_x4.png", "bad.png"]


# JSON


def test_json(srcli_upscale, put):
    put("a.png", "b.png", "c.png")
    put("c_x2.5.png")
    Path("bad.png").write_text("no picture")
    code, out, err = srcli_upscale(
        "a.png", "b.png", "c.png", "bad.png", "-m", "bicubic", "-x", "2.5", "--json",
        "--skip-existing",
    )  # fmt: skip
    events = events_of(out)
    assert code == 1
    assert "bad.png" in err
    done = [e for e in events if e["event"] == "done"]
    contract = {
        "event": "done",
        "input": "a.png",
        "output": "a_x2.5.png",
        "model": "bicubic",
        "scale": 2.5,
        "lr_size": [6, 8],
        "sr_size": [15, 20],
    }
    assert {k: done[0][k] for k in contract} == contract
    assert isinstance(done[0]["seconds"], float)
    more = {"seconds", "tiles", "device", "precision", "spilled_bytes"}
    assert set(done[0]) == set(contract) | more
    assert [e["input"] for e in done] == ["a.png", "b.png"]
    [failed] = [e for e in events if e["event"] == "failed"]
    assert set(failed) == {"event", "input", "error", "hint"}
    assert failed["input"] == "bad.png"
    assert "not a picture" in failed["error"]
    assert isinstance(failed["hint"], str)
    [skipped] = [e for e in events if e["event"] == "skipped"]
    assert (skipped["input"], skipped["output"]) == ("c.png", "c_x2.5.png")
    assert events[-1] == {
        "event": "summary",
        "done": 2,
        "skipped": 1,
        "failed": 1,
        "left_out": 0,
    }
    assert len(events) == 5


def test_json_of_a_whole_scale_is_a_whole_number(srcli_upscale, put):
    put("a.png", "ä b.png")
    _, out, err = srcli_upscale("a.png", "ä b.png", "-m", "bicubic", "--json")
    events = events_of(out)
    assert out.isascii() or "ä b.png" in out
    assert '"scale": 4,' in out
    assert events[1]["input"] == "ä b.png"
    assert events[-1] == {
        "event": "summary",
        "done": 2,
        "skipped": 0,
        "failed": 0,
        "left_out": 0,
    }
    assert err == ""


def test_json_of_a_size(srcli_upscale, put):
    put("a.png")
    _, out, _ = srcli_upscale("a.png", "-m", "bicubic", "--width", 30, "--json")
    done = events_of(out)[0]
    assert (done["output"], done["sr_size"]) == ("a_30x22.png", [22, 30])
    assert done["scale"] == pytest.approx(3.75)


def test_json_comes_line_by_line_and_alone(here, put):
    """In a process of its own: what libraries print must not come between."""
    put("a.png", "b.png")
    result = command("a.png", "b.png", "-m", "bicubic", "--json").communicate(timeout=120)
    assert [e["event"] for e in events_of(result[0])] == ["done", "done", "summary"]
    assert result[1] == ""


# scale and size


@pytest.mark.parametrize(
    ("arguments", "name", "size"),
    [
        (["-x4"], "a_x4.png", (32, 24)),
        (["-x", "4"], "a_x4.png", (32, 24)),
        (["-x4.0"], "a_x4.png", (32, 24)),
        (["--scale", "2.5"], "a_x2.5.png", (20, 15)),
        (["-x8"], "a_x8.png", (64, 48)),
        (["-x", "1.1"], "a_x1.1.png", (9, 7)),
        (["-x", "0.5"], "a_x0.5.png", (4, 3)),
        (["--width", "20"], "a_20x15.png", (20, 15)),
        (["--height", "21"], "a_28x21.png", (28, 21)),
        (["--width", "20", "--height", "21"], "a_20x15.png", (20, 15)),
        (["--width", "200", "--height", "21"], "a_28x21.png", (28, 21)),
    ],
)
def test_scales_and_sizes(srcli_upscale, put, arguments, name, size):
    put("a.png")
    code, _, _ = srcli_upscale("a.png", "-m", "bicubic", *arguments)
    assert code == 0
    assert size_of(name) == size


@pytest.mark.shared
@pytest.mark.parametrize(
    ("arguments", "name", "size", "tiles"),
    [
        ([], "a_x4.png", (200, 160), 2),
        (["-x2"], "a_x2.png", (100, 80), 2),
        (["-x", "2.5"], "a_x2.5.png", (125, 100), 2),
        (["-x8"], "a_x8.png", (400, 320), None),
        (["--width", "111"], "a_111x89.png", (111, 89), 2),
        (["--tile", "0"], "a_x4.png", (200, 160), 1),
    ],
)
def test_with_a_network(srcli_upscale, put, shared, monkeypatch, arguments, name, size, tiles):
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    put("a.png", size=(40, 50))
    tile = [] if "--tile" in arguments else ["--tile", "40"]
    code, out, err = srcli_upscale("a.png", "-m", "bcrn.authors", "--json", *arguments, *tile)
    assert code == 0
    done = events_of(out)[0]
    assert size_of(name) == size
    assert done["model"] == "bcrn.authors"
    assert tiles is None or done["tiles"] == tiles
    assert done["precision"] == "fp32"
    # what is fetched is announced, and nothing else said
    assert all("bcrn.authors" in line for line in err.splitlines())
    small = np.asarray(Image.open("a.png").convert("L").resize(size, Image.Resampling.BICUBIC))
    result = np.asarray(Image.open(name).convert("L"))
    assert np.abs(small.astype(int) - result).mean() < 12  # the same picture


@pytest.mark.shared
def test_a_name_without_tag_and_weights_of_one_s_own(srcli_upscale, put, shared, monkeypatch):
    put("a.png", size=(20, 24))
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    _, out, _ = srcli_upscale("a.png", "-m", "lesrcnn", "-x2", "--json")
    assert events_of(out)[0]["model"] == "lesrcnn.authors"
    monkeypatch.delenv("SRCLI_MIRROR")
    own = shared / "weights" / "lesrcnn.authors-x2.pth"
    code, out, _ = srcli_upscale(
        "a.png", "-m", "lesrcnn", "-x2", "--weights", own, "-o", "own.png", "--json"
    )
    assert code == 0
    assert np.array_equal(np.asarray(Image.open("own.png")), np.asarray(Image.open("a_x2.png")))


def test_weights_not_at_hand(srcli_upscale, put):
    """Offline it fails, names the command that helps, and leaves nothing."""
    put("a.png", "b.png")
    code, out, err = srcli_upscale("a.png", "b.png", "-m", "lesrcnn.authors", "-o", "out")
    assert (code, out) == (1, "")
    assert "srcli models download lesrcnn.authors" in err
    assert err.count("lesrcnn.authors are not on this computer") == 1  # once, not once a picture
    assert files() == ["a.png", "b.png"]


# --dry-run


@pytest.mark.parametrize("model", ["bicubic", "bcrn.authors"])
def test_dry_run_writes_nothing(srcli_upscale, put, model):
    put("in/a.png", "in/b.png")
    Path("in/c.png").write_text("no picture")
    before = files()
    code, out, err = srcli_upscale("in", "-m", model, "-o", "out", "--dry-run")
    assert code == 1
    assert files() == before
    assert not Path("out").exists()
    assert not Path("cache").exists()  # and fetches nothing
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "in/a.png -> out/a_x4.png",
        "in/b.png -> out/b_x4.png",
    ]
    assert all("8x6 to 32x24" in line and model in line and "memory" in line for line in lines)
    assert "c.png" in err
    code, out, _ = srcli_upscale("in", "-m", model, "-o", "out", "--dry-run", "--json", "-x8")
    events = events_of(out)
    assert sorted(e["event"] for e in events[:-1]) == ["failed", "planned", "planned"]
    planned = next(e for e in events if e["event"] == "planned")
    assert (planned["input"], planned["output"]) == ("in/a.png", "out/a_x8.png")
    assert planned["sr_size"] == [48, 64]
    assert planned["passes"] == ([] if model == "bicubic" else [4, 2])
    assert planned["memory_bytes"] > 0
    assert (events[-1]["event"], events[-1]["done"], events[-1]["failed"]) == ("summary", 0, 1)
    assert files() == before


# errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "-m", "bcrm"], ["no model 'bcrm'", "bcrn"]),
        (["a.png", "-m", "bcrn.author"], ["bcrn.authors"]),
        (["a.png", "-x", "0"], ["scale"]),
        (["a.png", "-x", "-2"], ["scale"]),
        (["a.png", "-x", "nan"], ["scale"]),
        (["a.png", "-x", "inf"], ["scale"]),
        (["a.png", "-x", "1000"], ["64"]),
        (["a.png", "-x", "four"], ["--scale", "number"]),
        (["a.png", "-x2", "--width", "5"], ["--scale", "--width"]),
        (["a.png", "-x2", "--height", "5"], ["--scale"]),
        (["a.png", "--width", "0"], ["--width"]),
        (["a.png", "--height", "-5"], ["--height"]),
        (["nothing.png"], ["nothing.png does not exist"]),
        (["nothing*.png"], ["nothing"]),
        (["a.png", "--tile", "5"], ["--tile", "16"]),
        (["a.png", "--tile", "-16"], ["--tile"]),
        (["a.png", "--memory", "lots"], ["lots"]),
        (["a.png", "--memory", "0"], ["0"]),
        (["a.png", "--device", "tpu"], ["tpu"]),
        (["a.png", "--device", "cuda:99"], ["cuda:99"]),
        (["a.png", "--precision", "fp8"], ["fp8", "bf16"]),
        (["a.png", "--backend", "abacus"], ["abacus"]),
        (["a.png", "--quality", "101"], ["quality"]),
        (["a.png", "--max-pixels", "0"], ["max-pixels"]),
        (["a.png", "-o", "a.xyz"], [".xyz"]),
        (["a.png", "-o", "a.png", "--overwrite"], ["also an input"]),
        (["a.png", "--overwrite", "--skip-existing"], ["--overwrite", "--skip-existing"]),
        (["a.png", "--weights", "none.pth"], ["none.pth does not exist"]),
        (["empty"], ["empty"]),
        ([], ["nothing to upscale"]),
        ([""], ["empty name"]),
        (["a.png", "-o", ""], ["-o is empty"]),
    ],
)
def test_usage_errors(srcli_upscale, put, arguments, words):
    """Exit code 2, a sentence on stderr and nothing before it, nothing written."""
    put("a.png")
    Path("empty").mkdir()
    model = [] if "-m" in arguments else ["-m", "bcrn.authors"]
    code, out, err = srcli_upscale(*arguments, *model)
    assert (code, out) == (2, "")
    assert err.startswith(("srcli: ", "Usage: "))
    for word in words:
        assert word in err
    assert not set("│╭╰─\x1b") & set(err)
    assert files() == ["a.png"]


def test_an_existing_output_is_kept(srcli_upscale, put):
    put("a.png", "a_x4.png")
    before = Path("a_x4.png").read_bytes()
    code, out, err = srcli_upscale("a.png", "-m", "bicubic")
    assert (code, out) == (2, "")
    assert "a_x4.png exists" in err
    assert "--overwrite" in err
    code, out, err = srcli_upscale("a.png", "-m", "bicubic", "--skip-existing")
    assert (code, out) == (0, "")
    assert "a_x4.png exists, skipped" in err
    assert Path("a_x4.png").read_bytes() == before
    assert srcli_upscale("a.png", "-m", "bicubic", "--overwrite")[0] == 0
    assert size_of("a_x4.png") == (32, 24)


def test_a_folder_for_spilling_that_does_not_exist(srcli_upscale, put, monkeypatch):
    put("a.png")
    monkeypatch.setenv("SRCLI_TMP_DIR", "nowhere")
    code, _, err = srcli_upscale("a.png", "-m", "bicubic")
    assert code == 2
    assert "SRCLI_TMP_DIR" in err
    assert "nowhere" in err


def test_limits(srcli_upscale, put):
    put("a.png", "b.png", size=(30, 30))
    put("a.png", size=(29, 30))
    code, _, err = srcli_upscale("a.png", "b.png", "-m", "bicubic", "--max-pixels", "880")
    assert code == 1
    assert "b.png" in err
    assert "--max-pixels" in err
    assert size_of("a_x4.png") == (120, 116)


def test_jpeg_holds_no_alpha(srcli_upscale, put):
    put("a.png", mode="RGBA")
    with Image.open("a.png") as image:
        image.putalpha(254)
        image.save("a.png")
    code, _, err = srcli_upscale("a.png", "-m", "bicubic", "-o", "b.jpg")
    assert code == 1
    assert "transparency" in err
    assert files() == ["a.png"]


def test_alpha_that_is_full_everywhere_is_none(srcli_upscale, put):
    put("a.png", mode="RGBA")
    code, _, _ = srcli_upscale("a.png", "-m", "bicubic", "-o", "b.jpg")
    assert code == 0
    assert size_of("b.jpg") == (32, 24)


def test_interrupted(srcli_upscale, put, monkeypatch):
    put("a.png")

    def run(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("srcli.jobs.run.run", run)
    code, out, err = srcli_upscale("a.png", "-m", "bicubic")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "srcli: interrupted"


def test_out_of_the_blue(srcli_upscale, put, monkeypatch):
    """A bug of our own in one picture is told as its failure, and is no success."""
    put("a.png")

    def strips(*arguments, **more):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("srcli.engine.resampler.Resampler.strips", strips)
    code, _, err = srcli_upscale("a.png", "-m", "bicubic")
    assert code == 1
    assert "ZeroDivisionError: oops" in err
    assert files() == ["a.png"]


# values of options


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2G", 2 * 2**30),
        ("2g", 2 * 2**30),
        ("2GB", 2 * 2**30),
        ("1.5GiB", 3 * 2**29),
        ("800M", 800 * 2**20),
        ("64 K", 64 * 2**10),
        ("1T", 2**40),
        ("1000000", 1_000_000),
        (" 5B ", 5),
    ],
)
def test_sizes(text, n_bytes):
    assert parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "G", "-2G", "2X", "2GG", "0", "0.0G", "1e9", "2G2", "nan"])
def test_no_sizes(text):
    with pytest.raises(UsageError):
        parse_size(text)


def test_tiles():
    assert parse_tile("auto") is None
    assert parse_tile("0") == 0
    assert parse_tile("16") == 16
    assert parse_tile("1000") == 1000
    for text in ("15", "1", "-1", "1.5", "", "many", "²"):
        with pytest.raises(UsageError):
            parse_tile(text)


# processes that end early


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "srcli", "upscale", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # a shell's background jobs, and what they start, ignore it otherwise
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def wait_for(process, condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


def parts(folder):
    return [p for p in Path(folder).glob(".*") if p.name.endswith(".part")]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_signals_leave_no_partial_file(here, put, number, code, extension):
    put(f"in/a.{extension}", f"in/b.{extension}", size=(1200, 1600))
    process = command("in", "-m", "lanczos", "-x4", "-o", "out")
    wait_for(process, lambda: parts("out"))
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert parts("out") == []
    for path in Path("out").iterdir():  # what is there is whole
        assert size_of(path) == (6400, 4800)
    assert len(list(Path("out").iterdir())) < 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_and_resumed(here, put):
    """SIGKILL in the middle; --skip-existing does the rest, and no output is cut short."""
    names = [f"in/{k}.png" for k in range(5)]
    put(*names, size=(400, 500))
    process = command("in", "-m", "lanczos", "-x4", "-o", "out")
    wait_for(process, lambda: len(list(Path("out").glob("[0-9]*.png"))) >= 2 and parts("out"))
    process.kill()
    process.communicate(timeout=60)
    there = {p.name for p in Path("out").glob("[0-9]*.png")}
    assert 2 <= len(there) < 5
    for name in there:
        assert size_of(Path("out") / name) == (2000, 1600)
    process = command("in", "-m", "lanczos", "-x4", "-o", "out", "--skip-existing", "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    summary = events_of(out)[-1]
    assert summary["skipped"] == len(there)
    assert summary["done"] == 5 - len(there)
    for k in range(5):
        assert size_of(f"out/{k}_x4.png") == (2000, 1600)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_goes_away(here, put):
    """``srcli upscale ... | head -1``: no traceback, and no half-written file."""
    put(*[f"in/{k}.png" for k in range(6)], size=(60, 80))
    process = command("in", "-m", "bicubic", "-o", "out")
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.wait(60)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert parts("out") == []


# pipes and lists


def pipe(arguments, data, here):
    command = [sys.executable, "-m", "srcli", "upscale", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, cwd=here, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.slow
def test_a_picture_through_a_pipe(here, put):
    put("a.png", size=(9, 7))
    data = Path("a.png").read_bytes()
    code, out, err = pipe(["-", "-o", "-", "-x2", "-m", "bicubic"], data, here)
    assert (code, err) == (0, "bicubic x2: standard input, 7x9 to 14x18\n")
    Path("b.png").write_bytes(out)
    assert size_of("b.png") == (14, 18)
    code, out, err = pipe(["-", "-x3", "-m", "bicubic", "--format", "jpg"], data, here)
    assert (code, out[:2]) == (0, b"\xff\xd8")


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_a_pipe_without_a_picture(here, data):
    code, out, err = pipe(["-", "-m", "bicubic"], data, here)
    assert (code, out) == (1, b"")
    assert "standard input" in err
    assert "Traceback" not in err


def test_json_and_a_picture_exclude_each_other(here, put):
    put("a.png")
    for arguments in (["a.png", "-o", "-"], ["-"]):
        code, out, _ = pipe(
            [*arguments, "--json", "-m", "bicubic"], Path("a.png").read_bytes(), here
        )
        assert code == 2
        [event] = events_of(out)
        assert event["event"] == "error" and "standard output" in event["error"]


def test_a_list_of_inputs(srcli_upscale, put):
    put("a.png", "b.png", "c.png")
    Path("list.txt").write_text("a.png\n\n b.png \n")
    code, out, _ = srcli_upscale("c.png", "--from-file", "list.txt", "-m", "bicubic")
    assert code == 0
    assert [line.split(" ")[0] for line in out.splitlines()] == ["c.png", "a.png", "b.png"]
    assert srcli_upscale("--from-file", "none.txt", "-m", "bicubic")[0] == 2


def test_an_empty_name_of_a_model_is_not_the_default(srcli_upscale, put):
    put("a.png")
    code, out, err = srcli_upscale("a.png", "-m", "")
    assert (code, out) == (2, "") and "no model ''" in err


def test_an_empty_name_is_not_the_current_folder(srcli_upscale, put):
    put("a.png", "b.png")
    code, out, err = srcli_upscale("b.png", "", "-m", "bicubic")
    assert code == 1 and "empty name" in err
    assert [line.split(" ")[0] for line in out.splitlines()] == ["b.png"]


def test_a_list_through_a_pipe(here, put):
    put("a.png", "b.png")
    assert pipe(["--from-file", "-", "-m", "bicubic"], b"a.png\nb.png\n", here)[0] == 0
    assert Path("a_x4.png").exists() and Path("b_x4.png").exists()
    code, _, err = pipe(["--from-file", "-", "-", "-m", "bicubic"], b"a.png\n", here)
    assert code == 2 and "the list or a picture" in err


def test_jobs(srcli_upscale, put):
    put("a.png", "b.png", "c.png")
    code, out, _ = srcli_upscale("a.png", "b.png", "c.png", "-m", "bicubic", "--jobs", "2")
    assert code == 0
    assert [line.split(" ")[0] for line in out.splitlines()] == ["a.png", "b.png", "c.png"]
    assert srcli_upscale("a.png", "-m", "bicubic", "--jobs", "0")[0] == 2


def test_sixteen_bits_from_eight(srcli_upscale, put):
    put("a.png", mode="L")
    assert srcli_upscale("a.png", "-x2", "-m", "bicubic", "--depth", "16", "-o", "deep.png")[0] == 0
    assert srcli_upscale("a.png", "-x2", "-m", "bicubic", "-o", "flat.png")[0] == 0
    deep, flat = (np.asarray(Image.open(n)).astype(int) for n in ("deep.png", "flat.png"))
    assert deep.max() > 255
    assert np.abs(deep / 257 - flat).max() <= 0.5 + 1e-6  # one rounding, not two


def test_metadata_stripped(srcli_upscale, put):
    put("a.png")
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.open("a.png").save("e.jpg", exif=exif, icc_profile=b"")
    assert srcli_upscale("e.jpg", "-m", "bicubic", "-o", "kept.jpg")[0] == 0
    assert srcli_upscale("e.jpg", "-m", "bicubic", "-o", "bare.jpg", "--strip-metadata")[0] == 0
    assert Image.open("kept.jpg").getexif().get(0x010F) == "maker"
    assert 0x010F not in Image.open("bare.jpg").getexif()


# ------------------------------------------------------------------------------------ denoise


def mirrored(name, folder, monkeypatch):
    """A catalogue model whose files are made ones, in a mirror; their tensors by strength."""
    import hashlib
    from dataclasses import replace
    from types import MappingProxyType

    import torch

    from srcli import catalog
    from srcli.catalog import load
    from srcli.weights import new_network

    model = catalog.get(name)
    variant = model.variants[0]
    folder.mkdir()
    states, files = {}, []
    for n, (strength, file) in enumerate(variant.denoise.files):
        torch.manual_seed(n)
        states[strength] = new_network(variant, model.arch).state_dict()
        torch.save({file.state_key: states[strength]}, folder / file.file)
        data = (folder / file.file).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        files.append((strength, replace(file, bytes=len(data), sha256=digest)))
    variant = replace(variant, denoise=replace(variant.denoise, files=tuple(files)))
    model = replace(model, variants=(variant.denoised(variant.denoise.strength),))
    known = catalog.built_in()
    changed = replace(known, models=MappingProxyType({**known.models, name: model}))
    monkeypatch.setattr(load, "built_in", lambda: changed)
    monkeypatch.setenv("SRCLI_MIRROR", str(folder))
    return model, states


@pytest.mark.parametrize(("asked", "share"), [(None, 0.5), ("0", 0), ("0.3", 0.3), ("1", 1)])
def test_denoise_mixes_the_catalogues_two_files(
    srcli_upscale, put, tmp_path, monkeypatch, asked, share
):
    import torch

    from srcli.weights import build

    model, states = mirrored("realesr_general.authors", tmp_path / "mirror", monkeypatch)
    put("a.png", size=(20, 24))
    more = [] if asked is None else ["--denoise", asked]
    code, _, err = srcli_upscale("a.png", "-m", "realesr_general", "-o", "b.png", *more)
    assert code == 0, err
    mean = {k: share * states[1][k] + (1 - share) * states[0][k] for k in states[0]}
    network = build(model.variants[0], model.arch, mean)
    lr = np.array(Image.open("a.png"))
    with torch.no_grad():
        sr = network(torch.from_numpy(lr).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0)
    expected = (sr.clamp(0, 1) * 255).round().numpy()
    assert np.abs(expected - np.asarray(Image.open("b.png"))).max() <= 1


def test_denoise_where_there_is_no_choice(srcli_upscale, put):
    put("a.png")
    code, _, err = srcli_upscale("a.png", "--denoise", "1")
    assert code == 2
    assert "bcrn.srcli does not let you choose how much noise" in err
    code, _, err = srcli_upscale("a.png", "-m", "realesr_general", "--denoise", "2")
    assert code == 2
    assert "--denoise 0 to 1" in err
    code, _, err = srcli_upscale("a.png", "--weights", "a.png", "--denoise", "1")
    assert code == 2
    assert "by name" in err


def test_plain_damage_suggests_a_repair_once(srcli_upscale, put, here):
    put("b.png", size=(40, 40))
    for name in ("a.jpg", "c.jpg"):
        put(name, size=(40, 40))
        Image.open(name).save(name, quality=30)
    inputs = ["a.jpg", "b.png", "c.jpg", "--overwrite"]

    code, _, err = srcli_upscale(*inputs)
    assert code == 0
    lines = [line for line in err.splitlines() if "-m photo" in line]
    assert lines == [
        "a.jpg: looks like a JPEG saved at quality 30, and such flaws are enlarged too; "
        "-m photo removes most of them",
        "2 pictures have flaws like a.jpg; -m photo removes most of them",
    ]
    assert srcli_upscale("a.jpg", "--overwrite")[2].count("-m photo") == 1

    _, out, _ = srcli_upscale(*inputs, "--json")
    notes = {e["input"]: e.get("notes") for e in map(json.loads, out.splitlines()) if "input" in e}
    assert notes["b.png"] is None
    for name in ("a.jpg", "c.jpg"):
        assert len(notes[name]) == 1
        assert "-m photo" in notes[name][0]

    for chosen in (["-m", "bcrn"], ["-q"], ["-x1"]):
        _, out, err = srcli_upscale(*inputs, *chosen)
        assert "-m photo" not in out + err
