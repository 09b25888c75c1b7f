"""The run: crops, network, steps, validations, checkpoints, result. Read it top to bottom.

``train`` is a generator of events, plain dicts of which ``event`` names the kind; whoever runs it
shows them. They are also the lines of ``OUT/log.jsonl``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch.distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from srcli.errors import UsageError
from srcli.training import checkpoint, report
from srcli.training.adversary import discriminator
from srcli.training.config import Config, adversarial_side
from srcli.training.first_weights import build_network
from srcli.training.log import Event, Log
from srcli.training.machine import agreed, join
from srcli.training.networks import Spec, check_patch, spec_of, weights_of
from srcli.training.perceptual import open_extractors
from srcli.training.prepare import Run, check, prepare
from srcli.training.privileged import Privileged
from srcli.training.session import Session, resumed
from srcli.training.teachers import Teacher
from srcli.training.validate import Validation


def train(run: Run, stop: threading.Event | None = None) -> Iterator[Event]:
    """Train.

    Args:
        run: what.
        stop: when set, the step in hand is finished, a checkpoint written, and the run ends.

    Yields:
        data, start, stage, step (every ``log_every`` steps), validation, checkpoint, interrupted,
        done.

    Raises:
        SrcliError: before any work if something is missing or wrong; NotFiniteError, with the step
            and its batch; ResourceError if the disk is full.
    """
    stop = stop or threading.Event()
    session, log, world = yield from _open(run)
    scored = bool(session.validation.sets) and log.on
    yield log.write(session.start_event(world))
    if scored:
        session.score()
        scores, _ = session.score()  # the second time is what it costs
        if session.done == 0:
            yield log.write({"event": "validation", "step": 0, "psnr_y": scores})

    while session.index < len(session.config.stages):
        step = session.begin_stage()
        yield log.write(session.stage_event(step))
        pace = _Pace(session, stop, world)
        while session.k < step.steps:
            step(session.k)
            session.k += 1
            due = pace.due()
            if not (due.log or due.validate or due.save):
                continue
            loss = session.loss(step)  # the only place that waits for the device
            if due.log:
                yield log.write(session.step_event(step, loss, pace.images_per_s()))
                pace.begin()
            if due.validate and scored:
                yield log.write(session.validate())
                pace.begin()
            if due.save:
                pace.saved()
                if log.on:
                    path = session.save()
                    yield {"event": "checkpoint", "step": session.done, "path": str(path)}
            if due.stop:
                yield log.write({"event": "interrupted", "step": session.done})
                log.close()
                return
        session.end_stage()

    if log.on:
        yield log.write(session.finish())
    log.close()
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def _open(run: Run) -> Generator[Event, None, tuple[Session, Log, int]]:
    """A run before its first step, or after the last one of its checkpoint; and how many processes
    share its work. What is missing or wrong comes out here."""
    began = time.perf_counter()
    config, out = run.config, run.out
    if run.tensorboard:
        report.check_tensorboard()
    spec = spec_of(config.arch, config.scale, config.config)
    device, rank, world = join(run.device)
    _check_networks(spec, config, world)
    saved = resumed(run) if run.resume else None
    if saved is None and checkpoint.found(out):
        raise UsageError(f"{out} already holds a run.", "Continue it with --resume.")
    validation = Validation(run.validate, spec, device)
    init = weights_of(run.init, config.scale, run.weights) if run.init else None
    teacher = Teacher(config.teacher, config.scale, run.weights) if config.teacher else None
    check(config)
    extractors = open_extractors(config, run.weights, run.features)
    if rank == 0:
        yield from prepare(run)
    if world > 1:
        dist.barrier()
    session = Session(
        run, spec, device, saved=saved, init=init, extractors=extractors, teacher=teacher,
        validation=validation, began=began,
    )  # fmt: skip
    board = report.Board(out, session.done) if run.tensorboard and rank == 0 else None
    log = Log(out / "log.jsonl", keep_until=session.done, on=rank == 0, board=board)
    return session, log, world


def _check_networks(spec: Spec, config: Config, world: int) -> None:
    """What cannot be built or trained comes out before any work."""
    check_patch(spec, min(stage.patch for stage in config.stages))
    if config.quantise and world > 1:
        raise UsageError(
            "The ranges of quantise=true would differ between processes.",
            "Train with one process.",
        )
    networks = {config.arch: spec.build()} if world > 1 else {}
    if any(stage.teacher for stage in config.stages):
        Privileged(build_network(spec, config, None), config, spec.preprocessing, spec.scale)
    side = adversarial_side(config)
    if side:
        judge = discriminator(config.discriminator, side, config.discriminator_config)
        networks[f"The discriminator {config.discriminator}"] = judge
    for name, network in networks.items():
        if world > 1 and any(isinstance(m, _BatchNorm) for m in network.modules()):
            raise UsageError(
                f"{name} has BatchNorm, whose statistics would differ between processes.",
                "Train it with one process.",
            )


@dataclass(frozen=True)
class _Due:
    """What is to be done after a step."""

    log: bool
    validate: bool
    save: bool
    stop: bool


class _Pace:
    """When something is due in a stage, and how fast the steps are."""

    def __init__(self, session: Session, stop: threading.Event, world: int) -> None:
        self._session, self._stop, self._world = session, stop, world
        self._saved_at = time.perf_counter()
        self.begin()

    def begin(self) -> None:
        """Count the time of steps from here on."""
        self._k, self._clock = self._session.k, time.perf_counter()

    def images_per_s(self) -> float:
        steps = self._session.k - self._k
        return steps * self._session.stage.batch / (time.perf_counter() - self._clock)

    def saved(self) -> None:
        self._saved_at = time.perf_counter()

    def due(self) -> _Due:
        session, config = self._session, self._session.config
        at_end = session.k == session.steps[session.index]
        log = session.k % config.log_every == 0 or at_end
        stop = self._stop.is_set()
        if self._world > 1:  # asked where all processes are at the same step
            stop = log and bool(agreed(int(stop), session.device, largest=True))
        every = config.checkpoint_every
        save = at_end or stop or (every > 0 and session.k % every == 0)
        save |= time.perf_counter() - self._saved_at > 60 * config.checkpoint_minutes
        return _Due(log, session.done % config.validate_every == 0 or at_end, save, stop)
