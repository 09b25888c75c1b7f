"""How threads wait: chosen before torch reads it, and never against the user's own word."""

import os
import subprocess
import sys
import time

import pytest

from srcli import threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's OpenMP is GNU's on Linux")


def environment(**own):
    """This process's, without a word about waiting but these."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    return plain | own


def libgomp_says(code, **own):
    """The settings that libgomp prints when it is loaded, in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(OMP_DISPLAY_ENV="VERBOSE", **own),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.strip().partition("] ")[2] or line.strip() for line in result.stderr.splitlines())
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


@linux
def test_threads_sleep_while_they_wait():
    said = libgomp_says("import srcli, torch")
    assert said["OMP_WAIT_POLICY"] == "'PASSIVE'"
    assert int(said["GOMP_SPINCOUNT"].strip("'")) == 0


@pytest.mark.long
@linux
@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("'ACTIVE'", None)),
        ({"GOMP_SPINCOUNT": "12345"}, (None, "'12345'")),
    ],
)
def test_what_the_user_says_holds(own, found):
    said = libgomp_says("import srcli, torch", **own)
    policy, spins = found
    assert policy is None or said["OMP_WAIT_POLICY"] == policy
    assert spins is None or said["GOMP_SPINCOUNT"] == spins
    assert said["OMP_WAIT_POLICY"] == libgomp_says("import torch", **own)["OMP_WAIT_POLICY"]


@linux
def test_a_child_waits_in_the_same_way():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import torch'])"
    assert libgomp_says(f"import srcli\n{child}")["OMP_WAIT_POLICY"] == "'PASSIVE'"


def test_after_torch_nothing_is_set():
    """It would not be read any more, and would reach the caller's other children."""
    code = "import torch, os; import srcli; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize("name", threads.SPOKEN_FOR)
def test_any_word_of_the_users_is_enough(name):
    own = {name: "1"}
    threads.settle(own)
    assert own == {name: "1"}


def test_nothing_said_and_an_empty_word_are_alike():
    for own in ({}, {"OMP_WAIT_POLICY": ""}):
        threads.settle(own)
        assert threads.WAITING.items() <= own.items()


@pytest.mark.long
def test_beside_two_busy_loops(picture, tmp_path, alone, record_property):
    """How long a picture takes beside two busy programs: told, since no machine promises a time."""
    from PIL import Image

    Image.fromarray(picture(96, 64)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "srcli", "upscale", str(tmp_path / "a.png"), "-q"]
    command += ["-x4", "-m", "bcrn", "--backend", "torch", "--overwrite"]
    ways = {"srcli's choice": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
    seconds = {name: [] for name in ways}
    code = "while True: pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        for _ in range(3):
            for name, own in ways.items():
                started = time.perf_counter()
                subprocess.run(command, env=environment(**own), check=True)
                seconds[name].append(time.perf_counter() - started)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    for name, found in seconds.items():
        record_property(name, min(found))
        print(f"beside two busy loops, {name}: {', '.join(f'{s:.1f}' for s in found)} s")
    assert all(len(found) == 3 for found in seconds.values())


def test_one_core_for_each_process_leaves_the_environment_as_it_was():
    before = {"OMP_NUM_THREADS": "7", "HOME": "/"}
    own = dict(before)
    with pytest.raises(KeyError), threads.one_core_each(own):
        assert {own[name] for name in threads.ONE_THREAD} == {"1"}
        raise KeyError
    assert own == before
