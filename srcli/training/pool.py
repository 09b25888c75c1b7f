"""Damaged crops made ahead: a pack whose photos are crops, and whose LR pictures are damaged.

What a teacher gives for a damaged crop costs more than a step of a small network; of a pool it is
made once (``targets``, as for any pack) and drawn many times, with its flips, at a place inside it.
Drawing from it costs what drawing from photos does, so it also serves where the damage itself would
be the limit.

The pool of a pack lies in its folder. What is done is journalled, so an interrupted making goes on,
and it has its name when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from srcli.threads import one_core_each
from srcli.training import journal
from srcli.training.degradations.pipeline import Pipeline, damaged
from srcli.training.packing import Pack, Photo, blank, mapped
from srcli.weights.tuned import cores

if TYPE_CHECKING:
    from srcli.training.damaged import DamagedPhotos

BLOCK = 32  # crops made at a time
BLOCKS_A_PROCESS = 8  # at least: a process takes a second or two to start

Pixels = NDArray[np.uint8]


def folder_of(photos: DamagedPhotos, n: int, patch: int) -> Path:
    """Where ``n`` crops of ``patch`` LR pixels of these photos lie, or will lie."""
    drawn = "detail" if photos.by_detail else "even"
    what = f"{n}\n{patch}\n{photos.seed}\n{drawn}\n{photos.pipeline.steps!r}"
    key = hashlib.sha256(what.encode()).hexdigest()[:16]
    return photos.pack.folder / f"pool{photos.scale}-{key}"


def read(folder: Path) -> Pack:
    """A pool that is complete."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return Pack(folder, tuple(Photo(**entry) for entry in index), ())


def make(photos: DamagedPhotos, n: int, patch: int) -> Iterator[tuple[int, int]]:
    """Make the crops that are not there; yields (crops done, ``n``).

    Raises:
        ResourceError: the disk is full.
    """
    folder, scale = folder_of(photos, n, patch), photos.scale
    hr_path, lr_path = folder / "hr.u8", folder / f"lr{scale}.u8"
    record = folder / "crops.done"
    with FileLock(folder.with_suffix(".lock")):
        if (folder / "index.json").is_file():
            return
        side = patch * scale
        parts = hr_path.with_suffix(".part"), lr_path.with_suffix(".part")
        done = journal.done(record) if all(p.is_file() for p in parts) else set()
        if not done:
            record.unlink(missing_ok=True)
            blank(hr_path, n * side**2).replace(parts[0])
            blank(lr_path, n * patch**2).replace(parts[1])
        hr, lr = (mapped(part, "r+") for part in parts)
        crops: list[Photo] = []
        todo: list[tuple[int, int]] = []  # block, crops in it
        for block, first in enumerate(range(0, n, BLOCK)):
            count = min(BLOCK, n - first)
            where = photos.draw(block, count, patch, photos.seed)
            for k, name in enumerate(photos.describe(where), first):
                crops.append(Photo(name, side, side, k * side**2))
            if block not in done:
                todo.append((block, count))
        with journal.Journal(record, [hr, lr]) as made:
            for (block, count), small, large in _blocks(photos, todo, patch):
                first = block * BLOCK
                hr[first * side**2 : (first + count) * side**2] = large.reshape(-1, 3)
                lr[first * patch**2 : (first + count) * patch**2] = small.reshape(-1, 3)
                made.note(block)
                yield first + count, n
        del hr, lr
        for part, path in zip(parts, (hr_path, lr_path), strict=True):
            part.replace(path)
        index = folder / "index.part"
        index.write_text(json.dumps([asdict(crop) for crop in crops]), encoding="utf-8")
        index.replace(folder / "index.json")
        record.unlink()


def _blocks(
    photos: DamagedPhotos, todo: Sequence[tuple[int, int]], patch: int
) -> Iterator[tuple[tuple[int, int], Pixels, Pixels]]:
    """LR and HR crops (n, h, w, 3) of each block, in order.

    By processes if that is worth starting them: damage is many short calls, between which threads
    wait for each other.
    """

    def pictures(block: int, count: int) -> tuple[Pixels, list[int]]:
        return photos.pictures(photos.draw(block, count, patch, photos.seed).hr, patch)

    fixed = photos.pipeline, photos.scale, photos.seed
    n_processes = min(cores(), len(todo) // BLOCKS_A_PROCESS)
    if n_processes < 2:
        for block, count in todo:
            large, numbers = pictures(block, count)
            yield (block, count), _damaged(fixed, large, numbers), large
        return
    processes = ProcessPoolExecutor(
        n_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_process,
    )
    waiting: deque[tuple[tuple[int, int], Pixels, Future[Pixels]]] = deque()
    try:
        with one_core_each(os.environ):
            for one in todo:
                large, numbers = pictures(*one)
                waiting.append((one, large, processes.submit(_damaged, fixed, large, numbers)))
                if len(waiting) > 2 * n_processes:
                    first, large, small = waiting.popleft()
                    yield first, small.result(), large
        for first, large, small in waiting:
            yield first, small.result(), large
    finally:
        processes.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """The first process decides what Ctrl-C ends; without it, there is nobody to work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _damaged(fixed: tuple[Pipeline, int, int], large: Pixels, numbers: list[int]) -> Pixels:
    pipeline, scale, seed = fixed
    return damaged(pipeline, large, scale, seed, numbers)
