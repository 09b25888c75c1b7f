"""Scores of a model on a benchmark set, computed as the papers compute them.

The pictures run through the engine that users get. SR is 8-bit RGB, ``crop_border`` is the scale,
HR is cropped from the top left to a multiple of the scale, LR is made by MATLAB's bicubic where the
set has none, grey pictures count as RGB. The score of a set is the mean over its pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srcli.errors import MediaError, SrcliError
from srcli.media.image import read
from srcli.quality.benchmarks import Pair
from srcli.quality.metrics import modcrop, psnr_rgb, psnr_y, ssim_y
from srcli.quality.resize import resize

if TYPE_CHECKING:
    from srcli.engine.engine import Engine

Pixels = NDArray[Any]
Metric = Callable[[Pixels, Pixels], float]  # of SR and HR, uint8 (h, w, 3)


@dataclass(frozen=True)
class Score:
    """What one picture came to.

    Attributes:
        name: of the picture.
        psnr_y, psnr_rgb: dB; infinity for equal pictures.
        ssim_y: at most 1.
        seconds: that enlarging it took, files and scores not counted.
        metrics: further ones by name.
        notes: what the engine has to say, in plain sentences.
    """

    name: str
    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A picture that could not be scored, and why."""

    name: str
    error: str
    hint: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a set at one scale; means are over the pictures that were scored."""

    scale: int
    scores: tuple[Score, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def total(self) -> int:
        """Pictures of the set."""
        return len(self.scores) + len(self.failures)

    @property
    def psnr_y(self) -> float | None:
        return _mean(s.psnr_y for s in self.scores)

    @property
    def ssim_y(self) -> float | None:
        return _mean(s.ssim_y for s in self.scores)

    @property
    def psnr_rgb(self) -> float | None:
        return _mean(s.psnr_rgb for s in self.scores)

    @property
    def seconds(self) -> float:
        return sum(s.seconds for s in self.scores)

    def metric(self, name: str) -> float | None:
        """The mean of one of the further metrics."""
        return _mean(s.metrics[name] for s in self.scores)


def evaluate(
    engine: Engine,
    pairs: Iterable[Pair],
    scale: int,
    *,
    passes: Sequence[int] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    known: Callable[[Pair], Score | None] | None = None,
    on_picture: Callable[[Pair, Score | Failure], None] | None = None,
    save: Callable[[str, Pixels], None] | None = None,
) -> Evaluation:
    """Enlarge every LR picture and compare it with its HR picture.

    Args:
        engine: of srcli.engine.open.open_engine. Its network is loaded when a picture needs it.
        pairs: the set; a picture that cannot be read or scored becomes a Failure.
        scale: native to the engine's model.
        passes: what the engine runs; None: () for a resampler, else (scale,).
        metrics: further ones by name, of (SR, HR), both uint8 (h, w, 3), whole pictures.
        known: the score of a picture that need not be computed.
        on_picture: called after each picture.
        save: called with a picture's name and SR; what it raises ends the evaluation.

    Raises:
        SrcliError: the network's weights are not to be had, or what ``save`` raised.
    """
    scores: list[Score] = []
    failures: list[Failure] = []
    ready = False
    for pair in pairs:
        outcome: Score | Failure | None = known(pair) if known is not None else None
        if outcome is None:
            if passes is None:
                passes = _passes(engine, scale)
            if not ready:  # weights are loaded here, so that no picture's time has that in it
                engine.estimate_bytes((64, 64), passes)
                ready = True
            sr: Pixels | None = None
            try:
                outcome, sr = _score(engine, pair, scale, passes, metrics or {})
            except SrcliError as exc:
                outcome = Failure(pair.name, exc.message, exc.hint)
            except MemoryError:
                hint = "allow less with --memory, or a smaller --tile"
                outcome = Failure(pair.name, f"{pair.name}: memory ran out", hint)
            except (ValueError, RuntimeError) as exc:  # metrics on tiny pictures; torch on a device
                outcome = Failure(pair.name, f"{pair.name}: {exc}")
            if save is not None and sr is not None:
                save(pair.name, sr)
        if isinstance(outcome, Score):
            scores.append(outcome)
        else:
            failures.append(outcome)
        if on_picture is not None:
            on_picture(pair, outcome)
    return Evaluation(scale, tuple(scores), tuple(failures))


def load_pair(pair: Pair, scale: int) -> tuple[Pixels, Pixels]:
    """The pictures that are compared, decoded: LR (h, w, 3) and HR (h s, w s, 3), uint8.

    Raises:
        MediaError: one cannot be read, or their sizes do not go together.
    """
    hr = _rgb(pair.hr)
    try:
        hr = np.ascontiguousarray(modcrop(hr, scale))
    except ValueError as exc:
        raise MediaError(f"{pair.name}: the HR picture is smaller than the scale") from exc
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    if pair.lr is None:
        return resize(hr, (height, width)), hr
    lr = _rgb(pair.lr)
    if lr.shape != (height, width, 3):
        raise MediaError(
            f"{pair.name}: the LR picture is {lr.shape[1]} x {lr.shape[0]} pixels, "
            f"but the HR picture at x{scale} wants {width} x {height}"
        )
    return lr, hr


def _rgb(picture: Path | Pixels) -> Pixels:
    """Decoded, uint8, grey repeated."""
    pixels: Pixels = read(picture).pixels if isinstance(picture, Path) else picture
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _score(
    engine: Engine,
    pair: Pair,
    scale: int,
    passes: Sequence[int],
    metrics: Mapping[str, Metric],
) -> tuple[Score, Pixels]:
    from srcli.engine.result import Report

    lr, hr = load_pair(pair, scale)
    report = Report()
    started = time.perf_counter()
    strips = engine.strips(lr, passes, hr.shape[:2], reserve_bytes=hr.nbytes, report=report)
    sr = np.concatenate(list(strips))
    seconds = time.perf_counter() - started
    score = Score(
        pair.name,
        psnr_y(sr, hr, scale),
        ssim_y(sr, hr, scale),
        psnr_rgb(sr, hr, scale),
        seconds,
        {name: metric(sr, hr) for name, metric in metrics.items()},
        tuple(report.notes),
    )
    return score, sr


def _passes(engine: Engine, scale: int) -> tuple[int, ...]:
    from srcli.engine.resampler import Resampler

    return () if isinstance(engine, Resampler) else (scale,)


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None
