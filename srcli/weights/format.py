"""Safetensors with a digest of the tensors inside, so that damage is seen.

Reads the header itself: checking a file needs neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

DIGEST_KEY = "srcli.tensors_sha256"
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit


class DamagedError(Exception):
    """The bytes are not an undamaged safetensors file; says why."""


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself.

    Attributes:
        metadata: its free-form strings.
        digest: sha256 over every tensor's name, dtype, shape and bytes, in the order of the names.
    """

    metadata: Mapping[str, str]
    digest: str


def looks_like_safetensors(data: bytes) -> bool:
    """True if the bytes begin as a safetensors file does (and no pickle or zip can)."""
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def inspect(data: bytes) -> Header:
    """Read the header and compute the digest.

    Raises:
        DamagedError: cut off, or not safetensors.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(len(data) - 8, _MAX_HEADER_BYTES):
        raise DamagedError("cut off or not a safetensors file")
    body = memoryview(data)[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        digest = hashlib.sha256()
        end_of_all = 0
        for name in sorted(header):
            entry = header[name]
            dtype, shape = str(entry["dtype"]), [int(n) for n in entry["shape"]]
            begin, end = (int(n) for n in entry["data_offsets"])
            if not 0 <= begin <= end <= len(body):
                raise DamagedError(f"cut off: the tensor {name} is not all there")
            digest.update(json.dumps([name, dtype, shape]).encode() + b"\n")
            digest.update(body[begin:end])
            end_of_all = max(end_of_all, end)
        if end_of_all != len(body):
            raise DamagedError("there is something after its last tensor")
        return Header({str(k): str(v) for k, v in metadata.items()}, digest.hexdigest())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise DamagedError("its header is not that of a safetensors file") from exc


def tensor_names(path: Path) -> tuple[str, ...]:
    """The names in a file's header; nothing else of it is read.

    Raises:
        DamagedError: it cannot be read, or is not safetensors.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        return tuple(name for name in header if name != "__metadata__")
    except OSError as exc:
        raise DamagedError(exc.strerror or str(exc)) from exc
    except (ValueError, TypeError, RecursionError) as exc:
        raise DamagedError("its header is not that of a safetensors file") from exc


def check(data: bytes) -> Header:
    """As `inspect`, and the digest must be the one written inside.

    Raises:
        DamagedError: damaged, or there is no digest.
    """
    header = inspect(data)
    if header.metadata.get(DIGEST_KEY) != header.digest:
        raise DamagedError("its tensors are not those that were stored")
    return header


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Tensors and metadata as a file's bytes, the digest added; the same input, the same bytes."""
    from safetensors.torch import save

    # clone: safetensors refuses tensors that share memory, and so do views of a larger storage
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    digest = inspect(save(plain)).digest
    return _ordered(save(plain, {**metadata, "format": "pt", DIGEST_KEY: digest}))


def unpack(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file's bytes.

    Raises:
        DamagedError: not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as exc:
        raise DamagedError(str(exc)) from exc


def _ordered(data: bytes) -> bytes:
    """The same file with its metadata in the order of the keys; safetensors' own is random."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
