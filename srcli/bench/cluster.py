"""How many pictures a second a cluster does, by the number of its workers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from srcli.catalog import Model
from srcli.cluster.hub import Wanted
from srcli.cluster.run import run as run_on_cluster
from srcli.engine.open import open_engine
from srcli.engine.settings import Settings
from srcli.engine.testcard import testcard
from srcli.errors import SrcliError
from srcli.jobs.events import Done, Event, Failed, Paced
from srcli.jobs.job import Options
from srcli.jobs.plan import Plan
from srcli.jobs.run import run
from srcli.weights import WeightsOptions

BEGIN = 1 / 3  # of the pictures, until every worker has begun: they do not count


@dataclass(frozen=True)
class Rate:
    """One row.

    Attributes:
        workers: of the cluster; 0: one process without a cluster, which uses all cores.
        pictures: that were done; those after the first third count.
    """

    model: str
    scale: int
    size: tuple[int, int]
    workers: int
    pictures: int
    pictures_per_s: float

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "scale": self.scale,
            "lr_size": list(self.size),
            "workers": self.workers,
            "pictures": self.pictures,
            "pictures_per_s": round(self.pictures_per_s, 3),
        }


def measure(
    model: Model,
    scale: int,
    size: tuple[int, int],
    n_pictures: int,
    where: str,
    workers: Sequence[int | None],
    settings: Settings,
    weights: WeightsOptions,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Rate]:
    """The rate without a cluster, then with each of these numbers of workers.

    Args:
        size: (height, width) of the pictures, test cards that lie in a folder inside the current
            one meanwhile, so that other machines see it too if they see that.
        where: the cluster, as Wanted.
        workers: None: as many as have room.
        tell: called with what is being measured.

    Raises:
        SrcliError: a picture fails, or there is no such cluster.
    """
    with tempfile.TemporaryDirectory(
        prefix="srcli-bench-", dir=Path.cwd(), ignore_cleanup_errors=True
    ) as folder:
        source = Path(folder, "in")
        source.mkdir()
        for k in range(n_pictures):
            card = testcard(*size, seed=k).transpose(1, 2, 0)
            pixels = np.rint(card * 255).astype(np.uint8)
            Image.fromarray(pixels).save(source / f"{k:06d}.png")

        def rate(count: int | None) -> Rate:
            out = Path(folder, f"out{count}")
            options = Options(model, float(scale), output=f"{out}/")
            plan = Plan([str(source)], options)
            times: list[float] = []
            seen = [count or 0]

            def hear(event: Event) -> None:
                if isinstance(event, Failed):
                    raise SrcliError(event.error, event.hint)
                if isinstance(event, Done):
                    times.append(time.monotonic())
                elif isinstance(event, Paced):
                    seen[0] = len(event.per_second)

            if count == 0:
                engine = open_engine(model, settings, weights=weights)
                run(plan.todo(), options, engine, tell=hear, inspect=plan.inspect, total=plan.total,
                    scales=plan.scales)  # fmt: skip
            else:
                wanted = Wanted(where, count, settings.threads, settings.device)
                run_on_cluster(plan, options, model, settings, wanted, weights=weights, tell=hear)
            first = int(len(times) * BEGIN)
            spent_s = max(1e-6, times[-1] - times[first])
            per_second = (len(times) - 1 - first) / spent_s
            return Rate(model.name, scale, size, seen[0], len(times), per_second)

        for count in (0, *workers):
            tell("one process" if count == 0 else f"{count or 'all'} workers")
            yield rate(count)
