"""One training step, all of it on the device.

Weights, their average and Adam's two moments are four flat fp32 vectors (``optimiser``); the
network's parameters are views of the first, a second network's parameters views of the average. On
CUDA the step (crops, forward, backward, update) is captured once as a graph and replayed: the host
sends the crops' places and a few numbers, and asks nothing back until it wants the loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.catalog.entries import Preprocessing
from srcli.engine.pytorch.adapter import RgbAdapter
from srcli.training.adversary import Adversary
from srcli.training.config import Config, Stage
from srcli.training.data import Crops, Photos, Where
from srcli.training.losses import Loss
from srcli.training.module_swaps import swap_modules
from srcli.training.optimiser import Adam, Vectors, trained
from srcli.training.perceptual import FeatureExtractors, place
from srcli.training.privileged import Privileged
from srcli.training.schedule import ema_decay, learning_rate

log = logging.getLogger(__name__)

AHEAD = 6  # steps that the host gathers in advance
GROW_AFTER = 2000  # steps without overflow, then the scale doubles


class Step:
    """A stage's step: ``step(k)`` makes step k of the stage.

    Args:
        network: its parameters views of ``vectors.weights``.
        preprocessing: what the network takes and gives: the loss is of what it sees, in 0..1.
        extractors: opens the networks of perceptual losses.
        averaged: the network of the averaged weights, for the losses that compare with it.
        teacher: for the distillation losses: takes and gives 0..1.
        features: last-layer modules of student and teacher, for feature distillation.
        adversary: of adversarial stages.
        privileged: of stages with a teacher that sees HR, or its student.
        offset: steps made in the stages before: no two stages see the same crops.
    """

    def __init__(
        self,
        network: nn.Module,
        vectors: Vectors,
        photos: Photos,
        config: Config,
        stage: Stage,
        *,
        steps: int,
        offset: int = 0,
        preprocessing: Preprocessing | None = None,
        extractors: FeatureExtractors | None = None,
        averaged: nn.Module | None = None,
        teacher: nn.Module | None = None,
        features: tuple[nn.Module, nn.Module] | None = None,
        adversary: Adversary | None = None,
        privileged: Privileged | None = None,
    ) -> None:
        self.network, self.vectors, self.photos = network, vectors, photos
        self.config, self.stage, self.steps, self.offset = config, stage, steps, offset
        self.adapted = RgbAdapter(network, preprocessing or Preprocessing(), photos.scale)
        self.teacher = teacher
        self.device = vectors.weights.device
        self.world, self.rank = (
            (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
        )
        self.batch = len(range(self.rank, stage.batch, self.world))
        self.params = trained(network)
        self._adam = Adam(
            self.params, vectors.weights, vectors.m, vectors.v, config, muon=stage.muon_rate > 0
        )
        self.adversary = adversary if stage.adversarial else None
        self.privileged = privileged if stage.teacher or stage.student else None
        self._beside = self.privileged.learner(stage) if self.privileged is not None else None
        self.loss = Loss(stage.loss, extractors, self.adapted.as_rgb, moving=True).to(self.device)
        self.averaged = averaged if self.loss.needs_average else None
        self.precision: str = config.precision
        if self.precision == "auto":
            self.precision = "bf16" if bf16_is_fast(self.device) else "fp32"
        self._lr_where = torch.zeros(3, self.batch, dtype=torch.int64, device=self.device)
        self._hr_where = torch.zeros_like(self._lr_where)
        self._knobs = torch.zeros(7, device=self.device)
        self._threads = ThreadPoolExecutor(4, "crops")
        self._futures: dict[int, Future[Crops]] = {}
        self._batch = self._rooms()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taps: dict[str, Tensor] = {}
        if features is not None and "distill_feature" in self.loss.weights:
            for name, module in zip(("student", "teacher"), features, strict=True):
                module.register_forward_pre_hook(partial(self._tap, name))
        self.loss_of = self._loss_of
        self.how = "eager"
        self._build()

    def __call__(self, k: int) -> None:
        """Make step ``k`` of the stage. Nothing comes back: see ``fetch``."""
        self.feed(k)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._run()

    def draw(self, k: int) -> Where:
        """The crops of step ``k``, of all processes."""
        return self.photos.draw(
            self.offset + k, self.stage.batch, self.stage.patch, self.config.seed
        )

    def feed(self, k: int) -> None:
        """Send what the device needs for step ``k``: the crops or their places, and the numbers."""
        if self.photos.resident:
            for where, room in zip(self._mine(k), (self._lr_where, self._hr_where), strict=True):
                _send(where, room)
        else:
            for crop, room in zip(self._ahead(k), self._batch, strict=True):
                _send(crop, room)
        c = self.config
        t = k + 1  # Adam begins anew in each stage
        decay = ema_decay(self.offset + k, c.ema)
        rate = self.rate(k)
        share = rate / self.stage.learning_rate  # of the peak; the other rates have the same curve
        muon = share * self.stage.muon_rate
        rival = share * (self.stage.discriminator_rate or self.stage.learning_rate)
        knobs = [rate, muon, rival, 1 - c.beta1**t, 1 - c.beta2**t, decay, float(k)]
        _send(torch.tensor(knobs), self._knobs)
        if len(self.loss.perceptual):
            _send(place(c.seed, self.offset + k), self.loss.start)

    def _mine(self, k: int) -> tuple[Tensor, Tensor]:
        """This process's share of the places of step ``k``."""
        where = self.draw(k)
        share = slice(self.rank, None, self.world)
        return where.lr[:, share].contiguous(), where.hr[:, share].contiguous()

    def _ahead(self, k: int) -> Crops:
        """Step ``k``'s crops, gathered on the host by threads that work a few steps ahead."""
        # while a time budget is being turned into steps, their number is not known yet
        for j in range(k, max(k + 1, min(k + AHEAD, self.steps))):
            if j not in self._futures:
                self._futures[j] = self._threads.submit(self._gather, j)
        return self._futures.pop(k).result()

    def _gather(self, k: int) -> Crops:
        return self.photos.crops(*self._mine(k), self.stage.patch)

    def _rooms(self) -> Crops:
        """Where the device finds a batch that the host has gathered."""
        if self.photos.resident:
            return self._lr_where, self._hr_where
        lr, hr = self._gather(0)
        return lr.to(self.device), hr.to(self.device)

    def rate(self, k: int) -> float:
        """Learning rate of step ``k``."""
        s = self.stage
        return learning_rate(
            k,
            self.steps,
            peak=s.learning_rate,
            schedule=s.schedule,
            warmup=min(s.warmup, self.steps // 4),
            final=s.final,
            halve_every=s.halve_every,
            fall=s.fall,
        )

    def fetch(self) -> tuple[float, int]:
        """(mean loss since the last fetch, the first step of the stage that was not finite or -1);
        waits for the device."""
        total, bad, n = self.vectors.loss[:3].tolist()
        self.vectors.loss[0] = 0.0
        self.vectors.loss[2] = 0.0
        return total / max(n, 1), int(bad)

    def _loss_of(self, lr8: Tensor, hr8: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """uint8 crops -> loss without its adversarial term, and for that the two RGB pictures: what
        is given and what shall be. This is what is compiled."""
        rgb, white = lr8.float() / 255, self.adapted.preprocessing.maximum
        given, hr = self.adapted.preprocess(rgb), self.adapted.colour(hr8.float() / 255)
        lr = self.adapted.colour(rgb)
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        on = self.precision != "fp32"
        levels: Callable[[Tensor], list[Tensor]] | None = getattr(self.network, "levels", None)
        with torch.autocast(self.device.type, dtype, enabled=on, cache_enabled=False):
            extra, seen = hr.new_zeros(()), given
            if self.privileged is not None and self.stage.teacher:
                encoded = self.privileged.encoded(hr / white).float()
                extra, seen = (encoded - given / white).abs().mean(), encoded * white
            outputs = levels(seen) if levels is not None else [self.network(seen)]
            if self.privileged is not None and self.stage.student:
                extra = self.privileged.surprise(hr / white, white)
            teacher_sr = None
            if self.loss.needs_teacher and self.teacher is not None:
                with torch.no_grad():
                    teacher_sr = self.adapted.colour(self.teacher(rgb).float())
            average = None
            if self.averaged is not None:
                with torch.no_grad():
                    average = self.averaged(given).float() / white
        if white != 1:
            lr, hr = lr / white, hr / white
            teacher_sr = teacher_sr / white if teacher_sr is not None else None
            outputs = [sr / white for sr in outputs]
        features = (self._taps["student"], self._taps["teacher"]) if self._taps else None
        total = extra * (self.loss.imitation + self.loss.variational)  # a stage has one of them
        for sr in outputs:
            wanted, taught = hr, teacher_sr
            if sr.shape != hr.shape:  # a smaller picture of a pyramid
                wanted = _reduced(hr, sr)
                taught = _reduced(taught, sr) if taught is not None else None
            known = average if average is None or sr.shape == hr.shape else _reduced(average, sr)
            total = total + self.loss(sr.float(), wanted, lr, taught, features, known)
        if self.adversary is None:
            return total, None
        return total, (self.adapted.as_rgb(outputs[-1].float()), self.adapted.as_rgb(hr))

    def _tap(self, name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._taps[name] = args[0]

    def _run(self) -> None:
        """Crops, loss, gradient, update; reads and writes only what stays in place."""
        lr, hr = self._batch
        if self.photos.resident:
            lr, hr = self.photos.crops(lr, hr, self.stage.patch)
        if self.averaged is not None:
            for mine, theirs in zip(self.averaged.buffers(), self.network.buffers(), strict=True):
                mine.copy_(theirs)
        loss, pictures = self.loss_of(lr, hr)
        if self.adversary is not None and pictures is not None:
            with self._cast():
                loss = loss + self.loss.adversarial * self.adversary.judge(*pictures)
        fp16 = self.precision == "fp16"
        scale = self.vectors.loss[3].float()
        goal = loss * scale if fp16 else loss
        others = self._beside.params if self._beside is not None else []
        grads = torch.autograd.grad(
            goal, [*self.params, *others], allow_unused=True, materialize_grads=True
        )
        with torch.no_grad():
            grad = self._adam.flat(grads[: len(self.params)])
            if self._beside is not None:
                grad = torch.cat((grad, self._beside.adam.flat(grads[len(self.params) :])))
            if fp16:
                grad = grad / scale
        loss, grad = self._over_processes(loss.detach(), grad)
        fine = True if pictures is None else self._train_adversary(*pictures)
        with torch.no_grad():
            self._update(grad, loss, fine)

    def _cast(self) -> torch.autocast:
        """For the discriminator: bf16 as the network; its gradient has no scale for fp16."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False
        )

    def _over_processes(self, loss: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Means over shares of the batch -> means over the batch."""
        if self.world == 1:
            return loss, grad
        both = torch.cat((grad, loss[None])) * (self.batch / self.stage.batch)
        dist.all_reduce(both)
        return both[-1], both[:-1]

    def _train_adversary(self, sr: Tensor, hr: Tensor) -> Tensor:
        """One step of the discriminator; whether it was finite."""
        assert self.adversary is not None
        _, _, rate, *corrections, _, _ = self._knobs.unbind()
        with self._cast():
            loss, grad = self.adversary.gradient(sr, hr)
        loss, grad = self._over_processes(loss, grad)
        with torch.no_grad():
            return self.adversary.update(loss, grad, rate, (corrections[0], corrections[1]))

    def _update(self, grad: Tensor, loss: Tensor, fine: Tensor | bool) -> None:
        """Adam, after clipping the gradient's norm; the average; what has happened.

        ``grad``: the network's, and behind it that of what learns beside it.
        """
        state = self.vectors
        rate, muon_rate, _, correct1, correct2, decay, k = self._knobs.unbind()
        grad, other = grad.tensor_split([len(state.weights)])
        grad, norm = self._adam.clipped(grad)
        if self._beside is not None:
            other, other_norm = self._beside.adam.clipped(other)
            norm = norm + other_norm  # not finite if one of them is not
        fine = fine & torch.isfinite(loss) & torch.isfinite(norm)
        go: float | Tensor = 1.0  # 0: this step changes no weights
        if self.precision == "fp16":
            overflow = self._rescale(loss, norm)
            fine, go = fine | overflow, (~overflow).float()
            grad, other = (torch.where(overflow, 0.0, g) for g in (grad, other))
        self._adam.step(grad, rate * go, (correct1, correct2), muon_rate=muon_rate, go=go)
        state.ema.lerp_(state.weights, (1 - decay) * go)
        if self._beside is not None and self.privileged is not None:
            self._beside.adam.step(other, rate * go, (correct1, correct2), go=go)
            self.privileged.average.lerp_(self.privileged.encoder.weights, (1 - decay) * go)
        total, bad, n = state.loss[:3].unbind()
        bad.copy_(torch.where((bad < 0) & ~fine, k.double(), bad))
        total.add_(loss)
        n.add_(1)

    def _rescale(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Set the loss's scale for the next step; whether this step's gradient overflowed.

        Only the scale is to blame where the loss is finite and the scale can still be halved.
        """
        scale, calm = self.vectors.loss[3:].unbind()
        overflow = torch.isfinite(loss) & ~torch.isfinite(norm) & (scale > 1)
        grown = ~overflow & (calm + 1 >= GROW_AFTER)
        scale.mul_(torch.where(overflow, 0.5, torch.where(grown, 2.0, 1.0)))
        calm.copy_(torch.where(overflow | grown, 0.0, calm + 1))
        return overflow

    def _build(self) -> None:
        """Compile and capture as far as the configuration and the device allow; never fail."""
        c = self.config
        cuda = self.device.type == "cuda"
        compiled = c.compile == "on" or (c.compile == "auto" and cuda)
        graph = cuda and c.cuda_graph != "off" and self.world == 1
        self.feed(0)
        backup = self.save()
        if compiled:
            torch.compiler.reset()
            swap_modules(self.network, "compiled", shifts=c.depthwise == "shifts")
            self.loss_of = torch.compile(self._loss_of, mode=c.compile_mode, dynamic=False)
            try:
                self._run()
                self.how = "compiled"
            except Exception as exc:
                log.warning("torch.compile failed, going on without: %s", _first_line(exc))
                self.loss_of = self._loss_of
                torch.compiler.reset()
        if self.how == "eager":
            swap_modules(self.network, "train")
        self.restore(backup)
        if graph and c.compile_mode not in ("reduce-overhead", "max-autotune"):
            try:
                self._graph = self._capture()
                self.how += ", one CUDA graph"
            except Exception as exc:
                log.warning("The CUDA graph failed, going on without: %s", _first_line(exc))
                torch.cuda.synchronize()
        self.restore(backup)

    def _capture(self) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._run()
        return graph

    def save(self) -> list[Tensor]:
        """Copies of everything that a step changes."""
        return [t.clone() for t in self._changing()]

    def restore(self, saved: list[Tensor]) -> None:
        with torch.no_grad():
            for t, old in zip(self._changing(), saved, strict=True):
                t.copy_(old)

    def _changing(self) -> list[Tensor]:
        rival = self.adversary.tensors() if self.adversary is not None else []
        aid = self.privileged.changing() if self.privileged is not None else []
        return [*self.vectors.all(), *self.network.buffers(), *rival, *aid]


def bf16_is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def _send(source: Tensor, target: Tensor) -> None:
    """Host to device without waiting."""
    if target.device.type == "cuda":
        source = source.pin_memory()
    target.copy_(source, non_blocking=True)


def _reduced(picture: Tensor, like: Tensor) -> Tensor:
    """Bicubic with antialiasing (a = -0.5) to the size of another."""
    size = (like.shape[2], like.shape[3])
    return F.interpolate(picture, size, mode="bicubic", antialias=True)


def _first_line(exc: Exception) -> str:
    return f"{type(exc).__name__}: {(str(exc).splitlines() or [''])[0][:200]}"
