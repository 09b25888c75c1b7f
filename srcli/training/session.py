"""A run while it goes on: its networks, where it is, and what of it is written down."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from srcli.errors import SrcliError, UsageError
from srcli.training import checkpoint, report
from srcli.training.adversary import Adversary
from srcli.training.config import Config, Stage, adversarial_side
from srcli.training.first_weights import build_network, feature_layers, first_weights, in_eight_bits
from srcli.training.log import Event
from srcli.training.machine import agreed, describe, fast
from srcli.training.networks import Spec
from srcli.training.optimiser import Vectors, trained
from srcli.training.perceptual import FeatureExtractors
from srcli.training.prepare import Run, crops_of
from srcli.training.privileged import Privileged
from srcli.training.speed import MEASURE_S, step_rate
from srcli.training.step import Step
from srcli.training.teachers import Teacher
from srcli.training.validate import Validation

MARGIN = 0.98  # of the time left
FREE = {  # keys that may differ from the run that is resumed
    "compile", "compile_mode", "cuda_graph", "depthwise", "resident", "validate_every", "log_every",
    "checkpoint_every", "checkpoint_minutes", "half", "samples",
}  # fmt: skip


class NotFiniteError(SrcliError):
    """Loss or gradient became infinite or not a number."""


def resumed(run: Run) -> dict[str, Any]:
    """The newest checkpoint, checked against what is asked.

    Raises:
        SrcliError: none, or it is another configuration's.
    """
    saved = checkpoint.load_newest(run.out)
    then, now = asdict(Config.from_json(saved["config"])), asdict(run.config)
    other = sorted(k for k in now if k not in FREE and then[k] != now[k])
    if other:
        told = "; ".join(_apart(key, then[key], now[key]) for key in other)
        raise UsageError(
            f"{run.out} was started with other settings: {told}.",
            "Resume with the same recipe and --set, or start a new run with --init.",
        )
    return saved


def _apart(key: str, then: Any, now: Any) -> str:
    """``patch: 32 then, 48 now``; of stages what differs in each."""
    if key == "stages" and len(then) == len(now):
        return "; ".join(
            _apart(f"{number}.{name}", old[name], new[name])
            for number, (old, new) in enumerate(zip(then, now, strict=True), 1)
            for name in new
            if old.get(name) != new[name]
        )
    if key == "stages":
        then, now = f"{len(then)} stages", f"{len(now)}"
    return f"{key}: {then} then, {now} now"


class Session:
    """A run from its beginning or its checkpoint on.

    Args:
        run: what is asked; its crops are prepared.
        spec: the network.
        device: where.
        saved: the checkpoint to go on from.
        init: tensors to begin with.
        extractors: what perceptual losses look through.
        teacher: for the distillation losses.
        validation: scores the averaged network.
        began: ``perf_counter`` when the run was called.

    Attributes:
        network, averaged, vectors: what is trained, its average as a network, both as vectors.
        adversary: the discriminator of adversarial stages.
        privileged: what a teacher that sees HR needs.
        index, k: the stage it is in, and steps made of it.
        steps: of each stage; 0: to be measured when its turn comes.
        best: mean PSNR-Y of the best validation.
    """

    def __init__(
        self,
        run: Run,
        spec: Spec,
        device: torch.device,
        *,
        saved: dict[str, Any] | None,
        init: dict[str, Tensor] | None,
        extractors: FeatureExtractors,
        teacher: Teacher | None,
        validation: Validation,
        began: float,
    ) -> None:
        self.run, self.config, self.spec, self.device = run, run.config, spec, device
        self.extractors, self.validation, self._began = extractors, validation, began
        config = run.config
        self.photos = crops_of(run, device)
        self.too_small = {name for s in config.stages for name in self.photos.check(s.patch)}
        if saved is not None and saved["data"] != self.photos.pack.key:
            raise UsageError(
                f"{run.out} was trained on other photos.", "Give the same --data and --only."
            )
        torch.manual_seed(config.seed)
        network = build_network(spec, config, init)
        if saved is None:
            self.how = first_weights(network, self.photos, config, spec, init)
        if config.quantise:
            network = in_eight_bits(network, self.photos, config, spec)
        network = network.to(device)
        if config.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.averaged = copy.deepcopy(network).eval()
        self.vectors = Vectors.of(network, self.averaged)
        side = adversarial_side(config)
        self.adversary = Adversary(config, side, device) if side else None
        taught = any(stage.teacher for stage in config.stages)
        self.privileged = (
            Privileged(network, config, spec.preprocessing, spec.scale) if taught else None
        )
        self.teacher = teacher.to(device) if teacher is not None else None
        self.index, self.k, self.best, self._before = 0, 0, -1.0, 0.0
        self.steps: list[int] = [0 if run.minutes else s.steps for s in config.stages]
        self.score_s = 0.0  # what a validation costs
        if saved is not None:
            self._restore(saved)
        elif dist.is_initialized():
            for tensor in self.vectors.all() + self._rival() + self._aid():
                dist.broadcast(tensor, 0)
        fast()

    @property
    def stage(self) -> Stage:
        return self.config.stages[self.index]

    @property
    def offset(self) -> int:
        """Steps of the stages before."""
        return sum(self.steps[: self.index])

    @property
    def done(self) -> int:
        """Steps of all stages."""
        return self.offset + self.k

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _rival(self) -> list[Tensor]:
        return self.adversary.tensors() if self.adversary is not None else []

    def _aid(self) -> list[Tensor]:
        return self.privileged.tensors() if self.privileged is not None else []

    def _restore(self, saved: dict[str, Any]) -> None:
        self.how = f"resumed at step {saved['k']} of stage {saved['stage'] + 1}"
        self.index, self.k, self.best = saved["stage"], saved["k"], saved["best"]
        self._before, self.steps = saved["seconds"], saved["steps"]
        with torch.no_grad():
            olds = saved["vectors"] + saved["adversary"] + saved.get("privileged", [])
            mine = self.vectors.all() + self._rival() + self._aid()
            for tensor, old in zip(mine, olds, strict=True):
                tensor.copy_(old)
            for name, buffer in self.network.named_buffers():
                buffer.copy_(saved["buffers"][name])

    def save(self) -> Path:
        """Write a checkpoint, from which the run can be taken up bit for bit."""
        state = {
            "vectors": [v.cpu() for v in self.vectors.all()],
            "adversary": [t.cpu() for t in self._rival()],
            "privileged": [t.cpu() for t in self._aid()],
            "buffers": {name: b.cpu() for name, b in self.network.named_buffers()},
            "stage": self.index,
            "k": self.k,
            "steps": list(self.steps),
            "best": self.best,
            "seconds": self.seconds,
            "config": self.config.to_json(),
            "data": self.photos.pack.key,
        }
        return checkpoint.save(self.run.out, self.done, state)

    def begin_stage(self) -> Step:
        """The step of the stage, its number of steps settled."""
        stage, vectors = self.stage, self.vectors
        if self.k == 0 and self.index > 0:  # warm start: the average, with Adam's memory cleared
            vectors.weights.copy_(vectors.ema)
            vectors.m.zero_()
            vectors.v.zero_()
            if self.adversary is not None:
                self.adversary.begin_stage()
            if self.privileged is not None:
                self.privileged.begin_stage()
                if self.config.stages[self.index - 1].teacher:
                    self.privileged.appoint(vectors.ema, self.network.buffers())
        self.network.train()
        teacher = self.teacher
        step = Step(
            self.network, vectors, self.photos, self.config, stage,
            steps=max(self.steps[self.index], 1), offset=self.offset,
            preprocessing=self.spec.preprocessing, extractors=self.extractors,
            averaged=self.averaged, teacher=teacher,
            features=feature_layers(self.network, teacher) if teacher is not None else None,
            adversary=self.adversary, privileged=self.privileged,
        )  # fmt: skip
        if self.steps[self.index] == 0:
            assert self.run.minutes is not None
            share = stage.steps / sum(s.steps for s in self.config.stages[self.index :])
            left = (60 * self.run.minutes - self.seconds) * share * MARGIN
            per_step = 1 / step_rate(step) + self.score_s / self.config.validate_every
            steps = max(10, int((left - MEASURE_S) / per_step))
            self.steps[self.index] = agreed(steps, self.device)
        step.steps = self.steps[self.index]
        return step

    def end_stage(self) -> None:
        """The stage is over."""
        self.index, self.k = self.index + 1, 0

    def loss(self, step: Step) -> float:
        """Mean loss since the last call; waits for the device.

        Raises:
            NotFiniteError: with the step and its batch.
        """
        loss, bad = step.fetch()
        if bad >= 0:
            crops = self.photos.describe(step.draw(bad))
            raise NotFiniteError(
                f"The loss or its gradient was not finite at step {self.offset + bad + 1}.",
                f"Its batch: {'; '.join(crops[:8])}. The last checkpoint is from before; "
                "a lower learning_rate or clip may help.",
            )
        return loss

    def score(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Of the averaged network; see `Validation.score`."""
        clock = time.perf_counter()
        for mine, theirs in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)
        scores = self.validation.score(self.averaged)
        self.score_s = time.perf_counter() - clock
        return scores

    def validate(self) -> Event:
        """Score the averaged network; keep strips of it, and its weights if they are the best."""
        scores, pictures = self.score()
        event = {"event": "validation", "step": self.done, "psnr_y": scores}
        event["seconds"] = round(self.seconds, 1)
        if self.config.samples:
            report.strips(self.run.out, self.done, self.validation.strips(pictures))
        mean = sum(scores.values()) / len(scores)
        if mean > self.best:
            self.best = mean
            self.export(self.run.out / f"{self.config.name}.best.safetensors", scores)
        return event

    def finish(self) -> Event:
        """Write the result and the report on the run."""
        scores, _ = self.score()
        result = self.run.out / f"{self.config.name}.safetensors"
        self.export(result, scores)
        report.curves(self.run.out)
        report.card(
            self.run.out, self.config, self.photos.pack, self.steps, scores, self.seconds,
            describe(self.device),
        )  # fmt: skip
        event = {"event": "done", "result": str(result), "psnr_y": scores}
        return {**event, "seconds": round(self.seconds, 1)}

    def export(self, path: Path, scores: dict[str, float]) -> None:
        """The averaged network, as users load it."""
        from srcli.weights import save_file

        state = {
            n: t.detach().cpu().contiguous().clone() for n, t in self.averaged.state_dict().items()
        }
        if self.config.half:
            state = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
        spec = self.spec
        provenance = {
            "trained_by": "srcli train", "recipe": self.config.recipe, "step": self.done,
            "config": json.loads(self.config.to_json()), "psnr_y": scores,
        }  # fmt: skip
        save_file(
            path, state, arch=spec.arch, scale=spec.scale, config=dict(spec.config),
            provenance=provenance, preprocessing=spec.preprocessing,
        )  # fmt: skip

    def start_event(self, processes: int) -> Event:
        return {
            "event": "start", "recipe": self.config.recipe, "arch": self.config.arch,
            "scale": self.config.scale, "weights": self.how,
            "parameters": sum(p.numel() for p in trained(self.network)),
            "device": describe(self.device), "processes": processes,
            "photos_on": "device" if self.photos.resident else "disk",
            "too_small": sorted(self.too_small),
        }  # fmt: skip

    def stage_event(self, step: Step) -> Event:
        stage = self.stage
        return {
            "event": "stage", "stage": self.index + 1, "stages": len(self.config.stages),
            "how": step.how, "precision": step.precision, "steps": self.steps[self.index],
            "batch": stage.batch, "patch": stage.patch, "loss": dict(stage.loss),
        }  # fmt: skip

    def step_event(self, step: Step, loss: float, images_per_s: float) -> Event:
        event = {
            "event": "step", "step": self.done, "of": sum(self.steps),
            "stage": self.index + 1, "loss": loss, "learning_rate": step.rate(self.k - 1),
            "images_per_s": round(images_per_s, 1), "seconds": round(self.seconds, 1),
        }  # fmt: skip
        rival = {} if step.adversary is None else {"discriminator_loss": step.adversary.fetch()}
        return {**event, **rival}
