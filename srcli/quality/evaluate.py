"""Scores of a model on a benchmark set, computed as the papers compute them.

The pictures run through the engine that users get. SR is 8-bit RGB, ``crop_border`` is the scale,
HR is cropped from the top left to a multiple of the scale, LR is made by MATLAB's bicubic where the
set has none, grey pictures count as RGB. The score of a set is the mean over its pictures.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from srcli.errors import MediaError, SrcliError, UsageError
from srcli.media.image import read
from srcli.quality.benchmarks import Pair
from srcli.quality.candidates import ALWAYS
from srcli.quality.metrics import modcrop, psnr_rgb, psnr_y, ssim_y
from srcli.quality.niqe import niqe
from srcli.quality.resize import resize
from srcli.weights import Announce, Progress, WeightsOptions
from srcli.weights.features import load_features

if TYPE_CHECKING:
    from torch import Tensor

    from srcli.archs.layers import Recogniser
    from srcli.engine.result import Report

log = logging.getLogger(__name__)

Pixels = NDArray[Any]
Metric = Callable[[Pixels, Pixels], float]


class Engine(Protocol):
    """What `evaluate` needs of srcli.engine.engine.Engine."""

    def strips(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        size: tuple[int, int],
        *,
        reserve_bytes: int = 0,
        report: Report | None = None,
    ) -> Iterator[Pixels]: ...

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int: ...


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


# ------------------------------------------------------------------------------ further metrics

OWN = ("lpips", "lpips-vgg", "dists", "niqe")  # computed here
_OF_SETS = ("fid", "inception_score")  # not of a picture


def check_metrics(names: Sequence[str]) -> None:
    """Refuse, before any work, metrics that cannot be had.

    Raises:
        UsageError: pyiqa knows no such metric of pictures.
        SrcliError: pyiqa is not installed, or cannot be imported.
    """
    names = [name for name in names if name not in OWN]
    if not names:
        return
    known = [*OWN] + [n for n in _pyiqa().list_models() if not n.startswith(_OF_SETS)]
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "for example lpips or dists"
            raise UsageError(f"there is no metric {name}", hint)


def open_metrics(
    names: Sequence[str],
    device: str,
    options: WeightsOptions,
    *,
    files: Sequence[Path] = (),
    announce: Announce | None = None,
    progress: Progress | None = None,
) -> dict[str, Metric]:
    """LPIPS, DISTS and NIQE, and what else the pyiqa library has: on whole RGB pictures.

    Args:
        names: of `OWN`, or as pyiqa spells them.
        device: of torch.
        options: where weights come from; offline, pyiqa may not download any either.
        files: weights of AlexNet and VGG-16 that serve in place of the official ones.
        announce, progress: told about downloads.

    Raises:
        SrcliError: as check_metrics; or a metric's own weights are not to be had.
    """
    check_metrics(names)

    def own(name: str) -> Metric:
        if name == "niqe":
            return lambda sr, _: niqe(sr)
        from srcli.quality.perceptual import Dists, Lpips, from_pixels

        def network(of: str, **config: str) -> Recogniser:
            return load_features(
                of, options, files, config=config, announce=announce, progress=progress
            )

        metric: Lpips | Dists
        if name == "dists":
            metric = Dists(network("vgg16", pooling="l2"))
        else:
            alex = name == "lpips"
            metric = Lpips.alex(network("alexnet")) if alex else Lpips.vgg(network("vgg16"))
        metric.to(device)
        return lambda sr, hr: from_pixels(metric, _on(sr, device), _on(hr, device))

    return {
        name: own(name) if name in OWN else _open_metric(name, device, options.offline)
        for name in names
    }


def _on(pixels: Pixels, device: str) -> Tensor:
    import torch

    return torch.tensor(pixels, device=device)


def _open_metric(name: str, device: str, offline: bool) -> Metric:
    import torch

    pyiqa = _pyiqa()
    try:
        # it prints and draws bars on stdout, where our results go
        with contextlib.redirect_stdout(sys.stderr), _no_downloads(offline):
            network = pyiqa.create_metric(name, device=torch.device(device))
    except Exception as exc:  # it may raise anything: the network, a missing part of it
        hint = "unset SRCLI_OFFLINE once, so that pyiqa can fetch its weights" if offline else None
        raise SrcliError(f"the metric {name} cannot be set up: {_line(exc)}", hint) from exc

    def tensor(image: Pixels) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255

    def metric(sr: Pixels, hr: Pixels) -> float:
        with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
            return float(network(tensor(sr), tensor(hr)))

    return metric


def _pyiqa() -> Any:
    try:
        return importlib.import_module("pyiqa")
    except ModuleNotFoundError as exc:
        if exc.name != "pyiqa":
            text = f"pyiqa is installed, but its part {exc.name} is missing"
            raise SrcliError(text, "run: pip install --upgrade pyiqa") from exc
        raise SrcliError(
            "further metrics are computed by the library pyiqa, which is not installed",
            "run: pip install pyiqa",
        ) from exc
    except Exception as exc:  # it imports half of PyPI, and any of that may be broken
        raise SrcliError(f"pyiqa cannot be imported: {_line(exc)}") from exc


@contextlib.contextmanager
def _no_downloads(offline: bool) -> Iterator[None]:
    """Offline: whatever pyiqa and torchvision fetch weights with refuses."""
    if not offline:
        yield
        return
    import torch

    def refuse(url: str, *args: Any, **kwargs: Any) -> None:
        raise SrcliError(f"SRCLI_OFFLINE forbids downloading {url}")

    changed: list[tuple[Any, str, Any]] = []
    modules = [torch.hub, *(m for n, m in sys.modules.items() if n.startswith("pyiqa."))]
    for module in modules:
        for name in ("download_url_to_file", "hf_hub_download", "snapshot_download"):
            if hasattr(module, name):
                changed.append((module, name, getattr(module, name)))
                setattr(module, name, refuse)
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


def _line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


# ------------------------------------------------------------------------------ runs that go on


class ScoreLog:
    """Scores of a run in a file, one JSON object per line, so that the run can be taken up again.

    A score counts again if all that it depends on is the same: the model and its weights, the
    scale, the set, the picture and its files' content, and the settings. What an interruption left
    of a last line is cut off.

    Args:
        path: made if it is not there.

    Raises:
        UsageError: it is a file of something else.
        MediaError: it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scores: dict[str, Score] = {}
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as exc:
            raise MediaError(f"{path} cannot be read: {exc.strerror or exc}") from exc
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._scores[_canonical(entry["of"])] = _score_of(entry["score"])
            except (ValueError, TypeError, KeyError, AttributeError) as exc:
                raise UsageError(
                    f"{path} is not a file of scores (line {number})", "name another, or a new one"
                ) from exc
        if len(whole) < len(data):
            start = b'{"of":'
            if not whole and data[: len(start)] != start[: len(data)]:
                raise UsageError(f"{path} is not a file of scores", "name another, or a new one")
            log.info("%s: the cut-off last line is dropped", path)
        try:
            with path.open("ab") as file:  # also tells now, not after the first score
                if len(whole) < len(data):
                    file.truncate(len(whole))
        except OSError as exc:
            raise MediaError(f"{path} cannot be written: {exc.strerror or exc}") from exc

    def __len__(self) -> int:
        return len(self._scores)

    def find(self, key: Mapping[str, Any], pair: Pair, metrics: Iterable[str] = ()) -> Score | None:
        """A picture's score, if it is there with all these metrics."""
        of = _key_of(key, pair)
        score = None if of is None else self._scores.get(_canonical(of))
        return score if score and all(name in score.metrics for name in metrics) else None

    def add(self, key: Mapping[str, Any], pair: Pair, score: Score) -> None:
        """Write a score down; it is on the disk when this returns."""
        of = _key_of(key, pair)
        if of is None:
            return
        entry = {"of": of, "score": as_json(score)}
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        except OSError as exc:
            raise MediaError(f"{self.path} cannot be written: {exc.strerror or exc}") from exc
        self._scores[_canonical(of)] = score


