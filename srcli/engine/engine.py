"""What an engine is, and what a back end is given to open one. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from srcli.catalog import Model
from srcli.engine.settings import Settings
from srcli.weights import Announce

if TYPE_CHECKING:
    from srcli.engine.pytorch.network import Network
    from srcli.engine.result import Pixels, Report


class Engine(Protocol):
    """What enlarges a picture: a back end's engine, or a Resampler."""

    def strips(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        size: tuple[int, int],
        *,
        reserve_bytes: int = 0,
        on_progress: Callable[[float], None] = ...,
        report: Report | None = None,
    ) -> Iterator[Pixels]: ...

    def prepare(self, scales: Iterable[int]) -> None:
        """Load the networks of these native scales, so that what is wrong with them comes out."""
        ...

    @property
    def identity(self) -> str:
        """What the result depends on besides the network and its weights."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Most resident memory that the process may take."""
        ...

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """About what maps and tiles of one picture take, if memory is no limit."""
        ...


@dataclass(frozen=True)
class Request:
    """What a back end is given to open an engine.

    Attributes:
        model: catalogue entry, or what srcli.weights.load_file made of a user's file.
        settings: which this back end can follow.
        network: the network of a native scale, in PyTorch; importing torch, loading weights.
        from_file: the weights are a user's file, which has no name of its own.
        asked: the back end was asked for by name: what it cannot run is an error. Otherwise it
            may go to another.
        cache_dir: where files that are worth keeping go.
        say: told what takes time.
    """

    model: Model
    settings: Settings
    network: Callable[[int], Network]
    from_file: bool
    asked: bool
    cache_dir: Path
    say: Announce
