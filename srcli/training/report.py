"""What is left of a run: curves.png, strips of samples, the model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from torch import nn

from srcli.training import checkpoint
from srcli.training.config import Config
from srcli.training.packing import Pack
from srcli.training.validate import Benchmark, strip

COLOURS = ("#1f6fb2", "#c8501e", "#2a8a4a", "#7a4fa3")
STRIP_PICTURES = 4


def strips(out: Path, step: int, benchmark: Benchmark, network: nn.Module, maximum: float) -> None:
    """``samples/STEP.png``: LR, bicubic, now, HR."""
    picture = strip(benchmark.pairs[:STRIP_PICTURES], network, benchmark.scale, maximum)
    path = out / "samples" / f"{step:07d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


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
    temporary = out / ".curves.png"
    canvas.save(temporary, "PNG")
    temporary.replace(out / "curves.png")


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
