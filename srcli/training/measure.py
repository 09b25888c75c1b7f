"""What the loader alone and a step cost."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import torch

from srcli.training.adversary import Adversary
from srcli.training.config import adversarial_side
from srcli.training.first_weights import build_network, first_weights, in_eight_bits
from srcli.training.log import Event
from srcli.training.machine import describe, fast, join
from srcli.training.networks import spec_of
from srcli.training.optimiser import Vectors
from srcli.training.perceptual import open_extractors
from srcli.training.prepare import Run, crops_of, prepare
from srcli.training.speed import loader_rate, step_rate
from srcli.training.step import Step


def measure(run: Run) -> Iterator[Event]:
    """What the loader alone and a step cost, for each stage of the recipe."""
    config = run.config
    device, _, _ = join(run.device)
    spec = spec_of(config.arch, config.scale, config.config)
    extractors = open_extractors(run.config, run.weights, run.features)
    yield from prepare(run)
    photos = crops_of(run, device)
    fast()
    side = adversarial_side(config)
    adversary = Adversary(config, side, device) if side else None
    for index, stage in enumerate(config.stages):
        photos.check(stage.patch)
        torch.manual_seed(config.seed)
        network = build_network(spec, config, None)
        first_weights(network, photos, config, spec, None)
        if config.quantise:
            network = in_eight_bits(network, photos, config, spec)
        network = network.to(device)
        if config.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        averaged = copy.deepcopy(network).eval()
        vectors = Vectors.of(network, averaged)
        began = time.perf_counter()
        step = Step(
            network,
            vectors,
            photos,
            config,
            stage,
            steps=stage.steps,
            preprocessing=spec.preprocessing,
            extractors=extractors,
            averaged=averaged,
            adversary=adversary,
        )
        build_s = time.perf_counter() - began
        rate = step_rate(step)
        yield {
            "event": "measured", "stage": index + 1, "device": describe(device), "how": step.how,
            "precision": step.precision,
            "batch": stage.batch, "patch": stage.patch,
            "loader_images_per_s": round(loader_rate(photos, stage.batch, stage.patch)),
            "train_images_per_s": round(rate * stage.batch, 1), "ms_per_step": round(1e3 / rate, 3),
            "build_s": round(build_s, 1),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)
            if device.type == "cuda" else None,
        }  # fmt: skip
