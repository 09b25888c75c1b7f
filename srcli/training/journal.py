"""What of a long piece of work is done, part by part, so that an interrupted one goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from srcli.errors import ResourceError

EVERY_S = 2.0  # what may be lost to a crash


class Journal:
    """Numbers of parts, written down when what they stand for is on the disk.

    A context manager: what was noted inside is written down at its end, also after an error.

    Args:
        path: of the journal; it exists only while the work is unfinished.
        maps: memory-mapped files that the parts are written into.
    """

    def __init__(self, path: Path, maps: Iterable[NDArray[np.uint8]]) -> None:
        self._path, self._maps = path, tuple(maps)
        self._new: list[int] = []
        self._at = time.monotonic()

    def note(self, part: int) -> None:
        """This part is in the maps."""
        self._new.append(part)
        if time.monotonic() - self._at > EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Bring the maps to the disk, and then say what they hold.

        Raises:
            ResourceError: the disk is full.
        """
        try:
            for pixels in self._maps:
                if isinstance(pixels, np.memmap):
                    pixels.flush()
            with self._path.open("a", encoding="ascii") as file:
                file.writelines(f"{part}\n" for part in self._new)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise ResourceError(
                f"{self._path.parent} cannot be written to: {exc}.", "Make room, then go on."
            ) from exc
        self._new, self._at = [], time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.flush()


def done(path: Path) -> set[int]:
    """Numbers in whole lines: the last one may have been cut short by a crash."""
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return set()
    return {int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")}
