"""What is left of a run: curves.png, strips of samples, the model card."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcli.errors import SrcliError
from srcli.media import figure
from srcli.training import checkpoint
from srcli.training.config import Config
from srcli.training.packing import Pack


def strips(out: Path, step: int, picture: NDArray[Any]) -> None:
    """``samples/STEP.png``: LR, bicubic, now, HR."""
    _write_png(out / "samples" / f"{step:07d}.png", Image.fromarray(picture))


def pairs(path: Path, lr: NDArray[Any], hr: NDArray[Any]) -> None:
    """A sheet of crops: (n, h, w, 3) LR, enlarged by repetition, each beside its HR."""
    n, height, width = hr.shape[:3]
    scale = height // lr.shape[1]
    columns = max(1, round(math.sqrt(n * height / (2 * width))))
    rows = -(-n // columns)
    gap = 8
    cell = height + gap, 2 * width + gap
    sheet = np.full((rows * cell[0] + gap, columns * cell[1] + gap, 3), 255, np.uint8)
    for k, (small, large) in enumerate(zip(lr, hr, strict=True)):
        top, left = (gap + at * side for at, side in zip(divmod(k, columns), cell, strict=True))
        both = np.concatenate([small.repeat(scale, 0).repeat(scale, 1), large], axis=1)
        sheet[top : top + height, left : left + 2 * width] = both
    _write_png(path, Image.fromarray(sheet))


def curves(out: Path) -> None:
    """``curves.png`` from ``log.jsonl``, if matplotlib is there: loss, PSNR-Y, learning rate."""
    if not figure.is_installed():
        return
    events = [json.loads(x) for x in (out / "log.jsonl").read_text("utf-8").splitlines()]
    steps = [e for e in events if e["event"] == "step"]
    loss = {"loss": [(e["step"], e["loss"]) for e in steps if e["loss"] > 0]}
    rival = [(e["step"], e["discriminator_loss"]) for e in steps if "discriminator_loss" in e]
    rate = {"learning rate": [(e["step"], e["learning_rate"]) for e in steps]}
    psnr: dict[str, list[tuple[float, float]]] = {}
    for e in events:
        if e["event"] == "validation":
            for name, value in e["psnr_y"].items():
                psnr.setdefault(name, []).append((e["step"], value))
    panels = [
        ("loss", loss, "log"),
        ("loss of the discriminator", {"discriminator": rival}, "linear"),
        ("PSNR-Y, dB", psnr, "linear"),
        ("learning rate", rate, "linear"),
    ]
    panels = [p for p in panels if any(len(line) > 1 for line in p[1].values())]
    if not panels:
        return
    drawn = figure.new(900, 300 * len(panels))
    drawn.suptitle(f"Training of {out.name}")
    every = drawn.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, lines, scale) in zip(every, panels, strict=True):
        for name, line in lines.items():
            axes.plot(*zip(*line, strict=True), label=f"{name}, at last {line[-1][1]:.4g}")
        axes.set(ylabel=title, yscale=scale)
        axes.grid(alpha=0.3)
        axes.legend()
    every[-1].set_xlabel("step")
    checkpoint.write_atomic(out / "curves.png", figure.png(drawn))


def _write_png(path: Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    checkpoint.write_atomic(path, buffer.getvalue())


class Board:
    """Scalars for TensorBoard, in ``OUT/tensorboard``.

    Args:
        out: folder of the run.
        step: what was written after it, by the run that is resumed, is dropped.

    Raises:
        SrcliError: TensorBoard is not installed.
    """

    def __init__(self, out: Path, step: int) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, event: Mapping[str, Any]) -> None:
        """What an event of the run has in numbers."""
        if event["event"] == "step":
            for name in ("loss", "discriminator_loss", "learning_rate", "images_per_s"):
                if name in event:
                    self._writer.add_scalar(name, event[name], event["step"])
        elif event["event"] == "validation":
            for name, value in event["psnr_y"].items():
                self._writer.add_scalar(f"psnr_y/{name}", value, event["step"])
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def check_tensorboard() -> None:
    """Raises:
    SrcliError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise SrcliError(
            "--tensorboard needs TensorBoard, which is not installed.",
            'Run: pip install "srcli[tensorboard]"',
        )


def card(
    out: Path,
    config: Config,
    pack: Pack,
    steps: Sequence[int],
    scores: Mapping[str, float],
    seconds: float,
    device: str,
) -> None:
    """``ARCH-xSCALE.md`` beside the weights."""
    rows: list[tuple[str, Any]] = [
        ("architecture", f"{config.arch}, x{config.scale}"),
        ("recipe", config.recipe),
        ("photos", f"{len(pack.photos)}, {pack.pixels / 1e6:.0f} megapixels (pack {pack.key})"),
        ("time", f"{seconds / 60:.1f} minutes on {device}"),
        *((f"PSNR-Y on {name}", f"{value:.3f} dB") for name, value in scores.items()),
    ]
    lines = [f"# {config.name}, trained by srcli", "", "| | |", "|---|---|"]
    lines += [f"| {k} | {v} |" for k, v in rows]
    lines += [
        "",
        "| stage | steps | batch | patch (LR px) | learning rate | loss |",
        "|---|---|---|---|---|---|",
    ]
    for k, (stage, n) in enumerate(zip(config.stages, steps, strict=True), 1):
        loss = ", ".join(f"{name} {w:g}" for name, w in stage.loss.items())
        rate = f"{stage.learning_rate:g} {stage.schedule}"
        lines.append(f"| {k} | {n} | {stage.batch} | {stage.patch} | {rate} | {loss} |")
    lines += [
        "",
        "The licences of the photos decide what may be done with the weights: name them here.",
        "",
    ]
    lines += [
        "## Configuration",
        "",
        "```json",
        json.dumps(json.loads(config.to_json()), indent=1),
        "```",
        "",
    ]
    checkpoint.write_atomic(out / f"{config.name}.md", "\n".join(lines).encode())
