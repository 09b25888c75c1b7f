"""The steps that a pipeline is made of. Each draws what it needs from the generator it is given."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.random import Generator
from PIL import Image

from srcli.training.degradations.kernels import Form, Picture, convolve, gaussian, sinc
from srcli.training.degradations.resizing import resized

Range = tuple[float, float]
Of = Literal["now", "lr"]
SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
BLOCK = 16  # pixels: the largest block of JPEG and WebP


@dataclass(frozen=True)
class Frame:
    """What a step knows of the whole: (height, width) that the LR picture will have."""

    lr_size: tuple[int, int]


class Step(Protocol):
    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture: ...


@dataclass(frozen=True)
class Blur:
    """A kernel drawn anew for each picture.

    Attributes:
        size: side of the kernel, pixels; odd numbers are drawn.
        sigma: of both axes, pixels.
        forms: weights of ``gaussian``, ``generalized``, ``plateau``, ``sinc``.
        round: probability that both axes are equal (not of sinc).
        beta: of ``generalized``; plateau_beta: of ``plateau``.
        cutoff: of sinc, as a share of pi.
        probability: that the step happens at all.
    """

    sigma: Range = (0.2, 3.0)
    size: Range = (7, 21)
    forms: Mapping[str, float] = field(default_factory=lambda: {"gaussian": 1.0})
    round: float = 0.6
    beta: Range = (0.5, 4.0)
    plateau_beta: Range = (1.0, 2.0)
    cutoff: Range = (1 / 3, 1.0)
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        low, high = (int(n) // 2 for n in self.size)
        side = 2 * int(rng.integers(low, high + 1)) + 1
        form = _chosen(self.forms, rng)
        if form == "sinc":
            return convolve(picture, sinc(side, math.pi * rng.uniform(*self.cutoff)))
        first, second = rng.uniform(*self.sigma, 2)
        if rng.random() < self.round:
            second = first
        angle = rng.uniform(-math.pi, math.pi)
        beta = 1.0
        if form != "gaussian":
            low_beta, high_beta = self.beta if form == "generalized" else self.plateau_beta
            # half of them below 1, as far as the range goes
            beta = rng.uniform(low_beta, 1) if rng.random() < 0.5 else rng.uniform(1, high_beta)
        kind: Form = "plateau" if form == "plateau" else "generalized"
        kind = "gaussian" if form == "gaussian" else kind
        return convolve(picture, gaussian(side, (first, second), angle, kind, beta))


@dataclass(frozen=True)
class Resize:
    """Larger, smaller, or as it is.

    Attributes:
        factor: smallest and largest.
        up, down: probabilities that it is larger, smaller; else nothing happens.
        of: what the factor is of: the picture's size ``now``, or that of the ``lr`` picture.
        modes: of ``resizing.MODES``, equally likely.
    """

    factor: Range = (0.5, 1.5)
    up: float = 0.2
    down: float = 0.7
    of: Of = "now"
    modes: tuple[str, ...] = ("area", "linear", "cubic")
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        u, factor = rng.random(), 1.0
        if u < self.up:
            factor = rng.uniform(1, max(1.0, self.factor[1]))
        elif u < self.up + self.down:
            factor = rng.uniform(min(1.0, self.factor[0]), 1)
        mode = str(rng.choice(self.modes))
        of = picture.shape[:2] if self.of == "now" else frame.lr_size
        return resized(picture, (_side(of[0] * factor), _side(of[1] * factor)), mode)


@dataclass(frozen=True)
class ToLr:
    """To the size of the LR picture."""

    modes: tuple[str, ...] = ("area", "linear", "cubic")
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        return resized(picture, frame.lr_size, str(rng.choice(self.modes)))


@dataclass(frozen=True)
class Gaussian:
    """Noise of a normal distribution, the same everywhere.

    Attributes:
        sigma: grey levels of 255.
        grey: probability that it is equal in R, G and B.
        correlated: probability that it is unequal but related (a random covariance).
    """

    sigma: Range = (1.0, 30.0)
    grey: float = 0.4
    correlated: float = 0.0
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        sigma, u = rng.uniform(*self.sigma), rng.random()
        channels = 1 if u < self.grey else 3
        noise = rng.standard_normal((*picture.shape[:2], channels), np.float32)
        if u >= 1 - self.correlated:
            turn = np.linalg.qr(rng.standard_normal((3, 3)))[0] * np.sqrt(rng.random(3))
            noise = noise @ turn.T.astype(np.float32)
        return picture + np.float32(sigma) * noise


@dataclass(frozen=True)
class Poisson:
    """Noise as light has it: of few photons, stronger where it is bright.

    Attributes:
        scale: strength; 1: as many photons as the picture has levels.
        grey: probability that it is equal in R, G and B.
    """

    scale: Range = (0.05, 3.0)
    grey: float = 0.4
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        scale = rng.uniform(*self.scale)
        light = np.clip(np.rint(picture), 0, 255)
        if rng.random() < self.grey:
            light = (light @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
        levels = np.unique(light.astype(np.uint8)).size
        photons = 2.0 ** math.ceil(math.log2(max(levels, 2))) / 255
        noise = rng.poisson(light * photons) / photons - light
        noisy: Picture = picture + (scale * noise).astype(np.float32)
        return noisy


@dataclass(frozen=True)
class Jpeg:
    """Through the codec and back. The grid of blocks lies anywhere, as in a picture cut from one.

    Attributes:
        quality: 1..100.
        subsampling: of the colours, equally likely: ``4:4:4``, ``4:2:2``, ``4:2:0``.
    """

    quality: Range = (30, 95)
    subsampling: tuple[str, ...] = ("4:2:0", "4:4:4")
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        quality = round(rng.uniform(*self.quality))
        colours = SUBSAMPLINGS[str(rng.choice(self.subsampling))]
        return _coded(picture, rng, "JPEG", quality=quality, subsampling=colours)


@dataclass(frozen=True)
class Webp:
    """As ``Jpeg``; WebP's blocks and their smoothing are those of the VP8 video codec."""

    quality: Range = (30, 95)
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        return _coded(picture, rng, "WEBP", quality=round(rng.uniform(*self.quality)), method=2)


