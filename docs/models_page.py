"""The page of all networks and its chart, from the catalogue.

Multiply-adds are counted by the program, which takes half a minute: they are kept in
multiply_adds.json, which `python docs/models_page.py` writes anew after a change of the catalogue.
"""

from __future__ import annotations

import functools
import io
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from srcli import catalog
from srcli.catalog import Family, Model, Variant

SCALE = 4  # of the chart
COUNTS = Path(__file__).with_name("multiply_adds.json")  # "name xN": per output pixel
LEAST_DB = 30.4  # below lie weights that were made for looks, or other LR pictures

FAMILIES: dict[str, str] = {
    "convolution": "Convolutions, one after the other.",
    "residual": "Layers compute a change, which is added to what they were given.",
    "dense": "Every layer of a block sees the outputs of all layers before it.",
    "distillation": "Each step keeps a part of the features and refines the rest; the parts are "
    "joined at the end.",
    "attention": "Features are weighted by what the network sees of the picture: by channel, by "
    "place, or pixel by pixel.",
    "extremely lightweight": "Made for phones: few layers, merged or in eight bits, often on "
    "maps smaller than the picture.",
    "resampling": "No network.",
}
assert set(FAMILIES) == set(get_args(Family))


def _absent() -> Iterator[str]:
    """The networks that are known by name alone, and why."""
    reasons: dict[str, list[catalog.Alias]] = {}
    for alias in catalog.default_catalogue().aliases.values():
        if alias.because:
            reasons.setdefault(alias.because, []).append(alias)
    for because, aliases in reasons.items():
        nearest = ", ".join(f"`{name}`" for name in aliases[0].nearest)
        names = ", ".join(f"`{alias.name}`" for alias in aliases)
        text = f"- {names}: {because}. Nearest: {nearest}."
        yield textwrap.fill(text, 100, subsequent_indent="  ", break_on_hyphens=False)


def families() -> str:
    """The tables of networks."""
    parts = []
    for family, words in FAMILIES.items():
        rows = [m for m in catalog.models() if m.arch.family == family and not m.is_own]
        parts.append(f"## {family.capitalize()}\n\n{words}\n")
        parts.append(
            "| name | network | parameters | MACs/px | x2 | x3 | x4 | weights, licence |\n"
            "|---|---|---|---|---|---|---|---|\n" + "\n".join(map(_line, rows)) + "\n"
        )
    return "\n".join(parts)


def remarks() -> str:
    """What the catalogue notes of networks."""
    noted = [m for m in catalog.models() if m.note and not m.is_own]
    return "\n".join(f"- `{catalog.short_name(m)}`: {m.note}" for m in noted)


def absent() -> str:
    """The networks that are known by name alone, and why."""
    return "\n".join(_absent())


def _line(model: Model) -> str:
    variant = _shown(model)
    parameters = f"{variant.parameters / 1e3:,.0f} K" if variant else ""
    work = f"{multiply_adds()[_key(model, variant)] / 1e3:,.1f} K" if variant else ""
    scores = [_score(model, scale) for scale in (2, 3, 4)]
    paper = f"{model.arch.title}: {model.arch.paper}, {_link(model.arch.reference)}"
    name = catalog.short_name(model).replace(".", "<wbr>.")  # the table is as wide as the page
    cells = [f"<code>{name}</code>", paper, parameters, work, *scores, _weights(model)]
    return f"| {' | '.join(cells)} |"


@functools.cache
def multiply_adds() -> dict[str, float]:
    """Multiply-adds per output pixel of the networks in the tables, as the program counted them."""
    counts: dict[str, float] = json.loads(COUNTS.read_text("utf-8"))
    return counts


def counted() -> dict[str, tuple[Model, Variant]]:
    """The networks whose multiply-adds the tables show, by their keys in multiply_adds.json."""
    shown = ((m, _shown(m)) for m in catalog.models() if not m.is_own)
    return {_key(model, variant): (model, variant) for model, variant in shown if variant}


def _key(model: Model, variant: Variant) -> str:
    return f"{model.name} x{variant.scale}"


