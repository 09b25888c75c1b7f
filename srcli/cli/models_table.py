"""Models as rows of a table, as facts line by line, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from srcli import catalog
from srcli.catalog import Denoise, Model, Variant, WeightsFile
from srcli.cli.screen import say
from srcli.weights import WeightsOptions, is_cached
from srcli.weights.cache import bundled_path, cached_path, path_of


@dataclass(frozen=True)
class Row:
    """A model and the variant that its figures are of (None: a resampler)."""

    model: Model
    variant: Variant | None
    multiply_adds: float | None = None  # per output pixel, if counted

    @classmethod
    def of(cls, model: Model, scale: int | None) -> Row:
        if not model.variants:
            return cls(model, None)
        return cls(model, model.variant(scale or catalog.default_scale(model)))

    @property
    def weights(self) -> str:
        if self.variant is None:
            return "built in"
        if self.variant.weights is None:
            return "trainable"
        if self.variant.weights.own:
            return "own"
        return "bundled" if self.variant.weights.bundled else "download"

    @property
    def size(self) -> str:
        n_bytes = sum(file.bytes for file in self.variant.files) if self.variant else 0
        return f"{n_bytes / 1e6:.1f} MB" if n_bytes else ""

    @property
    def parameters(self) -> str:
        return f"{self.variant.parameters / 1e3:.0f}K" if self.variant else ""

    @property
    def psnr(self) -> str:
        if self.variant is None or self.variant.psnr_set5 is None:
            return ""
        return f"{self.variant.psnr_set5:.2f} x{self.variant.scale}"


def counted(row: Row) -> Row:
    """With its cost, which the network itself tells."""
    from srcli.engine.cost import per_pixel

    if row.variant is None:
        return row
    return replace(row, multiply_adds=per_pixel(row.model, row.variant.scale))


def scales_of(model: Model) -> str:
    return "any" if model.is_resampler else " ".join(f"x{s}" for s in model.scales)


def print_table(rows: Sequence[Row], *, costs: bool = False) -> None:
    """``costs``: with multiply-adds."""
    cells = [
        (
            r.model.name,
            r.model.arch.name,
            r.model.arch.family,
            scales_of(r.model),
            r.parameters,
            r.weights,
            r.size,
            r.model.terms,
            r.psnr,
            *([f"{r.multiply_adds / 1e3:.1f}K" if r.multiply_adds else ""] if costs else []),
        )
        for r in rows
    ]
    titles = ["name", "arch", "family", "scales", "params", "weights", "size", "licence", "PSNR"]
    titles += ["MACs/px"] if costs else []
    if not sys.stdout.isatty():
        widths = [max(len(row[i]) for row in [titles, *cells]) for i in range(len(titles))]
        for row in [titles, *cells]:
            print("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    narrow, wide = console.width < 118, console.width >= 150
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    most = {"name": 24, "family": 10, "licence": 10} if narrow else {} if wide else {"name": 28}
    shown = [i for i, t in enumerate(titles) if wide or t != "arch"]  # the name says it
    for title in (titles[i] for i in shown):
        name = title == "name"
        table.add_column(
            "MB" if narrow and title == "size" else title,
            justify="right" if title in {"params", "size", "MACs/px"} else "left",
            style="bold" if name else None,
            min_width=16 if name else 12 if title == "family" and not narrow else None,
            max_width=most.get(title),
            no_wrap=title in {"params", "size", "weights", "licence", "PSNR", "MACs/px"},
            overflow="ellipsis" if title == "licence" else "fold",
        )
    for row in cells:
        table.add_row(*(Text(row[i].removesuffix(" MB") if narrow else row[i]) for i in shown))
    console.print(table)
    cost = " MACs/px: multiply-adds per output pixel." if costs else ""
    say(f"PSNR: dB on Set5, luma.{cost} `srcli models show NAME` tells more.")


def variant_facts(
    variant: Variant, arch: str, options: WeightsOptions
) -> Iterable[tuple[str, str]]:
    yield "parameters", f"{variant.parameters:,}"
    if variant.psnr_set5 is not None:
        yield "Set5", f"{variant.psnr_set5:.2f} dB PSNR-Y"
    if variant.psnr_set14 is not None:
        yield "Set14", f"{variant.psnr_set14:.2f} dB PSNR-Y"
    if not variant.files:
        yield "weights", f"none: `srcli train {arch}-x{variant.scale}` trains it"
    if variant.denoise is not None:
        default = catalog.strength_text(variant.denoise.strength)
        yield "--denoise", f"{_strengths(variant.denoise)}; without it {default}"
    for weights in variant.files:
        yield from _file_facts(weights, options)


def _strengths(denoise: Denoise) -> str:
    texts = [catalog.strength_text(s) for s in denoise.strengths]
    return f"{texts[0]} to {texts[-1]}" if denoise.between else ", ".join(texts)


def _file_facts(weights: WeightsFile, options: WeightsOptions) -> Iterable[tuple[str, str]]:
    yield "file", f"{weights.file} ({weights.bytes:,} bytes)"
    yield "sha256", weights.sha256
    if weights.bundled:
        yield "at hand", f"bundled: {bundled_path(weights)}"
        return
    if weights.own:
        path = path_of(weights, options)
        yield "at hand", f"your own: {path}" if path.is_file() else f"no, it is missing: {path}"
        return
    yield "from", str(weights.url)
    cached = is_cached(weights, options)
    yield "at hand", str(cached_path(weights, options)) if cached else "no, will be downloaded"


def record(row: Row, options: WeightsOptions) -> dict[str, Any]:
    model, variant = row.model, row.variant
    size = sum(file.bytes for file in variant.files) if variant and variant.files else None
    return {
        "name": model.name,
        "arch": model.arch.name,
        "title": model.arch.title,
        "family": model.arch.family,
        "paper": model.arch.paper,
        "reference": model.arch.reference,
        "scales": list(model.scales),
        "scale": variant.scale if variant else None,
        "parameters": variant.parameters if variant else 0,
        "weights": row.weights,
        "size_bytes": size,
        "licence": model.licence,
        "non_commercial": model.non_commercial,
        "source": model.source,
        "psnr_set5": variant.psnr_set5 if variant else None,
        **({"multiply_adds_per_px": row.multiply_adds} if row.multiply_adds else {}),
        "note": model.note,
        "variants": [
            {
                "scale": v.scale,
                "parameters": v.parameters,
                "psnr_set5": v.psnr_set5,
                "psnr_set14": v.psnr_set14,
                "file": v.weights.file if v.weights else None,
                "size_bytes": v.weights.bytes if v.weights else None,
                "sha256": v.weights.sha256 if v.weights else None,
                "url": v.weights.url if v.weights else None,
                "at_hand": bool(v.parts) and all(is_cached(f, options) for f, _ in v.parts),
                **({"denoise": _denoise_record(v.denoise)} if v.denoise else {}),
            }
            for v in model.variants
        ],
    }


def _denoise_record(denoise: Denoise) -> dict[str, Any]:
    return {
        "strengths": [catalog.strength_text(s) for s in denoise.strengths],
        "between": denoise.between,
        "default": catalog.strength_text(denoise.strength),
        "files": [
            {"file": f.file, "size_bytes": f.bytes, "sha256": f.sha256, "url": f.url}
            for _, f in denoise.files
        ],
    }
