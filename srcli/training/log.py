"""``log.jsonl``: what happened in a run, one event a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srcli.errors import ResourceError
from srcli.training import checkpoint, report

Event = dict[str, Any]


class Log:
    """``log.jsonl``, one event a line, and TensorBoard if wanted.

    A resumed run drops what was logged after its checkpoint.
    """

    def __init__(
        self, path: Path, *, keep_until: int = 0, on: bool = True, board: report.Board | None = None
    ) -> None:
        self._path, self.on, self._board = path, on, board
        if not on:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if line.get("step", 0) <= keep_until]
        text = "".join(json.dumps(line) + "\n" for line in kept) if keep_until else ""
        checkpoint.write_atomic(path, text.encode())

    def write(self, event: Event) -> Event:
        if self.on:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(event) + "\n")
            except OSError as exc:
                raise ResourceError(f"{self._path} cannot be written: {exc}.") from exc
        if self._board is not None:
            self._board.write(event)
        return event

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> Iterator[Event]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # cut off by a crash
