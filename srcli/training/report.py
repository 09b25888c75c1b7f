"""What is left of a run: curves.png, strips of samples, the model card."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw

from srcli.errors import SrcliError
from srcli.training import checkpoint
from srcli.training.config import Config
from srcli.training.packing import Pack

COLOURS = ("#1f6fb2", "#c8501e", "#2a8a4a", "#7a4fa3")


def strips(out: Path, step: int, picture: NDArray[Any]) -> None:
    """``samples/STEP.png``: LR, bicubic, now, HR."""
    _write_png(out / "samples" / f"{step:07d}.png", Image.fromarray(picture))


def curves(out: Path) -> None:
    """``curves.png`` from ``log.jsonl``: loss (logarithmic), PSNR-Y, learning rate."""
    events = [json.loads(x) for x in (out / "log.jsonl").read_text("utf-8").splitlines()]
    steps = [e for e in events if e["event"] == "step"]
    loss = {"loss": [(e["step"], e["loss"]) for e in steps if e["loss"] > 0]}
    rate = {"learning rate": [(e["step"], e["learning_rate"]) for e in steps]}
    psnr: dict[str, list[tuple[float, float]]] = {}
    for e in events:
        if e["event"] == "validation":
            for name, value in e["psnr_y"].items():
                psnr.setdefault(name, []).append((e["step"], value))
    panels = [("loss", loss, True), ("PSNR-Y, dB", psnr, False), ("learning rate", rate, False)]
    panels = [p for p in panels if any(len(line) > 1 for line in p[1].values())]
    if not panels:
        return
    canvas = Image.new("RGB", (900, 300 * len(panels)), "white")
    for k, (title, lines, logarithmic) in enumerate(panels):
        _panel(ImageDraw.Draw(canvas), 300 * k, title, lines, logarithmic=logarithmic)
    _write_png(out / "curves.png", canvas)


def _write_png(path: Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
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
            for name in ("loss", "learning_rate", "images_per_s"):
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
            'Run: pip install "tensorboard>=2.17"',
        )


def _panel(
    draw: ImageDraw.ImageDraw,
    top: int,
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    logarithmic: bool,
) -> None:
    left, right, upper, lower = 80, 880, top + 30, top + 270
    points = [p for line in lines.values() for p in line]
    scaled = math.log10 if logarithmic else float
    last = max(x for x, _ in points) or 1
    low, high = (f(scaled(y) for _, y in points) for f in (min, max))
    span = (high - low) or 1.0
    draw.rectangle((left, upper, right, lower), outline="#888888")
    draw.text((left, top + 10), title, fill="black")
    for part in range(5):
        value = low + span * part / 4
        y = lower - (lower - upper) * part / 4
        draw.line((left, y, right, y), fill="#dddddd")
        draw.text((5, y - 6), f"{10**value if logarithmic else value:.4g}", fill="black")
        draw.text(
            (left + (right - left) * part / 4 - 10, lower + 5),
            f"{last * part / 4:.0f}",
            fill="black",
        )
    for k, (name, line) in enumerate(lines.items()):
        colour = COLOURS[k % len(COLOURS)]
        at = [
            (left + (right - left) * x / last, lower - (lower - upper) * (scaled(y) - low) / span)
            for x, y in line
        ]
        draw.line(at, fill=colour, width=2)
        draw.text((left + 120 + 120 * k, top + 10), f"{name} {line[-1][1]:.4g}", fill=colour)


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
