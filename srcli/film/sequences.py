"""Rows of pictures that are numbered like ``frames/%05d.png``."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from pathlib import Path

from srcli.errors import MediaError
from srcli.film.ffmpeg import script_path
from srcli.media.formats import is_picture

_NUMBER = re.compile(r"%(0?)(\d*)d")


def is_pattern(path: Path) -> bool:
    """Whether a name stands for numbered pictures."""
    return len(_NUMBER.findall(path.name)) == 1 and is_picture(path) and not path.exists()


def numbered(pattern: Path, number: int) -> Path:
    """The name of one of them."""
    return pattern.with_name(_NUMBER.sub(lambda m: _padded(m, number), pattern.name))


def _padded(found: re.Match[str], number: int) -> str:
    return str(number).rjust(int(found[2] or 0), "0" if found[1] else " ")


def number_of(pattern: Path, path: Path) -> int | None:
    """The number of a file that the pattern stands for; None: it is not one."""
    before, _, after = _NUMBER.sub("\0", pattern.name).partition("\0")
    if not (path.name.startswith(before) and path.name.endswith(after)):
        return None
    digits = path.name[len(before) : len(path.name) - len(after)].strip()
    if not digits.isdecimal() or numbered(pattern, int(digits)).name != path.name:
        return None
    return int(digits)


def stem_of(pattern: Path) -> str:
    """A name for what is made of the pictures: theirs without the number, or their folder's."""
    plain = _NUMBER.sub("", pattern.stem).strip(" ._-")
    return plain or pattern.absolute().parent.name or "frames"


def files_of(pattern: Path) -> list[Path]:
    """The pictures in order.

    Raises:
        MediaError: there are none, or one is missing between others.
    """
    try:
        found = {n: p for p in pattern.parent.iterdir() if (n := number_of(pattern, p)) is not None}
    except OSError as exc:
        raise MediaError(f"cannot list {pattern.parent}: {exc.strerror}") from exc
    if not found:
        raise MediaError(f"there are no pictures {pattern}")
    numbers = sorted(found)
    for number, following in itertools.pairwise(numbers):
        if following != number + 1:
            raise MediaError(
                f"{numbered(pattern, number + 1)} is missing from the numbered pictures"
            )
    return [found[n] for n in numbers]


def sequence_input(pattern: Path, rate: Fraction) -> tuple[str, ...]:
    """How ffmpeg is told to read them; any other ``%`` of the path stands for itself.

    Raises:
        MediaError: as files_of.
    """
    first = number_of(pattern, files_of(pattern)[0])
    field = _NUMBER.search(pattern.name)
    assert field is not None
    before, after = pattern.name[: field.start()], pattern.name[field.end() :]
    parent = script_path(pattern.parent).replace("%", "%%")
    name = before.replace("%", "%%") + field[0] + after.replace("%", "%%")
    return (
        *("-f", "image2", "-pattern_type", "sequence"),
        *("-framerate", f"{rate.numerator}/{rate.denominator}"),
        *("-start_number", str(first), "-i", f"{parent}/{name}"),
    )
