"""What one sees of ``srcli upscale`` at once, at Ctrl-C, and of what it would do."""

import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import srcli.cli
from srcli.cli.console import Console
from srcli.cli.screen import duration_text
from srcli.engine.backends import BackendEntry
from srcli.jobs.events import FilmProgressed
from srcli.weights import WeightsOptions, tuned
from srcli.weights.cache import BUNDLED
from tests.film.films import make


@pytest.fixture
def here(tmp_path, monkeypatch, alone):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def srcli_upscale(monkeypatch, capsys, here):
    """Function of arguments -> (exit code, stdout, stderr)."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["srcli", "upscale", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            srcli.cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    yield call
    signal.signal(signal.SIGTERM, before)


def put(*names, size=(8, 6)):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "teal").save(name)


# the first line


@pytest.mark.parametrize(
    ("backend", "name", "library", "other"),
    [("torch", "PyTorch", "torch", "openvino"), ("auto", "OpenVINO", "openvino", "torch")],
)
def test_the_first_line_comes_before_the_network_s_library(here, backend, name, library, other):
    """And no other library is imported: with OpenVINO the package's networks need no PyTorch."""
    if importlib.util.find_spec("openvino") is None:
        pytest.skip('needs pip install "srcli[openvino]"')
    put("a.png", size=(24, 20))
    command = ["upscale", "a.png", "-x2", "--device", "cpu", "--backend", backend]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "srcli", *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    said = lines.index(f"bcrn.srcli x2 with {name}: a.png, 24x20 to 48x40")
    imported = [line.rpartition("|")[2].strip().partition(".")[0] for line in lines]
    assert said < imported.index(library)
    assert other not in imported
    # OpenVINO's own reports each import to its makers
    assert library != "openvino" or "openvino_telemetry.main" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a.png", "-x3"], "bicubic x3: a.png, 8x6 to 24x18"),
        (["a.png", "--width", "20"], "bicubic: a.png, 8x6 to 20x15"),
        (
            ["a.png", "big/b.png", "-o", "o/"],
            "bicubic x4: 2 pictures, together 0.1 megapixels before and 1.9 after",
        ),
        (["a.png", "nope.png"], "bicubic x4: a.png, 8x6 to 32x24; 1 input cannot be used"),
        (
            ["small", "-o", "o/"],
            "bicubic x4: 2 pictures, together 96 pixels before and 1,536 after",
        ),
    ],
)
def test_the_first_line(srcli_upscale, arguments, line):
    put("a.png", "small/a.png", "small/b.png")
    put("big/b.png", size=(400, 300))
    _, _, err = srcli_upscale(*arguments, "-m", "bicubic")
    assert line in err.splitlines()
    for more in ("--quiet", "--json"):
        assert line not in srcli_upscale(*arguments, "-m", "bicubic", "--overwrite", more)[2]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-m", "bcrn.srcli", "--precision", "int8"], "bcrn.srcli x4 was not trained for"),
        (["-m", "bcrn.authors", "--precision", "int8", "--width", "20"], "was not trained for"),
        (["--device", "cuda:99"], "no cuda:99 here"),
        (["--backend", "openvino", "--color-fix"], "runs in PyTorch only"),
        (["--weights", "own.safetensors", "--precision", "int8"], "a file of weights runs in"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_cannot_run_is_refused_before_the_first_line(
    srcli_upscale, monkeypatch, arguments, reason, more
):
    monkeypatch.setattr(BackendEntry, "is_installed", lambda self: True)
    put("a.png")
    shutil.copy(BUNDLED / "bcrn.srcli-x4.safetensors", "own.safetensors")
    code, out, err = srcli_upscale("a.png", *arguments, *more)
    assert (code, out) == (2, "")
    said, hint = err.splitlines()
    assert said.startswith("srcli: ") and reason in said and hint.startswith("hint: ")


@pytest.mark.parametrize("model", ["bicubic", "bcrn"])
def test_a_pytorch_without_graphics_cards_need_not_be_asked(srcli_upscale, monkeypatch, model):
    monkeypatch.setattr(tuned, "version", lambda package: "9.9+cpu")
    put("a.png")
    code, _, err = srcli_upscale("a.png", "-m", model, "--device", "mps")
    assert code == (0 if model == "bicubic" else 2)  # which has no use for one
    assert ("PyTorch 9.9+cpu was built for the CPU alone" in err) == (code == 2)


def test_nothing_to_do_has_no_first_line(srcli_upscale):
    Path("a.png").write_text("no picture")
    code, _, err = srcli_upscale("a.png", "-m", "bicubic")
    assert code == 1
    [line] = err.splitlines()
    assert "not a picture" in line


def test_what_has_no_effect_is_said(srcli_upscale):
    put("a.png")
    options = ["-m", "bicubic", "--overwrite", "--crf", "3", "--quality", "80"]
    _, _, err = srcli_upscale("a.png", *options)
    assert "--crf has no effect: no input is a film" in err
    assert "--quality has no effect" in err and "--fps" not in err
    assert "--quality" not in srcli_upscale("a.png", *options, "--format", "webp")[2]


def test_a_memory_that_cannot_be_kept_and_damage_are_said_before_work(srcli_upscale):
    Image.effect_noise((96, 96), 60).convert("RGB").save("a.jpg", quality=20)
    code, _, err = srcli_upscale("a.jpg", "--dry-run", "--memory", "10M")
    assert code == 0
    assert "--memory 10.0 MiB is less than" in err and "ask for 512M or more" in err
    assert "a.jpg: looks like a JPEG saved at quality 20, " in err
    assert "ask for" not in srcli_upscale("a.jpg", "--dry-run", "--memory", "1G")[2]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system without files")
def test_a_place_that_takes_no_files_is_refused_at_once(srcli_upscale):
    put("a.png")
    code, _, err = srcli_upscale("a.png", "-m", "bicubic", "-o", "/proc/a.png")
    assert code == 1
    assert "no file can be written in /proc" in err and "bicubic x4" not in err


# own outputs, lists, templates: through the command


def test_own_outputs_left_out_are_counted(srcli_upscale):
    put("in/wall.png", "in/wall_1920x1080.png", *(f"in/wall_x{n}.png" for n in range(2, 6)))
    code, _, err = srcli_upscale("in", "-o", "out", "-m", "bicubic")
    assert code == 0
    [line] = [line for line in err.splitlines() if "left out" in line]
    assert line.startswith("in: 5 files left out")
    assert "wall_1920x1080.png" in line and "2 more" in line
    _, out, _ = srcli_upscale("in", "-o", "out", "-m", "bicubic", "--overwrite", "--json")
    assert json.loads(out.splitlines()[-1])["left_out"] == 5
    assert "left out" not in srcli_upscale("in", "-o", "out2", "-m", "bicubic", "-q")[2]


def test_missing_among_several_through_the_command(srcli_upscale):
    put("a.png", "b.png")
    Path("list.txt").write_text("a.png\nnope.png\nb.png\n")
    for inputs in (["a.png", "nope.png", "b.png"], ["--from-file", "list.txt"]):
        code, out, err = srcli_upscale(*inputs, "-m", "bicubic", "--overwrite", "--json")
        events = [json.loads(line) for line in out.splitlines()]
        assert code == 1
        assert [e["input"] for e in events if e["event"] == "done"] == ["a.png", "b.png"]
        assert [e["input"] for e in events if e["event"] == "failed"] == ["nope.png"]
        assert "nope.png does not exist" in err


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_names(srcli_upscale, encoding, end):
    put("a.png", "日本 ä.png")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + end.join(["a.png", "", "日本 ä.png"])
    Path("list.txt").write_bytes(text.encode(encoding))
    code, out, err = srcli_upscale("--from-file", "list.txt", "-m", "bicubic")
    assert code == 0, err
    assert len(out.splitlines()) == 2


def test_a_list_that_is_none(srcli_upscale):
    for data in ("a.png".encode("utf-16-le"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        Path("list.txt").write_bytes(data)
        code, _, err = srcli_upscale("--from-file", "list.txt", "-m", "bicubic")
        assert code == 2
        assert "list.txt cannot be read" in err and "UTF-8" in err


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_list_of_names_in_no_encoding(srcli_upscale):
    name = os.fsdecode(b"\xe4.png")
    put(name)
    Path("list.txt").write_bytes(b"\xe4.png\n")
    assert srcli_upscale("--from-file", "list.txt", "-m", "bicubic")[0] == 0
    assert Path(os.fsdecode(b"\xe4_x4.png")).exists()


def test_two_inputs_with_one_output_and_a_third(srcli_upscale):
    put("two/a.jpg", "two/a.png", "p.png")
    code, _, err = srcli_upscale("two", "p.png", "-o", "out/", "--format", "webp", "-m", "bicubic")
    assert code == 1
    assert [p.name for p in Path("out").iterdir()] == ["p_x4.webp"]
    assert err.count("would both be written to out/a_x4.webp") == 2 and "{ext}" in err
    code, _, _ = srcli_upscale("two", "-o", "out/{stem}_{ext}.webp", "-m", "bicubic")
    assert code == 0
    assert {"a_jpg.webp", "a_png.webp"} <= {p.name for p in Path("out").iterdir()}


@pytest.mark.parametrize("more", [{}, {"quiet": True}, {"as_json": True}])
def test_a_film_without_a_terminal_is_told_of_once_a_minute(monkeypatch, capsys, more):
    now = 1000.0
    monkeypatch.setattr("srcli.cli.console.time.monotonic", lambda: now)
    with Console(as_json=more.get("as_json", False), quiet=more.get("quiet", False)) as console:
        for frame in range(1, 151):
            console.tell(FilmProgressed(Path("a.mp4"), frame, 150, 1.0, 150.0 - frame, 1.0, 10**6))
            now += 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"a.mp4: {frame}/150 frames, 1.00 frames/s, {left} left, 1.0 MB so far"
        for frame, left in ([] if more else [(61, "1:29"), (121, "0:29")])
    ]


# Ctrl-C


def interrupted_after(n, monkeypatch):
    """Have Ctrl-C come when so many pictures have been enlarged."""
    from srcli.engine.resampler import Resampler

    real, calls = Resampler.strips, []

    def strips(*arguments, **more):
        calls.append(1)
        if len(calls) > n:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(Resampler, "strips", strips)


@pytest.mark.parametrize("end", [[], ["--", "with space"]])
def test_interrupted_and_the_command_that_goes_on(srcli_upscale, monkeypatch, end):
    put(*(f"in/{k}.png" for k in range(4)), "with space/b.png")
    arguments = ["in", "-m", "bicubic", "-o", "out/", *end]
    with monkeypatch.context() as patch:
        interrupted_after(2, patch)
        code, _, err = srcli_upscale(*arguments)
    assert code == 130
    said, hint = err.splitlines()[-2:]
    there = len(list(Path("out").iterdir()))
    assert there >= 1
    assert said == f"srcli: interrupted; {there} of {5 if end else 4} done"
    command = shlex.split(hint.removeprefix("hint: to continue: "))
    assert command[:2] == ["srcli", "upscale"] and "--skip-existing" in command
    code, _, _ = srcli_upscale(*command[2:])
    assert code == 0
    assert len(list(Path("out").iterdir())) == (5 if end else 4)


def test_interrupted_with_json_or_overwrite_or_alone(srcli_upscale, monkeypatch):
    put("in/a.png", "in/b.png")
    interrupted_after(0, monkeypatch)
    code, out, _ = srcli_upscale("in", "-m", "bicubic", "--json")
    assert code == 130
    event = json.loads(out.splitlines()[-1])
    assert event["event"] == "interrupted" and "--skip-existing" in event["hint"]
    _, _, err = srcli_upscale("in", "-m", "bicubic", "--overwrite")
    assert "--skip-existing" not in err and "starts again" in err
    _, _, err = srcli_upscale("in/a.png", "-m", "bicubic")  # there is nothing to go on with
    assert err.splitlines()[-1] == "srcli: interrupted"


# how long it will take


@pytest.fixture
def measured():
    """Function (scale, milliseconds): as `srcli bench --tune` would keep it, on 10x20 pixels."""

    def keep(scale, milliseconds, backend="torch", threads=1):
        choice = tuned.Choice(backend, "fp32", threads, None, milliseconds, (10, 20))
        tuned.store({("bcrn.srcli", scale): choice}, WeightsOptions.from_environment())

    return keep


def planned(out):
    return [e for line in out.splitlines() if (e := json.loads(line))["event"] == "planned"]


def test_dry_run_says_how_long(srcli_upscale, measured):
    put("a.png", size=(20, 10))
    put("b.png", size=(200, 100))
    both = ["a.png", "b.png", "-m", "bcrn.srcli", "--dry-run"]
    code, out, err = srcli_upscale(*both, "--json")
    assert [e["seconds"] for e in planned(out)] == [None, None]  # nothing was measured
    measured(4, 500)
    code, out, err = srcli_upscale(*both)
    assert code == 0
    assert [line.rpartition("about ")[2] for line in out.splitlines()] == ["0.5 s", "50 s"]
    assert "about 50 s for all" in err or "about 51 s for all" in err
    assert [e["seconds"] for e in planned(srcli_upscale(*both, "--json")[1])] == [0.5, 50]
    # x8 is x4, then x2 on what is sixteen times as large
    assert [e["seconds"] for e in planned(srcli_upscale(*both, "--json", "-x8")[1])] == [None] * 2
    measured(2, 100)
    _, out, _ = srcli_upscale(*both, "--json", "-x8")
    assert planned(out)[0]["seconds"] == pytest.approx(0.5 + 16 * 0.1)
    # what was measured otherwise says nothing
    for other in (["--threads", "2"], ["--precision", "bf16"], ["--tile", "64"]):
        _, out, _ = srcli_upscale(*both, "--json", *other)
        assert [e["seconds"] for e in planned(out)] == [None, None]
    _, out, _ = srcli_upscale(*both, "--json", "--ensemble", "8")
    assert planned(out)[0]["seconds"] == 4


def test_dry_run_says_how_long_a_film_takes(srcli_upscale, measured):
    make("film.mkv", "-c:v", "ffv1", size="20x10", rate="25", seconds=2)
    measured(4, 500)
    command = ["film.mkv", "-x4", "-m", "bcrn.srcli", "--dry-run", "--json"]
    of = {(): 50, ("--start", "0.5", "--end", "1.5"): 25, ("--preview", "3"): 3}
    for more, frames in of.items():
        code, out, err = srcli_upscale(*command, *more)
        assert code == 0, err
        assert planned(out)[0]["seconds"] == pytest.approx(0.5 * frames)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7499, "2 h 4 min"),
    ],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_a_network_that_does_not_run_is_not_named_as_if_it_did(srcli_upscale):
    put("a.png", size=(24, 20))
    code, _, err = srcli_upscale("a.png", "-x1", "-m", "bcrn.photo")
    assert code == 0
    assert err.splitlines()[0] == "lanczos x1: a.png, 24x20 to 24x20"
    assert "bcrn.photo enlarges by x2 and x4 and does not run at x1" in err
    assert "-m dejpg" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png", "--device", "gpu"], "gpu is not a device"),
        (["a.png", "--format", "gif", "-o", "b.png"], "--format asks for GIF"),
        (["-lead.png"], "hint: to name that file, write ./-lead.png"),
    ],
)
def test_what_contradicts_itself_or_is_taken_for_an_option(srcli_upscale, arguments, said):
    put("a.png", "-lead.png")
    code, _, err = srcli_upscale(*arguments, "-x2", "-m", "bicubic")
    assert code == 2 and said in err
    assert {p.name for p in Path().iterdir()} == {"a.png", "-lead.png"}


def test_a_name_s_ending_that_agrees_with_the_format(srcli_upscale):
    put("a.png")
    assert srcli_upscale("a.png", "-x2", "-m", "bicubic", "--format", "jpeg", "-o", "b.JPG")[0] == 0
    assert Path("b.JPG").read_bytes().startswith(b"\xff\xd8")
