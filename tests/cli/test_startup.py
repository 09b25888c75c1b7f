"""What must answer at once imports nothing heavy."""

import os
import subprocess
import sys

import pytest
from PIL import Image

HEAVY = {"torch", "numpy", "PIL", "requests", "safetensors", "imageio", "tifffile"}
CALLS = [
    (["--help"], 0, "upscale"),
    (["--version"], 0, "srcli "),
    (["upscale", "--help"], 0, "--scale"),
    (["models"], 0, "bcrn"),
    (["models", "--json"], 0, '"bcrn.authors"'),
    (["models", "show", "bcrn"], 0, "BCRN"),
    ([], 2, "upscale"),
    (["upscale", "nothing.png", "--model", "no-such"], 2, "nothing.png"),
    (["upscale", "HERE", "--model", "no-such"], 2, "no-such"),
    (["upscale", "HERE", "-x", "0"], 2, "scale"),
    (["upscale", "HERE", "--tile", "many"], 2, "--tile"),
    (["upscale", "HERE", "--memory", "much"], 2, "size"),
    (["upscale"], 2, "nothing to upscale"),
    (["no-such-command"], 2, "no-such-command"),
    (["models", "show", "no-such"], 2, "no-such"),
]


def imports(*arguments, cwd):
    """(result, modules imported) of a command in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "srcli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
        timeout=60,
        check=False,
    )
    lines = result.stderr.splitlines()
    times = [line for line in lines if line.startswith("import time:")]
    result.stderr = "\n".join(line for line in lines if not line.startswith("import time:"))
    return result, {line.rsplit("|", 1)[1].strip() for line in times}


@pytest.mark.parametrize(("arguments", "code", "text"), CALLS)
def test_nothing_heavy(arguments, code, text, tmp_path, alone):
    (tmp_path / "a.png").write_bytes(b"not looked at")
    arguments = [str(tmp_path / "a.png") if a == "HERE" else a for a in arguments]
    result, seen = imports(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert not seen & HEAVY
    assert {"srcli.cli", "typer"} <= seen
    assert "Traceback" not in result.stderr
    out, err = result.stdout, result.stderr
    assert text in (out if code == 0 else out + err)
    if code == 0:
        assert err == ""
    elif arguments:
        assert out == ""


def test_the_package_is_light(tmp_path):
    code = "import sys, srcli, srcli.catalog, srcli.weights, srcli.cli; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert not set(result.stdout.split()) & {"torch", "numpy", "PIL"}


def test_a_picture_needs_no_compiler(tmp_path, alone):
    """PyTorch's, and all that comes with it, takes a second to import."""
    Image.new("RGB", (24, 20), "teal").save(tmp_path / "a.png")
    result, seen = imports("upscale", "a.png", "--backend", "torch", "-o", "b.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "torch" in seen
    assert not seen & {"torch._dynamo", "sympy", "torch.distributed.tensor"}
