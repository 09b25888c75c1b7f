"""What MkDocs makes anew at each build: pages from the program, and the project's own files."""

from __future__ import annotations

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


PAGES: dict[str, Callable[[], str | bytes]] = {
    "reference/commands.md": commands_page.page,
    "models.md": models_page.page,
    "models.svg": models_page.plot,
    "contributing.md": lambda: _of_the_project("CONTRIBUTING.md"),
    "changes.md": lambda: _of_the_project("CHANGELOG.md"),
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files
