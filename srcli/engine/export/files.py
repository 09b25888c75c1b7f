"""What exports to any format share: what is told of them, and how their files are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import srcli
from srcli.catalog import Model
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.reference import StoredAs
from srcli.errors import SrcliError, WeightsError
from srcli.weights.cache import replacing

HALF_MAX = 65504.0


@dataclass(frozen=True)
class Exported:
    """An export that was loaded back.

    Attributes:
        path: the file.
        bytes: its size.
        sizes: (height, width) of the pictures it was compared on.
        difference: largest difference from the network here, of white; in eight bits its root mean
            square.
        bound: what would have been too much.
        opset: of an ONNX file.
    """

    path: Path
    bytes: int
    sizes: tuple[tuple[int, int], ...]
    difference: float
    bound: float
    opset: int | None = None


def precision_of_weights(*, half: bool, int8: bool) -> StoredAs:
    assert not (half and int8)
    return "int8" if int8 else "fp16" if half else "fp32"


def check_graph(model: Model) -> None:
    """Raises SrcliError if the model has no one graph for pictures of every size."""
    if model.arch.tiling == "whole":
        raise SrcliError(
            f"{model.arch.title} is a different graph for each size of picture, and an export "
            "needs one for all.",
            "Export its weights: -o FILE.safetensors.",
        )


def metadata_of(network: Network, model: Model, stored_as: StoredAs) -> dict[str, str]:
    """What a graph's metadata say."""
    return {
        "srcli.model": model.name,
        "srcli.arch": model.arch.name,
        "srcli.scale": str(network.scale),
        "srcli.licence": model.licence,
        "srcli.source": model.source,
        "srcli.version": srcli.__version__,
        "srcli.weights": stored_as,
        "srcli.min_size": str(network.arch.min_size),
        "srcli.multiple": str(network.arch.multiple),
    }


def too_large(name: str) -> WeightsError:
    return WeightsError(
        f"{name} holds values over {HALF_MAX:g}, which fp16 cannot hold.", "Export without --half."
    )


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """`replacing`, with the folder made and errors in srcli's words."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as exc:
        raise SrcliError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def store(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
