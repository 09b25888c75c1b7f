"""How fast the loader is, and a step."""

from __future__ import annotations

import time

from srcli.training.data import Photos
from srcli.training.step import Step

MEASURE_S = 3.0


def step_rate(step: Step, seconds: float = MEASURE_S) -> float:
    """Steps per second, by making some and undoing them."""
    backup = step.save()
    for k in range(3):
        step(k)
    step.fetch()
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            step(n % max(step.steps, 1))
            n += 1
        step.fetch()
    rate = n / (time.perf_counter() - began)
    step.restore(backup)
    return rate


def loader_rate(photos: Photos, batch: int, patch: int, seconds: float = 1.0) -> float:
    """Images per second of the loader alone: draw, gather, and carry to the device if need be."""
    n, began = 0, time.perf_counter()
    where_on = photos.lr.device
    while n < 3 or time.perf_counter() - began < seconds:
        for _ in range(3):
            where = photos.draw(n, batch, patch)
            _, hr = photos.crops(where.lr.to(where_on), where.hr.to(where_on), patch)
            hr = hr.to(photos.device)
            n += 1
        hr[0, 0, 0, 0].item()  # wait
    return n * batch / (time.perf_counter() - began)
