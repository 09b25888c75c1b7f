"""A run on disk: complete files only, checked by a digest in their names, the last two kept."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from srcli.errors import ResourceError, SrcliError

log = logging.getLogger(__name__)

KEEP = 2


def write_atomic(path: Path, data: bytes) -> None:
    """Under a temporary name in the same folder, then renamed.

    Raises:
        ResourceError: the disk is full or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise ResourceError(
            f"{path} cannot be written: {exc}.", "Make room, then go on with --resume."
        ) from exc


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``checkpoint-STEP-DIGEST.pt``, then delete all but the last two.

    Args:
        step: over all stages.
        state: tensors, numbers, strings, and lists and dicts of these.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    path = folder / f"checkpoint-{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    write_atomic(path, data)
    for old in sorted(p for p in found(folder) if p != path)[: -(KEEP - 1)]:
        old.unlink(missing_ok=True)
    return path


def found(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def load_newest(folder: Path) -> dict[str, Any]:
    """The newest checkpoint that is whole; damaged ones are named in the log.

    Raises:
        SrcliError: there is none.
    """
    for path in reversed(found(folder)):
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest()[:16] != path.stem.rsplit("-", 1)[-1]:
                raise ValueError("its bytes are not those that were stored")
            state: dict[str, Any] = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
            return state
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
            log.warning("The checkpoint %s is damaged (%s); trying the one before.", path, exc)
    raise SrcliError(
        f"There is no checkpoint to resume from in {folder}.", "Start without --resume."
    )
