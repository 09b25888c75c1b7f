"""Which device computes, and in which precision."""

from __future__ import annotations

import torch

from srcli.engine.settings import Precision, check_device
from srcli.errors import UsageError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_device(name)
    device = torch.device(name)
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= found:
            raise UsageError(
                f"there is no {name} here: PyTorch {torch.__version__} sees {found} CUDA devices",
                "use --device cpu, or install a CUDA build of PyTorch",
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("there is no mps device here", "use --device cpu")
    return device


def choose_precision(wanted: Precision) -> str:
    """``auto`` is fp32, the most exact: at any tile size within one level of 255."""
    return "fp32" if wanted == "auto" else wanted


def make_exact() -> None:
    """fp32 means fp32: no TF32 in convolutions and products on CUDA."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def free_device_bytes(device: torch.device) -> int | None:
    """Free memory of a CUDA device; None for others, whose memory is the system's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
