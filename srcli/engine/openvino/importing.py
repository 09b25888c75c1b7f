"""Importing OpenVINO, which otherwise reports each import to its makers over the network."""

from __future__ import annotations

import importlib
import sys
from typing import Any

TELEMETRY = "openvino_telemetry"  # without it OpenVINO takes a stand-in of its own


def import_openvino(name: str = "openvino") -> Any:
    """The package, or a module in it; nothing is sent, and no file of theirs is written."""
    hidden = TELEMETRY not in sys.modules
    if hidden:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        if hidden:
            del sys.modules[TELEMETRY]
