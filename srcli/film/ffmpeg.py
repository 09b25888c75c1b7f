"""The ffmpeg binary: which one, what it can, and running it as a child process."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from srcli.errors import MediaError, ResourceError, SrcliError, UsageError

LOG = ("-hide_banner", "-nostdin", "-loglevel", "level+error")
_LOG_LINES = 200  # of a child's words that are kept
_PREFIX = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )*(\[(error|fatal|panic|warning|info)\] )?")


@dataclass(frozen=True)
class FFmpeg:
    """One ffmpeg binary.

    Attributes:
        exe: its path.
    """

    exe: str

    @cached_property
    def version(self) -> str:
        """Its first line."""
        done = subprocess.run([self.exe, "-version"], capture_output=True, check=False)
        return done.stdout.decode(errors="replace").partition("\n")[0].strip()

    @cached_property
    def encoders(self) -> frozenset[str]:
        """Names of the video encoders that it was built with."""
        text = self.run(["-encoders"], "its encoders cannot be listed").decode(errors="replace")
        return frozenset(re.findall(r"^ V\S{5} (\S+)", text, re.M))

    def run(self, arguments: Sequence[str], failure: str) -> bytes:
        """Run to the end.

        Returns:
            What it wrote to standard output.

        Raises:
            MediaError, ResourceError: ``failure``, and what ffmpeg said.
        """
        with Child(self, arguments) as child:
            out = child.stdout.read()
            child.finish(failure)
        return bytes(out)


def find_ffmpeg(path: str | None = None) -> FFmpeg:
    """The binary that was named, or imageio-ffmpeg's (IMAGEIO_FFMPEG_EXE names another to it).

    Raises:
        UsageError: it is not there, or not ffmpeg.
    """
    if path is None:
        import imageio_ffmpeg

        try:
            path = str(imageio_ffmpeg.get_ffmpeg_exe())
        except RuntimeError as exc:
            raise UsageError("ffmpeg was not found", "name one with --ffmpeg") from exc
    exe = shutil.which(path)
    if exe is None:
        raise UsageError(f"{path} is not a program", "name an ffmpeg program")
    found = FFmpeg(exe)
    try:
        version = found.version
    except OSError as exc:
        raise UsageError(f"{path} cannot be run: {exc.strerror}") from exc
    if not version.startswith("ffmpeg version"):
        raise UsageError(f"{path} is not ffmpeg")
    return found


class Child:
    """An ffmpeg process, to be used in a ``with`` statement; leaving it ends the process.

    Args:
        ffmpeg: the binary.
        arguments: after the general ones; never seen by a shell.
        feed: whether its standard input is ours to write.
        on_line: given each line of its standard error; returns True for one that is not a message.
        on_end: called after the last of them. Both are called from a thread of the child's own.
    """

    def __init__(
        self,
        ffmpeg: FFmpeg,
        arguments: Sequence[str],
        *,
        feed: bool = False,
        on_line: Callable[[str], bool] = lambda _: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.messages = 0
        self._on_line, self._on_end = on_line, on_end
        options = [option for option in LOG if not feed or option != "-nostdin"]
        try:
            self._process = subprocess.Popen(
                [ffmpeg.exe, *options, *arguments],
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # a terminal's Ctrl-C is for us, who end it in order
            )
        except OSError as exc:
            raise MediaError(f"{ffmpeg.exe} cannot be run: {exc.strerror}") from exc
        self._reader = threading.Thread(target=self._listen, name="ffmpeg's words", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it had not taken is lost, as is meant
                    pipe.close()
        self._process.wait()
        self._reader.join()

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _listen(self) -> None:
        pipe: Any = self._process.stderr
        with pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip()
                if not self._on_line(line) and line and not line.startswith("Svt["):
                    self.log.append(line)
                    self.messages += 1
        self._on_end()

    def finish(self, failure: str) -> None:
        """Wait for the end.

        Raises:
            MediaError, ResourceError: it failed; ``failure``, and what it said.
        """
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended; its status says why
                self._process.stdin.close()
        status = self._process.wait()
        self._reader.join()
        if status != 0:
            raise problem(failure, self.log, status)

    def failed(self, failure: str) -> SrcliError:
        """The error to raise when it stopped taking input."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._reader.join()
        return problem(failure, self.log, status)


def problem(failure: str, log: Sequence[str], status: int) -> SrcliError:
    """What ffmpeg's words and status mean: ``failure``, then the cause."""
    lines = [plain(line) for line in log]
    if any("No space left on device" in line for line in lines):
        return ResourceError(
            f"{failure}: no space is left on the disk",
            "free some space; the same command continues from where it stopped",
        )
    said = first_cause(lines)
    if not said and status < 0:
        said = f"ffmpeg was killed by signal {-status}"
    elif not said:
        said = f"ffmpeg ended with status {status}" if status else "ffmpeg ended before the film"
    return MediaError(f"{failure}: {said}")


def first_cause(lines: Sequence[str]) -> str:
    """The line that says most: the first that is not about ffmpeg's own housekeeping."""
    for line in lines:
        if line and "repeated" not in line:
            return line.rstrip(".")
    return ""


def plain(line: str) -> str:
    """A message without the address of who said it."""
    return _PREFIX.sub("", line)


def script_path(path: Path) -> str:
    """A path as an input or output of ffmpeg's: never taken for an option or a protocol."""
    return "file:" + str(path)
