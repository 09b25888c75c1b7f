"""From a catalogue entry to an engine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, cast

from torch import Tensor

from srcli.catalog import Model
from srcli.engine.passes import Network
from srcli.engine.resampler import Resampler
from srcli.engine.result import Pixels, Report
from srcli.engine.upscaler import Settings, Upscaler
from srcli.quality.resize import Kernel
from srcli.weights import Announce, Progress, WeightsOptions, build, load


class Engine(Protocol):
    """What enlarges a picture: an Upscaler or a Resampler."""

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


def open_engine(
    model: Model,
    settings: Settings | None = None,
    *,
    weights: WeightsOptions | None = None,
    state: Mapping[str, Tensor] | None = None,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Engine:
    """The engine for a model; its weights are loaded when a picture first needs them.

    Args:
        model: catalogue entry, or what srcli.weights.load_file made of a user's file.
        settings: device, precision, tiles, memory.
        weights: where weights come from; None: as the environment says.
        state: the tensors, if they come from a user's file.
        announce, progress: told about downloads.
    """
    settings = settings or Settings()
    if model.is_resampler:
        return Resampler(cast("Kernel", model.name), settings.memory_bytes)
    options = weights or WeightsOptions.from_environment()

    def network(scale: int) -> Network:
        if state is not None:
            module = build(model.variant(scale), model.arch, state)
        else:
            module = load(model, scale, options, announce=announce, progress=progress)
        return Network(module, model.arch, model.door, scale)

    return Upscaler(network, settings)
