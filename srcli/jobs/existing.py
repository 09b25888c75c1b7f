"""Which outputs exist already; a folder of many is listed once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from srcli.jobs.inputs import FEW, SAME_IN_ANY_CASE, STREAM_NAME
from srcli.jobs.names import split
from srcli.media.remote import UrlPath, is_url, names_in, path_of

_SURE_BYTES = 255  # of a longer name the system says whether there can be such a file


class ExistingFiles:
    """What lies in the folders of the outputs, as they were when first listed."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._folders: dict[str, frozenset[str] | None] = {}

    def has(self, target: str) -> bool:
        """Whether an output exists, by its name.

        Raises:
            OSError: there never can be a file of this name.
        """
        if target == STREAM_NAME:
            return False
        folder, name = split(target)
        names = self._folders.get(folder)
        if names is None:
            self._asked[folder] += 1
            if (
                self._asked[folder] <= FEW
                or folder in self._folders
                or (SAME_IN_ANY_CASE and not is_url(target))
            ):
                return path_of(target).exists()
            names = self._folders[folder] = _files_in(path_of(target).parent)
        if names is None or name in ("", os.pardir) or _is_long(name):
            return path_of(target).exists()
        return name in names


def _is_long(name: str) -> bool:
    return (len(name) if name.isascii() else len(os.fsencode(name))) > _SURE_BYTES


def _files_in(folder: Path) -> frozenset[str] | None:
    """Names of all that lies in a folder, links to nothing apart; None if it cannot be listed."""
    if isinstance(folder, UrlPath):
        return names_in(folder)
    try:
        with os.scandir(folder) as entries:
            return frozenset(e.name for e in entries if not e.is_symlink() or _leads(e.path))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError):
        return None


def _leads(link: str) -> bool:
    return os.path.exists(link)  # noqa: PTH110
