"""How much memory there is, and how much of it is taken."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

from srcli.sizes import size_text, sizes_apart

GIB = 2**30


def available_bytes() -> int:
    """Memory that can be taken without swapping, a container's limit counted."""
    found = [b for b in (_system_available(), _container_available()) if b is not None]
    return min(found) if found else 4 * GIB


def resident_bytes() -> int:
    """Resident memory of this process now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def default_limit_bytes() -> int:
    """The memory limit nobody gave: what is taken now and half of what is available."""
    return resident_bytes() + available_bytes() // 2


def too_much(needed_bytes: int, left_bytes: int) -> str:
    """What something takes, and that it is more than is left of the memory allowed, as words."""
    if left_bytes <= 0:
        return f"about {size_text(needed_bytes)}, and nothing is left of the memory allowed"
    needed, left = sizes_apart(needed_bytes, left_bytes)
    return f"about {needed}, more than the {left} left of the memory allowed"


def taken_bytes() -> int:
    """Resident memory of this process without what was freed and is kept for reuse."""
    return max(0, resident_bytes() - _freed_bytes())


def reuse_freed(most_bytes: int = 128 * 2**20, *, however_large: bool = False) -> None:
    """Let the C library keep up to so many freed bytes instead of giving them back to the system.

    Tensors otherwise come as fresh pages, each of which costs a fault at its first touch: 15 % of
    a training step of BCRN, and half the time of its eager inference. Only glibc can be told so;
    elsewhere nothing happens. What was asked for stays asked for.

    Args:
        most_bytes: for each thread.
        however_large: blocks over 32 MiB, too; they stay resident.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None or most_bytes <= max(_asked):
        return
    _asked.add(most_bytes)
    trim_threshold, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4
    mallopt(mmap_threshold, 32 << 20)  # the most that can be asked for
    mallopt(trim_threshold, min(most_bytes, 2**31 - 1))
    mallopt(top_pad, most_bytes // 8 if not however_large else 64 << 20)
    if however_large:
        mallopt(mmap_max, 0)


_asked = {0}


class _Mallinfo(ctypes.Structure):
    """glibc's mallinfo2."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "a", "b", "c", "mapped", "d", "e", "used")),
        ("free", ctypes.c_size_t),
        ("top", ctypes.c_size_t),
    ]


def _freed_bytes() -> int:
    """What the C library holds and nobody uses; 0 where it does not say."""
    mallinfo = _of_glibc("mallinfo2")
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().free)


def _of_glibc(name: str) -> Any:
    """A function of the C library; None where it has none of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _system_available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if sys.platform == "win32":
        return _windows_available()
    try:
        # no figure of what is free (macOS): take half of what is installed for the others
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (OSError, ValueError, AttributeError):
        return None


def _windows_available() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        ]

    status: Any = Status(length=ctypes.sizeof(Status))
    windll: Any = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free)


def _container_available() -> int | None:
    """Room under the memory cgroup's limit (version 2, then 1); page cache does not count."""
    for limit_name, usage_name, folder in (
        ("memory.max", "memory.current", _own_cgroup()),
        ("memory.max", "memory.current", Path("/sys/fs/cgroup")),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", Path("/sys/fs/cgroup/memory")),
    ):
        try:
            limit = int((folder / limit_name).read_text())
            usage = int((folder / usage_name).read_text())
            statistics = dict(
                line.split() for line in (folder / "memory.stat").read_text().splitlines()
            )
        except (OSError, ValueError):
            continue
        cache = int(statistics.get("inactive_file", 0))
        return max(0, limit - usage + cache)
    return None


def _own_cgroup() -> Path:
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    except OSError:
        own = ""
    return Path("/sys/fs/cgroup") / own.lstrip("/")
