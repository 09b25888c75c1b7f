"""A file of the user's own -> the network that it is for: named, in its metadata, or recognised."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from srcli.catalog import (
    Catalogue,
    Model,
    Preprocessing,
    Variant,
    architectures,
    canonical,
    default_catalogue,
    get,
)
from srcli.catalog.load import MAX_NATIVE_SCALE
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import format as stored
from srcli.weights import recognise
from srcli.weights.cache import Announce
from srcli.weights.metadata import ARCH_KEY, FileMetadata, read_file
from srcli.weights.networks import CHANGES, OtherNamesError, filled
from srcli.weights.origin import read_any
from srcli.weights.recognise import Candidate

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)


def load_file(
    path: Path,
    model_name: str | None = None,
    scale: float | None = None,
    *,
    catalogue: Catalogue | None = None,
    announce: Announce | None = None,
    foreign: bool = False,
) -> tuple[Model, Variant, dict[str, Tensor]]:
    """A file of the user's own: safetensors, or ``.pth`` (of which only tensors are read).

    The architecture is the named one, else that of the file's metadata, else the one that the
    tensors fit. The native scale is the one in the metadata, else the first of these that the
    tensors fit: the asked one, the architecture's usual ones, 1 to 16.

    Args:
        path: the file.
        model_name: architecture or model whose network it is for; None: found out.
        scale: the scale asked for.
        announce: told if the tensors fit several networks, or one that spandrel runs.
        foreign: what fits none of the catalogue's networks may be one of spandrel's, if that is
            installed.

    Returns:
        A model with one variant (no weights file), that variant, and the tensors.

    Raises:
        UsageError: no such file, no such model, or nothing is named and nothing fits.
        WeightsError: refused, damaged, or it does not fit the network.
    """
    catalogue = catalogue or default_catalogue()
    data = read_file(path)
    metadata: Mapping[str, str] = {}
    if stored.looks_like_safetensors(data):
        try:
            header = stored.inspect(data)
            if stored.DIGEST_KEY in header.metadata:
                stored.check(data)
        except stored.DamagedError as exc:
            raise WeightsError(f"{path} is damaged: {exc}.") from exc
        metadata = header.metadata
    template = _template(path, model_name, metadata, catalogue)
    said = FileMetadata(path, metadata)
    state = read_any(data, str(path))

    if template is None:
        say = announce or log.warning
        found = _recognised(path, state, scale, catalogue, say) or _foreign(
            path, state, foreign, say
        )
        return *found, state
    wrong: WeightsError | None = None
    for native, config in _candidates(template, said, scale, state):
        try:
            model, variant = _own_model(
                path, Candidate(template, native, config), state, said.preprocessing
            )
        except WeightsError as exc:
            wrong = wrong or exc  # the first candidate is the likeliest
        else:
            return model, variant, state
    assert wrong is not None
    raise WeightsError(
        f"{path} does not fit {template.arch.name}: {wrong.message}",
        "Name the right architecture with --model; `srcli models` lists them.",
    ) from wrong


def _own_model(
    path: Path,
    candidate: Candidate,
    state: Mapping[str, Tensor],
    preprocessing: Preprocessing | None = None,
) -> tuple[Model, Variant]:
    """The model that a file is, if it fits the candidate.

    Raises:
        WeightsError: it does not.
    """
    template = candidate.model
    variant = Variant(candidate.scale, weights=None, parameters=0, config=candidate.config)
    try:
        network = filled(variant, template.arch, state, plain=candidate.plain)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as exc:
        # the constructor refuses a scale, or what the metadata say
        text = f"{template.arch.name} cannot be made for x{candidate.scale}: {exc}."
        raise WeightsError(text) from exc
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    variant = replace(variant, parameters=count)
    # a file's form may take other sizes than the catalogue's
    multiple = math.lcm(template.arch.multiple, getattr(network, "multiple", 1))
    model = Model(
        name=f"{template.arch.name}:{path.name}",
        arch=replace(template.arch, multiple=multiple),
        licence="unknown",
        source=str(path),
        preprocessing=preprocessing or template.preprocessing,
        variants=(variant,),
        border=template.border,
    )
    return model, variant


def _recognised(
    path: Path,
    state: Mapping[str, Tensor],
    scale: float | None,
    catalogue: Catalogue,
    announce: Announce,
) -> tuple[Model, Variant] | None:
    """The network that a file's tensors fit; says which if they fit several unlike ones."""
    found: list[tuple[Model, Variant]] = []
    hopeless: set[Any] = set()  # networks with other names, whatever the scale
    for candidate in recognise.candidates(state, scale, catalogue):
        arch = candidate.model.arch
        named = (arch.network, *(candidate.config.get(key) for key in CHANGES))
        if named in hopeless or (found and not candidate.close):
            continue
        try:
            found.append(_own_model(path, candidate, state))
        except OtherNamesError:
            hopeless.add(named)
        except WeightsError as exc:
            said = str(exc.__cause__)
            if not arch.expanded and "Missing key" in said and "Unexpected key" in said:
                hopeless.add(named)
    if not found:
        return None
    model, variant = found[0]
    scales = [v.scale for m, v in found if recognise.same_network(m, model)]
    others = [m.arch.name for m, _ in found if not recognise.same_network(m, model)]
    if others:
        announce(
            f"{path} fits {model.arch.name} x{variant.scale} and also "
            f"{', '.join(dict.fromkeys(others))}; it is taken for {model.arch.name}. Use --model "
            "to name another one."
        )
    if len(scales) > 1 and scale != variant.scale and not model.preprocessing.enlarged:
        every = ", ".join(f"x{s}" for s in sorted(scales))
        announce(
            f"{path} fits {model.arch.name} at {every}, for its tensors are the same; it is taken "
            f"for x{variant.scale}. Use -x to name another one."
        )
    return model, variant


