"""Files as their authors published them -> a plain state dict. Nothing in a pickle is run."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from srcli.errors import WeightsError
from srcli.weights import format as stored

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2 << 30
# where training programs put the weights, the smoothed ones first
_USUAL_KEYS = ("params_ema", "params", "state_dict", "model", "generator", "net")
_USUAL_PREFIXES = ("module.", "_orig_mod.")


def read_origin(
    data: bytes,
    name: str,
    *,
    state_key: str | None = None,
    strip_prefix: str = "",
    keep: str = "",
) -> dict[str, Tensor]:
    """The state dict of a published file, by the catalogue's description of it.

    Args:
        data: a whole ``.pth`` or safetensors file.
        name: for messages.
        state_key: where the state dict is nested; None: nowhere, or where it usually is.
        strip_prefix: taken off every parameter name.
        keep: only parameters whose names begin so are kept.

    Raises:
        WeightsError: refused (a pickle of more than tensors), or not as described.
    """
    content = _content(data, name)
    if state_key is not None:
        if not isinstance(content, Mapping) or state_key not in content:
            raise WeightsError(f"{name} holds no {state_key!r}, where its weights should be.")
        content = content[state_key]
    else:
        content = _unnested(content)
    state = {k: t for k, t in _checked(content, name).items() if k.startswith(keep)}
    return _without_prefix(state, strip_prefix)


def read_any(data: bytes, name: str) -> dict[str, Tensor]:
    """The state dict of a file that nothing is known of: usual nestings and prefixes undone.

    Raises:
        WeightsError: refused, or no state dict is found, or a value in it is not finite.
    """
    state = _checked(_unnested(_content(data, name)), name)
    for prefix in _USUAL_PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = _without_prefix(state, prefix)
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"{name} holds values that are not finite (in {key}): the training diverged."
            )
    return state


def _unnested(content: Any) -> Any:
    for _ in range(4):  # nested, but not without end
        inner = next((content[k] for k in _USUAL_KEYS if _is_nested(content, k)), None)
        if inner is None:
            break
        content = inner
    return content


def _is_nested(content: Any, key: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(key), Mapping)


def _content(data: bytes, name: str) -> Any:
    if stored.looks_like_safetensors(data):
        try:
            return stored.unpack(data)
        except stored.DamagedError as exc:
            raise WeightsError(f"{name} is not a sound safetensors file: {exc}.") from exc
    _refuse_bomb(data, name)
    import pickle

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old file formats: nothing a user can do
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise WeightsError(
            f"{name} is refused: it is damaged or holds more than tensors. Nothing in it was run.",
            "Ask whoever made it for a file that holds the state dict only, best as safetensors.",
        ) from exc
    except Exception as exc:  # on foreign bytes torch.load may raise anything at all
        line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise WeightsError(f"{name} is not a file of weights that can be read: {line}") from exc


def _refuse_bomb(data: bytes, name: str) -> None:
    """torch.save never compresses; a file that unpacks to gigabytes is no file of weights."""
    if not data.startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as exc:
        raise WeightsError(f"{name} is cut off or damaged: {exc}.") from exc
    if unpacked > MAX_BYTES:
        raise WeightsError(f"{name} is refused: unpacked it has {unpacked / 1e9:.1f} GB.")


def _checked(content: Any, name: str) -> dict[str, Tensor]:
    """The content as a dict of plain tensors in main memory."""
    import torch

    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{name} holds no state dict (a table of named tensors).")
    state: dict[str, Tensor] = {}
    total_bytes = 0
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            what = f"{key!r} is of type {type(value).__name__}"
            raise WeightsError(f"{name} holds no state dict (a table of named tensors): {what}.")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"{name}: the tensor {key} is not a plain dense one.")
        total_bytes += value.numel() * value.element_size()  # a view may claim more than is stored
        if total_bytes > MAX_BYTES:
            raise WeightsError(f"{name} is refused: its tensors claim over 2 GiB.")
        state[key] = value.detach()
    return state


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()} if prefix else state
