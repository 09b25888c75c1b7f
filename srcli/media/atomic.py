"""Files that are whole or not there: where the unfinished one lies, and what can go wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import platform
import re
import secrets
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from srcli.errors import MediaError, ResourceError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger(__name__)
_NAME_BYTES = 255
FULL = {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())
_PART = re.compile(r"^\..*\.(?P<host>[0-9a-f]{8})[0-9a-f]{8}\.part$", re.DOTALL)
_TRIES = 10
_CLOSING_S = 60  # Windows: the file is closed for a moment before it gets its name

_swept: set[str] = set()
_sweeping = threading.Lock()


def part_of(path: Path) -> Path:
    """A hidden sibling of its own to write before the name is given.

    Its name says which machine it is written on, and a part that is open_part's is locked as long
    as it is open: so the next run can tell what a process that is gone has left.
    """
    # The random part must fit in the longest name that file systems take.
    tail = f".{_host()}{secrets.token_hex(4)}.part"
    stem = os.fsencode(path.name)[: _NAME_BYTES - len(tail) - 1]
    return path.with_name("." + stem.decode(errors="ignore") + tail)


def open_part(path: Path) -> tuple[Path, IO[bytes]]:
    """A new part of a file, locked while it is open; what dead processes left there is removed.

    Another program may write it by its name meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    _sweep_once(path.parent)
    for _ in range(_TRIES):
        part = part_of(path)
        file = part.open("x+b")
        try:
            # Another process may have taken it for a dead one's before it was locked.
            if _lock(file, wait=True) is None or _is_at(file, part):
                return part, file
        except BaseException:
            file.close()
            raise
        file.close()
    raise OSError(errno.EBUSY, "another program keeps removing the unfinished file")


def give_name(file: IO[bytes], part: Path, path: Path) -> None:
    """Close a part that is complete and give it its name.

    Raises:
        OSError: it cannot be done.
    """
    if fcntl is None:
        file.close()
        part.replace(path)
        return
    part.replace(path)  # while it is locked
    file.close()


def sweep(folder: Path) -> list[Path]:
    """Remove the parts in a folder whose processes are gone; their names.

    Only what this user has made on this machine counts: locks of others may not be seen here.
    """
    removed: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            found = [Path(e.path) for e in entries if e.name.endswith(".part")]
    except OSError:
        return removed
    for path in found:
        match = _PART.match(path.name)
        if match is None or match["host"] != _host():
            continue
        try:
            gone = _remove_dead(path)
        except OSError as exc:  # it is another's, or was gone before
            _logger.debug("%s stays: %s", path, exc)
        else:
            if gone:
                removed.append(path)
    return removed


def _sweep_once(folder: Path) -> None:
    """Before this process has a part there: some locks do not hold against one's own process."""
    with _sweeping:
        real = os.path.normcase(folder.resolve())
        if real not in _swept:
            _swept.add(real)
            sweep(folder)


def _remove_dead(path: Path) -> bool:
    """Remove a part if nobody has it open; False if it is to stay.

    Raises:
        OSError: it cannot be opened, locked or removed.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return False
    if fcntl is None:
        if time.time() - found.st_mtime < _CLOSING_S:
            return False
        path.unlink()  # refused while a process has it open
        return True
    if found.st_uid != os.geteuid():
        return False
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "r+b") as file:
        if not _lock(file, wait=False) or not _is_at(file, path):
            return False
        path.unlink()
    return True


def _lock(file: IO[bytes], *, wait: bool) -> bool | None:
    """Lock a file until it is closed; False if another has it, None if locks are not to be had."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


@cache
def _host() -> str:
    """This machine: its name, its identity and its network address in 8 digits.

    Locks are only trusted among processes of one machine. Machines cloned from one image differ in
    their address, containers in their name.
    """
    identity = ""
    with contextlib.suppress(OSError):
        identity = Path("/etc/machine-id").read_text(errors="replace").strip()
    said = f"{platform.node()} {identity} {uuid.getnode():x}"
    return hashlib.sha256(said.encode()).hexdigest()[:8]


@contextmanager
def plain_errors(name: str, folder: Path) -> Iterator[None]:
    """The system's errors as sentences about the file of that name.

    Raises:
        ResourceError: the disk is full.
        MediaError: anything else.
    """
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if exc.errno in FULL:
            raise ResourceError(
                f"{name} cannot be written: no space is left in {folder} ({reason})",
                "free some space, or choose another folder with -o",
            ) from exc
        raise MediaError(f"{name} cannot be written: {reason}") from exc


def make_folder(folder: Path) -> None:
    """A folder and those above it, unless it is there.

    Raises:
        MediaError: it cannot be made.
    """
    if folder.is_dir():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise MediaError(f"cannot make the folder {folder}: {exc.strerror}") from exc


def sync_folder(folder: Path) -> None:
    """See that names given in a folder outlast a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
