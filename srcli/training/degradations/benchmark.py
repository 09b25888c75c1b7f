"""A benchmark set whose LR pictures are damaged ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from srcli.quality.benchmarks import Benchmark, Pair
from srcli.training.degradations.pipeline import Pipeline, generator

Read = Callable[[Pair, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def degraded(benchmark: Benchmark, pipeline: Pipeline, seed: int, read: Read) -> Benchmark:
    """The set with LR pictures that the pipeline makes of its HR pictures.

    What happens to a picture depends on the seed and on its name, not on the others in the set.

    Args:
        read: the HR picture of a pair at a scale, cut to a multiple of it, is its second result.

    Raises:
        MediaError: an HR picture cannot be read.
    """
    pairs = []
    for pair in benchmark.pairs:
        _, hr = read(replace(pair, lr=None), benchmark.scale)
        lr = pipeline(hr, benchmark.scale, generator(seed, zlib.crc32(pair.name.encode())))
        pairs.append(replace(pair, lr=lr))
    return replace(benchmark, name=f"{benchmark.name} {pipeline.name}", pairs=tuple(pairs))
