"""The models that there are, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from srcli import catalog
from srcli.api.keywords import check
from srcli.api.words import in_python


@dataclass(frozen=True)
class ModelInfo:
    """A model by its name, as ``srcli.models()`` lists them.

    Attributes:
        name: what ``upscale`` and ``load_model`` take.
        architecture: the network's name.
        scales: factors that it was trained for; () for a resampler, which does any.
        parameters, psnr_set5: by scale; PSNR-Y on Set5 in dB where it is known.
        licence: of the weights.
        at_hand: scales that need no download.
        note: what else there is to know.
    """

    name: str
    architecture: str
    scales: tuple[int, ...]
    parameters: dict[int, int] = field(hash=False)
    psnr_set5: dict[int, float] = field(hash=False)
    licence: str
    at_hand: tuple[int, ...]
    note: str


@in_python
def models(scale: int | None = None, *, untrained: bool = False) -> tuple[ModelInfo, ...]:
    """The models that there are, in the catalogue's order, your own ones last.

    Args:
        scale: only those that are native at it, and the resamplers.
        untrained: also the networks without weights, which are to be trained first.

    Raises:
        UsageError: a value of the wrong type.
    """
    from srcli.weights.cache import WeightsOptions, at_hand

    check("scale", scale, (int,))
    check("untrained", untrained, (bool,), optional=False)
    extend()
    options = WeightsOptions.from_environment()
    return tuple(
        ModelInfo(
            name=m.name,
            architecture=m.arch.title,
            scales=m.scales,
            parameters={v.scale: v.parameters for v in m.variants},
            psnr_set5={v.scale: v.psnr_set5 for v in m.variants if v.psnr_set5 is not None},
            licence=m.licence,
            at_hand=tuple(v.scale for v in m.variants if at_hand(v, options)),
            note=m.note,
        )
        for m in catalog.models()
        if (m.trained or untrained) and (scale is None or m.is_resampler or scale in m.scales)
    )


def extend() -> None:
    """The user's own models are models, too."""
    from srcli.weights.user_models import with_own_models

    catalog.extend(with_own_models)
