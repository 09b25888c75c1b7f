"""``srcli doctor``: it answers whatever is broken, and says what."""

import json
import os
import re
import subprocess
import sys

import pytest

import srcli
from srcli.cli import doctor
from srcli.cli.probes import PROBES


@pytest.fixture
def ask(alone, tmp_path):
    """Function (*arguments, broken=(), **environment) -> result of a fresh `srcli doctor`.

    A broken library is one that ends as its value says when it is imported.
    """

    def ask(*arguments, broken=None, **environment):
        stubs = tmp_path / "stubs"
        for name, code in (broken or {}).items():
            (stubs / name).mkdir(parents=True, exist_ok=True)
            (stubs / name / "__init__.py").write_text(code)
        return subprocess.run(
            [sys.executable, "-m", "srcli", "doctor", *arguments],
            env=os.environ | {"PYTHONPATH": str(stubs)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return ask


def facts_of(result):
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout)


BROKEN = {
    "torch": "import os, signal\nos.kill(os.getpid(), signal.SIGILL)",
    "numpy": "raise ImportError('numpy is bent')",
    "PIL": "raise OSError('libjpeg.so cannot be opened')",
    "openvino": "raise RuntimeError('no such plugin')",
    "onnxruntime": "print('loud'); raise SystemExit(3)",
}


def test_everything_broken_at_once(ask):
    result = ask("--json", broken=BROKEN)
    found = facts_of(result)
    assert "instruction that this processor does not have" in found["torch"]["error"]
    assert "numpy is bent" in found["numpy"]["error"]
    assert "libjpeg.so" in found["pillow"]["error"]
    assert found["srcli"]["version"] == srcli.__version__
    problems = "\n".join(found["problems"])
    for name in ("torch", "numpy", "pillow"):
        assert f"{name} does not work, and srcli needs it" in problems
    assert "auto" not in problems  # a consequence
    assert any(line.startswith("bcrn.srcli") for line in found["weights"]["at_hand"])
    text = ask(broken=BROKEN)
    assert text.returncode == 0
    assert re.search(r"^PyTorch +does not work: ", text.stdout, re.M)
    assert text.stdout.count("problem: ") == len(found["problems"])


def test_what_is_there(ask, tmp_path):
    """The real libraries, and what a bug report must not tell."""
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "a").write_bytes(bytes(5000))
    secret = "https://me:secret@example.org/w"
    found = facts_of(ask("--json", HOME=str(tmp_path), SRCLI_MIRROR=secret))
    for name in ("torch", "numpy", "pillow"):
        assert re.match(r"\d+\.\d+", found[name]["version"])
    assert found["torch"]["devices"][0]["name"] == "cpu"
    assert found["cache"]["bytes"] == 5000
    assert found["cache"]["parts"] == {"weights": 5000}
    assert found["auto"]["model"] == "bcrn.srcli"
    assert set(found["auto"]["why"]) == {"device", "precision", "backend"}
    if found["auto"]["device"] == "cpu":
        assert found["auto"]["precision"] == "fp32"
    assert found["ffmpeg"]["codecs"]["ffv1"] == "ffv1"
    assert "secret" not in json.dumps(found)
    assert str(tmp_path) not in json.dumps(found)  # ~ in its place
    assert found["environment"]["SRCLI_OFFLINE"] == "1"


@pytest.fixture
def quick(alone, monkeypatch):
    """Facts without the processes that import libraries."""

    def examine(answers=None, **environment):
        answers = answers or {}
        monkeypatch.setattr(doctor, "_ask", lambda name, _: name)
        monkeypatch.setattr(doctor, "_answer", lambda name: answers.get(name, {"version": "1"}))
        return doctor.examine({**os.environ, **environment})

    return examine


def test_missing_extras_say_how_to_have_them(quick, monkeypatch):
    monkeypatch.setattr(doctor.tuned, "version", lambda _: None)
    found = quick()
    assert found["openvino"] == {"missing": 'pip install "srcli[openvino]"'}
    assert found["onnxruntime"] == {"missing": 'pip install "srcli[onnx]"'}
    assert not [p for p in found["problems"] if "openvino" in p or "onnx" in p]


def test_who_says_how_threads_wait(quick):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"):
        os.environ.pop(name, None)
    own = quick(GOMP_SPINCOUNT="77")
    assert own["waiting"] == {"as_srcli_chooses": False, "GOMP_SPINCOUNT": "77"}
    chosen = quick(**srcli.threads.WAITING)
    assert chosen["waiting"] == {"as_srcli_chooses": True, **srcli.threads.WAITING}


def test_a_cache_that_cannot_be_written(quick, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "file"))
    assert any(p.startswith("cache: it cannot be written") for p in quick()["problems"])


def test_no_ffmpeg(quick, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg")
    assert any(p.startswith("ffmpeg: ") for p in quick()["problems"])


def test_it_waits_for_no_library_for_ever(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE_S", 0.2)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert "no answer" in doctor._answer(sleeper)["error"]
    assert sleeper.poll() is not None


def test_each_probe_is_told():
    """A probe that is added must be shown, too."""
    facts = {"version": "9.8.7"}
    shown = {
        "torch": {**facts, "cuda": "12.8", "hip": None, "threads": 1, "devices": []},
        "auto": {
            "model": "m", "device": "cuda", "precision": "fp32", "backend": "torch",
            "threads": 3, "tile": None, "why": {},
        },
    }  # fmt: skip
    for name in PROBES:
        shown.setdefault(name, facts)
    base = {
        "srcli": {"version": "1", "folder": "f"}, "python": {"version": "3", "program": "p"},
        "system": "s", "processor": {"name": "n", "cores": 1, "instructions": []},
        "memory": {"error": "e"}, "waiting": {"as_srcli_chooses": True}, "ffmpeg": {"error": "e"},
        "cache": {"error": "e"}, "weights": {"error": "e"}, "environment": {}, "problems": [],
    }  # fmt: skip
    lines = "\n".join(doctor._lines(base | shown))
    assert lines.count("9.8.7") == len(PROBES) - 1
    assert "built with CUDA 12.8, 1 thread" in lines
    assert "m runs on cuda in fp32 by PyTorch, 3 threads" in lines