def _foreign(
    path: Path, state: Mapping[str, Tensor], allowed: bool, announce: Announce
) -> tuple[Model, Variant]:
    """The network that spandrel finds in a file that fits none of the catalogue's."""
    from srcli.weights import foreign

    hint = (
        "If it is a changed form of one of them, name it with --model, which then says what "
        "does not fit; `srcli models` lists them."
    )
    if allowed:
        if not foreign.is_installed():
            hint += f" Over forty more are known with spandrel: {foreign.INSTALL}"
        elif (found := foreign.recognised(path, state, announce)) is not None:
            return found
    raise UsageError(f"{path} fits none of the networks that srcli knows.", hint)


def check_output(network: nn.Module, model: Model, variant: Variant, path: Path) -> None:
    """Run a network from a file over a small grey picture.

    Raises:
        WeightsError: it fails, does not enlarge by its scale, or yields what is not finite.
    """
    import torch

    arch, scale = model.arch, variant.scale
    side = -(-max(16, arch.min_size) // arch.multiple) * arch.multiple
    channels = model.preprocessing.channels
    enter = side * scale if model.preprocessing.enlarged else side
    grey = torch.full((1, channels, enter, enter), model.preprocessing.maximum / 2)
    try:
        with torch.inference_mode():
            sr = network(grey)
    except (RuntimeError, TypeError, ValueError) as exc:
        raise WeightsError(f"{path} does not run as {arch.name} x{scale}: {exc}") from exc
    if tuple(sr.shape) != (1, channels, side * scale, side * scale):
        raise WeightsError(f"{path} makes a {arch.name} that does not enlarge by {scale}.")
    if not bool(sr.isfinite().all()):
        raise WeightsError(f"{path}: what {arch.name} x{scale} computes with it is not finite.")


def _template(
    path: Path, model_name: str | None, metadata: Mapping[str, str], catalogue: Catalogue
) -> Model | None:
    """The model whose network, preprocessing and scales the file is taken to have, if any."""
    said = metadata.get(ARCH_KEY)
    if model_name is None and said is None:
        return None
    name = model_name if model_name is not None else cast("str", said)
    try:
        template = _model_or_architecture(name, catalogue)
    except SrcliError as exc:
        if model_name is not None:
            raise
        raise WeightsError(
            f"{path} is for the architecture {said!r}, which this srcli does not know.",
            "A newer srcli may know it; or name one with --model.",
        ) from exc
    if template.is_resampler:
        raise UsageError(f"{template.name} is a resampler and takes no weights.")
    if said is not None and said in catalogue.architectures and said != template.arch.name:
        raise UsageError(f"{path} holds weights for {said}, not for {template.arch.name}.")
    return template


def _model_or_architecture(name: str, catalogue: Catalogue) -> Model:
    name = canonical(name, catalogue)
    tags = catalogue.of_architecture(name)
    if tags:
        return tags[0]
    for arch in architectures(catalogue):
        if arch.name == name:  # it has no model
            return Model(name=name, arch=arch, licence="unknown", source="")
    return get(name, catalogue)


def _candidates(
    template: Model, said: FileMetadata, scale: float | None, state: Mapping[str, Tensor]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(native scale, config) in the order they are tried."""
    usual = template.variants[0].config if template.variants else {}
    configs = {v.scale: v.config for v in template.variants}
    asked = [int(scale)] if scale is not None and float(scale).is_integer() else []
    if said.scale is not None:
        order = [said.scale]
    else:
        # of scales that the tensors cannot tell apart the asked one, then 4, wins
        order = [*asked, *sorted(template.scales, key=lambda s: s != 4), 4, 2, 3, 8, 1, 16]
    for native in dict.fromkeys(order):
        if 1 <= native <= MAX_NATIVE_SCALE:
            yield native, said.config if said.config is not None else configs.get(native, usual)
    found = recognise.infer_config(template.arch, state)
    if found is not None and said.config is None:
        yield found
