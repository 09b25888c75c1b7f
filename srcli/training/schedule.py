"""The learning rate and the EMA's decay, as functions of the step."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "halving", "constant", "hold"]


def learning_rate(
    step: int,
    steps: int,
    *,
    peak: float,
    schedule: Schedule = "cosine",
    warmup: int = 0,
    final: float = 0.0,
    halve_every: int = 0,
    fall: float = 0.2,
) -> float:
    """The learning rate of step 0, 1, ..., ``steps`` - 1.

    Args:
        step: counted within the stage, from 0.
        steps: of the stage.
        peak: reached at the end of the warm-up.
        schedule: after the warm-up: ``cosine`` from the peak down to ``final``, ``halving`` every
            ``halve_every`` steps, ``constant``, or ``hold``: the peak, then straight down to
            ``final``.
        warmup: steps that rise linearly from peak / warmup to the peak.
        final: where the cosine ends.
        halve_every: steps between two halvings, counted from step 0.
        fall: share of the steps, at the end of ``hold``, that falls.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    if schedule == "halving":
        return peak * 0.5 ** (step // halve_every)
    if schedule == "hold":
        left = (steps - step) / max(1.0, fall * steps)
        return final + (peak - final) * min(1.0, left)
    progress = (step - warmup) / max(1, steps - warmup)
    return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


def ema_decay(step: int, decay: float) -> float:
    """Of the exponential moving average: a young average forgets its start faster."""
    return min(decay, (1 + step) / (10 + step))
