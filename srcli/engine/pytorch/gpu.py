"""Whether PyTorch might have a graphics card here, found without importing it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, WSL's, AMD's


def may_have_gpu() -> bool:
    """False only where there is certainly none: PyTorch knows best, but takes seconds to ask."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"  # MPS
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if version.endswith("+cpu"):
        return False
    if sys.platform == "win32":
        root = os.path.expandvars("%SystemRoot%")
        return Path(root, "System32", "nvcuda.dll").exists()
    return any(Path(driver).exists() for driver in DRIVERS)
