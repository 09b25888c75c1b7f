"""SAFMN: spatially-adaptive feature modulation network: the paper's, NTIRE 2023's, and SAFMN++.

Sun et al., "Spatially-adaptive feature modulation for efficient image super-resolution", ICCV 2023,
arXiv 2302.13800. Code and weights of origin: github.com/sunny2109/SAFMN, MIT. The challenge's form
differs from the paper's: a global response normalisation (ConvNeXt V2, arXiv 2301.00808) before the
blocks in place of LayerNorm inside them, coarser pooling, no biases, and the picture enlarged
bilinearly in place of the long residual. SAFMN++ in its light form (AIS 2024's challenge of
real-time enlarging of AVIF pictures, arXiv 2404.16484; same code of origin, by then Apache-2.0)
modulates half of the channels at one resolution, and has no normalisation, biases or residuals in
blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import LayerNorm, cell_maxima, subpixel
from srcli.archs.stages import Cells, Keep, Map, Moments, Run, Where

N_GROUPS = 4


class GRN(nn.Module):
    """Global response normalisation: each channel's share of the energy, over the whole picture."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, n_feats, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, n_feats, 1, 1))

    def scale(self, x: Tensor, energy: Tensor) -> Tensor:
        """``energy``: (n, c, 1, 1), in any unit."""
        share = energy / energy.mean(1, keepdim=True).clamp(min=1e-12)
        return self.gamma * (x * share) + self.beta + x

    def forward(self, x: Tensor) -> Tensor:
        # the authors' sum over the pixels, plus 1e-6 in the denominator, is this to 1e-7 and less
        return self.scale(x, x.square().mean((2, 3), keepdim=True).sqrt())


class SAFM(nn.Module):
    """Modulation by features at four resolutions: a group of channels for each."""

    def __init__(self, n_feats: int, bias: bool) -> None:
        super().__init__()
        n = n_feats // N_GROUPS
        self.mfr = nn.ModuleList(
            nn.Conv2d(n, n, 3, padding=1, groups=n, bias=bias) for _ in range(N_GROUPS)
        )
        self.aggr = nn.Conv2d(n_feats, n_feats, 1, bias=bias)

    def modulate(self, x: Tensor, enlarged: list[Tensor]) -> Tensor:
        """``enlarged``: groups 1 to 3, refined at low resolution; looks 1 pixel around."""
        first = self.mfr[0](x.chunk(N_GROUPS, 1)[0])
        return F.gelu(self.aggr(torch.cat([first, *enlarged], 1))) * x


