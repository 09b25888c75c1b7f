"""What exists: architectures, models and their weights, as data."""

from srcli.catalog.entries import (
    Architecture,
    Colour,
    Door,
    Family,
    Model,
    Variant,
    WeightsFile,
)
from srcli.catalog.load import Catalogue, built_in, default_catalogue, extend, load_catalogue
from srcli.catalog.names import (
    MAX_PASSES,
    MAX_SCALE,
    architectures,
    chain,
    check_scale,
    default_scale,
    get,
    models,
    nearest,
    resolve,
    without_weights,
)
from srcli.catalog.tables import CatalogueError

__all__ = [
    "MAX_PASSES",
    "MAX_SCALE",
    "Architecture",
    "Catalogue",
    "CatalogueError",
    "Colour",
    "Door",
    "Family",
    "Model",
    "Variant",
    "WeightsFile",
    "architectures",
    "built_in",
    "chain",
    "check_scale",
    "default_catalogue",
    "default_scale",
    "extend",
    "get",
    "load_catalogue",
    "models",
    "nearest",
    "resolve",
    "without_weights",
]
