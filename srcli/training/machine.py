"""The device of a run, and the processes that share its work."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

from srcli.engine.memory import reuse_freed
from srcli.errors import UsageError


def join(device: str) -> tuple[torch.device, int, int]:
    """(device, rank, world size); joins torchrun's processes if there are any."""
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device.", "--device cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return torch.device(device), 0, 1
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return torch.device(device), dist.get_rank(), dist.get_world_size()


def fast() -> None:
    """TF32 where there is no bf16 (scores do without), the fastest algorithm for the shapes, and
    memory that stays."""
    reuse_freed(2**31, however_large=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def agreed(number: int, device: torch.device, *, largest: bool = False) -> int:
    """The same number on all processes: the first's, or the largest."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor(number, device=device)
    if largest:
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    else:
        dist.broadcast(tensor, 0)
    return int(tensor)


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
