"""How long pictures will take on this machine, from what `srcli bench --tune` measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from srcli.catalog import Model
from srcli.engine.settings import Settings
from srcli.weights import WeightsOptions, tuned

Forecast = Callable[[tuple[int, int], Sequence[int]], float | None]


def forecast(model: Model, settings: Settings, options: WeightsOptions) -> Forecast:
    """Function (LR size, passes) -> seconds of the network's work; None where nothing is known.

    Time goes with the number of pixels. What was measured with another backend, precision, number
    of threads or tile says nothing about these settings.

    Args:
        settings: as the engine will run, what ``auto`` leaves open filled in.
    """
    measured = tuned.choices(options)
    how = settings.backend, settings.precision, settings.threads, settings.tile

    def seconds(lr_size: tuple[int, int], passes: Sequence[int]) -> float | None:
        total, pixels = 0.0, lr_size[0] * lr_size[1]
        for scale in passes:
            found = measured.get(tuned.name(model.name, scale))
            if found is None or how != (
                found.backend,
                found.precision,
                found.threads,
                found.tile,
            ):
                return None
            total += found.milliseconds / 1e3 * pixels / (found.size[0] * found.size[1])
            pixels *= scale**2
        return total * settings.ensemble if passes else None

    return seconds
