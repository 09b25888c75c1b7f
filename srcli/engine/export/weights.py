"""A network's weights as safetensors that srcli reads again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srcli.catalog import Model
from srcli.engine.export.files import Exported, precision_of_weights, too_large, written
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.reference import BOUNDS, Pixels, compare, sizes
from srcli.errors import SrcliError
from srcli.weights import build, load_file, save_file


def export_safetensors(
    path: Path,
    network: Network,
    model: Model,
    state: Mapping[str, Tensor],
    *,
    half: bool = False,
    provenance: Mapping[str, Any] | None = None,
    bound: float | None = None,
) -> Exported:
    """Write safetensors that srcli.weights.load_file reads without being told anything. Atomic.

    Args:
        path: the file; replaced if it exists.
        network: what ``state`` makes, on the CPU, in fp32.
        model: what it is.
        state: the tensors.
        half: store floating-point tensors as fp16.
        provenance: where the weights come from; None: the model's source and licence.
        bound: largest difference allowed; None: srcli.engine.pytorch.reference.BOUNDS.

    Raises:
        SrcliError: the weights do not fit fp16, or the file computes something else.
    """
    tensors = {name: _half(name, t) for name, t in state.items()} if half else dict(state)
    if provenance is None:
        provenance = {"model": model.name, "source": model.source, "licence": model.licence}
    stored_as = precision_of_weights(half=half, int8=False)
    bound = BOUNDS[stored_as] if bound is None else bound
    with written(path) as temporary:
        save_file(
            temporary,
            tensors,
            arch=model.arch.name,
            scale=network.scale,
            config=model.variant(network.scale).config,
            provenance=provenance,
            preprocessing=model.preprocessing,
        )
        found, variant, loaded = load_file(temporary)
        if variant.scale != network.scale or found.preprocessing != network.preprocessing:
            raise SrcliError(f"{path} was read back as another network; it was not kept.")
        again = Network(
            build(variant, found.arch, loaded), found.arch, found.preprocessing, variant.scale
        ).adapted()

        def run(pixels: Pixels) -> Pixels:
            with torch.inference_mode():
                return again(torch.from_numpy(pixels)).numpy()  # type: ignore[no-any-return]

        difference = compare(path, run, network, stored_as, bound)
        size_bytes = temporary.stat().st_size
    return Exported(path, size_bytes, sizes(network), difference, bound)


def _half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise too_large(name)
    return half


def provenance_of(model: Model, metadata: Mapping[str, str], precision: str) -> dict[str, Any]:
    """What an export's metadata say of its origin: the file's own word first, if it has one."""
    try:
        said = json.loads(metadata.get("srcli.provenance", "{}"))
    except (ValueError, RecursionError):
        said = {}
    own = said if isinstance(said, dict) else {}
    identity = model.variants[0].identity if len(model.variants) == 1 else ""
    more = {"sha256": identity} if identity else {}
    return {
        **own,
        "exported_from": model.name,
        "source": model.source,
        "licence": model.licence,
        "stored_as": precision,
        **more,
    }
