"""Tables of the catalogue's TOML files, read key by key, and what is said when one is wrong."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from srcli.errors import SrcliError

T = TypeVar("T")


class CatalogueError(SrcliError):
    """The catalogue contradicts itself. Names the file and the entry."""


class EntryError(Exception):
    """An entry is wrong; becomes a CatalogueError with the path in front."""


class Table:
    """A TOML table whose keys are taken one by one; what nobody took is an error."""

    def __init__(self, table: Any, where: str) -> None:
        if not isinstance(table, dict):
            raise EntryError(f"{where}: a table is expected, not {table!r}")
        self._left = dict(table)
        self.where = where

    def wrong(self, what: str) -> EntryError:
        return EntryError(f"{self.where}: {what}")

    def has(self, key: str) -> bool:
        return key in self._left

    def is_text(self, key: str) -> bool:
        return isinstance(self._left.get(key), str)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        if key not in self._left:
            if default is None:
                raise self.wrong(f"{key} is missing")
            return default
        value = self._left.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # exact: TOML's true is not the number 1
            raise self.wrong(f"{key} must be of type {kind.__name__}, not {value!r}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, str, default)
        if default is None and not value.strip():
            raise self.wrong(f"{key} is empty")
        return value

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        value = self.take(key, int, default)
        if not least <= value <= most:
            raise self.wrong(f"{key} must lie in {least}..{most}, not {value}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> Any:
        value = self.take(key, str, default)
        if value not in choices:
            raise self.wrong(f"{key} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def matching(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        value = self.take(key, str)
        if not pattern.fullmatch(value):
            raise self.wrong(f"{key} must be {what}, not {value!r}")
        return value

    def positive(self, key: str, default: float | None = None) -> float | None:
        if key not in self._left:
            return default
        value = self.take(key, float)
        if not 0 < value < float("inf"):
            raise self.wrong(f"{key} must be a positive number, not {value}")
        return value

    def tables(self, key: str) -> list[Any]:
        return self.take(key, list, [])

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one text, none twice."""
        values = self.take(key, list)
        if not values or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.wrong(f"{key} must be a list of names, not {values!r}")
        if len(set(values)) < len(values):
            raise self.wrong(f"{key} has a name twice: {', '.join(values)}")
        return tuple(values)

    def end(self) -> None:
        if self._left:
            raise self.wrong(f"unknown key {', '.join(sorted(self._left))}")
