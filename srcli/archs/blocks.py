"""Blocks that several networks share, each with its plain form and its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.archs.stages import Keep, Map, Moments, Run, Windows

Conv = Callable[..., nn.Module]

MEAN = (0.4488, 0.4371, 0.4040)  # DIV2K's mean colour


class BSConv(nn.Module):
    """Blueprint separable convolution: 1x1 without bias, then depthwise k x k with bias.

    Haase and Amthor, CVPR 2020, arXiv 2003.13549 (BSConv-U).
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.pw = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.dw = nn.Conv2d(n_out, n_out, kernel, stride=stride, padding=pad, groups=n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))  # type: ignore[no-any-return]


def conv(
    n_in: int, n_out: int, kernel: int = 3, *, stride: int = 1, padding: int | None = None
) -> nn.Conv2d:
    """Conv2d with bias and "same" zero padding unless told otherwise."""
    pad = kernel // 2 if padding is None else padding
    return nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=pad)


class ESA(nn.Module):
    """Enhanced spatial attention (RFANet, CVPR 2020; slimmed in RLFN, arXiv 2205.07514).

    A mask from a low-resolution look at the whole picture: reduce to ``f`` channels, 3x3 stride 2
    without padding, max-pool 7 stride 3, small convolutions, stretched back to (H, W). It depends
    on the picture's size and origin, hence the stages. Needs H, W >= 15.

    Args:
        n_feats: channels in and out.
        f: channels of the mask's path.
        make: constructor of the convolutions (``conv`` or ``BSConv``).
        point, down: of the 1x1 ones and of the strided one, if they are others.
        deep: with ``conv_max`` and ``conv3_`` around ``conv3`` (RFANet, BCRN), or ``conv3``
            alone (RLFN).
        act: activation between the small convolutions of the deep form.
    """

    WINDOW = 15  # 3x3 stride 2, then 7x7 stride 3: receptive field 3 + 6 * 2, stride 6
    STRIDE = 6

    def __init__(
        self,
        n_feats: int,
        f: int,
        *,
        make: Conv = conv,
        point: Conv | None = None,
        down: Conv | None = None,
        deep: bool = True,
        act: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        super().__init__()
        point, down = point or make, down or make
        self.deep, self.act = deep, act
        self.conv1 = point(n_feats, f, 1)
        self.conv_f = point(f, f, 1)
        self.conv2 = down(f, f, 3, stride=2, padding=0)
        self.conv3 = make(f, f, 3)
        if deep:
            self.conv_max = make(f, f, 3)
            self.conv3_ = make(f, f, 3)
        self.conv4 = point(f, n_feats, 1)

    def reduce(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, f, (h - 15) // 6 + 1, (w - 15) // 6 + 1), no padding."""
        return F.max_pool2d(self.conv2(self.conv1(x)), 7, 3)

    def summary(self, low: Tensor) -> Tensor:
        """The small convolutions at low resolution."""
        if not self.deep:
            return self.conv3(low)  # type: ignore[no-any-return]
        return self.conv3_(self.act(self.conv3(self.act(self.conv_max(low)))))  # type: ignore[no-any-return]

    def gate(self, x: Tensor, stretched: Tensor) -> Tensor:
        """x times the mask; ``stretched`` is the summary at x's resolution."""
        mask: Tensor = self.conv4(stretched + self.conv_f(self.conv1(x)))
        return x * mask.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        low = self.summary(self.reduce(x))
        return self.gate(x, F.interpolate(low, x.shape[2:], mode="bilinear", align_corners=False))

    def stages(self, run: Run, x: Map) -> Map:
        """``forward``; x should be a stored map, for it is read twice."""
        (low,) = run.sweep(Windows(x, self.reduce, self.WINDOW, self.STRIDE))
        low = self.summary(low)
        return run.local(lambda x, at: self.gate(x, at.stretch(low)), x, where=True)


class CCA(nn.Module):
    """Contrast-aware channel attention (IMDN, arXiv 1909.11856): a gain for each channel from its
    standard deviation plus its mean over the whole picture."""

    def __init__(self, n_feats: int, reduction: int = 16, *, make: Conv = conv) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            make(n_feats, n_feats // reduction, 1),
            nn.ReLU(inplace=True),
            make(n_feats // reduction, n_feats, 1),
            nn.Sigmoid(),
        )

    def gain(self, mean: Tensor, std: Tensor) -> Tensor:
        """(n, c, 1, 1) each -> (n, c, 1, 1)."""
        return self.conv_du(std + mean)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        # spelled out as the authors compute it; training guards the root, see training.module_swaps
        std = (x - mean).square().mean((2, 3), keepdim=True).sqrt()
        return x * self.gain(mean, std)

    def stages(self, run: Run, x: Map, over: Map) -> Map:
        """``forward``; x is stored over ``over`` while its statistics are taken."""
        x, (mean, std) = run.sweep(Keep(x, over=over), Moments(x))
        gain = self.gain(mean, std)
        return run.local(lambda x: x * gain, x)


class LayerNorm(nn.Module):
    """Over the channels of every pixel (population variance)."""

    def __init__(self, n_feats: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_feats))
        self.bias = nn.Parameter(torch.zeros(n_feats))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        normed = centred / (centred.square().mean(1, keepdim=True) + self.eps).sqrt()
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


def cell_maxima(x: Tensor, divisor: int) -> Tensor:
    """(n, c, h, w) -> (n, c, h // divisor, w // divisor): ``F.adaptive_max_pool2d``."""
    size = x.shape[2] // divisor, x.shape[3] // divisor
    if not torch.onnx.is_in_onnx_export():
        return F.adaptive_max_pool2d(x, size)
    for axis, n in ((2, size[0]), (3, size[1])):  # ONNX has no pooling of uneven cells
        total, longest = x.shape[axis], 2 * divisor
        k = torch.arange(n, device=x.device)
        begin = torch.div(k * total, n, rounding_mode="floor")
        end = torch.div((k + 1) * total + n - 1, n, rounding_mode="floor")
        index = begin[:, None] + torch.arange(longest, device=x.device)
        index = torch.minimum(index, end[:, None] - 1)  # the last one again
        cells = x.index_select(axis, index.flatten())
        shape = (*x.shape[:axis], -1, longest, *x.shape[axis + 1 :])
        x = cells.reshape(shape).amax(axis + 1)
    return x


def within(sr: Tensor, white: float, training: bool) -> Tensor:
    """A result cut to 0..white; in training not, for there would be no gradient outside."""
    return sr if training else sr.clamp(0, white)


def subpixel(n_feats: int, n_out: int, scale: int) -> nn.Sequential:
    """3x3 convolution to ``n_out`` s^2 channels and PixelShuffle (ESPCN, arXiv 1609.05158)."""
    return nn.Sequential(conv(n_feats, n_out * scale**2), nn.PixelShuffle(scale))


def chained(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The outputs of blocks, each fed by the one before, concatenated: what `share` adds up."""
    outputs = []
    for block in blocks:
        x = block(x)
        outputs.append(x)
    return torch.cat(outputs, 1)


def share(run: Run, fusion: nn.Module, k: int, x: Map, fused: Map | None, n_feats: int) -> Map:
    """Block k's share of a 1x1 convolution of all blocks' outputs, added to the shares so far.

    Args:
        fusion: the convolution of the concatenated outputs; its bias goes with the first share.
        x: block k's output, ``n_feats`` channels.
        fused: the sum of the shares before; None for the first block.
    """
    whole, bias = fusion.weight, fusion.bias
    assert isinstance(whole, Tensor)
    weight = whole.view(*whole.shape[:2], 1, 1)[:, k * n_feats : (k + 1) * n_feats]
    if fused is None:
        return run.local(lambda x: F.conv2d(x.to(weight.dtype), weight, bias), x)  # type: ignore[arg-type]
    return run.local(lambda x, fused: F.conv2d(x.to(weight.dtype), weight).add_(fused), x, fused)


def steps(scale: int) -> list[int]:
    """The factors in which upsamplers enlarge: twos for a power of two, else all at once."""
    twos = scale.bit_length() - 1
    return [2] * twos if scale == 2**twos else [scale]


def upsampler(n_feats: int, scale: int) -> nn.Sequential:
    """`subpixel` of the same channels for every step, no activation: indices 0, 2, ..."""
    return nn.Sequential(*(m for s in steps(scale) for m in subpixel(n_feats, n_feats, s)))


def enlarge(run: Run, up: nn.Sequential, x: Map) -> Map:
    """An `upsampler` as stages, one for every step."""
    for k in range(0, len(up), 2):
        shuffle = up[k + 1]
        assert isinstance(shuffle, nn.PixelShuffle)
        x = run.local(up[k : k + 2], x, halo=1, scale=shuffle.upscale_factor)
    return x


def mean_shift(sign: int, white: float = 1.0) -> nn.Conv2d:
    """A fixed 1x1 convolution that adds ``sign`` times the mean colour."""
    shift = nn.Conv2d(3, 3, 1)
    shift.weight.data = torch.eye(3).view(3, 3, 1, 1)
    shift.bias.data = sign * white * torch.tensor(MEAN)  # type: ignore[union-attr]
    return shift.requires_grad_(False)


class MeanShift(nn.Module):
    """`mean_shift` under the name that some state dicts have for it."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.shifter = mean_shift(sign)

    def forward(self, x: Tensor) -> Tensor:
        return self.shifter(x)  # type: ignore[no-any-return]
