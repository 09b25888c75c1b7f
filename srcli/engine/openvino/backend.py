"""What OpenVINO can run, and how its engine opens. Imports neither OpenVINO nor torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from srcli.engine.engine import Engine, Request
from srcli.engine.pytorch.gpu import may_have_gpu
from srcli.engine.settings import Settings, openvino_device
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.engine.pytorch.upscaler import Upscaler


def limit(settings: Settings) -> str | None:
    """Why OpenVINO cannot follow these settings; None if it can."""
    if openvino_device(settings.device) is None:
        return f"OpenVINO does not run on {settings.device}"
    if settings.tile:
        return "OpenVINO takes the whole picture at once and cannot use --tile"
    if settings.ensemble != 1:
        return "the ensemble runs in PyTorch only"
    if settings.color_fix:
        return "--color-fix runs in PyTorch only"
    return None


def suits(settings: Settings) -> bool:
    """Where there is no graphics card for PyTorch, OpenVINO is faster."""
    return settings.device != "auto" or not may_have_gpu()


def check_device(name: str) -> None:
    """Raises UsageError if OpenVINO sees no such device; a CPU is everywhere."""
    device = openvino_device(name)
    if device == "CPU":
        return
    from srcli.engine.openvino.importing import import_openvino

    openvino: Any = import_openvino()  # has no annotations
    found = openvino.Core().available_devices
    if not any(one == device or one.startswith(f"{device}.") for one in found):
        raise UsageError(
            f"there is no {name} here: OpenVINO sees {', '.join(found)}",
            "use --device cpu, or install the device's driver",
        )


def open_engine(request: Request) -> Engine:
    """OpenVINO's engine; pictures that do not fit in memory whole go to PyTorch's."""
    from srcli.engine.openvino.upscaler import OpenVinoUpscaler

    return OpenVinoUpscaler(
        request.model,
        request.settings,
        request.cache_dir / "openvino",
        request.network,
        lambda: _tiled(request),
        request.say,
        asked=request.asked,
    )


def _tiled(request: Request) -> Upscaler:
    from srcli.engine.pytorch.upscaler import Upscaler

    settings = replace(request.settings, device="cpu")
    if request.settings.precision != "int8":
        return Upscaler(request.network, settings)
    from srcli.engine.pytorch.int8 import imitated

    settings = replace(settings, precision="fp32")
    return Upscaler(lambda scale: imitated(request.network(scale)), settings)
