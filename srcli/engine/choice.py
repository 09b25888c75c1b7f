"""What ``auto`` stands for: the back end, precision, threads and tile that run."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from srcli.catalog import Model
from srcli.engine.backends import BACKENDS, with_only_backend
from srcli.engine.settings import Backend, Precision, Settings
from srcli.weights import WeightsOptions, tuned


def resolve_auto(model: Model, settings: Settings, options: WeightsOptions) -> Settings:
    """The settings with what ``auto`` leaves open filled in: as `srcli bench --tune` found it, else
    with the first back end of the table that can do all that is asked for, here."""
    if model.is_resampler:
        return settings
    settings = as_tuned(model, with_only_backend(settings), options)
    if settings.backend != "auto":
        return settings
    for backend in BACKENDS.values():
        able = backend.is_installed() and backend.refusal(settings) is None
        if able and backend.suits(settings):
            return replace(settings, backend=backend.name)
    return settings


def as_tuned(model: Model, settings: Settings, options: WeightsOptions) -> Settings:
    """The settings with what ``auto`` leaves open filled in by `srcli bench --tune`.

    A choice holds together: it is taken whole, and only if nothing that was asked for contradicts
    it. Of several native scales the largest decides, which does the most work.
    """
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
    backend = BACKENDS.get(found.backend)
    if backend is None or backend.refusal(settings) is not None:
        return settings
    return replace(
        settings,
        backend=cast("Backend", found.backend),
        precision=cast("Precision", found.precision),
        threads=found.threads,
        tile=found.tile if settings.tile is None else settings.tile,
    )
