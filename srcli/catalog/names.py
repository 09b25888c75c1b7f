"""Names and scales as people write them -> entries and native passes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations_with_replacement

from srcli.catalog.entries import NO_DENOISING, Architecture, Model, Purpose
from srcli.catalog.load import Catalogue, default_catalogue, squeezed
from srcli.catalog.spelling import canonical
from srcli.errors import UsageError

MAX_PASSES = 5
MAX_SCALE = 64
DEFAULT_SCALE = 4
# a scale computed from a width may miss its whole number by a rounding
ROUNDING = 1e-9


def models(catalogue: Catalogue | None = None) -> tuple[Model, ...]:
    """All models, in catalogue order."""
    return tuple((catalogue or default_catalogue()).models.values())


def architectures(catalogue: Catalogue | None = None) -> tuple[Architecture, ...]:
    """All architectures, in catalogue order."""
    return tuple((catalogue or default_catalogue()).architectures.values())


def purposes(catalogue: Catalogue | None = None) -> tuple[Purpose, ...]:
    """All purposes, in catalogue order."""
    return tuple((catalogue or default_catalogue()).purposes.values())


def purpose(name: str, catalogue: Catalogue | None = None) -> Purpose:
    """The purpose of this name or title, however it is written.

    Raises:
        UsageError: there is none; the hint names those that there are.
    """
    every = purposes(catalogue)
    wanted = squeezed(name)
    for one in every:
        if wanted in {squeezed(one.name), squeezed(one.title)}:
            return one
    known = ", ".join(one.name for one in every)
    raise UsageError(
        f"There is no purpose {name!r}.",
        f"The purposes: {known}. `srcli models` says what each is for.",
    )


def get(name: str, catalogue: Catalogue | None = None) -> Model:
    """The model of this name (``bcrn.authors``, ``bicubic``), however it is written.

    Raises:
        UsageError: there is none; the hint names the nearest ones.
    """
    catalogue = catalogue or default_catalogue()
    found = canonical(name, catalogue)
    if found in catalogue.models:
        return catalogue.models[found]
    meant = ", ".join(model.name for model in candidates(found, catalogue))
    raise UsageError(f"{found} is no one model's name.", f"It can mean {meant}.")


def resolve(name: str, scale: float | None = None, catalogue: Catalogue | None = None) -> Model:
    """The model that a name means at a scale.

    Args:
        name: as people write it (see `canonical`): a model (``bcrn.authors``); an architecture
            (``bcrn``): then its first model in catalogue order with weights for exactly this
            scale, else its first with any weights, else its first; or a purpose (``photo``): then
            the first of its candidates with weights for this scale, else its first. The user's
            own models come after all built-in ones with weights, so that adding one changes what
            no name means.
        scale: factor asked for; None: none in particular.

    Raises:
        UsageError: no such name, or it can mean several, or the architecture has no models.
    """
    catalogue = catalogue or default_catalogue()
    name = canonical(name, catalogue)
    if name in catalogue.models:
        return catalogue.models[name]
    if name in catalogue.purposes:
        wanted = DEFAULT_SCALE if scale is None else scale
        found = [resolve(n, wanted, catalogue) for n in catalogue.purposes[name].models]
        return min(found, key=lambda m: wanted not in m.scales or not m.trained)
    tags = catalogue.of_architecture(name)
    if not tags:
        raise UsageError(
            f"srcli has no weights for {name} to download.",
            f"Train some with `srcli train`, or name a file with `--weights FILE --model {name}`.",
        )
    with_weights = [m for m in tags if m.trained]
    ranked = sorted(with_weights, key=lambda m: (m.is_own, scale not in m.scales))
    return next(iter(ranked), tags[0])


def candidates(name: str, catalogue: Catalogue | None = None) -> tuple[Model, ...]:
    """All models that a name can mean, at one scale or another.

    Raises:
        UsageError: as `canonical`.
    """
    catalogue = catalogue or default_catalogue()
    name = canonical(name, catalogue)
    if name in catalogue.models:
        return (catalogue.models[name],)
    if name in catalogue.purposes:
        targets = catalogue.purposes[name].models
        found = [model for target in targets for model in candidates(target, catalogue)]
        return tuple({model.name: model for model in found if model.trained}.values())
    return catalogue.of_architecture(name)


def short_name(model: Model, catalogue: Catalogue | None = None) -> str:
    """The architecture's name alone, if that means this model at every scale it has."""
    if model.is_resampler:
        return model.name
    arch = model.arch.name
    means = all(resolve(arch, s, catalogue).name == model.name for s in (None, *model.scales))
    return arch if means else model.name


def meaning(name: str, model: Model, catalogue: Catalogue | None = None) -> str | None:
    """A sentence on what a name stood for, where the name itself does not tell."""
    if squeezed(name) in {squeezed(model.name), squeezed(model.arch.name)}:
        return None
    return f"{name} means {short_name(model, catalogue)}."


