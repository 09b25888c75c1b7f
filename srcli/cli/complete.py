"""What a shell offers when Tab is pressed: from the catalogue alone, so that it comes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from srcli import catalog
from srcli.catalog import Family

Offer = tuple[str, str]  # what is put in, and a word on it

# srcli's own, then of the library pyiqa's those that papers use; asking it for all would import it
METRICS = (
    ("lpips", "perceptual distance, AlexNet"),
    ("lpips-vgg", "perceptual distance, VGG-16"),
    ("dists", "structure and texture"),
    ("niqe", "naturalness, without a reference"),
    ("ms_ssim", "SSIM at several scales"),
    ("fsim", "feature similarity"),
    ("vif", "visual information fidelity"),
    ("pieapp", "perceptual error by preference"),
    ("brisque", "naturalness, without a reference"),
    ("musiq", "learned, without a reference"),
    ("clipiqa", "learned, without a reference"),
)


def models(incomplete: str) -> list[Offer]:
    """Purposes, then models; also the last one of a list with commas."""
    return _last_of(incomplete, [*_purposes(), *_models(trained=True)])


def networks(incomplete: str) -> list[Offer]:
    """Every name that `srcli models show` knows."""
    return _beginning(incomplete, [*_purposes(), *_models(trained=False)])


def purposes(incomplete: str) -> list[Offer]:
    """Names of purposes."""
    return _beginning(incomplete, _purposes())


def families(incomplete: str) -> list[Offer]:
    """Design families."""
    return _beginning(incomplete, [(family, "") for family in get_args(Family)])


def recipes(incomplete: str) -> list[Offer]:
    """Recipes of the package, then the general one's for every other network."""
    from srcli.training.config import recipes as written

    own = written()
    general = [
        f"{model.arch.name}-x{scale}" for model in catalog.models() for scale in model.scales
    ]
    names = dict.fromkeys([*own, *general])
    return _beginning(incomplete, [(n, "a recipe of its own" if n in own else "") for n in names])


def metrics(incomplete: str) -> list[Offer]:
    """Metrics of papers."""
    return _last_of(incomplete, METRICS)


def _purposes() -> Iterator[Offer]:
    for purpose in catalog.purposes():
        yield purpose.name, f"for {purpose.title}"


def _models(*, trained: bool) -> Iterator[Offer]:
    for model in catalog.models():
        if model.trained or not trained:
            yield catalog.short_name(model), model.arch.title


def _beginning(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def _last_of(incomplete: str, offers: Iterable[Offer]) -> list[Offer]:
    done, comma, last = incomplete.rpartition(",")
    return [(done + comma + name, word) for name, word in _beginning(last, offers)]
