"""A measured process: its time, its own memory, its failures."""

import os
import sys

import numpy as np
import pytest

from srcli.bench.child import run_alone
from srcli.errors import SrcliError

MIB = 2**20
resource = pytest.importorskip("resource")


def python(code):
    return [sys.executable, "-c", code]


def test_the_peak_is_its_own():
    """Not that of the process that measures, whose memory a child begins with."""
    held = np.ones(200 * MIB, np.uint8)
    small = run_alone(python("pass"), os.environ)
    large = run_alone(python(f"a = bytearray({100 * MIB}); a[::4096] = a[::4096]"), os.environ)
    assert held[-1] == 1
    assert small.peak_bytes < 60 * MIB
    assert 100 * MIB < large.peak_bytes < 180 * MIB


def test_the_time_is_the_commands():
    found = run_alone(python("import time; time.sleep(0.3)"), os.environ)
    assert found.seconds >= 0.3


def test_what_it_prints_is_no_figure():
    assert run_alone(python("print('1 2 3')"), os.environ).seconds > 0


def test_the_environment_is_passed_on():
    code = "import os, sys; sys.exit(os.environ['MINE'] != 'yes')"
    run_alone(python(code), {**os.environ, "MINE": "yes"})


def test_a_failure_is_told():
    with pytest.raises(SrcliError, match="on purpose"):
        run_alone(python("import sys; sys.exit('on purpose')"), os.environ)
    with pytest.raises(SrcliError, match="no-such-program"):
        run_alone(["/no-such-program"], os.environ)
