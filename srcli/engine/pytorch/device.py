"""Which device computes, and in which precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from srcli.engine.result import Pixels
from srcli.engine.settings import Precision, check_device, openvino_device
from srcli.errors import UsageError

# A card copies at full speed only from and to memory that cannot be swapped out. PyTorch keeps such
# memory once it has it, so what is larger than a frame goes the slow way.
MOST_PINNED_BYTES = 128 * 2**20
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
    if name != "cpu" and openvino_device(name):
        raise UsageError(f"PyTorch, which this needs, does not run on {name}", "use --device cpu")
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
    """Free memory of a CUDA device, with what PyTorch holds of it and nobody uses; None for others,
    whose memory is the system's."""
    if device.type != "cuda":
        return None
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def to_device(samples: Pixels, device: torch.device) -> Tensor:
    """An array on the device; on the CPU it may be the array's own memory."""
    tensor = torch.from_numpy(np.require(samples, requirements=("C", "W")))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(tensor: Tensor) -> Pixels:
    """A tensor's values as an array."""
    if tensor.device.type == "cuda" and tensor.nbytes <= MOST_PINNED_BYTES:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        tensor = host.copy_(tensor)
    array: Pixels = tensor.cpu().numpy()
    return array
