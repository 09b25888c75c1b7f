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
from srcli.weights.loading import load, state_dict
from srcli.weights.locate import locate
from srcli.weights.metadata import save_file
from srcli.weights.networks import build, new_network
from srcli.weights.user_file import load_file

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
