"""Packed photos -> random crops, turned and mirrored, in one gather.

The photos of a pack are one flat tensor of pixels. A crop under any of the eight flips and turns
is then ``pixel[a + i * down + j * right]``: a corner, and two steps whose signs and order are the
flip. Three integers per crop, drawn on the host; the rest is one indexing operation on the device.

The crops of step k are a function of (seed, k), as the learning rate is: nothing to save, nothing
to restore, and the batch of any step can be named afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.errors import MediaError
from srcli.training.detail import Detail, choose
from srcli.training.packing import Pack, lr_starts

CANDIDATES = 4  # places that one crop is chosen from, by detail

Crops = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Where:
    """Where a batch's crops lie.

    Attributes:
        lr, hr: (3, n) int64: number of the first pixel, step down, step right.
        photo, y, x, flip: (n,) int64: photo's number, top left LR pixel, flip 0..7.
    """

    lr: Tensor
    hr: Tensor
    photo: Tensor
    y: Tensor
    x: Tensor
    flip: Tensor


class Photos:
    """A pack at a scale: where its photos lie, and their pixels on a device or on the disk.

    Args:
        pack: with ``lr{scale}.u8`` made.
        scale: factor between LR and HR.
        device: where crops are wanted.
        resident: True: all pixels on the device; False: memory-mapped, gathered by the host.
            None: on the device if they take at most a third of its free memory.
        targets: pixels to give in place of the photos', in their layout; see ``targets``.
        hr_share: how much of the photo is mixed into them.
        by_detail: draw crops by their detail.
    """

    def __init__(
        self,
        pack: Pack,
        scale: int,
        device: torch.device,
        *,
        resident: bool | None = None,
        targets: NDArray[np.uint8] | None = None,
        hr_share: float = 0.0,
        by_detail: bool = False,
    ) -> None:
        self.pack, self.scale, self.device = pack, scale, device
        sizes = np.array([(p.height, p.width) for p in pack.photos], np.int64)
        self._lr_height, self._lr_width = torch.from_numpy(sizes // scale).unbind(1)
        self._hr_width = torch.from_numpy(sizes[:, 1].copy())
        self._hr_start = torch.tensor([p.start for p in pack.photos])
        self._lr_start = torch.tensor(lr_starts(pack.photos, scale)[:-1])
        self.lr = torch.from_numpy(pack.lr(scale))
        self.hr = torch.from_numpy(pack.hr() if targets is None else targets)
        self.by_detail = by_detail
        self._mixed: Tensor | None = None  # the photos, of which hr_share is mixed in
        self._share = hr_share
        if targets is not None and hr_share:
            self._mixed = torch.from_numpy(pack.hr())
        self._detail = Detail(pack.lr_pictures(scale)) if by_detail else None
        if resident is None:
            resident = device.type != "cpu" and self.bytes < _free_bytes(device) / 3
        self.resident = resident or device.type == "cpu"
        if self.resident:
            self.hr, self.lr = self.hr.to(device), self.lr.to(device)
            self._mixed = self._mixed if self._mixed is None else self._mixed.to(device)

    @property
    def bytes(self) -> int:
        mixed = 0 if self._mixed is None else self._mixed.numel()
        return self.hr.numel() + self.lr.numel() + mixed

    def draw(self, step: int, n: int, patch: int, seed: int = 0) -> Where:
        """The crops of a step: every photo is equally likely, then every place in it.

        Not every place of every photo: a few large, smooth photos would outweigh many small ones
        full of detail. Measured: half a decibel after 100 steps of BCRN x4's quick preset, a
        quarter after 200. Drawn by detail, each is one of four such crops: the one with twice the
        detail is taken twice as often.

        Args:
            step: which; the same step, seed, n and patch give the same crops.
            n: how many.
            patch: LR pixels.
        """
        generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + step) & 0xFFFFFFFF)
        tries = 1 if self._detail is None else CANDIDATES
        u = torch.rand(4, n * tries, generator=generator, dtype=torch.float64)
        rows, columns = self._lr_height - patch + 1, self._lr_width - patch + 1
        large_enough = torch.nonzero((rows > 0) & (columns > 0))[:, 0]
        photo = large_enough[(u[0] * len(large_enough)).long()]
        y, x = (u[1] * rows[photo]).long(), (u[2] * columns[photo]).long()
        flip = (u[3] * 8).long()
        if self._detail is not None:
            detail = self._detail.of(photo, y, x, patch).view(n, tries)
            taken = choose(detail, torch.rand(n, generator=generator, dtype=torch.float64))
            taken += torch.arange(n) * tries
            photo, y, x, flip = photo[taken], y[taken], x[taken], flip[taken]
        lr = _steps(self._lr_start[photo], y, x, self._lr_width[photo], patch, flip)
        s = self.scale
        hr = _steps(self._hr_start[photo], y * s, x * s, self._hr_width[photo], patch * s, flip)
        return Where(lr, hr, photo, y, x, flip)

    def fits(self, patch: int) -> bool:
        """Whether a crop of so many LR pixels fits into any photo."""
        return bool(((self._lr_height >= patch) & (self._lr_width >= patch)).any())

    def check(self, patch: int) -> list[str]:
        """Names of the photos that are too small for a patch of so many LR pixels.

        Raises:
            MediaError: all are.
        """
        small = (self._lr_height < patch) | (self._lr_width < patch)
        if bool(small.all()):
            side = patch * self.scale
            raise MediaError(
                f"Every photo is smaller than the patch, {side}x{side} pixels.",
                "Give larger photos, or a smaller patch: --set patch=N (LR pixels).",
            )
        return [p.name for p, s in zip(self.pack.photos, small.tolist(), strict=True) if s]

    def crops(self, lr: Tensor, hr: Tensor, patch: int) -> Crops:
        """Gather a batch: (n, 3, patch, patch) and (n, 3, patch * s, patch * s), uint8 RGB,
        channels_last, where the pixels are.

        Args:
            lr, hr: of ``Where``, on the device of the pixels.
        """
        side = patch * self.scale
        target = gather(self.hr, hr, side)
        if self._mixed is not None:
            photo = gather(self._mixed, hr, side)
            target = torch.lerp(target.float(), photo.float(), self._share).round().to(torch.uint8)
        return gather(self.lr, lr, patch), target

    def describe(self, where: Where) -> list[str]:
        """The crops in words."""
        rows = zip(*(t.tolist() for t in (where.photo, where.y, where.x, where.flip)), strict=True)
        return [f"{self.pack.photos[p].name} at LR ({y}, {x}), flip {f}" for p, y, x, f in rows]


def gather(pixels: Tensor, where: Tensor, side: int) -> Tensor:
    """(m, 3) pixels, (3, n) corner and steps -> (n, 3, side, side), channels_last."""
    at = torch.arange(side, device=pixels.device)
    first, down, right = where[:, :, None, None].unbind(0)
    index = first + down * at[:, None] + right * at
    return pixels[index].permute(0, 3, 1, 2)


def _steps(start: Tensor, y: Tensor, x: Tensor, width: Tensor, side: int, flip: Tensor) -> Tensor:
    """(3, n): first pixel, step down and step right of a crop under flip 0..7."""
    up, left, turned = flip & 1, flip & 2, flip & 4
    last = side - 1
    first = start + (y + up * last) * width + x + (left > 0) * last
    down, right = torch.where(up > 0, -width, width), torch.where(left > 0, -1, 1)
    return torch.stack(
        (first, torch.where(turned > 0, right, down), torch.where(turned > 0, down, right))
    )


def _free_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 8 << 30
