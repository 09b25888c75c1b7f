"""ESRT: a light convolutional backbone, then a transformer over every pixel's neighbourhood.

Lu et al., "Transformer for single image super-resolution", CVPR workshops 2022, arXiv 2108.11084.
Code of origin: github.com/luissen/ESRT (no licence stated). As in the code: attention is scaled by
the 36 channels a head would have without the reduction to half, not by its 18; the tokens, in the
picture's order, are cut into four pieces, and up to three that are left over attend to themselves;
overlapping neighbourhoods are summed, not averaged.

Cut by position over the whole picture, the pieces cannot be had from tiles: the whole picture at
once is what the network computes. The authors' own test cuts pictures into overlapping quarters
until they have under 60,000 pixels, and so differs from it a little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import conv, upsampler
from srcli.archs.stages import Map, Run

N_PIECES = 4
N_HEADS = 8
N_LOW = 5  # times that the low-frequency branch is gone through
MARGIN = 10  # pixels that tiles share where there must be tiles; the authors' test has as many


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class ConvReLU(nn.Module):
    """Convolution without bias, ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class ChannelAttention(nn.Module):
    """A gain for each channel from its mean over the picture."""

    def __init__(self, n_feats: int, reduction: int = 16) -> None:
        super().__init__()
        few = n_feats // reduction
        self.conv_du = nn.Sequential(
            conv(n_feats, few, 1), nn.ReLU(), conv(few, n_feats, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]


class ResidualUnit(nn.Module):
    """Two 3x3 through half the channels, and the input, each with a learned factor."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = conv(n_feats, n_feats // 2)
        self.relu = nn.PReLU(n_feats // 2)
        self.conv1 = conv(n_feats // 2, n_feats)
        self.weight1, self.weight2 = Scale(), Scale()

    def forward(self, x: Tensor) -> Tensor:
        return self.weight1(x) + self.weight2(self.conv1(self.relu(self.conv(x))))  # type: ignore[no-any-return]


class ARFB(nn.Module):
    """Adaptive residual feature block; ``weight1`` is in the state dict and not used."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.layer1 = ResidualUnit(n_feats)
        self.layer2 = ResidualUnit(n_feats)
        self.layer4 = ConvReLU(n_feats, n_feats, 3)
        self.alise = ConvReLU(2 * n_feats, n_feats, 1)
        self.atten = ChannelAttention(n_feats)
        for k in range(1, 6):
            self.add_module(f"weight{k}", Scale())

    def weighted(self, k: int, x: Tensor) -> Tensor:
        return self.get_submodule(f"weight{k}")(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        one = self.layer1(x)
        both = torch.cat([self.weighted(2, self.layer2(one)), self.weighted(3, one)], 1)
        out = self.layer4(self.atten(self.alise(both)))
        return self.weighted(4, x) + self.weighted(5, out)


class HPB(nn.Module):
    """High-preserving block: low frequencies at half the size, high ones beside them."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.encoder = ARFB(n_feats)
        self.decoder_low = ARFB(n_feats)
        self.decoder_high = ARFB(n_feats)
        self.alise = ARFB(n_feats)
        self.alise2 = ConvReLU(2 * n_feats, n_feats, 1)
        self.att = ChannelAttention(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        features = self.encoder(x)
        low = F.avg_pool2d(features, 2)
        high = features - F.interpolate(low, size, mode="bilinear", align_corners=True)
        for _ in range(N_LOW):  # the same weights every time
            low = self.decoder_low(low)
        low = F.interpolate(low, size, mode="bilinear", align_corners=True)
        both = torch.cat([low, self.decoder_high(high)], 1)
        return x + self.alise(self.att(self.alise2(both)))  # type: ignore[no-any-return]


class EMHA(nn.Module):
    """Efficient multi-head attention: (n, N, c) -> the same, within pieces of N // 4 tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = (dim // N_HEADS) ** -0.5
        self.reduce = nn.Linear(dim, dim // 2, bias=False)
        self.qkv = nn.Linear(dim // 2, dim // 2 * 3, bias=False)
        self.proj = nn.Linear(dim // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        qkv = self.qkv(self.reduce(x))
        qkv = qkv.view(n, tokens, 3, N_HEADS, -1).permute(2, 0, 3, 1, 4)  # (3, n, heads, N, 18)
        piece = tokens // N_PIECES
        out = []
        for k in range(N_PIECES + 1):
            end = tokens if k == N_PIECES else (k + 1) * piece
            q, k_, v = qkv[:, :, :, k * piece : end]
            if k < N_PIECES or tokens % N_PIECES:
                out.append(F.scaled_dot_product_attention(q, k_, v, scale=self.scale))
        mixed = torch.cat(out, 2).transpose(1, 2).flatten(2)
        return self.proj(mixed)  # type: ignore[no-any-return]


class MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim // 4)
        self.fc2 = nn.Linear(dim // 4, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))  # type: ignore[no-any-return]


class EfficientTransformer(nn.Module):
    """(n, c, h, w) -> (n, c, h, w): one layer over tokens of 3x3 neighbourhoods."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        dim = 9 * n_feats
        self.norm1 = nn.LayerNorm(dim)
        self.atten = EMHA(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        tokens = neighbourhoods(x).flatten(2).transpose(1, 2)  # (n, N, 9c)
        tokens = tokens + self.atten(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return summed(tokens.transpose(1, 2).reshape(n, -1, height, width))


def neighbourhoods(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 9c, h, w), order channel, row, column; zeros from outside."""
    height, width = x.shape[2:]
    wide = F.pad(x, (1, 1, 1, 1))
    parts = [wide[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(parts, 2).flatten(1, 2)


def summed(x: Tensor) -> Tensor:
    """The transpose of `neighbourhoods`: every sample back to its pixel, overlaps added."""
    n, _, height, width = x.shape
    wide = F.pad(x.view(n, -1, 9, height, width), (1, 1, 1, 1))
    parts = [
        wide[:, :, 3 * i + j, 2 - i : 2 - i + height, 2 - j : 2 - j + width]
        for i in range(3)
        for j in range(3)
    ]
    return torch.stack(parts).sum(0)


class Body(nn.Module):
    """Three high-preserving blocks, the transformer, and the input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.encoder1 = HPB(n_feats)
        self.encoder2 = HPB(n_feats)
        self.encoder3 = HPB(n_feats)
        self.reduce = conv(3 * n_feats, n_feats)
        self.weight1, self.weight2 = Scale(), Scale()
        self.attention = EfficientTransformer(n_feats)
        self.alise = conv(n_feats, n_feats)

    def forward(self, x: Tensor) -> Tensor:
        one = self.encoder1(x)
        two = self.encoder2(one)
        three = self.encoder3(two)
        out = self.attention(self.reduce(torch.cat([one, two, three], 1)))
        return self.weight1(x) + self.weight2(self.alise(out))  # type: ignore[no-any-return]


class ESRT(nn.Module):
    """LR (n, 3, h, w) in 0..1 to SR (n, 3, h * scale, w * scale); h, w >= 2.

    Args:
        scale: 2, 3 or 4.
        n_feats: channels, a multiple of 16.
    """

    def __init__(self, *, scale: int, n_feats: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Sequential(conv(3, n_feats))
        self.body = nn.Sequential(Body(n_feats))
        self.reduce = conv(n_feats, n_feats)
        self.tail = nn.Sequential(upsampler(n_feats, scale), conv(n_feats, 3))
        self.up = nn.Sequential(upsampler(n_feats, scale), ConvReLU(n_feats, 3, 3))

    def forward(self, lr: Tensor) -> Tensor:
        head = self.head(lr)  # (n, c, h, w)
        return self.tail(self.reduce(self.body(head))) + self.up(head)  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        """Not exact but on one tile: every tile is taken for a picture."""
        return run.local(self, lr, halo=MARGIN, scale=self.scale)
