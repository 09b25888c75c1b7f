"""Which weights are for eight bits, told by the names in their files: no torch."""

from __future__ import annotations

from srcli.catalog import Variant, WeightsFile
from srcli.weights.cache import WeightsOptions, path_of
from srcli.weights.format import DamagedError, tensor_names

RANGE_ENDING = ".input_range"  # of `srcli.archs.quantised.RANGE`, which needs torch


def may_have_ranges(variant: Variant, options: WeightsOptions) -> bool:
    """False only where it is certain that convolutions have no ranges to round their inputs to."""
    return all(_may_have(file, options) for file, _ in variant.parts)


def _may_have(weights: WeightsFile, options: WeightsOptions) -> bool:
    try:
        names = tensor_names(path_of(weights, options))
    except DamagedError:
        # not fetched yet, say: ranges come from `srcli train`, which writes safetensors alone
        return weights.file.endswith(".safetensors")
    return any(name.endswith(RANGE_ENDING) for name in names)
