"""A folder on this machine for what lies elsewhere and is too large for memory.

It goes with this process; if that is killed, the next one to need such a folder removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from srcli.errors import MediaError
from srcli.media.atomic import plain_errors
from srcli.media.remote import UrlPath

_PREFIX = "srcli-scratch-"
_LOCK = "lock"
_NEW_S = 60.0  # it may not be locked yet

_making = threading.Lock()
_ending = contextlib.ExitStack()
atexit.register(_ending.close)


def new_folder() -> Path:
    """An empty folder, to be removed by who asked for it, or at the end."""
    with plain_errors("a temporary file", Path(tempfile.gettempdir())):
        return Path(tempfile.mkdtemp(dir=_scratch()))


def new_file() -> tuple[int, str]:
    """An empty file, as tempfile.mkstemp gives it."""
    return tempfile.mkstemp(dir=_scratch())


def clear() -> None:
    """Remove it now, with all that is in it: this process will not end by itself."""
    with _making:
        _ending.close()
        _made.cache_clear()


def _scratch() -> Path:
    with _making:
        return _made()


@cache
def _made() -> Path:
    """This process's."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_dead(folder)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(folder / _LOCK)
    lock.acquire()
    _ending.callback(_remove, folder, lock, os.getpid())
    return folder


def _remove(folder: Path, lock: FileLock, owner: int) -> None:
    if os.getpid() == owner:  # and not a child that was forked
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _remove_dead(folder: Path) -> None:
    """Remove a folder whose process is gone; another user's cannot be locked."""
    if time.time() - folder.stat().st_mtime < _NEW_S or not (folder / _LOCK).is_file():
        return
    with contextlib.suppress(Timeout), FileLock(folder / _LOCK, timeout=0):
        shutil.rmtree(folder, ignore_errors=True)


class LocalCopy:
    """A file that lies elsewhere, on this machine as long as anybody refers to this.

    One that is sent to another process refers to the same file if that is on the same machine;
    else the file is fetched there when it is asked for.
    """

    def __init__(self, source: UrlPath, file: Path | None = None) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._file = file  # which another process has fetched

    def __reduce__(self) -> tuple[object, ...]:
        return _sent, (self.source, self.file)

    @property
    def file(self) -> Path:
        """Where it is on this machine; it is fetched the first time.

        Raises:
            MediaError, ResourceError: it cannot be.
        """
        with self._lock:
            if self._file is None:
                folder = new_folder()
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                file = folder / self.source.name
                try:
                    self.source.fetch(file)
                except FileNotFoundError as exc:
                    raise MediaError(f"{self.source} cannot be read: it does not exist") from exc
                self._file = file
            return self._file


_known: weakref.WeakValueDictionary[str, LocalCopy] = weakref.WeakValueDictionary()
_latest: LocalCopy | None = None  # a process that is sent parts of a film has it until the next


def _sent(source: UrlPath, file: Path | None) -> LocalCopy:
    global _latest  # noqa: PLW0603 -- what keeps it
    copy = _known.get(f"{source} {file}")
    if copy is None:
        copy = LocalCopy(source, file if file is not None and file.is_file() else None)
        _known[f"{source} {file}"] = copy
    _latest = copy
    return copy
