"""A film among the jobs: srcli.film does the work, events tell of it."""

from __future__ import annotations

import queue
import time
from pathlib import Path

from srcli import catalog
from srcli.catalog import Model
from srcli.engine.engine import Engine
from srcli.film.pictures import upscale_to_pictures
from srcli.film.plan import PicturesPlan
from srcli.film.segments import digest
from srcli.film.upscale import FilmReport, Moment, upscale_film
from srcli.jobs.events import Done, FilmProgressed, Listener, Noted
from srcli.jobs.job import Job, Options

LONG_S = 3600.0  # left of a film, from which a faster network is named
SURE_S = 20.0  # of work, after which the time left is believed


def run_film(job: Job, options: Options, engine: Engine, tell: Listener) -> Done:
    """Do one film.

    Args:
        tell: called with every event, from this thread.

    Raises:
        SrcliError: it cannot be done; what is finished of it is kept.
    """
    assert job.film is not None
    began = time.perf_counter()

    notes: queue.SimpleQueue[str] = queue.SimpleQueue()  # other threads have notes too

    def pass_notes() -> None:
        while not notes.empty():
            tell(Noted(job.source, notes.get()))

    hinted = False

    def moved(moment: Moment) -> None:
        nonlocal hinted
        pass_notes()
        elapsed = max(1e-3, time.perf_counter() - began)
        fps = (moment.frames - moment.resumed) / elapsed
        left_s = (moment.total - moment.frames) / max(fps, 1e-6)
        if not hinted and elapsed > SURE_S:
            hinted = True
            if (hint := faster(options.model, job.passes, left_s)) is not None:
                tell(Noted(job.source, hint))
        tell(
            FilmProgressed(
                job.source,
                moment.frames,
                moment.total,
                fps,
                left_s,
                moment.position_s,
                moment.n_bytes,
            )
        )

    for text in job.film.notes:
        notes.put(text)
    pass_notes()
    plan = job.film.here()
    try:
        if isinstance(plan, PicturesPlan):
            report = upscale_to_pictures(
                plan, engine, job.passes, on_progress=moved, note=notes.put
            )
        else:
            report = upscale_film(
                plan,
                engine,
                job.passes,
                identity=identity_of(options.model, job.passes, engine),
                on_progress=moved,
                note=notes.put,
            )
    finally:
        pass_notes()
    return film_done(job, options, report, time.perf_counter() - began)


def film_done(job: Job, options: Options, report: FilmReport, seconds: float) -> Done:
    """A film that lies finished under its name."""
    return Done(
        job.source,
        job.target,
        options.model.name,
        options.scale or job.scale,
        job.lr_size,
        job.sr_size,
        seconds,
        report.engine.tiles,
        report.engine.device,
        report.engine.precision,
        report.engine.spilled_bytes,
        report.as_json(),
    )


def faster(model: Model, passes: tuple[int, ...], left_s: float) -> str | None:
    """What to say of a film that takes long, if there is a network that is made for speed."""
    if left_s <= LONG_S or model.is_resampler or not passes or "fast" in model.purposes:
        return None
    quick = catalog.resolve("fast", max(passes))
    hours = f"{left_s / 3600:.0f} hours" if left_s >= 1.5 * 3600 else "an hour"
    return f"this film takes about {hours}; -m fast ({quick.name}) is many times faster"


def identity_of(model: Model, passes: tuple[int, ...], engine: Engine) -> str:
    """Stands for the model, its weights and how it computes."""
    return f"{weights_identity(model, passes)} {engine.identity}"


def weights_identity(model: Model, passes: tuple[int, ...]) -> str:
    """Stands for the model and its weights."""
    parts = [model.name]
    for scale in sorted(set(passes)):
        identity = model.variant(scale).identity
        if identity:
            parts.append(identity)
        elif Path(model.source).is_file():  # --weights
            parts.append(digest(Path(model.source)))
    return " ".join(parts)
