"""``--cluster`` and ``--workers``: what is refused, and that Ray is imported for nobody else."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import srcli.cli
from srcli.cluster import installed


@pytest.fixture
def upscale(monkeypatch, capsys, tmp_path, alone):
    """Function of arguments -> (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 6)).save("a.png")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["srcli", "upscale", *arguments])
        with pytest.raises(SystemExit) as ended:
            srcli.cli.main()
        return ended.value.code, capsys.readouterr().err

    return call


def test_without_ray(upscale, monkeypatch):
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    code, err = upscale("a.png", "--cluster", "local")
    assert code == 2
    assert 'pip install "srcli[ray]"' in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "2"), "--cluster local"),
        (("--cluster", "", "-x2"), "local, auto, or an address"),
        (("--cluster", "local", "-o", "-"), "name a file with -o"),
    ],
)
def test_what_is_refused(upscale, monkeypatch, arguments, said):
    monkeypatch.setattr(installed, "find_spec", lambda name: object())
    code, err = upscale("a.png", *arguments)
    assert code == 2
    assert said in err


def test_ray_is_told_to_report_nothing_unless_the_user_says_so():
    environment = {}
    installed.settle(environment)
    assert environment == {"RAY_USAGE_STATS_ENABLED": "0"}
    environment = {"RAY_USAGE_STATS_ENABLED": "1"}
    installed.settle(environment)
    assert environment == {"RAY_USAGE_STATS_ENABLED": "1"}


def test_nothing_of_ray_is_imported_without_a_cluster(tmp_path, alone):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    code = (
        "import sys, srcli.cli\n"
        "sys.argv = ['srcli', 'upscale', 'a.png', '-m', 'bicubic']\n"
        "try: srcli.cli.main()\n"
        "finally: print([m for m in sys.modules if m == 'ray' or m.startswith('srcli.cluster')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert Path(tmp_path, "a_x4.png").is_file()
