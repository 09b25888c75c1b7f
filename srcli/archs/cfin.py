"""CFIN: cross-receptive focused inference, convolutions whose kernels the picture itself gates.

Li et al., "Cross-receptive focused inference network for lightweight image super-resolution", IEEE
Transactions on Multimedia 2023, arXiv 2207.02796. Code of origin: github.com/IVIPLab/CFIN (no
licence stated). Works on 0..255. Deviations of that code from the paper: a pixel's mask is drawn
with Gumbel noise in use too, so that two runs differ; here that noise is left to training, and in
use the likeliest wins. Of the transposed convolution in each block only one of four taps is ever
seen, so it is computed as a 1x1. The parameters that the code's files hold and never use are left
out on loading; the gated kernels, three quarters of the rest, are missing in the paper's count.

Kernels and attention depend on all pixels at once: the whole picture is what the network computes.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.blocks import LayerNorm, conv, mean_shift, subpixel
from srcli.archs.names import rename_on_loading
from srcli.archs.stages import Map, Run

GROUP = 8  # channels whose codes are mixed in a gated convolution
N_STEPS = 8
MARGIN = 16  # pixels that tiles share where there must be tiles


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.05)


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.to(x.dtype)


class NormedConv(nn.Module):
    """Convolution with weight normalisation: direction and length of each output's kernel."""

    def __init__(self, n_in: int, n_out: int, kernel: int = 3) -> None:
        super().__init__()
        like = conv(n_in, n_out, kernel)
        self.padding = kernel // 2
        self.bias = like.bias
        self.weight_v = like.weight
        self.weight_g = nn.Parameter(self.length().detach())

    def length(self) -> Tensor:
        return self.weight_v.square().sum((1, 2, 3), keepdim=True).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_g * self.weight_v / self.length()
        bias = cast("Tensor", self.bias)
        return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=self.padding)


class MaskPredictor(nn.Module):
    """1 where the second of three classes wins, else 0."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.spatial_mask = nn.Conv2d(n_feats, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.spatial_mask(x)
        if self.training:
            return F.gumbel_softmax(logits, tau=1, hard=True, dim=1)[:, 1:2]
        won: Tensor = logits.argmax(1, keepdim=True) == 1
        return won.to(x.dtype)


class ECA(nn.Module):
    """A gain for each channel from the means of itself and its two neighbours."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_feats, n_feats, 3, padding=1, groups=n_feats, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = F.pad(x.mean((2, 3)), (1, 1)).unfold(1, 3, 1)  # (n, c, 3)
        weight = self.conv.weight[:, 0].to(x.dtype)
        return x * (means * weight).sum(2).sigmoid()[:, :, None, None]


class RB(nn.Module):
    """3x3, masked pixel by pixel, 3x3, weighted by channel; and the input."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.k = nn.Sequential(NormedConv(n_feats, n_feats))
        self.k1 = nn.Sequential(NormedConv(n_feats, n_feats))
        self.MaskPredictor = MaskPredictor(n_feats)
        self.CA = ECA(n_feats)
        self.x_scale, self.res_scale = Scale(), Scale()

    def forward(self, x: Tensor) -> Tensor:
        masked = leaky(self.k(x))
        masked = masked * self.MaskPredictor(masked)
        out: Tensor = self.CA(leaky(self.k1(masked)))
        return self.x_scale(out) + self.res_scale(x)  # type: ignore[no-any-return]


class RBSearch(nn.Module):
    """Two masked blocks, gated, and a third."""

    def __init__(self, n_feats: int, n_gate: int) -> None:
        super().__init__()
        self.k1 = nn.Sequential(
            nn.ConvTranspose2d(n_feats, n_gate, 2, stride=2),
            nn.LeakyReLU(0.05),
            nn.Conv2d(n_gate, n_feats, 1, stride=2),
        )
        self.k3, self.k4, self.k5 = RB(n_feats), RB(n_feats), RB(n_feats)
        self.x_scale, self.res_scale = Scale(), Scale()

    def gate(self, x: Tensor) -> Tensor:
        """Of the enlarged map the last layer sees every second row and column: one tap's."""
        up, down = self.k1[0], self.k1[2]
        weight = cast("Tensor", up.weight)[:, :, :1, :1].transpose(0, 1)
        wide = leaky(F.conv2d(x.to(weight.dtype), weight, cast("Tensor", up.bias)))
        narrow = cast("Tensor", down.weight)
        return F.conv2d(wide.to(narrow.dtype), narrow, cast("Tensor", down.bias)).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        gated = (self.gate(x) + x).sigmoid() * self.k4(self.k3(x))
        return self.res_scale(self.k5(gated)) + self.x_scale(x)  # type: ignore[no-any-return]


