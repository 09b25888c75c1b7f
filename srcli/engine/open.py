"""From a catalogue entry to an engine that runs it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from srcli.catalog import Model
from srcli.engine.backends import backend_of, with_only_backend
from srcli.engine.choice import resolve_auto
from srcli.engine.engine import Engine, Request
from srcli.engine.settings import Settings
from srcli.weights import Announce, Progress, WeightsOptions, build, load

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.engine.pytorch.network import Network
    from srcli.quality.resize import Kernel

log = logging.getLogger(__name__)


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
        from srcli.engine.resampler import Resampler

        return Resampler(cast("Kernel", model.name), settings.memory_bytes)
    options = weights or WeightsOptions.from_environment()
    settings = with_only_backend(replace(settings, border=settings.border or model.border))
    asked = settings.backend != "auto"
    if state is None:
        settings = resolve_auto(model, settings, options)
    backend = backend_of(settings)
    backend.check(settings, from_file=state is not None)

    def network(scale: int) -> Network:
        from srcli.engine.pytorch.network import Network

        if state is not None:
            module = build(model.variant(scale), model.arch, state)
        else:
            module = load(model, scale, options, announce=announce, progress=progress)
        return Network(module, model.arch, model.preprocessing, scale)

    return backend.open(
        Request(
            model,
            settings,
            network,
            from_file=state is not None,
            asked=asked,
            cache_dir=options.cache_dir,
            say=announce or log.info,
        )
    )
