"""How threads wait for each other, chosen before the libraries that compute are loaded.

PyTorch's threads wait for the next piece of work by counting in a loop. On an idle machine that
costs nothing; beside another busy program each of them counts on a core that the other threads
need, and everything takes many times as long. A thread that sleeps is woken within microseconds.

The libraries read these variables once, when they are loaded, so they are set when ``srcli`` is
imported; children inherit them. What the user has set stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

# Of what was measured (docs/performance.md), the only one within 1.3 times of the best beside busy
# programs in pictures, films and training alike: any count of turns is slow for one of them.
# It is read by GNU's OpenMP (PyTorch on Linux), LLVM's and Intel's (PyTorch on macOS and Windows)
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
# any of them says how to wait, for one library or another
SPOKEN_FOR = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def is_chosen(environment: Mapping[str, str]) -> bool:
    """Whether the environment says how threads wait."""
    return any(environment.get(name, "").strip() for name in SPOKEN_FOR)


def is_ours(environment: Mapping[str, str]) -> bool:
    """Whether what it says is just what ``settle`` chooses."""
    said = {name: environment[name] for name in SPOKEN_FOR if environment.get(name, "").strip()}
    return said == WAITING


def settle(environment: MutableMapping[str, str]) -> None:
    """Choose how threads wait, unless the environment does."""
    if not is_chosen(environment):
        environment.update(WAITING)
