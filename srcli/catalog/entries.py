"""The catalogue's data types. Torch-free: listing the catalogue must be instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

Family = Literal[
    "convolution",
    "residual",
    "dense",
    "distillation",
    "attention",
    "extremely lightweight",
    "resampling",
]
Colour = Literal["rgb", "bgr", "y", "ycbcr"]
Border = Literal["network", "reflect"]

NO_DENOISING = -1.0  # a strength below 0, which some networks count from


@dataclass(frozen=True)
class Preprocessing:
    """What a network takes and gives; the engine's adapter converts to it and back.

    Attributes:
        colour: channel layout. ``y``: luma alone (BT.601, 16..235 of 255), the chroma is enlarged
            bicubically; ``ycbcr``: full-range JFIF YCbCr, three channels.
        maximum: the value of white, 1 or 255.
        enlarged: True if the network takes the picture already enlarged bicubically.
    """

    colour: Colour = "rgb"
    maximum: float = 1.0
    enlarged: bool = False

    @property
    def channels(self) -> int:
        """What the network takes and gives."""
        return 1 if self.colour == "y" else 3


@dataclass(frozen=True)
class Architecture:
    """One network design: everything that does not depend on a set of weights.

    Attributes:
        name: what one types (``bcrn``).
        title: as the paper spells it.
        family: the survey's design class.
        paper: authors, venue and year in one line.
        reference: ``doi:...`` or ``arXiv:...``.
        network: ``module:class`` of the torch network, None for a resampler.
        min_size: least height and width (LR px) that the network can take.
        multiple: height and width (LR px) must be multiples of this.
        tiling: ``exact``: tiled equals whole; ``whole``: only the whole picture at once is exact,
            and tiles are used where memory leaves no other way, which the run then says.
        expanded: the network is built and trained in an expanded form (branches, layers in a row,
            BatchNorm); its ``merge()`` returns the equivalent plain network, and loading calls it.
            Files may hold either.
    """

    name: str
    title: str
    family: Family
    paper: str
    reference: str
    network: str | None
    min_size: int = 1
    multiple: int = 1
    tiling: Literal["exact", "whole"] = "exact"
    expanded: bool = False


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: where it comes from and how to know that it is the right one.

    Attributes:
        file: name in the mirror (``bcrn.authors-x4.pth``), in the cache, or under weights/bundled.
        bytes: size.
        sha256: of the file, lower-case hex.
        url: where it is published; None for a bundled file. A file may serve several scales: the
            same entry then stands in several variants.
        state_key: key of the state dict inside the file (``model``, ``params``), if it is nested;
            None: it is not, or where training programs usually put it.
        strip_prefix: prefix to take off every parameter name (``module.``).
        keep: prefix of the parameters that are kept (``features.``), before ``strip_prefix`` is
            taken off; the others are left out.
        layout: ``module:CONSTANT``, the layers of a flat file (``.bin``): see srcli.weights.ncnn.
        folder: where a file of the user's own lies (`srcli models add`); None: the catalogue's.
    """

    file: str
    bytes: int
    sha256: str
    url: str | None
    state_key: str | None = None
    strip_prefix: str = ""
    keep: str = ""
    layout: str | None = None
    folder: Path | None = None

    @property
    def bundled(self) -> bool:
        return self.url is None and self.folder is None

    @property
    def own(self) -> bool:
        return self.folder is not None


@dataclass(frozen=True)
class Denoise:
    """Files of one network that take noise away more or less strongly, and the strength chosen.

    Attributes:
        files: (strength, its file), ascending; ``NO_DENOISING`` comes before 0.
        strength: what is meant where none is asked for; `Variant.denoised` makes another choice.
        between: strengths between two files are had too, as the mean of their tensors, weighted by
            nearness (deep network interpolation, arXiv 1811.10515).
    """

    files: tuple[tuple[float, WeightsFile], ...]
    strength: float
    between: bool = False

    @property
    def strengths(self) -> tuple[float, ...]:
        return tuple(strength for strength, _ in self.files)

    def has(self, strength: float) -> bool:
        """True if this strength can be had."""
        if self.between:
            return self.strengths[0] <= strength <= self.strengths[-1]
        return strength in self.strengths

    @property
    def parts(self) -> tuple[tuple[WeightsFile, float], ...]:
        """The files that make up the chosen strength and their shares, which add up to 1."""
        for (low, below), (high, above) in pairwise(self.files):
            if low < self.strength < high:
                share = (self.strength - low) / (high - low)
                return (above, share), (below, 1 - share)
        return ((dict(self.files)[self.strength], 1.0),)


