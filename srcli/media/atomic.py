"""Files that are whole or not there: where the unfinished one lies, and what can go wrong."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcli.errors import MediaError, ResourceError

_NAME_BYTES = 255
_FULL = {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())


def part_of(path: Path) -> Path:
    """A hidden sibling of its own to write before the name is given."""
    # The random part must fit in the longest name that file systems take.
    tail = f".{secrets.token_hex(4)}.part"
    stem = os.fsencode(path.name)[: _NAME_BYTES - len(tail) - 1]
    return path.with_name("." + stem.decode(errors="ignore") + tail)


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
        if exc.errno in _FULL:
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
