"""Weights on disk: found, fetched, verified, loaded. Importing this does not import torch."""

from srcli.weights.cache import (
    Announce,
    Verified,
    WeightsOptions,
    bundled_path,
    cached_path,
    is_cached,
    verify,
)
from srcli.weights.download import Progress
from srcli.weights.loading import build, load, load_file, new_network, save_file, state_dict
from srcli.weights.locate import locate

__all__ = [
    "Announce",
    "Progress",
    "Verified",
    "WeightsOptions",
    "build",
    "bundled_path",
    "cached_path",
    "is_cached",
    "load",
    "load_file",
    "locate",
    "new_network",
    "save_file",
    "state_dict",
    "verify",
]