class GatedConv(nn.Module):
    """A convolution whose kernel is weighted by codes of each channel's maxima over the picture."""

    def __init__(self, n_in: int, n_out: int, kernel: int) -> None:
        super().__init__()
        taps = kernel**2
        n_codes = 5 if kernel == 3 else 1
        self.kernel, self.n_out = kernel, n_out
        self.weight_conv = nn.Parameter(conv(n_in, n_out, kernel).weight.detach())
        self.ce = nn.Linear(taps, n_codes, bias=False)
        self.gd = nn.Linear(n_codes, taps, bias=False)
        self.gd2 = nn.Linear(n_codes, taps, bias=False)
        self.ci = nn.Linear(GROUP, n_out // (n_in // GROUP), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        maxima = F.adaptive_max_pool2d(x, self.kernel).flatten(2)  # (n, c, k^2)
        codes = F.relu(self.ce(maxima))  # (n, c, codes)
        by_input = self.gd(codes)[:, None]
        grouped = codes.view(n, c // GROUP, GROUP, -1).transpose(2, 3)
        mixed = F.relu(self.ci(grouped).transpose(2, 3).reshape(n, self.n_out, -1))
        by_output = self.gd2(mixed)[:, :, None]
        gate = (by_input + by_output).sigmoid().view(n, self.n_out, c, self.kernel, self.kernel)
        weight = (self.weight_conv * gate).flatten(0, 1).to(x.dtype)
        # every picture of a batch has a kernel of its own
        rows = x.reshape(1, n * c, height, width)
        out = F.conv2d(rows, weight, padding=self.kernel // 2, groups=n)
        return out.view(n, self.n_out, height, width)


class Attention(nn.Module):
    """Between channels, over all pixels, each pair with a learned factor."""

    def __init__(self, n_feats: int, n_heads: int) -> None:
        super().__init__()
        each = n_feats // n_heads
        self.n_heads = n_heads
        self.weight = nn.Parameter(torch.ones(n_heads, each, each))
        self.to_qkv = GatedConv(n_feats, 3 * n_feats, 1)

    def forward(self, x: Tensor, *before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The result, and the keys and values for the attention that follows."""
        n, c, height, width = x.shape
        qkv = self.to_qkv(x).view(n, 3, self.n_heads, c // self.n_heads, height * width)
        q, k, v = qkv.unbind(1)
        if before:
            k, v = k + before[0], v + before[1]
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        pairs = (q @ k.transpose(-2, -1)) * self.weight.to(x.dtype)
        return (pairs.softmax(-1) @ v).reshape(n, c, height, width), k, v


class Norm(nn.Module):
    """LayerNorm under the name that the state dict has for it."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.body = LayerNorm(n_feats, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


class MLP(nn.Module):
    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.fc1 = GatedConv(n_feats, n_feats, 1)
        self.fc2 = GatedConv(n_feats, n_feats, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Attention twice and a feed-forward, each normalised after."""

    def __init__(self, n_feats: int, n_heads: int) -> None:
        super().__init__()
        self.attn, self.attn1 = Attention(n_feats, n_heads), Attention(n_feats, n_heads)
        self.norm1, self.norm2, self.norm3 = Norm(n_feats), Norm(n_feats), Norm(n_feats)
        self.mlp = MLP(n_feats)

    def forward(self, x: Tensor) -> Tensor:
        out, k, v = self.attn(x)
        x = x + self.norm1(out)
        x = x + self.norm2(self.attn1(x, k, v)[0])
        return x + self.norm3(self.mlp(x))  # type: ignore[no-any-return]


class Project(nn.Module):
    """1x1."""

    def __init__(self, n_in: int, n_out: int, normed: bool) -> None:
        super().__init__()
        self.conv_project = NormedConv(n_in, n_out, 1) if normed else conv(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_project(x)  # type: ignore[no-any-return]


def numbered(name: str, k: int) -> str:
    return f"{name}{k or ''}"


class Body(nn.Module):
    """Eight steps through a convolutional block, which two share, and a transformer of its own."""

    def __init__(self, n_feats: int, n_wide: int, scale: int) -> None:
        super().__init__()
        heads = (8, 12) if scale == 3 else (8, 12, 16, 12)
        for k in range(N_STEPS):
            block = Transformer(n_wide, heads[k % len(heads)])
            self.add_module(numbered("trans_block", k), block)
        for k in range(N_STEPS // 2):
            self.add_module(f"rb_search{k + 1}", RBSearch(n_feats, 72 if scale == 2 else 64))
            expand = Project(n_feats, n_wide, normed=scale == 2)
            self.add_module(numbered("expand_block", k), expand)
            self.add_module(numbered("squeeze_block", k), Project(n_wide, n_feats, normed=True))
        self.x_scale, self.res_scale = Scale(), Scale()

    def forward(self, head: Tensor) -> Tensor:
        x = head
        for k in range(N_STEPS):
            pair = k // 2
            wide = self.get_submodule(numbered("expand_block", pair))(
                self.get_submodule(f"rb_search{pair + 1}")(x)
            )
            wide = self.get_submodule(numbered("trans_block", k))(F.relu(wide))
            x = x + self.get_submodule(numbered("squeeze_block", pair))(wide)
        return self.x_scale(x) + self.res_scale(head)  # type: ignore[no-any-return]


class CFIN(nn.Module):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels of the convolutions.
        n_wide: of the transformers.
    """

    UNUSED = r".*\.(to_qkv|fc1|fc2)\.(weight|bias|bias_conv)\Z|conv_trans_2\.(res|x)_scale\."

    def __init__(self, *, scale: int, n_feats: int = 48, n_wide: int = 144) -> None:
        super().__init__()
        self.scale = scale
        self.sub_mean = mean_shift(-1, 255)
        self.add_mean = mean_shift(1, 255)
        self.conv_first_cnn = conv(3, n_feats)
        self.conv_trans_2 = nn.Module()
        self.conv_trans_2.cnn_block = Body(n_feats, n_wide, scale)
        self.conv_after_body = conv(n_feats, n_feats)
        self.UP1 = subpixel(n_feats, 3, scale)
        self.conv_stright = conv(3, n_feats)
        self.UP2 = subpixel(n_feats, 3, scale)
        rename_on_loading(self, unused=self.UNUSED)

    def forward(self, lr: Tensor) -> Tensor:
        head = self.conv_first_cnn(self.sub_mean(lr))  # (n, c, h, w)
        x = cast("Body", self.conv_trans_2.cnn_block)(head)
        sr = self.UP1(self.conv_after_body(x))
        return self.add_mean(sr + self.UP2(self.conv_stright(lr)))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        """Not exact but on one tile: every tile is taken for a picture."""
        return run.local(self, lr, halo=MARGIN, scale=self.scale)
