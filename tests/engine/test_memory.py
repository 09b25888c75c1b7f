"""How much memory there is: read from files that the system keeps."""

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
