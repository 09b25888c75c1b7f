"""Weights -> a network ready to run; and files of the user's own."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import srcli
from srcli.catalog import (
    Architecture,
    Catalogue,
    Colour,
    Door,
    Model,
    Variant,
    architectures,
    canonical,
    default_catalogue,
    get,
    without_weights,
)
from srcli.catalog.load import MAX_NATIVE_SCALE, frozen
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import format as stored
from srcli.weights import recognise
from srcli.weights.cache import Announce, WeightsOptions, write_atomic
from srcli.weights.download import Progress
from srcli.weights.locate import locate_and_read
from srcli.weights.origin import MAX_BYTES, read_any
from srcli.weights.recognise import Candidate

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

ARCH_KEY = "srcli.arch"
SCALE_KEY = "srcli.scale"
CONFIG_KEY = "srcli.config"
DOOR_KEY = "srcli.door"
PROVENANCE_KEY = "srcli.provenance"
VERSION_KEY = "srcli.version"

CHANGES = {  # keys of a config that no constructor knows: what changes the network that it has made
    "ghost": "srcli.archs.ghostsr:ghosted",
}


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


def build(
    variant: Variant, arch: Architecture, state: Mapping[str, Tensor], *, merge: bool = True
) -> nn.Module:
    """The network with these weights, in evaluation mode, on the CPU, without gradients.

    Args:
        variant: its scale and config are the constructor's arguments.
        arch: names the class.
        state: must have exactly the network's parameters, of an expanded architecture those of
            its expanded or its plain form. Besides, ranges for eight bits, which the network's
            convolutions then have: see ``srcli.archs.quantised``.
        merge: if the network is expanded, return the equivalent plain network; False to train
            (what is in the plain form already stays so).

    Raises:
        WeightsError: a parameter is missing, too many, or of another shape.
    """
    from srcli.archs import quantised
    from srcli.archs.merging import Expanded

    network = _filled(variant, arch, state)
    if merge and isinstance(network, Expanded):
        network = network.merge()
    try:
        quantised.attach(network, quantised.split(state)[1])
    except ValueError as exc:
        raise WeightsError(f"The weights do not fit {arch.name} x{variant.scale}: {exc}.") from exc
    return network.eval().requires_grad_(False)


def new_network(variant: Variant, arch: Architecture) -> nn.Module:
    """The network with random weights, ready to train: as its constructor leaves it, and changed
    as the keys of its config say that stand in `CHANGES`."""
    assert arch.network is not None, "a resampler has no network"
    config = dict(variant.config)
    changes = {key: config.pop(key) for key in CHANGES if key in config}
    network: nn.Module = _named(arch.network)(scale=variant.scale, **config)
    for key, value in changes.items():
        network = _named(CHANGES[key])(network, value)
    return network


def _named(place: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


class _OtherNamesError(WeightsError):
    """The tensors are of another network, whatever its scale and arguments."""


def _filled(
    variant: Variant, arch: Architecture, state: Mapping[str, Tensor], *, plain: bool = True
) -> nn.Module:
    """``plain``: of an expanded architecture the plain form is tried too."""
    from srcli.archs.quantised import split  # torch

    network = new_network(variant, arch)
    state, _ = split(state)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as exc:
        if arch.expanded and not recognise.has_names_of(network, state):
            raise _OtherNamesError(f"The names are not those of {arch.name}.") from exc
        if arch.expanded and plain:
            merged = cast("nn.Module", cast("Any", network).merge())
            with contextlib.suppress(RuntimeError):
                merged.load_state_dict(state, strict=True)
                return merged
        raise WeightsError(
            f"The weights do not fit {arch.name} x{variant.scale}: {_differences(network, state)}."
        ) from exc
    return network


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
    said = _Metadata(path, metadata)
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
            model, variant = _own_model(path, Candidate(template, native, config), state, said.door)
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
    path: Path, candidate: Candidate, state: Mapping[str, Tensor], door: Door | None = None
) -> tuple[Model, Variant]:
    """The model that a file is, if it fits the candidate.

    Raises:
        WeightsError: it does not.
    """
    template = candidate.model
    variant = Variant(candidate.scale, weights=None, parameters=0, config=candidate.config)
    try:
        network = _filled(variant, template.arch, state, plain=candidate.plain)
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
        door=door or template.door,
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
        except _OtherNamesError:
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
    if len(scales) > 1 and scale != variant.scale and not model.door.enlarged:
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


def save_file(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    arch: str,
    scale: int,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    door: Door | None = None,
) -> None:
    """Write safetensors that `load_file` reads without being told anything. Atomic.

    The same arguments give the same bytes.

    Args:
        arch: architecture name in the catalogue.
        scale, config: constructor arguments of the network.
        provenance: where the weights come from (data, steps, commit); JSON.
        door: what the network wants at its door, if it is not what the catalogue says.

    Raises:
        ResourceError: no room.
        WeightsError: the path cannot be written.
    """
    metadata = network_metadata(arch, scale, config, provenance, door)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, stored.pack(state, metadata))
    except OSError as exc:
        raise WeightsError(f"{path} cannot be written: {exc.strerror or exc}.") from exc


def network_metadata(
    arch: str,
    scale: int,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    door: Door | None = None,
) -> dict[str, str]:
    """What `save_file` writes beside the tensors, and `load_file` reads."""
    metadata = {
        ARCH_KEY: arch,
        SCALE_KEY: str(scale),
        CONFIG_KEY: json.dumps(dict(config), sort_keys=True),
        PROVENANCE_KEY: json.dumps(dict(provenance), sort_keys=True),
        VERSION_KEY: srcli.__version__,
    }
    if door is not None:
        metadata[DOOR_KEY] = json.dumps(asdict(door), sort_keys=True)
    return metadata


def file_metadata(path: Path) -> Mapping[str, str]:
    """A safetensors file's free-form strings; of any other file, none.

    Raises:
        UsageError, WeightsError: no such file; it cannot be read, or is damaged.
    """
    data = read_file(path)
    if not stored.looks_like_safetensors(data):
        return {}
    try:
        return stored.inspect(data).metadata
    except stored.DamagedError as exc:
        raise WeightsError(f"{path} is damaged: {exc}.") from exc


def check_output(network: nn.Module, model: Model, variant: Variant, path: Path) -> None:
    """Run a network from a file over a small grey picture.

    Raises:
        WeightsError: it fails, does not enlarge by its scale, or yields what is not finite.
    """
    import torch

    arch, scale = model.arch, variant.scale
    side = -(-max(16, arch.min_size) // arch.multiple) * arch.multiple
    channels = model.door.channels
    enter = side * scale if model.door.enlarged else side
    grey = torch.full((1, channels, enter, enter), model.door.maximum / 2)
    try:
        with torch.inference_mode():
            sr = network(grey)
    except (RuntimeError, TypeError, ValueError) as exc:
        raise WeightsError(f"{path} does not run as {arch.name} x{scale}: {exc}") from exc
    if tuple(sr.shape) != (1, channels, side * scale, side * scale):
        raise WeightsError(f"{path} makes a {arch.name} that does not enlarge by {scale}.")
    if not bool(sr.isfinite().all()):
        raise WeightsError(f"{path}: what {arch.name} x{scale} computes with it is not finite.")


class _Metadata:
    """What a file's metadata say, checked.

    Raises:
        WeightsError: something in them is not as srcli writes it.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str]) -> None:
        self.scale: int | None = None
        self.config: dict[str, Any] | None = None
        self.door: Door | None = None
        try:
            if SCALE_KEY in metadata:
                self.scale = int(metadata[SCALE_KEY])
                if not 1 <= self.scale <= MAX_NATIVE_SCALE:
                    raise ValueError(f"scale {self.scale}")
            if CONFIG_KEY in metadata:
                config = json.loads(metadata[CONFIG_KEY])
                self.config = {str(k): _modest(frozen(v)) for k, v in config.items()}
            if DOOR_KEY in metadata:
                self.door = _door(json.loads(metadata[DOOR_KEY]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise WeightsError(f"The metadata of {path} make no sense: {exc}.") from exc


def _door(said: Any) -> Door:
    colour, maximum = said["colour"], float(said["maximum"])
    if colour not in get_args(Colour) or not 0 < maximum < float("inf"):
        raise ValueError(f"door {said}")
    return Door(cast("Colour", colour), maximum, bool(said["enlarged"]))


def _modest(value: Any) -> Any:
    """Refuse sizes that no lightweight network has, before memory is asked for."""
    if isinstance(value, tuple):
        return tuple(_modest(v) for v in value)
    if isinstance(value, dict) or (isinstance(value, int | float) and abs(value) > 4096):
        raise ValueError(f"config value {value}")
    return value


def read_file(path: Path) -> bytes:
    """A file's bytes; UsageError if there is none, WeightsError if it cannot be weights."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise UsageError(f"{path} is a folder, not a file of weights.")
        if size > MAX_BYTES:
            raise WeightsError(f"{path} is refused: {size / 1e9:.1f} GB, over the limit of 2 GiB.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device or a growing file has no true size
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise UsageError(f"There is no file {path}.") from exc
    except OSError as exc:
        raise WeightsError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{path} is refused: over the limit of 2 GiB.")
    if not data:
        raise WeightsError(f"{path} is empty.")
    return data


def _template(
    path: Path, model_name: str | None, metadata: Mapping[str, str], catalogue: Catalogue
) -> Model | None:
    """The model whose network, door and usual scales the file is taken to have, if one is named."""
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
    template: Model, said: _Metadata, scale: float | None, state: Mapping[str, Tensor]
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
    found = recognise.told(template.arch, state)
    if found is not None and said.config is None:
        yield found


def _differences(network: nn.Module, state: Mapping[str, Tensor], limit: int = 3) -> str:
    """What keeps the tensors from fitting, the first few of each kind."""
    wanted = network.state_dict()
    kinds = {
        "missing": [k for k in wanted if k not in state],
        "not in the network": [k for k in state if k not in wanted],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} for {tuple(t.shape)}"
            for k, t in wanted.items()
            if k in state and state[k].shape != t.shape
        ],
    }
    return "; ".join(
        f"{what}: {', '.join(keys[:limit])}"
        + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
        for what, keys in kinds.items()
        if keys
    )