@dataclass(frozen=True)
class Variant:
    """One model at one native scale.

    Attributes:
        scale: native factor.
        weights: its file, of several the one with the largest share; None for a resampler, or a
            network that srcli has none to download for.
        parameters: learnable parameters.
        psnr_set5: PSNR-Y on Set5 in dB (shared protocol), None if unknown.
        config: keyword arguments of the network's constructor, ``scale`` apart.
        denoise: if there are files of several strengths.
    """

    scale: int
    weights: WeightsFile | None
    parameters: int
    psnr_set5: float | None = None
    psnr_set14: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    denoise: Denoise | None = None

    @property
    def parts(self) -> tuple[tuple[WeightsFile, float], ...]:
        """The files that its tensors are made of and their shares; none if there are no weights."""
        if self.denoise is not None:
            return self.denoise.parts
        return ((self.weights, 1.0),) if self.weights is not None else ()

    @property
    def files(self) -> tuple[WeightsFile, ...]:
        """All its files, whatever strength is chosen."""
        if self.denoise is not None:
            return tuple(file for _, file in self.denoise.files)
        return (self.weights,) if self.weights is not None else ()

    @property
    def identity(self) -> str:
        """Stands for its tensors: the file's sha256, or a sum of several; empty without weights."""
        if len(self.parts) == 1:
            return self.parts[0][0].sha256
        return " + ".join(f"{share!r} {file.sha256}" for file, share in self.parts)

    def denoised(self, strength: float) -> Variant:
        """With another strength, which it must have."""
        assert self.denoise is not None, "there is one strength only"
        denoise = replace(self.denoise, strength=strength)
        return replace(self, denoise=denoise, weights=max(denoise.parts, key=lambda p: p[1])[0])


@dataclass(frozen=True)
class Model:
    """A name one types, ``architecture.tag``, and the scales it has weights for.

    A resampler (``bicubic``, ``lanczos``) has no tag, no variants, and is native at any scale.

    Attributes:
        border: what the network is to see beyond the picture where nothing else is asked for:
            zeros, as it pads (``network``), or the picture's mirror image (``reflect``).
        purposes: names of the purposes that it serves, the first one best.
        advice: one sentence for whoever chooses: what it does well, and what it does badly.
    """

    name: str
    arch: Architecture
    licence: str
    source: str
    preprocessing: Preprocessing = Preprocessing()
    variants: tuple[Variant, ...] = ()
    note: str = ""
    border: Border = "network"
    purposes: tuple[str, ...] = ()
    advice: str = ""

    @property
    def is_resampler(self) -> bool:
        return self.arch.network is None

    @property
    def is_own(self) -> bool:
        """True if the user added it."""
        return any(v.weights is not None and v.weights.own for v in self.variants)

    @property
    def non_commercial(self) -> bool:
        """True if the licence forbids commercial use (Creative Commons' NC)."""
        return "NC" in self.licence.upper().split("-")

    @property
    def terms(self) -> str:
        """The licence, and what stands out in it."""
        return f"{self.licence} (non-commercial)" if self.non_commercial else self.licence

    @property
    def trained(self) -> bool:
        """True if it can be used as it is: there are weights, or none are needed."""
        return self.is_resampler or any(v.weights is not None for v in self.variants)

    @property
    def scales(self) -> tuple[int, ...]:
        return tuple(v.scale for v in self.variants)

    def variant(self, scale: int) -> Variant:
        """The variant of a native scale; KeyError if there is none."""
        for v in self.variants:
            if v.scale == scale:
                return v
        raise KeyError(scale)


@dataclass(frozen=True)
class Purpose:
    """What one wants a model for; its name stands for a model (``-m photo``).

    Attributes:
        name: what one types.
        title: in words (``damaged photo``); it is understood too.
        about: one sentence: which pictures it is for.
        models: names of models or architectures; the first with weights for the scale is taken,
            else the first.
    """

    name: str
    title: str
    about: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Alias:
    """Another name by which people know models.

    Attributes:
        name: as they write it.
        models: names of models or architectures that it means; of several, the user must choose.
        nearest: instead, if srcli has no such model: what comes nearest.
        because: why it has none; the end of a sentence.
    """

    name: str
    models: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    because: str = ""
