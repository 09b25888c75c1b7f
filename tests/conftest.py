"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SRCLI_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared data folder; skips where there is none."""
    if not (SHARED / "weights" / "INDEX.tsv").is_file():
        pytest.skip(f"no shared data at {SHARED} (set SRCLI_SHARED)")
    return SHARED
