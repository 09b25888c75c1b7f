"""What a run learns from, made of folders of photos: packed, damaged, enlarged by teachers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from srcli.errors import UsageError
from srcli.training import degradations, packing, pool, report, targets, teachers
from srcli.training.config import Config
from srcli.training.damaged import DamagedPhotos
from srcli.training.data import Photos
from srcli.training.log import Event
from srcli.training.packing import Pack

if TYPE_CHECKING:
    from srcli.weights import WeightsOptions


@dataclass(frozen=True)
class Run:
    """What one call of ``train`` is asked to do.

    Attributes:
        config: from ``config.load``.
        data: folders of photos.
        out: folder of the run.
        cache: folder of packed photos.
        only: text file that names the photos to take.
        init: weights to begin with, a file or a model; what does not fit begins anew.
        resume: go on from the newest checkpoint in ``out``.
        validate: benchmark folders.
        device: cpu, cuda, cuda:N or mps; auto.
        minutes: time box, counted from the beginning of the run; None: the recipe's steps.
        weights: where the weights of teachers and of the losses' networks lie.
        features: files of weights for the losses' networks, in place of downloads.
        tensorboard: write scalars to ``out``/tensorboard too.
    """

    config: Config
    data: tuple[Path, ...]
    out: Path
    cache: Path
    only: Path | None = None
    init: str | Path | None = None
    resume: bool = False
    validate: tuple[Path, ...] = ()
    device: str = "auto"
    minutes: float | None = None
    weights: WeightsOptions | None = None
    features: tuple[Path, ...] = ()
    tensorboard: bool = False


def check(config: Config) -> None:
    """Find what is wrong with the damage and the teachers before any work.

    Raises:
        UsageError: says what.
    """
    damaged = not degradations.read(config.degrade).plain
    for name in config.targets:
        teachers.find(name, config.scale)
    if config.pool and not damaged:
        raise UsageError("A pool is for damaged crops.", "For example --set degrade=photo.")
    if config.targets and damaged and not config.pool:
        raise UsageError(
            "What teachers give for damaged crops is made ahead, for a pool of them.",
            "For example --set pool=4000. Or let a teacher enlarge the crops of each step: "
            '--set teacher=NAME --set loss="{distill=1.0}".',
        )
    largest = max(stage.patch for stage in config.stages)
    if config.pool and largest > config.pool_patch:
        raise UsageError(
            f"Crops of {largest} LR pixels do not fit into the pool's, of {config.pool_patch}.",
            f"--set pool_patch={largest}, or more.",
        )


def prepare(run: Run, scales: tuple[int, ...] | None = None) -> Iterator[Event]:
    """Pack the photos, make their LR, and all that is made ahead; the last event tells what there
    is."""
    began = time.perf_counter()
    config = run.config
    check(config)
    pack = packing.pack(packing.find(run.data, run.only), run.cache)
    for scale in scales or (config.scale,):
        packing.add_scale(pack, scale)
    if config.pool:
        photos = _damaged(pack, config, torch.device("cpu"))
        photos.check(config.pool_patch)
        for done, n in pool.make(photos, config.pool, config.pool_patch):
            yield {"event": "pool", "done": done, "of": n}
    if config.targets:
        sources = [teachers.find(name, config.scale) for name in config.targets]
        for done, n in targets.make(
            _learned(pack, config), config.scale, sources, config.target_ensemble, run.device,
            run.weights,
        ):  # fmt: skip
            yield {"event": "targets", "done": done, "of": n}
    yield {
        "event": "data",
        "photos": len(pack.photos),
        "megapixels": round(pack.pixels / 1e6, 1),
        "skipped": [f"{name}: {reason}" for name, reason in pack.skipped],
        "pack": str(pack.folder),
        "crops": config.pool,
        "seconds": round(time.perf_counter() - began, 1),
    }


def crops_of(run: Run, device: torch.device) -> Photos:
    """What `prepare` has made, as the configuration wants it."""
    config = run.config
    whole = packing.pack(packing.find(run.data, run.only), run.cache)
    pack, made = _learned(whole, config), None
    if config.targets:
        sources = [teachers.find(name, config.scale) for name in config.targets]
        path = targets.path_of(pack, config.scale, sources, config.target_ensemble)
        made = packing.mapped(path, "c")
    options: dict[str, Any] = {
        "resident": {"on": True, "off": False, "auto": None}[config.resident],
        "targets": made,
        "hr_share": config.hr_share,
    }
    if config.pool:  # by detail, if at all, when it was made
        return Photos(pack, config.scale, device, **options)
    if degradations.read(config.degrade).plain:
        detail = config.crops == "detail"
        return Photos(pack, config.scale, device, by_detail=detail, **options)
    return _damaged(pack, config, device, **options)


def show(run: Run, n: int, path: Path) -> Iterator[Event]:
    """`prepare`, then a sheet of the first ``n`` crops of the run's first stage: LR, and what the
    network shall give."""
    yield from prepare(run)
    photos, stage = crops_of(run, torch.device("cpu")), run.config.stages[0]
    photos.check(stage.patch)
    where = photos.draw(0, n, stage.patch, run.config.seed)
    lr, hr = (
        crop.permute(0, 2, 3, 1).numpy() for crop in photos.crops(where.lr, where.hr, stage.patch)
    )
    report.pairs(path, lr, hr)
    yield {"event": "sheet", "path": str(path), "pairs": n}


def _learned(pack: Pack, config: Config) -> Pack:
    """The pack that crops are drawn from: the photos', or the pool's in it."""
    if not config.pool:
        return pack
    photos = _damaged(pack, config, torch.device("cpu"))
    return pool.read(pool.folder_of(photos, config.pool, config.pool_patch))


def _damaged(pack: Pack, config: Config, device: torch.device, **options: Any) -> DamagedPhotos:
    return DamagedPhotos(
        pack, config.scale, device, pipeline=degradations.read(config.degrade), seed=config.seed,
        by_detail=config.crops == "detail", **options,
    )  # fmt: skip
