"""How much memory there is: read from files that the system keeps."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from srcli.engine import memory


@pytest.fixture
def files(monkeypatch):
    """The contents of /proc and /sys as a test wants them."""
    contents = {}
    monkeypatch.setattr(memory.Path, "read_text", lambda path: _get(contents, path))
    return contents


def _get(contents, path):
    if str(path) not in contents:
        raise FileNotFoundError(path)
    return contents[str(path)]


def test_this_machine():
    assert memory.available_bytes() > 2**20
    resident = memory.resident_bytes()
    assert 10 * 2**20 < resident < 2**40
    limit = memory.default_limit_bytes()
    assert limit > resident


def test_system(files):
    files["/proc/meminfo"] = "MemTotal:  8000 kB\nMemFree: 10 kB\nMemAvailable:   3000 kB\n"
    assert memory.available_bytes() == 3000 * 1024


def test_own_cgroup_2(files):
    files["/proc/meminfo"] = "MemAvailable: 4000000 kB\n"
    files["/proc/self/cgroup"] = "0::/user/one\n"
    files["/sys/fs/cgroup/user/one/memory.max"] = "1000000\n"
    files["/sys/fs/cgroup/user/one/memory.current"] = "700000\n"
    files["/sys/fs/cgroup/user/one/memory.stat"] = "anon 1\ninactive_file 50000\nfile 60000\n"
    assert memory.available_bytes() == 350_000  # the page cache can be had back


def test_the_smaller_of_both_counts(files):
    files["/proc/meminfo"] = "MemAvailable: 100 kB\n"
    files["/proc/self/cgroup"] = "0::/\n"
    files["/sys/fs/cgroup/memory.max"] = "1000000\n"
    files["/sys/fs/cgroup/memory.current"] = "0\n"
    files["/sys/fs/cgroup/memory.stat"] = "inactive_file 0\n"
    assert memory.available_bytes() == 102_400


def test_a_full_container_has_nothing_left(files):
    files["/proc/meminfo"] = "MemAvailable: 100 kB\n"
    files["/sys/fs/cgroup/memory.max"] = "1000\n"
    files["/sys/fs/cgroup/memory.current"] = "2000\n"
    files["/sys/fs/cgroup/memory.stat"] = "inactive_file 0\n"
    assert memory.available_bytes() == 0


def test_cgroup_1(files):
    files["/proc/meminfo"] = "MemAvailable: 4000000 kB\n"
    folder = "/sys/fs/cgroup/memory"
    files[f"{folder}/memory.limit_in_bytes"] = "500000\n"
    files[f"{folder}/memory.usage_in_bytes"] = "100000\n"
    files[f"{folder}/memory.stat"] = "cache 5\ninactive_file 1000\n"
    assert memory.available_bytes() == 401_000


def test_no_limit(files):
    files["/proc/meminfo"] = "MemAvailable: 100 kB\n"
    files["/proc/self/cgroup"] = "0::/\n"
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    files["/sys/fs/cgroup/memory.current"] = "0\n"
    files["/sys/fs/cgroup/memory.stat"] = "inactive_file 0\n"
    assert memory.available_bytes() == 102_400


def test_nothing_is_known(files):
    assert memory.available_bytes() > 0
    assert memory.resident_bytes() > 0  # from the system call
    assert isinstance(memory.Path(), Path)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc can be asked",
)
def test_what_was_freed_stays_at_hand():
    """Blocks that come and go are no new pages, and what is kept for that is not called taken."""
    code = """
import resource, torch
from srcli.engine import memory

def use():
    blocks = [torch.ones(1 << 20) for _ in range(16)]  # 64 MiB
    held = memory.taken_bytes()
    del blocks
    return held

memory.reuse_freed()
memory.reuse_freed(1)  # changes nothing
for _ in range(3):  # until what is small has found its place between them
    taken = use(), memory.taken_bytes(), memory.resident_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(*(n >> 20 for n in taken), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, after, resident, faults = map(int, done.stdout.split())
    assert held - after > 50
    assert resident - after > 50
    assert faults < 4000  # of 16,384 pages


def test_what_is_too_much_is_said_beside_what_is_left():
    mib = 2**20
    words = memory.too_much(12 * mib, 3 * mib)
    assert words == "about 12.0 MiB, more than the 3.0 MiB left of the memory allowed"
    for left in (0, -mib):
        words = memory.too_much(12 * mib, left)
        assert words == "about 12.0 MiB, and nothing is left of the memory allowed"
