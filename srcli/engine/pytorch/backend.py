"""How PyTorch's engine opens. Imports no torch."""

from __future__ import annotations

from srcli.engine.engine import Engine, Request


def open_engine(request: Request) -> Engine:
    """PyTorch's engine, which follows all settings but for int8."""
    from srcli.engine.pytorch.upscaler import Upscaler

    return Upscaler(request.network, request.settings)
