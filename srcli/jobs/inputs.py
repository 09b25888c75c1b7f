"""From what was typed to the pictures and films that are meant."""

from __future__ import annotations

import glob
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import MediaError, SrcliError, UsageError
from srcli.film.formats import EXTENSIONS as FILM_EXTENSIONS
from srcli.film.formats import is_film
from srcli.film.sequences import is_pattern
from srcli.jobs.events import LeftOut, Noted
from srcli.jobs.failures import failure_of
from srcli.media.formats import is_picture
from srcli.media.remote import UrlPath, is_url, matches, path_of, shown, walk

log = logging.getLogger(__name__)

STREAM = Path("-")  # standard input as an input, standard output as an output

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
        ending = os.path.splitext(self.name)[1]  # noqa: PTH122 -- of a million names
        return ending.lower() in FILM_EXTENSIONS or ("%" in self.name and is_pattern(self.path))


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
        path = Path(shown(name))
        try:
            for one in _meant_by(name, recursive, events):
                is_empty = False
                found.setdefault(real.of(one.name), one)
            if is_empty:
                events.append(Noted(path, "there are no pictures or films in it"))
        except Exception as exc:
            failure = failure_of(exc, path)
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
    path = path_of(name)
    status = None if name == "-" else _status(path)
    if name == "-":
        yield Found(name, is_pipe=True)
    elif status is not None and stat.S_ISDIR(status.st_mode):
        yield from _pictures_in(path, recursive, events)
    elif status is not None or is_pattern(path):
        yield Found(str(path), is_pipe=status is not None and stat.S_ISFIFO(status.st_mode))
    elif glob.has_magic(str(path)):
        if isinstance(path, UrlPath):
            files = [path_of(p) for p in matches(path)]
        else:
            every = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207
            files = [p for p in every if p.is_file()]
        if not files:
            raise UsageError(f"nothing matches {path}")
        meant, own = _without_own([p for p in files if is_meant(p)])
        if own:
            events.append(LeftOut(path, own))
        yield from (Found(str(p)) for p in meant)
    else:
        raise UsageError(f"{path} does not exist")


def _status(path: Path) -> os.stat_result | None:
    """None if nothing has this name; any other reason why it cannot be looked at is raised."""
    try:
        return path.stat()
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
        self._folders: dict[str, str] = {}

    def of(self, name: str) -> str:
        """What tells that two names are one file."""
        folder, leaf = os.path.split(name)
        if name == str(STREAM) or is_url(name):
            return name
        if leaf in ("", os.curdir, os.pardir) or os.path.islink(name):  # noqa: PTH114
            return os.path.normcase(real_path(Path(name)))
        if folder not in self._folders:
            self._folders[folder] = str(real_path(Path(folder)))
        return os.path.normcase(os.path.join(self._folders[folder], leaf))  # noqa: PTH118


def is_meant(path: Path) -> bool:
    """Whether the name ends like a picture or a film."""
    return is_picture(path) or is_film(path)


def _pictures_in(folder: Path, recursive: bool, events: list[LeftOut | Noted]) -> Iterator[Found]:
    """By their extension, sorted; neither hidden files nor srcli's own outputs."""
    errors: list[OSError] = []
    own: list[Path] = []
    walked = walk(folder) if isinstance(folder, UrlPath) else os.walk(folder, onerror=errors.append)
    for parent, folders, names in walked:
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
        place = path_of(parent)
        here = [place / n for n in sorted(names) if not n.startswith(".")]
        pictures, others = _without_own([p for p in here if is_meant(p)])
        own += others
        yield from (Found(str(p), folder) for p in pictures)
    for error in errors:
        path = Path(error.filename or folder)
        failure = MediaError(f"cannot list {path}: {error.strerror or error}")
        yield Found(str(path), folder, failure)
    if own:
        events.append(LeftOut(folder, tuple(own)))


def _without_own(pictures: Sequence[Path]) -> tuple[list[Path], tuple[Path, ...]]:
    """The pictures, and those named like an output of another one of them.

    ``a_x4.png`` beside ``a.png`` is taken for what an earlier run wrote.
    """
    named = [(path, match) for path in pictures if (match := _NAMED_BY_US.match(path.stem))]
    if not named:
        return list(pictures), ()
    stems = {(p.parent, p.stem) for p in pictures}
    own = [path for path, match in named if (path.parent, match["stem"]) in stems]
    ours = set(own)
    return [p for p in pictures if p not in ours], tuple(own)
