"""The standard streams, whatever the program was started with: closed, full, of any encoding."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from srcli.errors import SrcliError

_NAMES = ("stdin", "stdout", "stderr")
# A name may hold what moves a terminal's cursor or ends the line; a tab does neither.
_CONTROLS = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) != "\t"}
_CONTROLS |= {ord("\n"): "\\n", ord("\r"): "\\r"}


class OutputError(SrcliError):
    """Standard output takes no more."""


def prepare() -> None:
    """Make the streams safe to use, once, before anything else is opened.

    - A closed one is opened, so that no file gets its number; what was closed stays unusable.
    - What an encoding cannot hold is written as an escape, such as ``\\u65e5``.
    - A failure to write results is an OutputError, and to write words on stderr no failure at all.
    """
    closed = [_fill(number, name) for number, name in enumerate(_NAMES)]
    # pytest's, say, are left alone
    if not closed[1] and sys.stdout is sys.__stdout__:
        sys.stdout = _over(sys.stdout, _Results)
    if not closed[2] and sys.stderr is sys.__stderr__:
        sys.stderr = _over(sys.stderr, _Words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fill(number: int, name: str) -> bool:
    """Open a closed stream; True if it was."""
    if getattr(sys, name) is not None:
        return False
    # opened the wrong way round, the first use of it fails as it would have
    flags = os.O_WRONLY if number == 0 else os.O_RDONLY
    handle = os.open(os.devnull, flags)
    if handle < number:  # those below are other people's by now
        os.dup2(handle, number)
        handle = number
    kinds = (io.FileIO, _Results, _Words)
    raw = kinds[number](handle, "r" if number == 0 else "w", closefd=False)
    buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="surrogateescape")
    setattr(sys, name, stream)
    return True


def _over(stream: TextIO | Any, kind: type[_Results | _Words]) -> TextIO:
    """A stream like this one that fails in its own way. Consoles of Windows stay as they are."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    buffer = stream.buffer
    if type(getattr(buffer, "raw", buffer)) is not io.FileIO:
        return stream
    raw = kind(buffer.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        # python -u has no buffer
        io.BufferedWriter(raw) if isinstance(buffer, io.BufferedWriter) else raw,
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Results(io.FileIO):
    """Standard output. After a failure that was told, what comes is dropped."""

    _failed = False

    def write(self, data: Any, /) -> int:
        n_bytes = memoryview(data).nbytes
        if self._failed or not n_bytes:  # nothing at all is how libraries try what a stream takes
            return n_bytes
        try:
            return super().write(data)
        except BrokenPipeError:  # whoever read has gone, and is no failure of ours
            raise
        except OSError as exc:
            self._failed = True
            reason = "it is closed" if exc.errno == errno.EBADF else exc.strerror or str(exc)
            raise OutputError(f"standard output cannot be written: {reason}") from exc


class _Words(io.FileIO):
    """Standard error: where nobody can be told anything, the work goes on."""

    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def read_stdin() -> bytes:
    """All of standard input.

    Raises:
        SrcliError: it cannot be read, or is closed.
    """
    try:
        return sys.stdin.buffer.read()
    except OSError as exc:
        reason = "it is closed" if exc.errno == errno.EBADF else exc.strerror or str(exc)
        raise SrcliError(f"standard input cannot be read: {reason}") from exc


def print_json(fields: Mapping[str, Any]) -> None:
    """One object, one line on stdout: valid, and the same names, in any encoding."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(fields, ensure_ascii=not unicode), flush=True)


def one_line(text: str) -> str:
    """Without what would move a terminal's cursor or break the line."""
    return text.translate(_CONTROLS)
