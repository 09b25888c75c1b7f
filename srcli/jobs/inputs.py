"""From what was typed to the pictures and films that are meant."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import MediaError, UsageError
from srcli.film.formats import is_film
from srcli.film.sequences import is_pattern
from srcli.media.formats import is_picture

STREAM = Path("-")  # standard input as an input, standard output as an output

_NAMED_BY_US = re.compile(r"^(?P<stem>.+)_(x\d+(\.\d+)?|\d+x\d+)$")


@dataclass(frozen=True)
class Found:
    """A picture or film, and the folder that was named if it was found in one."""

    path: Path
    root: Path | None = None


def find(inputs: Sequence[str], *, recursive: bool = False) -> list[Found]:
    """The pictures and films meant by files, folders, glob patterns and ``-``, each once, in order.

    Raises:
        UsageError: a name does not exist, or a pattern matches nothing.
        MediaError: a folder cannot be listed.
    """
    found: dict[Path, Found] = {}
    for name in inputs:
        for one in _meant_by(name, recursive):
            real = one.path if one.path == STREAM else one.path.resolve()
            found.setdefault(real, one)
    return list(found.values())


def _meant_by(name: str, recursive: bool) -> Iterator[Found]:
    path = Path(name)
    if name == "-":
        yield Found(STREAM)
    elif path.is_dir():
        yield from (Found(p, path) for p in _pictures_in(path, recursive))
    elif path.exists() or is_pattern(path):
        yield Found(path)
    elif glob.has_magic(name):
        matches = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207
        files = [p for p in matches if p.is_file()]
        if not files:
            raise UsageError(f"nothing matches {name}")
        own = own_outputs(files)
        yield from (Found(p) for p in files if p not in own and is_meant(p))
    else:
        raise UsageError(f"{name} does not exist")


def is_meant(path: Path) -> bool:
    """Whether the name ends like a picture or a film."""
    return is_picture(path) or is_film(path)


def _pictures_in(folder: Path, recursive: bool) -> list[Path]:
    """By their extension, sorted; neither hidden files nor srcli's own outputs."""
    found: list[Path] = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
            here = [Path(parent, n) for n in sorted(names) if not n.startswith(".")]
            pictures = [p for p in here if is_meant(p)]
            own = own_outputs(pictures)
            found += [p for p in pictures if p not in own]
    except OSError as exc:
        raise MediaError(f"cannot list {exc.filename}: {exc.strerror}") from exc
    return found


def _raise(error: OSError) -> None:
    raise error


def own_outputs(pictures: Iterable[Path]) -> set[Path]:
    """Those named like an output of another one of them (``a_x4.png`` beside ``a.png``)."""
    pictures = list(pictures)
    stems = {(p.parent, p.stem) for p in pictures}
    own = set()
    for path in pictures:
        named = _NAMED_BY_US.match(path.stem)
        if named and (path.parent, named["stem"]) in stems:
            own.add(path)
    return own
