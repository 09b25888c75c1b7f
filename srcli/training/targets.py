"""What a network shall give, made ahead by finished networks from a pack's LR pictures.

A small network cannot give what the photo holds beyond what its LR picture tells; to it, that is
noise in every step's gradient. What a larger network gives for the same LR is without that noise,
and it is made once, not in every step (knowledge distillation, arXiv 1503.02531). The mean of
several networks' pictures is a better picture than each.

``target4-KEY.u8`` beside the pack's ``hr.u8`` has its layout; the key is a hash of the networks'
weights and of the ensemble. What is done is journalled photo by photo, so an interrupted run goes
on, and the file has its name when it is complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from srcli.engine.engine import Engine
from srcli.engine.open import open_engine
from srcli.engine.settings import Settings
from srcli.training import journal
from srcli.training.packing import Pack, blank, mapped
from srcli.training.teachers import Source

if TYPE_CHECKING:
    from srcli.weights import WeightsOptions


def path_of(pack: Pack, scale: int, sources: Sequence[Source], ensemble: int) -> Path:
    """Where these networks' pictures lie, or will lie."""
    parts = "\n".join([f"ensemble {ensemble}", *sorted(s.sha256 for s in sources)])
    key = hashlib.sha256(parts.encode()).hexdigest()[:16]
    return pack.folder / f"target{scale}-{key}.u8"


def make(
    pack: Pack,
    scale: int,
    sources: Sequence[Source],
    ensemble: Literal[1, 8],
    device: str,
    options: WeightsOptions | None,
) -> Iterator[tuple[int, int]]:
    """Make the targets that are not there; yields (photos done, photos).

    Raises:
        SrcliError: weights cannot be had; the disk is full.
    """
    path = path_of(pack, scale, sources, ensemble)
    record = path.with_suffix(".done")
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            return
        unfinished = path.with_suffix(".part")
        done = journal.done(record) if unfinished.is_file() else set()
        if not done:
            record.unlink(missing_ok=True)
            blank(path, pack.pixels).replace(unfinished)
        settings = Settings(device=device, ensemble=ensemble)
        engines = [open_engine(s.model, settings, weights=options, state=s.state) for s in sources]
        hr, out = pack.hr(), mapped(unfinished, "r+")
        with journal.Journal(record, [out]) as made:
            for k, (photo, lr) in enumerate(zip(pack.photos, pack.lr_pictures(scale), strict=True)):
                if k in done:
                    continue
                stop = photo.start + photo.height * photo.width
                picture = hr[photo.start : stop].reshape(photo.height, photo.width, 3).copy()
                if lr.size:
                    enlarged = _mean(engines, np.array(lr), scale)
                    picture[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
                out[photo.start : stop] = picture.reshape(-1, 3)
                made.note(k)
                done.add(k)
                yield len(done), len(pack.photos)
        del out
        unfinished.replace(path)
        record.unlink(missing_ok=True)


def _mean(engines: Sequence[Engine], lr: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The mean of what the engines give for an LR picture, (h s, w s, 3)."""
    size = lr.shape[0] * scale, lr.shape[1] * scale
    total = np.zeros((*size, 3), np.uint16)
    for engine in engines:
        row = 0
        for strip in engine.strips(lr, (scale,), size):
            total[row : row + len(strip)] += strip
            row += len(strip)
    n = len(engines)
    mean: NDArray[Any] = (total + n // 2) // n
    return mean.astype(np.uint8)
