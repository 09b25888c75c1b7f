"""Photos whose LR crops are made on the fly, by a pipeline of damage, from the HR crops.

What happens to a crop is a function of (seed, step, number in the batch), as its place is: so a run
that goes on damages the crops as the uninterrupted one does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.training.data import Crops, Photos, Where, gather
from srcli.training.degradations.pipeline import Pipeline, generator
from srcli.training.packing import Pack

IN_A_BATCH = 1 << 20  # more crops than any batch has


class DamagedPhotos(Photos):
    """As ``Photos``, gathered by the host, the LR crops by a pipeline.

    ``draw`` gives ``hr`` a fourth row: the crop's number in the run, which its damage depends on.

    Args:
        pipeline: makes LR crops of the photos' HR crops (also where ``targets`` stand for them).
        seed: of the damage.
        workers: threads; None: one for each core.
    """

    def __init__(
        self,
        pack: Pack,
        scale: int,
        device: torch.device,
        *,
        pipeline: Pipeline,
        seed: int,
        workers: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(pack, scale, device, **{**options, "resident": False})
        self.resident = False  # also on the CPU: threads make the crops of the steps ahead
        self.pipeline, self.seed = pipeline, seed
        self._whole = torch.from_numpy(pack.hr())
        self._workers = ThreadPoolExecutor(workers, "damage")

    def draw(self, step: int, n: int, patch: int, seed: int = 0) -> Where:
        where = super().draw(step, n, patch, seed)
        number = step * IN_A_BATCH + torch.arange(n)
        return replace(where, hr=torch.cat((where.hr, number[None])))

    def crops(self, lr: Tensor, hr: Tensor, patch: int) -> Crops:
        """As ``Photos.crops``; ``hr`` is of this class's ``draw``."""
        _, target = super().crops(lr, hr[:3], patch)
        pictures, numbers = self.pictures(hr, patch)
        damaged = list(self._workers.map(self._damage, pictures, numbers))
        crops = torch.from_numpy(np.stack(damaged))
        return crops.permute(0, 3, 1, 2), target

    def pictures(self, hr: Tensor, patch: int) -> tuple[NDArray[np.uint8], list[int]]:
        """The photos' crops (n, h, w, 3), and the numbers that their damage depends on."""
        whole = gather(self._whole, hr[:3], patch * self.scale)
        return whole.permute(0, 2, 3, 1).contiguous().numpy(), hr[3].tolist()

    def _damage(self, hr: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        return self.pipeline(hr, self.scale, generator(self.seed, number))
