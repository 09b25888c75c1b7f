"""Finished segments of a film on disk, and the journal that knows them after a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from srcli.errors import MediaError, UsageError
from srcli.film.description import file_input
from srcli.film.encode import lead
from srcli.film.ffmpeg import FFmpeg
from srcli.film.packets import packets
from srcli.media.atomic import make_folder, part_of, plain_errors, sync_folder
from srcli.media.remote import UrlPath, names_in, remove_folder
from srcli.media.scratch import new_folder

LEAST_FRAMES, MOST_FRAMES = 60, 300
LEAST_S, MOST_S = 20.0, 45.0  # of work: what an interruption costs at most is about a minute
_VERSION = 2
_SAMPLE_BYTES, _SAMPLES = 2**20, 64


@dataclass(frozen=True)
class Segment:
    """A finished part of the film.

    Attributes:
        file: its name in the work folder.
        sha256: of that file.
        tick: seconds, as a fraction; unit of ``times``.
        times: of its frames.
        checksum: of the source's samples of its last frame.
    """

    file: str
    sha256: str
    tick: str
    times: tuple[int, ...]
    checksum: str


def work_folder(target: Path) -> Path:
    """Where the parts of a film lie until it is complete: hidden, beside it, elsewhere too."""
    return target.with_name(f".{target.name}.srcli")


def segments_kept(target: Path) -> bool:
    """Whether a film that was stopped left segments to go on from (see `Work.__exit__`)."""
    return work_folder(target).is_dir()


class Work:
    """A film's work folder, to be used in a ``with`` statement; one process at a time may.

    That of a film that is made elsewhere is there too: each segment, and then the journal, goes
    there when it is finished. What is here is a copy that ffmpeg can read.

    Args:
        target: the film that is made.
        key: stands for the input, the settings and the weights.

    Attributes:
        folder: on this machine.
        segments: the finished ones, in order.
        n_bytes: of these.
        stale: there were segments made with other settings; they are gone.

    Raises:
        UsageError: another process works on this film.
        MediaError: the folder cannot be written.
    """

    def __init__(self, target: Path, key: str) -> None:
        self.target, self.folder, self.key = target, work_folder(target), key
        self._elsewhere: UrlPath | None = None
        if isinstance(self.folder, UrlPath):
            self._elsewhere, self.folder = self.folder, new_folder()
        self.segments: list[Segment] = []
        self.n_bytes = 0
        self.stale = False
        make_folder(self.folder)
        self._lock = FileLock(self.folder / "lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise UsageError(f"another srcli is already writing {target}") from exc
        except OSError as exc:
            raise MediaError(f"{self.folder} cannot be written: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._lock.release()
            if self._elsewhere is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what is finished if the film is not; else leave nothing."""
        keep = kind is not None and bool(self.segments)
        if keep:
            self._tidy()
        self._lock.release()
        if not keep or self._elsewhere is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if not keep and self._elsewhere is not None:
            remove_folder(self._elsewhere)

    def part(self) -> Path:
        """A file for the segment that is being made."""
        return part_of(self.folder / f"{len(self.segments):06d}.nut")

    def add(
        self, part: Path, tick: Fraction, times: Sequence[int], checksum: str, ffmpeg: FFmpeg
    ) -> None:
        """Take a finished segment in.

        Args:
            part: its file; of a worker's, in the work folder elsewhere, where it stays.

        Raises:
            MediaError: its frames are not those that the encoder was given.
        """
        name, is_there = f"{len(self.segments):06d}.nut", False
        if isinstance(part, UrlPath):
            name, is_there = part.name, True
            self._fetch(name)
            part = self.folder / name
        self._check(part, tick, times, ffmpeg)
        segment = Segment(name, _sha256(part), str(tick), tuple(times), checksum)
        with plain_errors(str(self.target), self.folder):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(self.folder / name)
            sync_folder(self.folder)
            if not is_there:
                self._publish(name)
            self._append(asdict(segment))
            self._publish("journal")
            self.n_bytes += (self.folder / name).stat().st_size
        self.segments.append(segment)

    def clear(self) -> None:
        """Forget all segments."""
        self.segments, self.n_bytes = [], 0
        self._rewrite()
        self._tidy()

    def listing(self) -> Path:
        """A list of all segments for ffmpeg's concat demuxer, which leaves their times alone."""
        path = self.folder / "segments"
        lines = ["ffconcat version 1.0"]
        for segment in self.segments:
            lines += [f"file '{segment.file}'", "inpoint 0", "duration 0"]
        with plain_errors(str(self.target), self.folder):
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _publish(self, name: str) -> None:
        """Have a file of the folder elsewhere too, if that is where the film is made."""
        if self._elsewhere is not None:
            path = self._elsewhere / name
            assert isinstance(path, UrlPath)
            path.put(self.folder / name)

    def _fetch(self, name: str) -> None:
        """Have a file of the folder elsewhere here too.

        Raises:
            FileNotFoundError: it is not there.
            MediaError: it cannot be read.
        """
        if self._elsewhere is not None:
            path = self._elsewhere / name
            assert isinstance(path, UrlPath)
            path.fetch(self.folder / name)

    def _open(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fetch("journal")
        entries = self._entries()
        if not entries or entries[0] != {"version": _VERSION, "key": self.key}:
            self.stale = len(entries) > 1
            self.clear()
            return
        for entry in entries[1:]:
            try:
                segment = Segment(**{**entry, "times": tuple(entry["times"])})
                self._fetch(segment.file)
                if _sha256(self.folder / segment.file) != segment.sha256:
                    break
            except (TypeError, KeyError, OSError):
                break
            self.segments.append(segment)
        if len(self.segments) < len(entries) - 1:  # the journal again, without what is damaged
            self._rewrite()
        self.n_bytes = sum((self.folder / s.file).stat().st_size for s in self.segments)
        self._tidy()

    def _rewrite(self) -> None:
        """The journal anew, with the segments that are known."""
        with plain_errors(str(self.target), self.folder):
            (self.folder / "journal").unlink(missing_ok=True)
            self._append({"version": _VERSION, "key": self.key})
            for segment in self.segments:
                self._append(asdict(segment))
            self._publish("journal")

    def _entries(self) -> list[dict[str, Any]]:
        """The journal's lines, up to the first that is not whole."""
        entries: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError):
            for line in (self.folder / "journal").read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    break
                entries.append(entry)
        return entries

    def _append(self, entry: dict[str, Any]) -> None:
        with (self.folder / "journal").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _tidy(self) -> None:
        """Remove what is neither journalled nor the journal."""
        named = {s.file for s in self.segments} | {"journal", "lock"}
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in named:
                with contextlib.suppress(OSError):
                    path.unlink()
        if self._elsewhere is not None:
            for name in names_in(self._elsewhere) - named:
                path_there = self._elsewhere / name
                with contextlib.suppress(OSError, MediaError):
                    path_there.unlink(missing_ok=True)

    def _check(self, part: Path, tick: Fraction, times: Sequence[int], ffmpeg: FFmpeg) -> None:
        timeline = packets(part, file_input(part), "v:0", ffmpeg)
        found, ahead = timeline.seconds(), lead(tick)[0]
        moved = (abs(a - tick * (t + ahead)) for a, t in zip(found, times, strict=False))
        if len(found) != len(times) or any(m > timeline.tick / 2 for m in moved):
            raise MediaError(
                f"the encoder was given {len(times)} frames and made {len(found)}, or moved them",
                "choose another --codec, or leave --encoder-args out",
            )


def key_of(parts: dict[str, Any]) -> str:
    """One hash for everything that the result depends on."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: Path) -> str:
    """A hash that changes when a file does: its size, its time, and samples of what it holds."""
    status = path.stat()
    found = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        step = max(_SAMPLE_BYTES, status.st_size // _SAMPLES)
        for at in range(0, status.st_size, step):
            file.seek(at)
            found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
