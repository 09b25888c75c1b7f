"""What MkDocs makes anew at each build: tables from the program, and the project's own files."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import commands_page  # noqa: E402 - beside this file
import models_page  # noqa: E402


def _of_the_project(name: str) -> str:
    """A page at the root of the project, its links as they are from docs/."""
    return (HERE.parent / name).read_text("utf-8").replace("](docs/", "](")


FILES: dict[str, Callable[[], str | bytes]] = {
    "models.svg": models_page.plot,
    "contributing.md": lambda: _of_the_project("CONTRIBUTING.md"),
    "changes.md": lambda: _of_the_project("CHANGELOG.md"),
}
# what stands in pages in place of comments of these names; once, as some take seconds
PARTS: dict[str, Callable[[], str]] = {
    part.__name__: functools.cache(part)
    for part in (
        commands_page.commands,
        models_page.purposes,
        models_page.advice,
        models_page.families,
        models_page.remarks,
        models_page.absent,
    )
}
PLACE = re.compile(rf"<!-- ({'|'.join(PARTS)}) -->")


def on_files(files: Files, config: Any) -> Files:
    """Add the files that are not in docs/."""
    for name, make in FILES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made from the program into its places."""
    return PLACE.sub(lambda found: PARTS[found[1]](), markdown)