def purposes() -> str:
    """The table of purposes."""
    taken = {p.name: catalog.resolve(p.name, SCALE) for p in catalog.purposes()}
    rows = [
        f"| `{p.name}` | *{p.title}.* {p.about} | `{catalog.short_name(taken[p.name])}` |"
        for p in catalog.purposes()
    ]
    return "| name | for | what `-m` takes at x4 |\n|---|---|---|\n" + "\n".join(rows)


def advice() -> str:
    """The table of what networks do well and badly."""
    titles = {p.name: p.title for p in catalog.purposes()}
    models = [m for m in catalog.models() if m.advice and not m.is_own]
    rows = [
        f"| `{catalog.short_name(m)}` | {', '.join(titles[p] for p in m.purposes)} | {m.advice} |"
        for m in models
    ]
    return "| name | for | |\n|---|---|---|\n" + "\n".join(rows)


def _shown(model: Model) -> Variant | None:
    at_most = [v for v in model.variants if v.scale <= SCALE]
    return max(at_most or model.variants, key=lambda v: v.scale, default=None)


def _score(model: Model, scale: int) -> str:
    if scale not in model.scales:
        return ""
    psnr = model.variant(scale).psnr_set5
    return f"{psnr:.2f}" if psnr is not None else "·"


def _weights(model: Model) -> str:
    if model.is_resampler:
        return "none needed"
    if not model.trained:
        return "train it"
    bundled = all(v.weights is not None and v.weights.bundled for v in model.variants)
    return f"{'in the package' if bundled else 'download'}, {model.terms}"


def _link(reference: str) -> str:
    kind, _, name = reference.partition(":")
    at = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}.get(kind, f"{kind}:")
    return f"[{reference}]({at}{name.replace('<', '%3C').replace('>', '%3E')})"


@dataclass(frozen=True)
class Point:
    """A network in the chart."""

    name: str
    family: str
    parameters: int
    psnr: float
    is_bundled: bool


def points() -> list[Point]:
    """What is drawn, from the smallest to the largest."""
    found = []
    for model in catalog.models():
        variant = model.variant(SCALE) if SCALE in model.scales and not model.is_own else None
        if variant is not None and variant.psnr_set5 is not None and variant.psnr_set5 >= LEAST_DB:
            bundled = variant.weights is not None and variant.weights.bundled
            found.append(
                Point(
                    catalog.short_name(model),
                    model.arch.family,
                    variant.parameters,
                    variant.psnr_set5,
                    bundled,
                )
            )
    return sorted(found, key=lambda p: (p.parameters, -p.psnr))


def named(found: list[Point]) -> list[Point]:
    """Those that no smaller network beats, and those that come with srcli."""
    best, chosen = 0.0, []
    for point in found:
        if point.psnr > best or point.is_bundled:
            chosen.append(point)
        best = max(best, point.psnr)
    return chosen


def plot() -> bytes:
    """The chart, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    found = points()
    with mpl.rc_context({"svg.hashsalt": "srcli"}):
        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.add_subplot(
            xscale="log",
            xlabel="parameters",
            ylabel="PSNR-Y on Set5, dB",
            title=f"Networks with weights at x{SCALE}",
        )
        for family in dict.fromkeys(p.family for p in found):
            of = [p for p in found if p.family == family]
            axes.scatter(
                [p.parameters for p in of], [p.psnr for p in of], s=40, alpha=0.8, label=family
            )
        for point in named(found):
            axes.annotate(
                point.name,
                (point.parameters, point.psnr),
                textcoords="offset points",
                xytext=(0, -15) if point.is_bundled else (-6, 5),
                ha="center" if point.is_bundled else "right",
                weight="bold" if point.is_bundled else "normal",
            )
        axes.set_xlim(6e3, 1.2e6)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def main() -> None:
    """Count the multiply-adds of all networks anew."""
    from srcli.engine.pytorch.cost import per_pixel

    counts = {key: per_pixel(m, variant.scale) for key, (m, variant) in counted().items()}
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
