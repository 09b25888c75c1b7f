"""The user's own models, by name in every command."""

from __future__ import annotations

from srcli import catalog
from srcli.catalog import Catalogue
from srcli.cli.screen import say
from srcli.weights.user_models import data_dir, own_models, with_own_models

_warned: set[str] = set()


def _with_own(catalogue: Catalogue) -> Catalogue:
    """The user's own models after the built-in ones; each thing wrong with them is said once."""
    folder = data_dir()
    for problem in own_models(folder).problems:
        if problem not in _warned:
            _warned.add(problem)
            say(f"srcli: {problem}")
    return with_own_models(catalogue, folder)


def extend() -> None:
    """Have names mean them, too."""
    catalog.extend(_with_own)
