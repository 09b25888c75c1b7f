"""Whether Ray is there, and what it is told before it is imported."""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib.util import find_spec

from srcli.errors import UsageError


def settle(environment: MutableMapping[str, str]) -> None:
    """Ray reports its use to its makers unless it is told not to: nothing is sent."""
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def check() -> None:
    """Raises UsageError if Ray is not installed; Ray is not imported."""
    if find_spec("ray") is None:
        raise UsageError("--cluster needs Ray, which is not installed", 'pip install "srcli[ray]"')
