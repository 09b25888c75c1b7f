"""The run: data, network, steps, validations, checkpoints, result. Read it top to bottom.

``train`` is a generator of events, plain dicts of which ``event`` names the kind; whoever runs it
shows them. They are also the lines of ``OUT/log.jsonl``.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from srcli.archs.merging import Expanded
from srcli.engine.memory import reuse_freed
from srcli.errors import SrcliError, UsageError
from srcli.training import checkpoint, report
from srcli.training.config import Config
from srcli.training.data import Photos
from srcli.training.log import Event, Log
from srcli.training.losses import Loss
from srcli.training.networks import Spec, read_state, spec_of, take_over
from srcli.training.perceptual import Eyes
from srcli.training.prepare import Run, check, crops_of, prepare
from srcli.training.rate import MEASURE_S, loader_rate, measure_rate
from srcli.training.start import fit_last, last_conv, start
from srcli.training.step import Step, Vectors, trained
from srcli.training.teachers import Teacher
from srcli.training.validate import Validation

log = logging.getLogger(__name__)


START_CROPS, START_PATCH = 32, 48  # that the first weights are fitted to
START_STEP = 2**31  # their number: no step of a run
MARGIN = 0.98  # of the time left
FREE = {  # keys that may differ from the run that is resumed
    "compile", "compile_mode", "cuda_graph", "depthwise", "resident", "validate_every", "log_every",
    "checkpoint_every", "checkpoint_minutes", "half", "samples",
}  # fmt: skip


class NotFiniteError(SrcliError):
    """Loss or gradient became infinite or not a number."""


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
    began = time.perf_counter()
    stop = stop or threading.Event()
    config, out = run.config, run.out
    if run.tensorboard:
        report.check_tensorboard()
    spec = spec_of(config.arch, config.scale, config.config)
    device, rank, world = _join(run.device)
    if world > 1 and any(isinstance(m, _BatchNorm) for m in spec.build().modules()):
        raise UsageError(
            f"{config.arch} has BatchNorm, whose statistics would differ between processes.",
            "Train it with one process.",
        )
    saved = _resumed(run) if run.resume else None
    if saved is None and checkpoint.found(out):
        raise UsageError(f"{out} holds a run already.", "--resume goes on with it.")
    validation = Validation(run.validate, spec, device)
    init = read_state(run.init) if run.init else None
    teacher = Teacher(config.teacher, config.scale, run.weights) if config.teacher else None
    check(config)
    eyes = _eyes(run)
    if rank == 0:
        yield from prepare(run)
    if world > 1:
        dist.barrier()
    photos = crops_of(run, device)
    pack = photos.pack
    small = {name for stage in config.stages for name in photos.check(stage.patch)}
    if saved is not None and saved["data"] != pack.key:
        raise UsageError(f"{out} was trained on other photos.", "Give the same --data and --only.")

    # Network, average, vectors. The average lives in a second network, which is what is scored.
    torch.manual_seed(config.seed)
    network = _built(spec, config)
    if saved is None:
        how = begin(network, photos, config, spec, init)
    network = network.to(device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shown = copy.deepcopy(network).eval()
    vectors = Vectors.of(network, shown)
    steps: list[int] = [0 if run.minutes else s.steps for s in config.stages]  # 0: to be measured
    index, k, best, before = 0, 0, -1.0, 0.0
    if saved is not None:
        how = f"resumed at step {saved['k']} of stage {saved['stage'] + 1}"
        index, k, best, before = saved["stage"], saved["k"], saved["best"], saved["seconds"]
        steps = saved["steps"]
        with torch.no_grad():
            for vector, old in zip(vectors.all(), saved["vectors"], strict=True):
                vector.copy_(old)
            for name, buffer in network.named_buffers():
                buffer.copy_(saved["buffers"][name])
    elif world > 1:
        for vector in vectors.all():
            dist.broadcast(vector, 0)
    if teacher is not None:
        teacher = teacher.to(device)
    _fast()

    first = sum(steps[:index]) + k if saved else 0
    board = report.Board(out, first) if run.tensorboard and rank == 0 else None
    writer = Log(out / "log.jsonl", keep_until=first, on=rank == 0, board=board)

    def seconds() -> float:
        return before + time.perf_counter() - began

    def state() -> dict[str, Any]:
        return {
            "vectors": [v.cpu() for v in vectors.all()],
            "buffers": {name: b.cpu() for name, b in network.named_buffers()},
            "stage": index,
            "k": k,
            "steps": list(steps),
            "best": best,
            "seconds": seconds(),
            "config": config.to_json(),
            "data": pack.key,
        }

    def score() -> tuple[dict[str, float], dict[str, Any]]:
        for mine, theirs in zip(shown.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
        return validation.score(shown)

    started = {
        "event": "start", "recipe": config.recipe, "arch": config.arch, "scale": config.scale,
        "weights": how, "parameters": sum(p.numel() for p in trained(network)),
        "device": _describe(device), "processes": world,
        "photos_on": "device" if photos.resident else "disk", "too_small": sorted(small),
    }  # fmt: skip
    yield writer.write(started)
    score_s = 0.0
    if validation.sets and rank == 0:
        for _ in range(2):  # the second time is what it costs
            clock = time.perf_counter()
            now, _ = score()
            score_s = time.perf_counter() - clock
        if saved is None:
            yield writer.write({"event": "validation", "step": 0, "psnr_y": now})

    while index < len(config.stages):
        stage = config.stages[index]
        offset = sum(steps[:index])
        if k == 0 and index > 0:  # warm start: from the average, with Adam's memory cleared
            vectors.weights.copy_(vectors.ema)
            vectors.m.zero_()
            vectors.v.zero_()
        network.train()
        step = Step(
            network, vectors, photos, config, stage,
            steps=max(steps[index], 1), offset=offset, door=spec.door, eyes=eyes,
            shown=shown, teacher=teacher,
            features=_feature_layers(network, teacher, spec) if teacher else None,
        )  # fmt: skip
        if steps[index] == 0:
            assert run.minutes is not None
            share = stage.steps / sum(s.steps for s in config.stages[index:])
            left = (60 * run.minutes - seconds()) * share * MARGIN
            rate = measure_rate(step)
            per_step = 1 / rate + score_s / config.validate_every
            steps[index] = _agreed(max(10, int((left - MEASURE_S) / per_step)), device)
        step.steps = steps[index]
        yield writer.write({
            "event": "stage", "stage": index + 1, "stages": len(config.stages), "how": step.how,
            "precision": step.precision, "steps": steps[index],
            "batch": stage.batch, "patch": stage.patch, "loss": dict(stage.loss),
        })  # fmt: skip

        last_k, clock, saved_at = k, time.perf_counter(), time.perf_counter()
        while k < steps[index]:
            step(k)
            k += 1
            done = offset + k
            at_end = k == steps[index]
            logging_now = k % config.log_every == 0 or at_end
            validating = done % config.validate_every == 0 or at_end
            stopping = (
                stop.is_set()
                if world == 1
                else (logging_now and bool(_agreed(int(stop.is_set()), device, largest=True)))
            )
            every = config.checkpoint_every
            saving = at_end or stopping or (every > 0 and k % every == 0)
            saving |= time.perf_counter() - saved_at > 60 * config.checkpoint_minutes
            if not (logging_now or validating or saving):
                continue
            loss, bad = step.fetch()  # the only place that waits for the device
            if bad >= 0:
                crops = photos.describe(step.draw(bad))
                raise NotFiniteError(
                    f"The loss or its gradient was not finite at step {offset + bad + 1}.",
                    f"Its batch: {'; '.join(crops[:8])}. The last checkpoint is from before; "
                    "a lower learning_rate or clip may help.",
                )
            if logging_now:
                elapsed = time.perf_counter() - clock
                yield writer.write({
                    "event": "step", "step": done, "of": sum(steps), "stage": index + 1,
                    "loss": loss, "learning_rate": step.rate(k - 1),
                    "images_per_s": round((k - last_k) * stage.batch / elapsed, 1),
                    "seconds": round(seconds(), 1),
                })  # fmt: skip
                last_k, clock = k, time.perf_counter()
            if validating and rank == 0 and validation.sets:
                now, pictures = score()
                mean = sum(now.values()) / len(now)
                yield writer.write({
                    "event": "validation", "step": done, "psnr_y": now,
                    "seconds": round(seconds(), 1),
                })  # fmt: skip
                if config.samples:
                    report.strips(out, done, validation.strips(pictures))
                if mean > best:
                    best = mean
                    _export(run, spec, shown, out / f"{config.name}.best.safetensors", done, now)
                last_k, clock = k, time.perf_counter()
            if saving:
                saved_at = time.perf_counter()
                if rank == 0:
                    path = checkpoint.save(out, done, state())
                    yield {"event": "checkpoint", "step": done, "path": str(path)}
            if stopping:
                yield writer.write({"event": "interrupted", "step": done})
                writer.close()
                return
        index, k = index + 1, 0

    if rank == 0:
        index, k = len(config.stages) - 1, steps[-1]
        now, _ = score()
        result = out / f"{config.name}.safetensors"
        _export(run, spec, shown, result, sum(steps), now)
        report.curves(out)
        report.card(out, config, pack, steps, now, seconds(), _describe(device))
        yield writer.write(
            {"event": "done", "result": str(result), "psnr_y": now, "seconds": round(seconds(), 1)}
        )
    writer.close()
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


def _built(spec: Spec, config: Config) -> nn.Module:
    """The network in the form that is trained."""
    network = spec.build()
    if not config.merged:
        return network
    if not isinstance(network, Expanded):
        raise UsageError(
            f"{spec.arch} has no expanded form that could be merged.", "Leave out merged=true."
        )
    return network.merge().train()


def _eyes(run: Run) -> Eyes:
    """What losses look through, opened once: what is not to be had comes out before any work."""
    eyes = Eyes(run.weights, run.features)
    for stage in run.config.stages:
        Loss(stage.loss, eyes)
    return eyes


def begin(
    network: nn.Module, photos: Photos, config: Config, spec: Spec, init: dict[str, Tensor] | None
) -> str:
    """First weights: from ``init``, what does not fit computed or drawn anew; says what it did."""
    smallest = min(s.patch for s in config.stages)
    patch = START_PATCH if photos.fits(START_PATCH) else smallest
    where = photos.draw(START_STEP, START_CROPS, patch, config.seed)
    device = photos.lr.device
    crops = photos.crops(where.lr.to(device), where.hr.to(device), patch)
    lr, hr = spec.entered(network, *(crop.cpu().float() / 255 for crop in crops))
    network.train()
    if init is None:
        if config.start == "plain":
            return "PyTorch's own"
        start(network, lr, hr, squash=config.squash, quiet=config.quiet)
        return "nearest neighbour"
    left = take_over(network, init)
    if not left:
        return "given"
    names = {id(m): name for name, m in network.named_modules()}
    last, after = last_conv(network, lr)
    tail = tuple(names[id(conv)] + "." for conv in (last, *after))
    if all(name.startswith(tail) for name in left):
        fit_last(network, lr, hr, squash=config.squash)
        return f"given; fitted anew: {', '.join(left)}"
    return f"given; begun anew: {', '.join(left)}"


def measure(run: Run) -> Iterator[Event]:
    """What the loader alone and a step cost, for each stage of the recipe."""
    config = run.config
    device, _, _ = _join(run.device)
    spec = spec_of(config.arch, config.scale, config.config)
    eyes = _eyes(run)
    yield from prepare(run)
    photos = crops_of(run, device)
    _fast()
    for index, stage in enumerate(config.stages):
        photos.check(stage.patch)
        torch.manual_seed(config.seed)
        network = _built(spec, config)
        begin(network, photos, config, spec, None)
        network = network.to(device)
        if config.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shown = copy.deepcopy(network).eval()
        vectors = Vectors.of(network, shown)
        began = time.perf_counter()
        step = Step(
            network,
            vectors,
            photos,
            config,
            stage,
            steps=stage.steps,
            door=spec.door,
            eyes=eyes,
            shown=shown,
        )
        build_s = time.perf_counter() - began
        rate = measure_rate(step)
        yield {
            "event": "measured", "stage": index + 1, "device": _describe(device), "how": step.how,
            "precision": step.precision,
            "batch": stage.batch, "patch": stage.patch,
            "loader_images_per_s": round(loader_rate(photos, stage.batch, stage.patch)),
            "train_images_per_s": round(rate * stage.batch, 1), "ms_per_step": round(1e3 / rate, 3),
            "build_s": round(build_s, 1),
            "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)
            if device.type == "cuda" else None,
        }  # fmt: skip


def _resumed(run: Run) -> dict[str, Any]:
    """The newest checkpoint, checked against what is asked.

    Raises:
        SrcliError: none, or it is another configuration's.
    """
    saved = checkpoint.load_newest(run.out)
    then, now = asdict(Config.from_json(saved["config"])), asdict(run.config)
    other = sorted(k for k in now if k not in FREE and then[k] != now[k])
    if other:
        raise UsageError(
            f"{run.out} was started with another {', '.join(other)}.",
            "Resume with the same recipe and --set, or start a new run with --init.",
        )
    return saved


def _export(
    run: Run, spec: Spec, shown: nn.Module, path: Path, step: int, scores: dict[str, float]
) -> None:
    from srcli.weights import save_file

    state = {n: t.detach().cpu().contiguous().clone() for n, t in shown.state_dict().items()}
    if run.config.half:
        state = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    provenance = {
        "trained_by": "srcli train", "recipe": run.config.recipe, "step": step,
        "config": json.loads(run.config.to_json()), "psnr_y": scores,
    }  # fmt: skip
    save_file(
        path,
        state,
        arch=spec.arch,
        scale=spec.scale,
        config=dict(spec.config),
        provenance=provenance,
        door=spec.door,
    )


def _feature_layers(
    network: nn.Module, teacher: nn.Module, spec: Spec
) -> tuple[nn.Module, nn.Module]:
    """The layers before whose doors the two networks' features are compared: their last."""
    device = next(network.parameters()).device
    probe = torch.zeros(1, 3, 32, 32, device=device)
    teacher.requires_grad_(True)  # the search looks at what could be trained
    layers = last_conv(network, probe)[0], last_conv(teacher, probe)[0]
    teacher.requires_grad_(False)
    return layers


def _join(device: str) -> tuple[torch.device, int, int]:
    """(device, rank, world size); joins torchrun's processes if there are any."""
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device.", "--device cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return torch.device(device), 0, 1
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return torch.device(device), dist.get_rank(), dist.get_world_size()


def _fast() -> None:
    """TF32 where there is no bf16 (scores do without), the fastest algorithm for the shapes, and
    memory that stays."""
    reuse_freed(2**31, however_large=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def _agreed(number: int, device: torch.device, *, largest: bool = False) -> int:
    """The same number on all processes: the first's, or the largest."""
    if not dist.is_initialized():
        return number
    tensor = torch.tensor(number, device=device)
    if largest:
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
    else:
        dist.broadcast(tensor, 0)
    return int(tensor)


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
