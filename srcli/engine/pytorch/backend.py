"""How PyTorch's engine opens. Imports no torch."""

from __future__ import annotations

from srcli.engine.engine import Engine, Request
from srcli.engine.settings import Settings, openvino_device


def limit(settings: Settings) -> str | None:
    """Why PyTorch cannot follow these settings; None if it can."""
    if settings.device not in ("auto", "cpu") and openvino_device(settings.device):
        return f"{settings.device} is a device of OpenVINO's"
    return None


def open_engine(request: Request) -> Engine:
    """PyTorch's engine, which follows all settings but for int8."""
    from srcli.engine.pytorch.upscaler import Upscaler

    return Upscaler(request.network, request.settings)
