"""Scores in a file, so that an evaluation that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from srcli.errors import MediaError, UsageError
from srcli.quality.benchmarks import Pair
from srcli.quality.candidates import ALWAYS
from srcli.quality.evaluate import Score

log = logging.getLogger(__name__)


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
