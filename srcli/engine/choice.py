"""What ``auto`` stands for: the back end, precision, threads and tile that run. And what cannot run
here, as far as that can be told without PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from srcli.catalog import Model
from srcli.engine.backends import BACKENDS, backend_of, with_only_backend
from srcli.engine.settings import Backend, Precision, Settings
from srcli.errors import UsageError
from srcli.weights import WeightsOptions, tuned
from srcli.weights.eight_bits import may_have_ranges


def settled(
    model: Model,
    settings: Settings,
    options: WeightsOptions,
    *,
    from_file: bool = False,
    here: bool = True,
) -> Settings:
    """As `resolve_auto`, once it is certain that this machine can do what was asked for.

    Args:
        from_file: the weights are a user's file.
        here: False: other machines compute, which may have what this one has not.

    Raises:
        UsageError: it cannot; what `open_engine` would find, too, but before anything is done.
    """
    if model.is_resampler:
        return settings
    settings = with_only_backend(settings)
    if not from_file:
        settings = resolve_auto(model, settings, options)
    if here:
        backend_of(settings).check(settings, from_file=from_file)
        backend_of(settings).check_device(settings.device)
    return settings


def check_weights(
    model: Model, scales: Iterable[int], settings: Settings, options: WeightsOptions
) -> None:
    """Raises UsageError for a precision that the weights of these native scales are not for."""
    if settings.precision != "int8":
        return
    for scale in scales:
        if not may_have_ranges(model.variant(scale), options):
            raise UsageError(
                f"{model.name} x{scale} was not trained for --precision int8",
                "leave --precision out; `srcli train` makes models for it, with quantise=true",
            )


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
