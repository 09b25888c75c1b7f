"""What the libraries say of themselves, each asked in a process of its own.

A library that is broken does not always raise: it may end the process, or need minutes. So
``srcli doctor`` runs ``python -m srcli.cli.probes NAME`` for each and reads one JSON object.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]


def torch() -> Facts:
    """PyTorch: its build and the devices that it sees."""
    import torch

    devices: list[Facts] = [{"name": "cpu", "capability": torch.backends.cpu.get_cpu_capability()}]
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(k)
            devices.append(
                {
                    "name": f"cuda:{k}",
                    "card": card.name,
                    "memory_bytes": card.total_memory,
                    "capability": f"{card.major}.{card.minor}",
                }
            )
    if torch.backends.mps.is_available():
        devices.append({"name": "mps"})
    torch.ones(8) @ torch.ones(8)  # it computes, too
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "threads": torch.get_num_threads(),
        "devices": devices,
    }


def openvino() -> Facts:
    """OpenVINO: the devices that it sees; srcli uses the CPU."""
    from srcli.engine.openvino.importing import import_openvino

    found = import_openvino()  # has no annotations
    return {"version": found.__version__, "devices": found.Core().available_devices}


def onnxruntime() -> Facts:
    """ONNX Runtime, which checks what `srcli export` writes."""
    found = importlib.import_module("onnxruntime")  # has no annotations
    return {"version": found.__version__, "providers": found.get_available_providers()}


def numpy() -> Facts:
    """numpy."""
    import numpy

    return {"version": numpy.__version__}


def pillow() -> Facts:
    """Pillow, and what it was built with."""
    from PIL import Image, __version__, features

    Image.new("RGB", (1, 1))
    wanted = ("jpg", "libjpeg_turbo", "zlib", "webp", "avif", "littlecms2", "libtiff", "jpg_2000")
    return {"version": __version__, "features": [n for n in wanted if features.check(n)]}


def auto() -> Facts:
    """What is chosen for the default model where nothing is asked for, and why."""
    from srcli import catalog
    from srcli.cli import own
    from srcli.engine.choice import as_tuned, resolve_auto
    from srcli.engine.pytorch.device import choose_device, choose_precision
    from srcli.engine.settings import Settings
    from srcli.weights import WeightsOptions

    own.extend()
    model = catalog.resolve("bcrn", 4)
    asked = Settings()
    options = WeightsOptions.from_environment()
    settings = resolve_auto(model, asked, options)
    device = choose_device(settings.device)
    backend = "torch" if settings.backend == "auto" else settings.backend
    if as_tuned(model, asked, options) != asked:
        why = "`srcli bench --tune` found it to be fastest on this machine"
    elif backend == "openvino":
        why = "faster than PyTorch on CPUs; `srcli bench --tune` measures it on this one"
    elif device.type != "cpu":
        why = f"PyTorch sees {device}, and OpenVINO is for the CPU"
    else:
        why = "OpenVINO, which is faster on CPUs, is not installed or a graphics card may be here"
    return {
        "model": model.name,
        "device": str(device),
        "precision": choose_precision(settings.precision),
        "backend": backend,
        "threads": settings.threads,
        "tile": settings.tile,
        "why": {
            "device": _why_device(device.type),
            "precision": "fp32 is the most exact"
            if choose_precision(settings.precision) == "fp32"
            else "`srcli bench --tune` was asked for it",
            "backend": why,
        },
    }


def _why_device(kind: str) -> str:
    import torch

    if kind != "cpu":
        return "the first that PyTorch sees of cuda, mps, cpu"
    built = torch.version.cuda or torch.version.hip
    if built:
        return f"PyTorch, built for {built}, sees no graphics card that it can use"
    return "this build of PyTorch has no support for graphics cards, or there is none"


PROBES: dict[str, Callable[[], Facts]] = {
    probe.__name__: probe for probe in (torch, numpy, pillow, openvino, onnxruntime, auto)
}


def main(name: str) -> None:
    """Print what one of them finds."""
    print(json.dumps(PROBES[name]()))


if __name__ == "__main__":
    main(sys.argv[1])
