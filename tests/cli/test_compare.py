"""``srcli compare``: the contract, through the command's own function."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from srcli.cli.compare import compare
from srcli.errors import MediaError, UsageError

APP = typer.Typer()
APP.command()(compare)


@pytest.fixture
def here(tmp_path, monkeypatch, picture):
    """a.png, 20 x 15, and what three models made of it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(15, 20)).save("a.png")
    for seed, name in enumerate(("a_x4_bcrn.authors", "a_x4", "a@4x-rlfn_s", "bicubic/a_x4")):
        path = Path(f"{name}.png")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(60, 80, 3, seed)).save(path)
    return tmp_path


def run(*arguments):
    """Standard output of a run that succeeds; raises what it raises."""
    return result_of(*arguments).stdout


def result_of(*arguments):
    result = CliRunner().invoke(APP, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix not in ("", ".png"))


def test_the_page_lies_beside_before(here):
    assert run("a.png", "a_x4.png") == "a_compare.html\n"
    assert names(here) == ["a_compare.html"]
    assert b"<!doctype html>" in Path("a_compare.html").read_bytes()[:20]
    with pytest.raises(UsageError, match=r"a_compare\.html exists") as refused:
        run("a.png", "a_x4.png")
    assert refused.value.exit_code == 2
    run("a.png", "a_x4.png", "--overwrite")
    (here / "out").mkdir()
    assert run("a.png", "a_x4.png", "-o", "out") == "out/a_compare.html\n"


def test_how_to_open_the_page(here):
    said = result_of("a.png", "a_x4.png", "-o", "two words.html").stderr
    address = f"{here.as_uri()}/two%20words.html"
    assert said.splitlines()[-1] == f"To see it, open {address} in a browser."
    for other in (["--json", "-o", "b.html"], ["-q", "-o", "c.html"], ["--sheet", "s.png"]):
        assert "browser" not in result_of("a.png", "a_x4.png", *other).stderr


def test_labels_by_the_files_names(here):
    afters = ["a_x4_bcrn.authors.png", "a_x4.png", "a@4x-rlfn_s.png", "bicubic/a_x4.png"]
    said = json.loads(run("a.png", *afters, "--json", "--reference", "a_x4.png"))
    assert [p["label"] for p in said["pictures"]] == [
        "before",
        "bcrn.authors x4",
        "a_x4.png",  # what a default name adds says little
        "rlfn_s x4",
        "bicubic x4",
        "reference",
    ]
    assert [p["size"] for p in said["pictures"]] == [[15, 20]] + 5 * [[60, 80]]
    assert said["pictures"][1]["psnr_y"] > 5
    assert said["pictures"][2]["psnr_y"] is None  # equal: infinite
    assert said["pictures"][2]["ssim_y"] == 1
    assert (said["crop_border"], said["output"], said["sheet"]) == (4, "a_compare.html", None)


def test_labels_as_given(here):
    run("a.png", "a_x4.png", "a@4x-rlfn_s.png", "--label", "<ours>", "--label", "theirs")
    page = Path("a_compare.html").read_text("utf-8")
    assert "&lt;ours&gt;" in page
    assert "<ours>" not in page
    with pytest.raises(UsageError, match="2 pictures after, but 1 labels"):
        run("a.png", "a_x4.png", "a@4x-rlfn_s.png", "--label", "ours", "-o", "b.html")


def test_names_that_are_the_same_are_told_apart(here):
    said = json.loads(run("a.png", "a_x4.png", here / "a_x4.png", "--json"))
    labels = [p["label"] for p in said["pictures"]]
    assert labels[1:] == ["./a_x4.png", f"{here.name}/a_x4.png"]


def test_sheet(here):
    assert run("a.png", "a_x4.png", "--sheet", "s.png") == "s.png\n"
    assert names(here) == []  # no page unless it is named
    out = run("a.png", "a_x4.png", "--sheet", "t.jpg", "-o", "p.html", "--crop", "2,3,8,6")
    assert out == "p.html\nt.jpg\n"
    assert Image.open("t.jpg").width > 500
    said = json.loads(
        run("a.png", "a_x4.png", "--sheet", "s.png", "--overwrite", "--json", "--crop", "2,3,8,6")
    )
    assert said["crop"] == [2, 3, 8, 6]
    with pytest.raises(UsageError, match="does not lie inside"):
        run("a.png", "a_x4.png", "--sheet", "u.png", "--crop", "20,0,5,5")
    assert not Path("u.png").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.png", "a_x4.png"], r"none\.png does not exist"),
        (["a.png", "none.png"], r"none\.png does not exist"),
        (["a.png", "a_x4.png", "--reference", "none.png"], r"none\.png does not exist"),
        (["a.png", "bicubic"], "is a folder"),
        (["a.png", "a_x4.png", "-o", "none/p.html"], "the folder none"),
        (["a.png", "a_x4.png", "-o", "p.png"], r"must end in \.html"),
        (["a.png", "a_x4.png", "--sheet", "s.xyz"], "names no picture format"),
        (["a.png", "a_x4.png", "--sheet", "s.heic"], "does not write it"),
        (["a.png", "a_x4.png", "--sheet", "a_x4.png", "--overwrite"], "is also an input"),
        (["a.png", "a_x4.png", "--sheet", "s.png", "--crop", "1,2,3"], "is not x,y,width,height"),
        (["a.png", "a_x4.png", "--crop", "1,2,3,4"], "--crop is for --sheet"),
        (["a.png", "a_x4.png", "--enlarge", "x"], "not one of nearest, smooth"),
    ],
)
def test_what_cannot_be_meant_is_refused(here, arguments, text):
    with pytest.raises(UsageError, match=text) as refused:
        run(*arguments)
    assert refused.value.exit_code == 2
    assert names(here) == []


def test_a_damaged_picture(here):
    Path("bad.png").write_bytes(Path("a_x4.png").read_bytes()[:400])
    with pytest.raises(MediaError, match="bad") as failed:
        run("a.png", "bad.png")
    assert failed.value.exit_code == 1
    assert names(here) == []


def test_quiet(here):
    assert run("a.png", "a_x4.png", "-q") == ""


def test_refusing_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom srcli.cli.compare import compare\n"
        "try: compare(Path('none.png'), [Path('x.png')])\n"
        "except Exception as exc: print(type(exc).__name__, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    problem, *modules = done.stdout.split()
    assert problem == "UsageError"
    assert not {"torch", "numpy", "PIL"} & set(modules)