def denoised(model: Model, strength: float, catalogue: Catalogue | None = None) -> Model:
    """The model with another strength of taking noise away, at every scale that has strengths.

    Args:
        strength: as the model counts them; ``NO_DENOISING`` for none.

    Raises:
        UsageError: the model has no strengths, or not this one.
    """
    of = [v.denoise for v in model.variants if v.denoise is not None]
    if not of:
        others = {m.arch.name for m in models(catalogue) if any(v.denoise for v in m.variants)}
        raise UsageError(
            f"{model.name} does not let you choose how much noise to remove.",
            f"--denoise is for {', '.join(sorted(others))}." if others else None,
        )
    for denoise in of:
        if not denoise.has(strength):
            *others_, last = (strength_text(s) for s in denoise.strengths)
            can = (
                f"{others_[0]} to {last}" if denoise.between else f"{', '.join(others_)} or {last}"
            )
            raise UsageError(
                f"{model.name} has no denoising of strength {strength_text(strength)}.",
                f"It takes --denoise {can}.",
            )
    variants = (v if v.denoise is None else v.denoised(strength) for v in model.variants)
    return replace(model, variants=tuple(variants))


def strength_text(strength: float) -> str:
    """A strength of denoising as one types it."""
    return "none" if strength == NO_DENOISING else f"{strength:g}"


def parse_strength(text: str) -> float:
    """The strength that ``none``, ``0.5`` or ``3`` is.

    Raises:
        UsageError: it is none of these.
    """
    if text.strip().lower() == "none":
        return NO_DENOISING
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not 0 <= strength < math.inf:
        raise UsageError(f"--denoise {text} is not a strength.", "For example 0.5; or none.")
    return strength


def without_weights(
    model: Model, scale: int, catalogue: Catalogue | None = None
) -> tuple[str, str]:
    """What to say when there are no weights at a native scale, and what to do about it."""
    arch = model.arch.name
    hint = f"`srcli train {arch}-x{scale} --data PHOTOS --out FOLDER` trains it"
    near = nearest(model, scale, catalogue)
    if near is not None:
        of = near.variant(scale)
        score = f", {of.psnr_set5:.2f} dB on Set5" if of.psnr_set5 is not None else ""
        hint += (
            f"; the nearest model that has weights is {short_name(near, catalogue)} "
            f"({of.parameters / 1e3:,.0f}K parameters{score})"
        )
    return (
        f"srcli has no weights for {arch} at x{scale} to download.",
        f"{hint}; a file of your own, or of its authors: `--weights FILE --model {arch}`.",
    )


def nearest(model: Model, scale: int, catalogue: Catalogue | None = None) -> Model | None:
    """The published model at this scale that comes nearest to one without weights.

    Of its family, if there is any: of those that no smaller one beats on Set5 the nearest in size.
    """
    there = [
        (m, m.variant(scale))
        for m in models(catalogue)
        if scale in m.scales and m.trained and not m.is_own
    ]
    there = [(m, v) for m, v in there if v.psnr_set5 is not None]
    there = [pair for pair in there if pair[0].arch.family == model.arch.family] or there
    best = [
        (m, v)
        for m, v in there
        if not any(
            o.parameters <= v.parameters and (o.psnr_set5 or 0) > (v.psnr_set5 or 0)
            for _, o in there
        )
    ]
    size = math.log(max(1, model.variant(scale).parameters))
    return min(best, key=lambda p: abs(math.log(p[1].parameters) - size), default=(None, None))[0]


def chain(model: Model, scale: float) -> tuple[int, ...]:
    """The native passes that reach a scale, in the order they run.

    Their product is the smallest that is not below the scale; then as few passes as possible, the
    larger factor first. On a network with x2 and x4, x8 is (4, 2), and x2.5 is (4,), after which
    the caller resamples down.

    Returns:
        () for a resampler (native at any scale) and for a scale below 1; for 1 too, unless the
        model has it, which then repairs without enlarging.

    Raises:
        UsageError: the scale is not a positive number, is over 64, or needs over five passes.
    """
    check_scale(scale)
    if model.is_resampler or scale <= 1 + ROUNDING:
        repairs = 1 in model.scales and scale >= 1 - ROUNDING
        return (1,) if repairs and not model.is_resampler else ()
    scales = sorted({s for s in model.scales if s > 1})
    chains = [
        tuple(reversed(c))
        for n in range(1, MAX_PASSES + 1)
        for c in combinations_with_replacement(scales, n)
        if math.prod(c) >= scale * (1 - ROUNDING)
    ]
    if not chains:
        raise UsageError(
            f"{model.name} cannot reach x{scale:g} in {MAX_PASSES} passes; "
            f"it has {_scales_text(model)}.",
            "Ask for a smaller scale, or see `srcli models` for models with larger ones.",
        )
    return min(chains, key=lambda c: (math.prod(c), len(c), [-s for s in c]))


def default_scale(model: Model) -> int:
    """4, or the model's only scale; of several without 4, the largest."""
    if not model.scales or DEFAULT_SCALE in model.scales:
        return DEFAULT_SCALE
    return max(model.scales)


def check_scale(scale: float) -> None:
    """UsageError unless the scale is a positive number of at most 64."""
    if not 0 < scale < math.inf:
        raise UsageError(
            f"The scale must be a positive number, not {scale:g}.", "For example: -x 4"
        )
    if scale > 1e6:  # as a whole number it may be larger than any float
        raise UsageError(f"The scale is too large: the limit is x{MAX_SCALE}.")
    if scale > MAX_SCALE * (1 + ROUNDING):
        raise UsageError(f"A scale of x{scale:g} is too large: the limit is x{MAX_SCALE}.")


def _scales_text(model: Model) -> str:
    scales = [f"x{s}" for s in model.scales]
    return (
        f"only {scales[0]}"
        if len(scales) == 1
        else " and ".join(filter(None, [", ".join(scales[:-1]), scales[-1]]))
    )
