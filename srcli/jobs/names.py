"""Files' names as strings. There may be a million of them, for which paths take too long.

Such a name is what ``str`` makes of a path: in order, with neither double slashes nor ``./``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from srcli.media.remote import is_url, path_of

NO_FILES = ("", os.curdir, os.pardir)
_SEPARATORS = {"/", os.sep}


def in_order(name: str) -> str:
    """What was typed as a name, or a URL: as ``str(path_of(name))``."""
    folder, leaf = split(name)
    if leaf in NO_FILES or is_url(name):
        return str(path_of(name))
    return _folder_in_order(folder) + leaf


def in_folder(folder: Path) -> str:
    """What the names of the files in a folder begin with: ``photos/``, nothing of ``.``."""
    return str(folder / "_")[:-1]


@lru_cache(maxsize=256)
def _folder_in_order(before: str) -> str:
    return in_folder(Path(before))


def split(name: str) -> tuple[str, str]:
    """What stands before the file's own name, and that: ``photos/``, ``a.b.png``."""
    start = name.rfind("/") + 1
    if os.sep != "/":
        start = max(start, name.rfind(os.sep) + 1, name.rfind(":") + 1)
    return name[:start], name[start:]


def stem_and_ending(leaf: str) -> tuple[str, str]:
    """Of a file's own name, as pathlib has them: ``a.b``, ``.png``."""
    dot = leaf.rfind(".")
    return (leaf[:dot], leaf[dot:]) if 0 < dot < len(leaf) - 1 else (leaf, "")


def ending(name: str) -> str:
    """In lower case, with the dot."""
    dot = name.rfind(".")
    if dot <= 0 or name[dot - 1] in _SEPARATORS or dot == len(name) - 1:
        return ""
    found = name[dot:].lower()
    return "" if _SEPARATORS.intersection(found) else found