class CCM(nn.Module):
    """Convolutional channel mixer: 3x3, GELU, 1x1; looks 1 pixel around."""

    def __init__(self, n_feats: int, n_hidden: int, bias: bool) -> None:
        super().__init__()
        self.ccm = nn.Sequential(
            nn.Conv2d(n_feats, n_hidden, 3, padding=1, bias=bias),
            nn.GELU(),
            nn.Conv2d(n_hidden, n_feats, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ccm(x)  # type: ignore[no-any-return]


class AttBlock(nn.Module):
    """Modulation and mixing, each with a residual."""

    def __init__(self, n_feats: int, n_hidden: int, challenge: bool) -> None:
        super().__init__()
        self.divisors = (4, 8, 16) if challenge else (2, 4, 8)
        self.norm1 = nn.Identity() if challenge else LayerNorm(n_feats)
        self.norm2 = nn.Identity() if challenge else LayerNorm(n_feats)
        self.safm = SAFM(n_feats, bias=not challenge)
        self.ccm = CCM(n_feats, n_hidden, bias=not challenge)

    def groups(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(N_GROUPS, 1)[1:]

    def refined(self, lows: list[Tensor]) -> list[Tensor]:
        return [conv(low) for conv, low in zip(list(self.safm.mfr)[1:], lows, strict=True)]

    def mixed(self, x: Tensor) -> Tensor:
        return x + self.ccm(self.norm2(x))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        groups = zip(self.groups(normed), self.divisors, strict=True)
        lows = self.refined([cell_maxima(group, divisor) for group, divisor in groups])
        enlarged = [F.interpolate(low, x.shape[2:], mode="nearest") for low in lows]
        return self.mixed(x + self.safm.modulate(normed, enlarged))

    def stages(self, run: Run, x: Map) -> Map:
        normed = run.local(self.norm1, x)
        cells = [
            Cells(run.local(lambda x, k=k: self.groups(x)[k], normed), divisor)
            for k, divisor in enumerate(self.divisors)
        ]
        x, *lows = run.sweep(Keep(x), *cells)
        lows = self.refined(lows)

        def modulated(x: Tensor, at: Where) -> Tensor:
            enlarged = [at.nearest(low) for low in lows]
            return x + self.safm.modulate(self.norm1(x), enlarged)

        return run.local(self.mixed, run.local(modulated, x, halo=1, where=True), halo=1)


def _common(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The arguments that both networks' shapes tell in the same way."""
    blocks = {name.split(".")[1] for name in shapes if name.startswith("feats.")}
    return {
        "scale": math.isqrt(shapes["to_img.0.weight"][0] // 3),
        "n_feats": shapes["to_feat.weight"][0],
        "n_blocks": len(blocks),
    }


class SAFMN(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 8, or 16 (challenge).

    Args:
        scale: native factor.
        n_feats: channels, a multiple of 4.
        n_blocks: blocks.
        n_hidden: channels inside each block's mixing; None: twice as many.
        challenge: the form of NTIRE 2023.
    """

    def __init__(
        self,
        *,
        scale: int,
        n_feats: int = 36,
        n_blocks: int = 8,
        n_hidden: int | None = None,
        challenge: bool = False,
    ) -> None:
        super().__init__()
        n_hidden = 2 * n_feats if n_hidden is None else n_hidden
        self.scale, self.challenge = scale, challenge
        self.to_feat = nn.Conv2d(3, n_feats, 3, padding=1)
        if challenge:
            self.norm = GRN(n_feats)
        blocks = (AttBlock(n_feats, n_hidden, challenge) for _ in range(n_blocks))
        self.feats = nn.Sequential(*blocks)
        self.to_img = subpixel(n_feats, 3, scale)

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        challenge, hidden = "norm.gamma" in shapes, shapes["feats.0.ccm.ccm.0.weight"][0]
        return {**_common(shapes), "n_hidden": hidden, "challenge": challenge}

    def skip(self, lr: Tensor) -> Tensor:
        """The picture itself, enlarged; looks 1 pixel around."""
        return F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def forward(self, lr: Tensor) -> Tensor:
        head = self.to_feat(lr)  # (n, c, h, w)
        if self.challenge:
            return self.to_img(self.feats(self.norm(head))) + self.skip(lr)  # type: ignore[no-any-return]
        return self.to_img(self.feats(head) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = head = run.local(self.to_feat, lr, halo=1)
        if self.challenge:
            ((mean, std),) = run.sweep(Moments(head))
            energy = (mean.square() + std.square()).sqrt()
            x = run.local(lambda x: self.norm.scale(x, energy), head)
        for block in self.feats:
            x = cast("AttBlock", block).stages(run, x)
        if not self.challenge:
            x = run.local(torch.add, x, head)
        sr = run.local(self.to_img, x, halo=1, scale=self.scale)
        if not self.challenge:
            return sr
        return run.local(torch.add, sr, run.local(self.skip, lr, halo=1, scale=self.scale))


class SimpleSAFM(nn.Module):
    """Modulation of half of the channels by their own maxima in cells of 8 x 8."""

    CELL = 8  # pixels

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        half = n_feats // 2
        self.proj = nn.Conv2d(n_feats, n_feats, 3, padding=1, bias=False)
        self.dwconv = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.out = nn.Conv2d(n_feats, n_feats, 1, bias=False)

    def modulated(self, x: Tensor, enlarged: Tensor) -> Tensor:
        """``x``: projected; ``enlarged``: the refined maxima at its resolution."""
        own, rest = x.chunk(2, 1)
        return self.out(F.gelu(torch.cat([rest, F.gelu(enlarged) * own], 1)))  # type: ignore[no-any-return]


class LightMixer(nn.Module):
    """As `CCM`, under another name and without biases; looks 1 pixel around."""

    def __init__(self, n_feats: int, n_hidden: int) -> None:
        super().__init__()
        self.conv = CCM(n_feats, n_hidden, bias=False).ccm

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class LightBlock(nn.Module):
    """Modulation, then mixing, with no residual."""

    def __init__(self, n_feats: int, n_hidden: int) -> None:
        super().__init__()
        self.conv1 = SimpleSAFM(n_feats)
        self.conv2 = LightMixer(n_feats, n_hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1.proj(x)
        low = self.conv1.dwconv(cell_maxima(x.chunk(2, 1)[0], self.conv1.CELL))
        enlarged = F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False)
        return self.conv2(self.conv1.modulated(x, enlarged))  # type: ignore[no-any-return]

    def stages(self, run: Run, x: Map) -> Map:
        x = run.local(self.conv1.proj, x, halo=1)
        x, low = run.sweep(
            Keep(x), Cells(run.local(lambda x: x.chunk(2, 1)[0], x), self.conv1.CELL)
        )
        low = self.conv1.dwconv(low)

        def modulated(x: Tensor, at: Where) -> Tensor:
            return self.conv1.modulated(x, at.stretch(low))

        return run.local(self.conv2, run.local(modulated, x, where=True), halo=1)


class LightSAFMN(nn.Module):
    """SAFMN++: LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 8.

    Args:
        scale: native factor.
        n_feats: channels, an even number.
        n_blocks: blocks.
        n_hidden: channels inside each block's mixing.
    """

    def __init__(
        self, *, scale: int, n_feats: int = 32, n_blocks: int = 2, n_hidden: int = 48
    ) -> None:
        super().__init__()
        self.to_feat = nn.Conv2d(3, n_feats, 3, padding=1, bias=False)
        self.feats = nn.Sequential(*(LightBlock(n_feats, n_hidden) for _ in range(n_blocks)))
        self.scale = scale
        self.to_img = nn.Sequential(
            nn.Conv2d(n_feats, 3 * scale**2, 3, padding=1, bias=False), nn.PixelShuffle(scale)
        )

    @staticmethod
    def config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The arguments, scale included, of the network whose parameters have these shapes."""
        hidden = shapes["feats.0.conv2.conv.0.weight"][0]
        return {**_common(shapes), "n_hidden": hidden}

    def forward(self, lr: Tensor) -> Tensor:
        head = self.to_feat(lr)  # (n, c, h, w)
        return self.to_img(self.feats(head) + head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = head = run.local(self.to_feat, lr, halo=1)
        for block in self.feats:
            x = cast("LightBlock", block).stages(run, x)
        x = run.local(torch.add, x, head)
        return run.local(self.to_img, x, halo=1, scale=self.scale)
