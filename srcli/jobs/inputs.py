"""From what was typed to the pictures and films that are meant."""

from __future__ import annotations

import glob
import logging
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import MediaError, SrcliError, UsageError
from srcli.film.formats import EXTENSIONS as FILM_EXTENSIONS
from srcli.film.sequences import is_pattern
from srcli.jobs.events import LeftOut, Noted
from srcli.jobs.failures import failure_of
from srcli.jobs.names import NO_FILES, ending, in_folder, in_order, split, stem_and_ending
from srcli.media.formats import EXTENSIONS as PICTURE_EXTENSIONS
from srcli.media.remote import UrlPath, is_url, matches, path_of, shown, walk

log = logging.getLogger(__name__)

STREAM_NAME = "-"  # standard input as an input, standard output as an output
STREAM = Path(STREAM_NAME)
# names that differ in case alone are one file there, as the system knows best
SAME_IN_ANY_CASE = sys.platform in ("win32", "darwin")
FEW = 16  # names in one folder that are asked about one by one; of more it is listed
_NAMED_BY_US = re.compile(r"^(?P<stem>.+)_(x\d+(\.\d+)?|\d+x\d+)$")


@dataclass(frozen=True, slots=True)
class Found:
    """A picture or film. There may be a million of them, so it is small.

    Attributes:
        name: of the file.
        root: the folder that was named, if it was found in one.
        failure: why nothing can be done with it, if that is known already.
        is_pipe: it can be read but once, and by this process alone.
    """

    name: str
    root: Path | None = None
    failure: SrcliError | None = None
    is_pipe: bool = False

    @property
    def path(self) -> Path:
        return path_of(self.name)

    @property
    def is_film(self) -> bool:
        """Whether the name is that of a film, or of a row of pictures."""
        return ending(self.name) in FILM_EXTENSIONS or ("%" in self.name and is_pattern(self.path))


@dataclass(frozen=True)
class Meant:
    """What the inputs mean.

    Attributes:
        found: each once, in order; by what tells that two names are one file.
        events: what is to be told: own outputs left out, folders without a picture.
        one_file: exactly one file was named, or standard input.
    """

    found: dict[str, Found]
    events: tuple[LeftOut | Noted, ...]
    one_file: bool


def find(inputs: Sequence[str], *, recursive: bool = False) -> Meant:
    """The pictures and films meant by files, folders, glob patterns and ``-``.

    What is wrong with one of several inputs is that one's failure, a name that does not exist
    included.

    Raises:
        UsageError: the only name is empty or does not exist, or the only pattern matches nothing.
    """
    found: dict[str, Found] = {}
    real = RealNames()
    events: list[LeftOut | Noted] = []
    for name in inputs:
        is_empty = True
        try:
            for one in _meant_by(name, recursive, events):
                is_empty = False
                found.setdefault(real.of(one.name), one)
            if is_empty:
                events.append(Noted(Path(shown(name)), "there are no pictures or films in it"))
        except Exception as exc:
            failure = failure_of(exc, Path(shown(name)))
            if len(inputs) == 1 and isinstance(failure, UsageError):
                raise failure from exc
            found.setdefault(name, Found(shown(name), failure=failure))
    first = next(iter(found.values()), None)
    one_file = len(inputs) == 1 and len(found) == 1 and first is not None and first.root is None
    one_file = one_file and first is not None and first.path == path_of(inputs[0])
    return Meant(found, tuple(events), one_file)


def check_name(name: str) -> None:
    """Raises UsageError if the only name is empty or does not exist; before anything is listed."""
    if is_url(name):
        return  # that may take long, and is done but once
    try:
        next(_meant_by(name, False, []), None)
    except UsageError:
        raise
    except Exception as exc:  # a failure of this input's own, as find() has it
        log.debug("%s: %s", name, exc)


def _meant_by(name: str, recursive: bool, events: list[LeftOut | Noted]) -> Iterator[Found]:
    if not name:  # to the system this is the current folder, which nobody means by it
        raise UsageError("an input has an empty name", "is a shell variable not set?")
    if name == STREAM_NAME:
        yield Found(name, is_pipe=True)
        return
    plain = in_order(name)
    status = _status(plain)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        yield Found(plain, is_pipe=stat.S_ISFIFO(status.st_mode))
        return
    path = path_of(name)
    if status is not None:
        yield from _pictures_in(path, recursive, events)
    elif is_pattern(path):
        yield Found(str(path))
    elif glob.has_magic(str(path)):
        if isinstance(path, UrlPath):
            files = [str(path_of(p)) for p in matches(path)]
        else:
            files = _matching(name)
        if not files:
            raise UsageError(f"nothing matches {path}")
        meant, own = _without_own([name for name in files if _is_meant(name)])
        if own:
            events.append(LeftOut(path, tuple(map(path_of, own))))
        yield from map(Found, meant)
    else:
        raise UsageError(f"{path} does not exist")


