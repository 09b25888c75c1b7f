"""Where the outputs go and what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from srcli.errors import UsageError
from srcli.film.formats import is_film, output_extension
from srcli.film.sequences import is_pattern, stem_of
from srcli.jobs.inputs import STREAM, STREAM_NAME, Found
from srcli.jobs.names import in_folder, split, stem_and_ending
from srcli.media.formats import FORMATS, FormatName, format_of, is_picture
from srcli.media.remote import UrlPath, check_writable, path_of

FIELDS = ("dir", "stem", "ext", "scale", "model", "width", "height")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Naming:
    """Output names: one file, a folder, a template, or beside each input (all None).

    Attributes:
        template: with fields in braces: {dir} {stem} {ext} {scale} {model} {width} {height}. {ext}
            is the input's ending without its dot; a template without an ending gets one.
        extension: of the format that was asked for; None: as the input's.
        film_extension: of the container that was asked for; None: as the input's.
    """

    file: Path | None = None
    folder: Path | None = None
    template: str | None = None
    extension: str | None = None
    film_extension: str | None = None

    @property
    def beside(self) -> bool:
        """True if each output lies beside its input."""
        return self.file is None and self.folder is None and self.template is None

    @property
    def needs_size(self) -> bool:
        """True if the name cannot be known without the picture's size."""
        return self.template is not None and bool(re.search(r"\{(width|height)\}", self.template))

    def target(
        self, found: Found, model: str, scale: float | None, sr_size: tuple[int, int] | None
    ) -> str:
        """The output's name for an input; ``sr_size`` (height, width) names it where there is no
        scale."""
        if self.file is not None:
            return str(self.file)
        before, leaf = split(found.name)
        stem, suffix = stem_and_ending(leaf)
        if found.is_film:
            path = found.path
            extension = self.film_extension or output_extension(path)
            if is_pattern(path):
                stem = stem_of(path)
        else:
            extension = self.extension or _own_extension(suffix)
        if found.name == STREAM_NAME:
            stem = "stdin"
        size = f"{sr_size[1]}x{sr_size[0]}" if sr_size else ""
        if self.template is not None:
            values = {
                "dir": str(found.path.parent),
                "stem": stem,
                "ext": (suffix or extension)[1:],
                "scale": f"{scale:g}" if scale is not None else size,
                "model": model,
                "width": str(sr_size[1]) if sr_size else "",
                "height": str(sr_size[0]) if sr_size else "",
            }
            named = _FIELD.sub(lambda field: values[field[1]], self.template)
            return str(path_of(named if _has_ending(self.template) else named + extension))
        if self.folder is not None:
            before = _place(self.folder, found.root, before if found.root is not None else "")
        return f"{before}{stem}_{f'x{scale:g}' if scale is not None else size}{extension}"


@lru_cache(maxsize=256)
def _place(folder: Path, root: Path | None, before: str) -> str:
    """What the names of outputs in a folder begin with; of what lies somewhere below a root, in the
    same place below the folder."""
    return in_folder(folder if root is None else folder / path_of(before).relative_to(root))


def naming(
    output: str | None,
    found: Sequence[Found],
    one_file: bool,
    form: FormatName | None,
    container: str | None = None,
) -> Naming:
    """What ``-o`` means.

    Args:
        output: as typed; None: beside each input.
        found: the inputs.
        one_file: exactly one file was named.
        form: the format asked for.
        container: of films, as asked for: ``mkv``.

    Raises:
        UsageError: the outputs need a folder, the format is unknown or only read, ...
    """
    extension = FORMATS[form].extensions[0] if form else None
    film_extension = f".{container}" if container else None
    endings: dict[str, Any] = {"extension": extension, "film_extension": film_extension}
    if output is None:
        is_stream = len(found) == 1 and found[0].path == STREAM
        return Naming(file=STREAM if is_stream else None, **endings)
    if output == "-":
        if not one_file:
            raise UsageError("only one picture can go to standard output", "name a folder with -o")
        if is_film(found[0].path) or is_pattern(found[0].path):
            raise UsageError("a film cannot go to standard output", "name a file with -o")
        return Naming(file=STREAM)
    if "{" in output:
        unknown = sorted({f for f in _FIELD.findall(output) if f not in FIELDS})
        if unknown or _FIELD.sub("", output).count("{") or _FIELD.sub("", output).count("}"):
            said = f"{{{unknown[0]}}} is not a field" if unknown else "a brace is not closed"
            raise UsageError(
                f"-o {output}: {said}", "fields are " + " ".join(f"{{{f}}}" for f in FIELDS)
            )
        return Naming(template=output, **endings)
    path = path_of(output)
    check_writable(path)
    if isinstance(path, UrlPath):
        is_folder = output.endswith("/") or path.is_dir()
        is_there = path.exists()
    else:  # of a name that cannot be looked at, each job says why
        is_folder, is_there = os.path.isdir(path), os.path.exists(path)  # noqa: PTH110, PTH112
    if is_folder or output.endswith(("/", os.sep)) or not one_file:
        if is_there and not is_folder:
            raise UsageError(f"{path} is a file, but the results need a folder")
        return Naming(folder=path, **endings)
    if is_film(found[0].path) or is_pattern(found[0].path):
        return Naming(file=path)
    entry = FORMATS[form] if form else format_of(path)
    if is_picture(path) and format_of(path) is not entry:
        raise UsageError(
            f"--format asks for {entry.title}, but the name {path} for {format_of(path).title}",
            "leave out --format, or change the ending of the name",
        )
    if not entry.writable:
        raise UsageError(f"srcli reads {entry.title} but does not write it", "use .png or .webp")
    return Naming(file=path)


def _has_ending(template: str) -> bool:
    """Whether the names are given their ending by the template: a dot outside of its fields."""
    return "." in _FIELD.sub("", Path(template).name)


@lru_cache(maxsize=256)
def _own_extension(extension: str) -> str:
    """The input's, or .png where srcli does not write its format."""
    path = Path(f"name{extension}")
    return extension if is_picture(path) and format_of(path).writable else ".png"
