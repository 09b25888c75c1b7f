"""Networks of a few operations, for tests of what surrounds a network."""

import torch
from torch import nn

from srcli.archs.stages import Keep, Moments
from srcli.catalog import Architecture, Preprocessing
from srcli.engine.pytorch.network import Network


class Enlarge(nn.Module):
    """Bilinear-ish enlarging with a look at the whole picture's mean: 3x3 blur, nearest, shift.

    Args:
        scale: factor.
        gain: the picture is multiplied by it and divided by it again, which in half precision
            overflows where gain times the pixel does.
        fail: called with every tile.
    """

    def __init__(self, scale, gain=1.0, fail=lambda x: None):
        super().__init__()
        self.scale, self.gain, self.fail = scale, gain, fail
        self.blur = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
        self.blur.weight.data = torch.full((3, 1, 3, 3), 1 / 9)

    def head(self, x):
        self.fail(x)
        return x.to(self.blur.weight.dtype) * self.gain / self.gain

    def tail(self, x, mean):
        x = self.blur(x) + 0.1 * mean
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)

    def forward(self, lr):
        x = self.head(lr)
        return self.tail(x, x.mean((2, 3), keepdim=True))

    def stages(self, run, lr):
        x = run.local(self.head, lr)
        x, (mean, _) = run.sweep(Keep(x), Moments(x))
        return run.local(lambda x: self.tail(x, mean), x, halo=1, scale=self.scale)


class Spot(Enlarge):
    """Without the mean: a pixel that overflows spoils its own neighbourhood only."""

    def tail(self, x, mean):
        return super().tail(x, 0)

    def stages(self, run, lr):
        x = run.keep(run.local(self.head, lr))
        return run.local(lambda x: self.tail(x, 0), x, halo=1, scale=self.scale)


class Nearest(nn.Module):
    """Repeats pixels; every colour is shifted by as much."""

    def __init__(self, scale, shift=(0.0, 0.0, 0.0)):
        super().__init__()
        self.scale = scale
        self.shift = nn.Parameter(torch.tensor(shift).reshape(1, 3, 1, 1))

    def forward(self, lr):
        large = lr.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return large + self.shift

    def stages(self, run, lr):
        return run.local(self.forward, lr, scale=self.scale)


def network(module, *, preprocessing=None, **arch):
    entry = Architecture("tiny", "Tiny", "residual", "p", "r", "tiny_networks:Enlarge", **arch)
    return Network(
        module.eval().requires_grad_(False), entry, preprocessing or Preprocessing(), module.scale
    )


def whole(module, pixels):
    """What the network makes of float32 pixels (h, w, 3), computed plainly."""
    with torch.inference_mode():
        out = module.float()(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return out[0].permute(1, 2, 0).numpy()
