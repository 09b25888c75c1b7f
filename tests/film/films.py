"""Small films made by ffmpeg, and what is in a film, asked of ffmpeg alone."""

import re
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from srcli.film.ffmpeg import find_ffmpeg

FFMPEG = find_ffmpeg().exe


def run(*arguments, text=False, ok=True):
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-y", *map(str, arguments)], capture_output=True
    )
    assert not ok or done.returncode == 0, done.stderr.decode()
    return done.stderr.decode() if text else done.stdout


def make(path, *arguments, size="96x64", rate="25", seconds=1):
    """A film of testsrc2; arguments follow the input."""
    source = f"testsrc2=s={size}:r={rate}:d={seconds}"
    run("-v", "error", "-f", "lavfi", "-i", source, *arguments, path)
    return path


def times(path, stream="v:0"):
    """Of decoded frames, in seconds, exactly."""
    out = run(
        *("-v", "error", "-copyts", "-i", path, "-map", f"0:{stream}", "-fps_mode", "passthrough"),
        *("-enc_time_base", "demux", "-f", "framecrc", "-"),
    ).decode()
    tick = Fraction(re.search(r"#tb 0: (\S+)", out)[1])
    return [tick * int(line.split(",")[2]) for line in out.splitlines() if line[0] != "#"]


def packets(path, stream):
    """Times in seconds, sizes and checksums of a stream's packets."""
    out = run(
        *("-v", "error", "-copyts", "-i", path, "-map", f"0:{stream}", "-c", "copy"),
        *("-f", "framecrc", "-"),
    ).decode()
    tick = Fraction(re.search(r"#tb 0: (\S+)", out)[1])
    rows = [line.split(",") for line in out.splitlines() if line[0] != "#"]
    return [(tick * int(r[2]), int(r[4]), r[5].strip()) for r in rows]


def raw(path, pix_fmt):
    """The samples of all frames, in one array; no conversion if it is the film's format."""
    out = run(
        *("-v", "error", "-noautorotate", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"),
        *("-pix_fmt", pix_fmt, "-f", "rawvideo", "-"),
    )
    return np.frombuffer(out, "<u2" if pix_fmt.endswith("le") else "u1")


def header(path):
    """What ffmpeg says of a file."""
    return run("-i", path, text=True, ok=False)


def slow(*values):
    """Parameters for CI; the quick suite has others of their kind."""
    return [
        pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.slow) for v in values
    ]
