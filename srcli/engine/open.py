"""From a catalogue entry to an engine that runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from srcli.catalog import Model
from srcli.engine import openvino
from srcli.engine.cards import may_have_card
from srcli.engine.resampler import Resampler
from srcli.engine.result import Pixels, Report
from srcli.engine.settings import Backend, Precision, Settings
from srcli.errors import UsageError
from srcli.weights import Announce, Progress, WeightsOptions, build, load, tuned

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.passes import Network
    from srcli.engine.upscaler import Upscaler
    from srcli.quality.resize import Kernel

log = logging.getLogger(__name__)


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
    settings = replace(settings, border=settings.border or model.border)
    if settings.precision == "int8":
        settings = openvino.in_eight_bits(settings)
    asked = settings.backend == "openvino"
    if state is None:
        settings = settled(model, settings, options)

    def network(scale: int) -> Network:
        from srcli.engine.passes import Network

        if state is not None:
            module = build(model.variant(scale), model.arch, state)
        else:
            module = load(model, scale, options, announce=announce, progress=progress)
        return Network(module, model.arch, model.door, scale)

    def upscaler() -> Upscaler:
        from srcli.engine.upscaler import Upscaler

        if settings.precision == "int8":  # what OpenVINO has no memory for
            from srcli.engine.eight_bits import imitated

            return Upscaler(lambda s: imitated(network(s)), replace(settings, precision="fp32"))
        return Upscaler(network, settings)

    if settings.backend == "openvino":
        openvino.check(settings)
        if state is not None:
            raise UsageError(
                "a file of weights runs in PyTorch only", "add it first: srcli models add"
            )
        folder = options.cache_dir / "openvino"
        say = announce or log.info
        return openvino.OpenVinoUpscaler(
            model, settings, folder, network, upscaler, say, asked=asked
        )
    return upscaler()


def settled(model: Model, settings: Settings, options: WeightsOptions) -> Settings:
    """The settings with what ``auto`` leaves open filled in: as `srcli bench --tune` found it, else
    OpenVINO, where it is installed, can do all that is asked for, and there is no graphics card."""
    settings = as_tuned(model, settings, options)
    fit = settings.backend == "auto" and not model.is_resampler and openvino.is_installed()
    if not fit or openvino.refusal(settings) is not None:
        return settings
    if settings.device == "auto" and may_have_card():
        return settings
    return replace(settings, backend="openvino")


def as_tuned(model: Model, settings: Settings, options: WeightsOptions) -> Settings:
    """The settings with what ``auto`` leaves open filled in by `srcli bench --tune`.

    A choice holds together: it is taken whole, and only if nothing that was asked for contradicts
    it. Of several native scales the largest decides, which does the most work. Eight bits leave no
    choice.
    """
    if settings.precision == "int8":
        return openvino.in_eight_bits(settings)
    if settings.device not in ("auto", "cpu"):
        return settings
    stored = tuned.choices(options)
    found = next(
        (
            c
            for s in sorted(model.scales, reverse=True)
            if (c := stored.get(tuned.name(model.name, s)))
        ),
        None,
    )
    if found is None:
        return settings
    wanted = (
        (settings.backend, found.backend),
        (settings.precision, found.precision),
        (settings.threads or "auto", found.threads),
    )
    if any(asked not in ("auto", chosen) for asked, chosen in wanted):
        return settings
    if found.backend == "openvino" and openvino.refusal(settings) is not None:
        return settings
    return replace(
        settings,
        backend=cast("Backend", found.backend),
        precision=cast("Precision", found.precision),
        threads=found.threads,
        tile=found.tile if settings.tile is None else settings.tile,
    )
