"""Losses on pictures in 0..1, and their weighted sum as a recipe writes it.

``loss = { l1 = 1.0, fft = 0.05, vgg19.conv5_4 = 0.1 }``: a name from ``config.LOSSES``, or a layer
of a network that recognises pictures, and its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.training.config import LOSSES, NEED_TEACHER, is_layer
from srcli.training.perceptual import FeatureExtractors, looks, moved
from srcli.training.similarity import (
    checkerboard,
    focal_frequency,
    locally_discriminative,
    ms_ssim,
)


class Contrastive(nn.Module):
    """RLFN's contrastive loss (arXiv 2205.07514): |f(sr) - f(hr)| / |f(sr) - f(bicubic)|, summed
    over samples, f a random frozen Conv3-Tanh-Conv3 of 64 channels."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        generator = torch.Generator().manual_seed(0)  # the same extractor in every run
        for p in self.parameters():
            bound = 1 / (p[0].numel() if p.dim() > 1 else p.numel()) ** 0.5
            p.data.uniform_(-bound, bound, generator=generator)
        self.requires_grad_(False)

    def forward(self, sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
        bicubic = F.interpolate(lr, hr.shape[2:], mode="bicubic", align_corners=False).clamp(0, 1)
        seen = (x.expand(-1, 3, -1, -1) for x in (sr, hr, bicubic))  # luma alone as grey
        f, positive, negative = map(self.features, seen)
        axes = (1, 2, 3)
        near, far = (f - positive).abs().mean(axes), (f - negative).abs().mean(axes)
        ratio: Tensor = near / (far + 1e-4)
        return ratio.mean()


class Loss(nn.Module):
    """A weighted sum of losses: a number from (sr, hr, lr), each (n, c, h, w) fp32 in 0..1, c what
    the network sees.

    Args:
        weights: names of ``LOSSES``, or ``network.layer.distance`` -> weight.
        extractors: opens the networks that perceptual losses look through.
        as_rgb: what the network sees -> RGB, which those want.
        moving: perceptual losses see only the part of the pictures that begins at ``start``.

    Attributes:
        start: (y, x): see ``perceptual.moved``.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        extractors: FeatureExtractors | None = None,
        as_rgb: Callable[[Tensor], Tensor] = lambda x: x,
        *,
        moving: bool = False,
    ) -> None:
        super().__init__()
        given = {name: w for name, w in weights.items() if w}
        assert all(name in LOSSES or is_layer(name) for name in given), given
        seen_through = [name for name in given if looks(name)]
        # weights of terms that the step adds
        self.adversarial = given.pop("adversarial", 0.0)
        self.imitation = given.pop("imitation", 0.0)
        self.variational = given.pop("variational", 0.0)
        self.weights = {name: w for name, w in given.items() if not is_layer(name)}
        self.as_rgb = as_rgb
        self.perceptual = nn.ModuleDict()
        self.moving = moving
        self.start = nn.Buffer(torch.zeros(2, dtype=torch.int64), persistent=False)
        if seen_through:
            assert extractors is not None
            self.perceptual.update(extractors.open(seen_through, given))
        if "contrastive" in self.weights:
            self.contrastive = Contrastive()

    @property
    def needs_teacher(self) -> bool:
        return bool(NEED_TEACHER & set(self.weights))

    @property
    def needs_average(self) -> bool:
        return "ldl" in self.weights

    def forward(
        self,
        sr: Tensor,
        hr: Tensor,
        lr: Tensor,
        teacher_sr: Tensor | None = None,
        features: tuple[Tensor, Tensor] | None = None,
        average_sr: Tensor | None = None,
    ) -> Tensor:
        total = sr.new_zeros(())
        for name, weight in self.weights.items():
            if name not in self.perceptual:
                one = self.one(name, sr, hr, lr, teacher_sr, features, average_sr)
                total = total + weight * one
        if len(self.perceptual):
            pictures = [self.as_rgb(x) for x in (sr, hr)]
            if self.moving:
                pictures = [moved(picture, self.start) for picture in pictures]
            for name, module in self.perceptual.items():
                total = total + self.weights.get(name, 1.0) * module(*pictures)
        return total

    def one(
        self,
        name: str,
        sr: Tensor,
        hr: Tensor,
        lr: Tensor,
        teacher_sr: Tensor | None,
        features: tuple[Tensor, Tensor] | None,
        average_sr: Tensor | None,
    ) -> Tensor:
        if name == "l1":
            return (sr - hr).abs().mean()
        if name == "l2":
            return (sr - hr).square().mean()
        if name == "charbonnier":
            return ((sr - hr).square() + 1e-6).sqrt().mean()
        if name == "fft":
            # the transform is linear: of the difference, once
            spectrum = torch.fft.rfft2(sr - hr, norm="ortho")
            return torch.view_as_real(spectrum).abs().mean()
        if name == "tv":
            return sr.diff(dim=2).abs().mean() + sr.diff(dim=3).abs().mean()
        if name == "contrastive":
            out: Tensor = self.contrastive(sr, hr, lr)
            return out
        if name == "ms_ssim":
            return ms_ssim(sr, hr)
        if name == "focal_frequency":
            return focal_frequency(sr, hr)
        if name == "checkerboard":
            return checkerboard(sr, hr, sr.shape[2] // lr.shape[2])
        if name == "ldl":
            assert average_sr is not None
            return locally_discriminative(sr, hr, average_sr)
        if name == "distill":
            assert teacher_sr is not None
            return (sr - teacher_sr).abs().mean()
        assert name == "distill_feature" and features is not None
        return attention_transfer(*features)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two normalised maps of feature energy (arXiv 1612.03928); the
    numbers of channels may differ, and the teacher's map is brought to the student's size."""
    energy = [x.float().square().mean(1, keepdim=True) for x in (student, teacher)]
    if energy[1].shape != energy[0].shape:
        energy[1] = F.interpolate(energy[1], energy[0].shape[2:], mode="area")
    a, b = (F.normalize(e.flatten(1), dim=1) for e in energy)
    return (a - b).square().sum(1).mean()
