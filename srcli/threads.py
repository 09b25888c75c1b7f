"""How threads wait for each other, chosen before the libraries that compute are loaded.

PyTorch's threads wait for the next piece of work by counting in a loop. On an idle machine that
costs nothing; beside another busy program each of them counts on a core that the other threads
need, and everything takes many times as long. A thread that sleeps is woken within microseconds.

The libraries read these variables once, when they are loaded, so they are set when ``srcli`` is
imported; children inherit them. What the user has set stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

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


# of the libraries that numpy and PyTorch compute with
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def one_core_each(environment: MutableMapping[str, str]) -> Iterator[None]:
    """For processes that are started meanwhile, one for each core: their libraries use one thread
    each. With as many threads as cores in each of them, all would wait for each other."""
    before = {name: environment.get(name) for name in ONE_THREAD}
    environment.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environment[name]
            else:
                environment[name] = value