@dataclass(frozen=True)
class OneOf:
    """One of several rows of steps.

    Attributes:
        choices: the rows.
        weights: how likely each is; empty: all alike.
    """

    choices: tuple[tuple[Step, ...], ...]
    weights: tuple[float, ...] = ()
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        weights = self.weights or (1.0,) * len(self.choices)
        row = self.choices[int(rng.choice(len(weights), p=np.array(weights) / sum(weights)))]
        return run(row, picture, frame, rng)


@dataclass(frozen=True)
class Shuffle:
    """Steps in random order.

    Attributes:
        steps: the steps.
        in_order: numbers of those, from 0, that stay in this order among themselves.
    """

    steps: tuple[Step, ...]
    in_order: tuple[int, ...] = ()
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        order = [int(k) for k in rng.permutation(len(self.steps))]
        kept = iter(self.in_order)
        order = [next(kept) if k in self.in_order else k for k in order]
        return run([self.steps[k] for k in order], picture, frame, rng)


def run(steps: Sequence[Step], picture: Picture, frame: Frame, rng: Generator) -> Picture:
    """One step after the other; each happens with its probability."""
    for step in steps:
        probability: float = getattr(step, "probability", 1.0)
        if probability >= 1 or rng.random() < probability:
            picture = step(picture, frame, rng)
    return picture


def rounded(picture: Picture) -> np.ndarray:
    """uint8."""
    pixels: np.ndarray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return pixels


def _coded(picture: Picture, rng: Generator, form: str, **options: int) -> Picture:
    top, left = (int(n) for n in rng.integers(0, BLOCK, 2))
    pixels = np.pad(rounded(picture), ((top, 0), (left, 0), (0, 0)), mode="symmetric")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    with Image.open(file) as image:
        decoded = np.asarray(image.convert("RGB"))
    return decoded[top:, left:].astype(np.float32)


def _chosen(weights: Mapping[str, float], rng: Generator) -> str:
    share = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(share), p=share / share.sum()))]


def _side(length: float) -> int:
    return max(1, round(length))
