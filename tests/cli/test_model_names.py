"""Commands, factors and models as people write them; what a shell offers for Tab."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from srcli import catalog
from srcli.cli import COMMANDS, application, complete
from srcli.cli.options import parse_scale, parse_whole_scale, whole_scales
from srcli.errors import UsageError


@pytest.fixture
def run(tmp_path, monkeypatch, alone):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 6), "teal").save("photo.jpg")

    def run(*arguments):
        result = CliRunner().invoke(application(arguments), list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["photo.jpg"], "srcli upscale photo.jpg"),
        (["photo.jpg", "-x2", "my film.mp4"], "srcli upscale photo.jpg -x2 'my film.mp4'"),
        (["*.png"], "srcli upscale '*.png'"),
        (["train.png"], "srcli upscale train.png"),
        (["upscal", "photo.jpg"], "srcli upscale photo.jpg?"),
        (["evla"], "srcli eval?"),
        (["nonsense"], "upscale, train"),
        (["help", "nonsense"], "upscale, train"),
    ],
)
def test_what_is_no_command_gets_a_hint(run, arguments, hint):
    with pytest.raises(UsageError, match="there is no command") as caught:
        run(*arguments)
    assert hint in caught.value.hint


def test_help_is_a_command(run):
    assert run("help", "upscale").stdout == run("upscale", "--help").stdout
    assert run("help", "models", "show").stdout == run("models", "show", "--help").stdout
    assert run("help").stdout == run("--help").stdout
    assert "offline" not in run("help").stdout  # most networks are downloaded first


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_headings_and_examples(run, name):
    said = run(name, "--help").stdout
    headings = re.findall(r"^(\w.*):$", said, re.M)
    assert headings[-1] == "Examples" and "Messages" in headings and "Options" not in headings
    examples = said.rpartition("Examples:\n")[2].splitlines()
    assert all(line.startswith(f"  srcli {name}") for line in examples)


def test_help_lists_the_commands_of_models_in_full(run):
    said = run("models", "--help").stdout
    assert "\nCommands:\n  list " in said and "..." not in said.partition("Commands:")[2]
    for name in ("list", "show", "download", "add", "remove"):
        of_one = run("models", name, "--help").stdout
        assert "\nMessages:\n" in of_one and f"Examples:\n  srcli models {name} " in of_one


@pytest.mark.parametrize("text", ["4", "4x", "x4", "X4", " 4.0 ", "4X", "4×"])
def test_factors(text):
    assert parse_scale(text) == 4


def test_factors_of_networks():
    assert parse_whole_scale("x3") == 3
    assert whole_scales("eval", ["2x,4", "x3", "1"]) == [2, 4, 3, 1]
    assert parse_scale("2.5x") == 2.5
    for text in ("", "x", "four", "4xx", "4,5"):
        with pytest.raises(UsageError, match="--scale"):
            parse_scale(text)
    for text in ("2.5", "0", "²", "100"):
        with pytest.raises(UsageError, match="-x"):
            parse_whole_scale(text)


def test_names_and_factors_of_a_run(run):
    for number, (model, scale) in enumerate([("BiCubic", "2x"), ("LANCZOS", "x2")]):
        run("upscale", "photo.jpg", "-m", model, "-x", scale, "-o", f"{number}.png")
        with Image.open(f"{number}.png") as image:
            assert image.size == (16, 12)
    result = run("upscale", "photo.jpg", "-m", "cubic", "-x2", "-o", "c.png")
    assert "cubic means bicubic." in result.stderr
    result = run("upscale", "photo.jpg", "-m", "cubic", "-x2", "-o", "d.png", "-q")
    assert result.stderr == ""


def test_a_purpose_says_what_it_takes(run):
    result = run("upscale", "photo.jpg", "-m", "text", "-x2", "-o", "a.png", "--backend", "torch")
    chosen = catalog.resolve("text", 2)
    assert f"text means {catalog.short_name(chosen)}." in result.stderr
    run("upscale", "photo.jpg", "-m", chosen.name, "-x2", "-o", "b.png", "--backend", "torch")
    with Image.open("a.png") as a, Image.open("b.png") as b:
        assert a.tobytes() == b.tobytes()


def names(offers):
    return [name for name, _ in offers]


def test_what_is_offered():
    assert {p.name for p in catalog.purposes()} <= set(names(complete.models("")))
    assert {"bcrn", "bcrn.authors"} <= set(names(complete.models("bc")))
    assert not any("untrained" in name for name in names(complete.models("")))
    for name in names(complete.models("")):
        catalog.resolve(name)
    assert "bsrn,bcrn" in names(complete.models("bsrn,bc"))
    assert "drrn_b1u9" in names(complete.networks("drrn"))
    assert {"bcrn-x4", "drrn_b1u9-x3"} <= set(names(complete.recipes("")))
    assert names(complete.recipes("bcrn-x4")) == ["bcrn-x4"]
    assert names(complete.metrics("psnr,lp")) == ["psnr,lpips", "psnr,lpips-vgg"]
    assert names(complete.purposes("d")) == ["damaged", "drawing"]
    assert names(complete.families("att")) == ["attention"]


def test_every_recipe_that_is_offered_exists():
    from srcli.training.config import load

    for name in names(complete.recipes("")):
        assert load(name).recipe == name


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("srcli upscale -m realesr_g", "realesr_general"),
        ("srcli train bcrn-x3", "bcrn-x3"),
        ("srcli eval --metric dis", "dists"),
        ("srcli models show drrn_b1u25", "drrn_b1u25"),
    ],
)
def test_a_shell_is_offered_names_without_anything_heavy(words, offered, tmp_path, alone):
    code = (
        "import sys, atexit\n"
        "heavy = {'torch', 'numpy', 'PIL', 'requests'}\n"
        "atexit.register(lambda: print(heavy & set(sys.modules), file=sys.stderr))\n"
        "from srcli.cli import application\n"
        "application()(prog_name='srcli')"
    )
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | asked | {"_SRCLI_COMPLETE": "complete_bash"},
    )
    assert done.stdout.split() == [offered]
    assert done.stderr.strip() == "set()"
