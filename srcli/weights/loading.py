"""A catalogue entry -> its tensors, and the network that they make, ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srcli.catalog import Model, without_weights
from srcli.errors import WeightsError
from srcli.weights import format as stored
from srcli.weights.cache import Announce, WeightsOptions
from srcli.weights.download import Progress
from srcli.weights.locate import locate_and_read
from srcli.weights.networks import build

if TYPE_CHECKING:
    from torch import Tensor, nn


def load(
    model: Model,
    scale: int,
    options: WeightsOptions,
    *,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> nn.Module:
    """A catalogue model at one of its native scales, ready to run: `state_dict`, then `build`."""
    state = state_dict(model, scale, options, progress=progress, announce=announce)
    return build(model.variant(scale), model.arch, state)


def state_dict(
    model: Model,
    scale: int,
    options: WeightsOptions,
    *,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> dict[str, Tensor]:
    """A model's tensors at one of its native scales, fetched first if need be.

    Of a strength of denoising between two files, the mean of their tensors by their shares.

    Raises:
        WeightsError, ResourceError: as `locate`; also if there are none to download.
    """
    parts = model.variant(scale).parts
    if not parts:
        raise WeightsError(*without_weights(model, scale))
    states = []
    for weights, _ in parts:
        path, data = locate_and_read(
            weights,
            options,
            model=model.name,
            licence=model.terms,
            progress=progress,
            announce=announce,
        )
        try:
            states.append(stored.unpack(data))
        except stored.DamagedError as exc:
            raise WeightsError(f"{path} cannot be read: {exc}.") from exc
    return _mean(states, [share for _, share in parts], model)


def _mean(states: list[dict[str, Tensor]], shares: list[float], model: Model) -> dict[str, Tensor]:
    """Tensor by tensor, in fp32; whole numbers (a BatchNorm's count) as the first file has them."""
    first, *others = states
    if not others:
        return first
    shapes = [{key: tensor.shape for key, tensor in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise WeightsError(
            f"The files of {model.name} are not of one network: they cannot be mixed."
        )

    def mixed(key: str) -> Tensor:
        if not first[key].is_floating_point():
            return first[key]
        mean = shares[0] * first[key].float()
        for share, state in zip(shares[1:], others, strict=True):
            mean += share * state[key].float()
        return mean

    return {key: mixed(key) for key in first}
