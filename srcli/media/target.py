"""Where the bytes of an output go: whole under its name at the end, or nowhere."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from srcli.errors import MediaError
from srcli.media.atomic import give_name, open_part, plain_errors
from srcli.media.remote import UrlPath
from srcli.media.scratch import new_file


class Target(Protocol):
    """Takes bytes in order, some to be written over, until it is committed or given up."""

    def write(self, data: bytes) -> None: ...
    def patch(self, at: int, data: bytes) -> None: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...


class _Written:
    """What is written lies in a file until it is committed."""

    _file: IO[bytes]

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        """Failures of the disk in words of the output."""
        raise AssertionError("a kind of target has its own errors")

    def write(self, data: bytes) -> None:
        with self._errors():
            self._file.write(data)

    def patch(self, at: int, data: bytes) -> None:
        with self._errors():
            self._file.seek(at)
            self._file.write(data)
            self._file.seek(0, os.SEEK_END)


class FileTarget(_Written):
    """A hidden file beside the final one, renamed at the end.

    Attributes:
        part: that file; another program may write it by its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._errors():
            self.part, self._file = open_part(path)

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(str(self._path), self._path.parent)

    def commit(self) -> None:
        with self._errors():
            self._file.flush()
            # Some disks report only now that they are full; and after a crash the name must not
            # stand for an empty file.
            os.fsync(self._file.fileno())
            give_name(self._file, self.part, self._path)

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


class UrlTarget(_Written):
    """A file elsewhere, written on this machine first.

    Attributes:
        part: as FileTarget's.
    """

    def __init__(self, path: UrlPath) -> None:
        self._path = path
        with self._errors():
            handle, name = new_file()
            self.part, self._file = Path(name), os.fdopen(handle, "w+b")

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(str(self._path), Path(tempfile.gettempdir()))

    def commit(self) -> None:
        with self._errors():
            self._file.flush()
        try:
            self._path.put(self.part)
        finally:
            self.abort()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


class StreamTarget(_Written):
    """A stream, such as standard output, that gets the file whole or not at all."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        named = getattr(stream, "name", None)
        self._name = named if isinstance(named, str) and named[:1] != "<" else "the standard output"
        with self._errors():
            # Closed by commit or abort.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(self._name, Path(tempfile.gettempdir()))

    def commit(self) -> None:
        with self._errors():
            self._file.seek(0)
        try:
            shutil.copyfileobj(self._file, self._stream)
            self._stream.flush()
        except OSError as exc:
            raise MediaError(f"{self._name} cannot be written: {exc.strerror or exc}") from exc
        self.abort()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def open_target(path: Path | BinaryIO) -> Target:
    """Where the bytes go: a file, one elsewhere, or a stream."""
    return open_file(path) if isinstance(path, Path) else StreamTarget(path)


def open_file(path: Path) -> FileTarget | UrlTarget:
    """Where the bytes of a file go."""
    return UrlTarget(path) if isinstance(path, UrlPath) else FileTarget(path)
