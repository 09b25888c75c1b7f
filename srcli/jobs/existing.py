"""Which outputs exist already; a folder of many is listed once."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

from srcli.jobs.inputs import STREAM
from srcli.media.remote import UrlPath, names_in

# names that differ in case alone are one file there, as the system knows best
_SAME_IN_ANY_CASE = sys.platform in ("win32", "darwin")
_SURE_BYTES = 255  # of a longer name the system says whether there can be such a file
_FEW = 16  # outputs in one folder, which are asked about one by one


class ExistingFiles:
    """What lies in the folders of the outputs, as they were when first listed."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._folders: dict[str, frozenset[str] | None] = {}

    def has(self, target: Path) -> bool:
        """Whether an output exists.

        Raises:
            OSError: there never can be a file of this name.
        """
        if target == STREAM:
            return False
        name, folder = target.name, str(target.parent)
        self._asked[folder] += 1
        if (
            self._asked[folder] <= _FEW
            or (_SAME_IN_ANY_CASE and not isinstance(target, UrlPath))
            or name in ("", os.pardir)
            or len(os.fsencode(name)) > _SURE_BYTES
        ):
            return target.exists()
        if folder not in self._folders:
            self._folders[folder] = _files_in(target.parent)
        names = self._folders[folder]
        return target.exists() if names is None else name in names


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
