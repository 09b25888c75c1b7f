"""Losses that look at structure, spectra and artefacts, on pictures (n, c, h, w) in 0..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM's five
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
NEIGHBOURS = 7  # side of LDL's window
CELLS = 6  # LR pixels: side of the window in which a pattern must repeat to count


def ms_ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang, Simoncelli and Bovik, Asilomar 2003), the mean over channels and batch.

    Of the five scales those are taken at which the 11 x 11 window fits (all of them from 176
    pixels a side on), their weights brought to a sum of 1.
    """
    side = min(sr.shape[2:])
    fitting = sum(side >> k >= WINDOW for k in range(len(SCALES)))
    if not fitting:
        raise ValueError(f"MS-SSIM needs {WINDOW} pixels a side, not {side}")
    total = sum(SCALES[:fitting])
    product = sr.new_ones(sr.shape[:2])
    for k in range(fitting):
        luminance, structure = _ssim(sr, hr)
        alike = luminance * structure if k == fitting - 1 else structure
        # a negative similarity has no power; nor has zero a finite gradient
        alike = alike.mean((2, 3)).clamp(min=1e-6)
        product = product * alike ** (SCALES[k] / total)
        sr, hr = F.avg_pool2d(sr, 2), F.avg_pool2d(hr, 2)
    return 1 - product.mean()


def _ssim(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance and structure terms at every place where the window fits."""
    n, c, h, w = a.shape
    at = torch.arange(WINDOW, device=a.device) - WINDOW // 2
    kernel = torch.exp(-(at.to(a.dtype) ** 2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()

    moments = torch.cat((a, b, a * a, b * b, a * b)).reshape(5 * n * c, 1, h, w)
    moments = F.conv2d(F.conv2d(moments, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    mean_a, mean_b, aa, bb, ab = moments.view(5, n, c, *moments.shape[2:])
    both = mean_a * mean_b
    luminance = (2 * both + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * (ab - both) + C2) / (aa - mean_a**2 + bb - mean_b**2 + C2)
    return luminance, structure


def focal_frequency(sr: Tensor, hr: Tensor) -> Tensor:
    """Focal frequency loss (Jiang et al., ICCV 2021, arXiv 2012.12821): squared differences of the
    orthonormal spectra, each weighted by how large it is among its picture's."""
    spectrum = torch.view_as_real(torch.fft.fft2(sr - hr, norm="ortho"))  # of the difference, once
    squared = spectrum.square().sum(-1)
    weight = squared.detach().sqrt()
    weight = weight / weight.amax((2, 3), keepdim=True).clamp(min=1e-12)
    return (weight * squared).mean()


def locally_discriminative(sr: Tensor, hr: Tensor, average_sr: Tensor) -> Tensor:
    """LDL (Liang et al., CVPR 2022, arXiv 2203.09195): the difference to ``hr``, counted where it
    is unsteady from pixel to pixel, as artefacts are, and where the network is further from ``hr``
    than its average over the steps before.

    Args:
        average_sr: what the averaged network gives, without gradient.
    """
    apart = (hr - sr).abs().sum(1, keepdim=True)
    apart_average = (hr - average_sr).abs().sum(1, keepdim=True)
    whole = apart.var((1, 2, 3), keepdim=True)
    edge, count = NEIGHBOURS // 2, NEIGHBOURS**2
    around = F.pad(apart, (edge, edge, edge, edge), mode="reflect")
    mean = F.avg_pool2d(around, NEIGHBOURS, 1)
    local = F.avg_pool2d(around.square(), NEIGHBOURS, 1) - mean.square()
    weight = (whole + 1e-12) ** 0.2 * local.clamp(min=0) * count / (count - 1)
    weight = torch.where(apart < apart_average, 0.0, weight)
    return (weight * (sr - hr).abs()).mean()


def checkerboard(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """How far sr has a pattern that hr has not and that repeats with every LR pixel: checkerboard
    artefacts (Odena et al., Distill 2016, doi:10.23915/distill.00003), which perceptual losses like
    for looking like texture.

    The difference's s^2 phases, each pixel of an LR pixel's square being one, are averaged over
    windows of 6 x 6 LR pixels: what moves with the picture averages out, what stays with the grid
    does not. The mean over all phases, which is brightness, does not count.
    """
    cells = min(CELLS, sr.shape[2] // scale, sr.shape[3] // scale)
    phases = F.avg_pool2d(F.pixel_unshuffle(sr - hr, scale), cells, 1)
    n, _, h, w = phases.shape
    phases = phases.view(n, -1, scale * scale, h, w)
    apart: Tensor = phases - phases.mean(2, keepdim=True)
    return apart.abs().mean()