def _matching(pattern: str) -> list[str]:
    """Files by name, in the order of their paths."""
    every = [in_order(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    every.sort(key=lambda name: os.path.normcase(name).split(os.sep))  # noqa: PTH206
    # of what is none the slower one may raise why it cannot be known
    return [n for n in every if os.path.isfile(n) or Path(n).is_file()]  # noqa: PTH113


def _status(name: str) -> os.stat_result | None:
    """None if nothing has this name; any other reason why it cannot be looked at is raised."""
    try:
        return path_of(name).stat() if is_url(name) else os.stat(name)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # a NUL, which no name has
        return None


def real_path(path: Path) -> Path:
    """Without links and dots: what tells that two names are one file."""
    try:
        return path if path == STREAM else path.resolve()
    except (OSError, RuntimeError, ValueError):  # a link to itself, say: a failure, told elsewhere
        return path.absolute()


class RealNames:
    """Names without links and dots, of many files: each of their folders is resolved but once."""

    def __init__(self) -> None:
        self._folders: dict[str, _RealFolder] = {}

    def of(self, name: str) -> str:
        """What tells that two names are one file."""
        if name == STREAM_NAME or is_url(name):
            return name
        before, leaf = split(name)
        folder = self._folders.get(before)
        if folder is None:
            folder = self._folders[before] = _RealFolder(before)
        if leaf in NO_FILES or folder.has_link(leaf):
            return os.path.normcase(real_path(Path(name)))
        return folder.real + os.path.normcase(leaf)


class _RealFolder:
    """A folder, without links and dots, and which names in it are links.

    Args:
        before: what stands before names in it.
    """

    def __init__(self, before: str) -> None:
        self.real = os.path.normcase(in_folder(real_path(Path(before))))
        self._before = before
        self._n_asked = 0
        self._links: frozenset[str] | None = None

    def has_link(self, leaf: str) -> bool:
        self._n_asked += 1
        if self._n_asked == FEW + 1 and not SAME_IN_ANY_CASE:
            self._links = _links_in(self._before)
        if self._links is None:
            return os.path.islink(self._before + leaf)  # noqa: PTH114
        return leaf in self._links


def _links_in(before: str) -> frozenset[str] | None:
    """None if the folder cannot be listed."""
    try:
        with os.scandir(before or os.curdir) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError):
        return None


def _is_meant(name: str) -> bool:
    """Whether it ends like that of a picture or a film."""
    kind = ending(name)
    return kind in PICTURE_EXTENSIONS or kind in FILM_EXTENSIONS


def _pictures_in(folder: Path, recursive: bool, events: list[LeftOut | Noted]) -> Iterator[Found]:
    """By their extension, sorted; neither hidden files nor srcli's own outputs."""
    errors: list[OSError] = []
    own: list[str] = []
    walked = walk(folder) if isinstance(folder, UrlPath) else os.walk(folder, onerror=errors.append)
    for parent, folders, names in walked:
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
        place = in_folder(path_of(parent))
        leaves = sorted(n for n in names if not n.startswith(".") and _is_meant(n))
        pictures, others = _without_own([place + leaf for leaf in leaves])
        own += others
        yield from (Found(name, folder) for name in pictures)
    for error in errors:
        path = Path(error.filename or folder)
        failure = MediaError(f"cannot list {path}: {error.strerror or error}")
        yield Found(str(path), folder, failure)
    if own:
        events.append(LeftOut(folder, tuple(map(path_of, own))))


def _without_own(pictures: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The pictures, and those named like an output of another one of them.

    ``a_x4.png`` beside ``a.png`` is taken for what an earlier run wrote.
    """
    named = []
    for name in pictures:
        folder, leaf = split(name)
        if (match := _NAMED_BY_US.match(stem_and_ending(leaf)[0])) is not None:
            named.append((name, folder + match["stem"]))
    if not named:
        return pictures, ()
    sources = {folder + stem_and_ending(leaf)[0] for folder, leaf in map(split, pictures)}
    own = [name for name, source in named if source in sources]
    ours = set(own)
    return [name for name in pictures if name not in ours], own
