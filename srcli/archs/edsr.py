"""EDSR-baseline: residual blocks without normalisation.

Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017,
arXiv 1707.02921. Code of origin: github.com/sanghyun-son/EDSR-PyTorch, MIT. Works on 0..255. Not
in the paper: the mean colour is subtracted at the input and added back at the output by fixed 1x1
convolutions in the state dict. A file with BasicSR's names for the same network loads too.
"""

from __future__ import annotations

from torch import Tensor, nn

from srcli.archs.blocks import conv, enlarge, mean_shift, upsampler
from srcli.archs.names import rename_on_loading
from srcli.archs.stages import Map, Run


class ResBlock(nn.Module):
    """x + 3x3(ReLU(3x3(x))); looks 2 pixels around."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(n_feats, n_feats), nn.ReLU(True), conv(n_feats, n_feats))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class EDSR(nn.Module):
    """LR (n, 3, h, w) in 0..255 to SR (n, 3, h * scale, w * scale).

    Args:
        scale: 2, 3 or 4.
        n_feats: channels.
        n_blocks: residual blocks.
    """

    BETWEEN_RESTS = 4  # blocks
    BASICSR = (
        (r"conv_first\.", "head.0."),
        (r"body\.(\d+)\.conv1\.", r"body.\1.body.0."),
        (r"body\.(\d+)\.conv2\.", r"body.\1.body.2."),
        (r"upsample\.", "tail.0."),
        (r"conv_last\.", "tail.1."),
    )

    def __init__(self, *, scale: int, n_feats: int = 64, n_blocks: int = 16) -> None:
        super().__init__()
        self.scale = scale
        self.sub_mean = mean_shift(-1, 255)
        self.add_mean = mean_shift(1, 255)
        self.head = nn.Sequential(conv(3, n_feats))
        blocks = [ResBlock(n_feats) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, conv(n_feats, n_feats))
        self.tail = nn.Sequential(upsampler(n_feats, scale), conv(n_feats, 3))
        after = (r"conv_after_body\.", f"body.{n_blocks}.")
        fixed = {f"{k}.{n}" for k in ("sub_mean", "add_mean") for n in ("weight", "bias")}
        rename_on_loading(self, (*self.BASICSR, after), optional=fixed)

    @property
    def up(self) -> nn.Sequential:
        return self.tail[0]  # type: ignore[return-value]

    def finish(self, x: Tensor) -> Tensor:
        return self.add_mean(self.tail[1](x))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        head = self.head(self.sub_mean(lr))  # (n, c, h, w)
        x = self.body(head) + head
        return self.finish(self.up(x))  # (n, c, h s, w s) -> (n, 3, h s, w s)

    def stages(self, run: Run, lr: Map) -> Map:
        # mean and head are two locals: zero padding belongs after the shift
        head = run.local(self.head, run.local(self.sub_mean, lr), halo=1)
        x = head
        *blocks, close = self.body
        for k, block in enumerate(blocks, 1):
            x = run.local(block, x, halo=2)
            if k % self.BETWEEN_RESTS == 0:
                x = run.cache(x)
        x = run.local(lambda x, head: close(x) + head, x, head, halo=1)
        x = enlarge(run, self.up, x)
        return run.local(self.finish, x, halo=1)
