"""What OpenVINO can run, and how its engine opens. Imports neither OpenVINO nor torch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from srcli.engine.engine import Engine, Request
from srcli.engine.pytorch.gpu import may_have_gpu
from srcli.engine.settings import Settings

if TYPE_CHECKING:
    from srcli.engine.pytorch.upscaler import Upscaler


def limit(settings: Settings) -> str | None:
    """Why OpenVINO cannot follow these settings; None if it can."""
    if settings.device not in ("auto", "cpu"):
        return f"OpenVINO runs on the CPU here, not on {settings.device}"
    if settings.tile:
        return "OpenVINO takes the whole picture at once and cannot use --tile"
    if settings.ensemble != 1:
        return "the ensemble runs in PyTorch only"
    if settings.color_fix:
        return "--color-fix runs in PyTorch only"
    return None


def suits(settings: Settings) -> bool:
    """Where there is no graphics card, OpenVINO is faster than PyTorch."""
    return settings.device == "cpu" or not may_have_gpu()


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

    if request.settings.precision != "int8":
        return Upscaler(request.network, request.settings)
    from srcli.engine.pytorch.int8 import imitated

    settings = replace(request.settings, precision="fp32")
    return Upscaler(lambda scale: imitated(request.network(scale)), settings)