def as_json(score: Score) -> dict[str, Any]:
    """A score's fields; infinity, which JSON lacks, as None."""
    fields: dict[str, Any] = {
        "name": score.name,
        "psnr_y": finite(score.psnr_y),
        "ssim_y": score.ssim_y,
        "psnr_rgb": finite(score.psnr_rgb),
        "seconds": round(score.seconds, 4),
    }
    return fields | {name: finite(value) for name, value in score.metrics.items()}


def finite(value: float | None) -> float | None:
    """None for what JSON cannot say."""
    return value if value is not None and math.isfinite(value) else None


def _score_of(fields: Mapping[str, Any]) -> Score:
    left = dict(fields)
    name, seconds = left.pop("name"), left.pop("seconds")
    values = {k: math.inf if v is None else float(v) for k, v in left.items()}
    always = [values.pop(key) for key in ALWAYS]
    return Score(cast("str", name), always[0], always[1], always[2], float(seconds), values)


def _key_of(key: Mapping[str, Any], pair: Pair) -> dict[str, Any] | None:
    """None for a picture that cannot be read."""
    digest = hashlib.sha256()
    for part in (pair.hr, pair.lr):
        if part is None:
            data = b"made"
        elif isinstance(part, Path):
            try:
                data = part.read_bytes()
            except OSError:
                return None
        else:
            data = np.ascontiguousarray(part).tobytes()
        digest.update(hashlib.sha256(data).digest())
    return {**key, "picture": pair.name, "files": digest.hexdigest()}


def _canonical(of: Mapping[str, Any]) -> str:
    return json.dumps(dict(of), sort_keys=True)
