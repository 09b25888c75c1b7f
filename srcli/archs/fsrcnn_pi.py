"""FSRCNN-PI: FSRCNN as trained with privileged information, one slope in every PReLU.

Lee et al., "Learning with privileged information for efficient image super-resolution", ECCV 2020,
arXiv 2007.07524. Code of origin: github.com/cvlab-yonsei/PISR (no licence stated). The student
alone: what its files hold for training (``vid_module_dict``, and a teacher's encoder) is left out
on loading. The paper's teacher, which has seen the result through an encoder, and its two losses
are `srcli.training.privileged`.
"""

from __future__ import annotations

from torch import Tensor, nn

from srcli.archs.blocks import conv
from srcli.archs.names import rename_on_loading
from srcli.archs.stages import Map, Run


def active(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.PReLU())


class FSRCNNPI(nn.Module):
    """LR luma (n, 1, h, w) in 0..1 to SR luma (n, 1, h * scale, w * scale).

    Args:
        scale: native factor.
        d: channels of the first and the last layers.
        s: channels between, where the mapping is done.
        m: mapping layers.
    """

    def __init__(self, *, scale: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.scale, self.m = scale, m
        self.feature_extraction = nn.Sequential(active(conv(1, d, 5)))
        self.shrinking = nn.Sequential(active(conv(d, s, 1)))
        self.mapping = nn.Sequential(*(active(conv(s, s)) for _ in range(m)))
        self.expanding = nn.Sequential(active(conv(s, d, 1)))
        enlarge = nn.ConvTranspose2d(d, 1, 9, stride=scale, padding=4, output_padding=scale - 1)
        self.last_layer = nn.Sequential(nn.Sequential(enlarge))
        rename_on_loading(
            self,
            ((r"backbone\.network\.", ""),),
            unused=r"vid_module_dict\.|backbone\.network\.encoder\.",
        )

    def middle(self, x: Tensor) -> Tensor:
        """(n, d, h, w) -> the same; looks ``m`` pixels around."""
        return self.expanding(self.mapping(self.shrinking(x)))  # type: ignore[no-any-return]

    def forward(self, lr: Tensor) -> Tensor:
        return self.last_layer(self.middle(self.feature_extraction(lr)))  # type: ignore[no-any-return]

    def stages(self, run: Run, lr: Map) -> Map:
        x = run.local(self.feature_extraction, lr, halo=2)
        x = run.local(self.middle, x, halo=self.m)
        # a 9x9 kernel at a stride of at least 2 reaches two LR pixels
        return run.local(self.last_layer, x, halo=2, scale=self.scale)
