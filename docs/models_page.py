"""The page of all networks and its chart, from the catalogue."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from srcli import catalog
from srcli.catalog import Family, Model, Variant
from srcli.engine.cost import per_pixel

SCALE = 4  # of the chart
LEAST_DB = 30.4  # below lie weights that were made for looks, or other LR pictures

FAMILIES: dict[str, str] = {
    "convolution": "Convolutions, one after the other.",
    "residual": "Layers learn what to add to what goes around them, not the whole.",
    "dense": "Every layer of a block sees the outputs of all layers before it.",
    "distillation": "Each step keeps a part of the features and refines the rest; the parts are "
    "joined at the end.",
    "attention": "Features are weighted by what the network sees of the picture: by channel, by "
    "place, or pixel by pixel.",
    "extremely lightweight": "Made for phones: few layers, collapsed or quantised, often working "
    "on smaller maps.",
    "resampling": "No network.",
}
assert set(FAMILIES) == set(get_args(Family))

HEAD = """# All networks

You can use each of these names with `srcli upscale -m`, `eval`, `bench`, `train` and `export`. The part before the dot is
enough; `bcrn` means the first network of that architecture that has weights at your scale. The families are the six designs of the
lightweight-SR survey (Gendy, He and Sabor, Information Fusion 2023,
[doi:10.1016/j.inffus.2023.01.024](https://doi.org/10.1016/j.inffus.2023.01.024)).

```sh
srcli models --for drawing
srcli models --family attention --scale 4
srcli models --scale 3 --sort speed --all
srcli models show fsrcnn
```

Parameters and multiply-adds (MACs) per output pixel are those of the largest scale up to x4. PSNR-Y is in dB on Set5
([how it is computed](eval.md#scores)); a dot means that the network has the scale and no score. Networks without public weights are
trained by `srcli train NAME-x4`, with NAME up to the dot ([how](training.md)).

![PSNR against parameters at x4, by family](models.svg)

*The networks with weights at x4 that aim at PSNR. Named are those that no smaller network beats, and those that come with srcli.*
"""

MISSING = """## What is missing, and why

- The networks that ESRN's search found (ESRN, ESRN-F, ESRN-V): their lists of blocks were never published. `esrn` is
  the example in the documentation of its code; `config.blocks` takes any list.
- VDSR-half's distillation without data, which uses generated pictures. `srcli train vdsr_half-x4 --preset distilled`
  distils VDSR on your photographs instead.
"""

CHANGES = """## Ghost convolutions

GhostSR (Nie et al., TMLR 2022, [arXiv:2101.08525](https://arxiv.org/abs/2101.08525)) computes only half of a convolution's
channels, and makes the other half by shifting the first by at most a pixel, in a direction that is learned. Half of the weights and
multiply-adds remain. `ghostsr_edsr` is EDSR-baseline changed in this way, as in the paper's code. Any network with regular
convolutions between its features can be trained so, with `--set config.ghost=true`, or with the names of the convolutions to
change:

```text
srcli train rlfn_s-x4 --set config.ghost=true --data photos --out run
srcli train carn-x2 --set config.ghost="['b?.b?.body.*']" --data photos --out run
srcli upscale --weights run/rlfn_s-x4.safetensors photo.png
```

The file records the change, so that it loads strictly, and tiles give the same result as the whole picture. Networks
without such convolutions are refused, such as BCRN and BSRN, whose convolutions are already separated.
"""

PURPOSES = """## By purpose

A purpose may stand for a model: `srcli upscale photo.jpg -m photo`. srcli takes the first of its models that has the scale.

| name | for | what `-m` takes at x4 |
|---|---|---|
"""

ADVICE = """## What each does well and badly

Written after looking at results for clean, compressed, noisy and scanned photographs, drawings and screenshots.

| name | for | |
|---|---|---|
"""


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


def page() -> str:
    """The text of docs/models.md."""
    parts = [HEAD, _purposes(), _advice()]
    for family, words in FAMILIES.items():
        rows = [m for m in catalog.models() if m.arch.family == family and not m.is_own]
        parts.append(f"## {family.capitalize()}\n\n{words}\n")
        parts.append(
            "| name | network | parameters | MACs/px | x2 | x3 | x4 | weights |\n"
            "|---|---|---|---|---|---|---|---|\n" + "\n".join(map(_line, rows)) + "\n"
        )
    notes = [f"- `{m.name}`: {m.note}" for m in catalog.models() if m.note]
    parts.append("## Remarks\n\n" + "\n".join(notes) + "\n")
    parts += [CHANGES, MISSING + "\n".join(_absent()) + "\n"]
    return "\n".join(parts)


def _line(model: Model) -> str:
    variant = _shown(model)
    parameters = f"{variant.parameters / 1e3:,.0f} K" if variant else ""
    work = f"{per_pixel(model, variant.scale) / 1e3:,.1f} K" if variant else ""
    scores = [_score(model, scale) for scale in (2, 3, 4)]
    paper = f"{model.arch.title}: {model.arch.paper}, {_link(model.arch.reference)}"
    cells = [f"`{model.name}`", paper, parameters, work, *scores, _weights(model)]
    return f"| {' | '.join(cells)} |"


def _purposes() -> str:
    taken = {p.name: catalog.resolve(p.name, SCALE) for p in catalog.purposes()}
    rows = [
        f"| `{p.name}` | *{p.title}.* {p.about} | `{catalog.short_name(taken[p.name])}` |"
        for p in catalog.purposes()
    ]
    return PURPOSES + "\n".join(rows) + "\n"


def _advice() -> str:
    titles = {p.name: p.title for p in catalog.purposes()}
    models = [m for m in catalog.models() if m.advice and not m.is_own]
    rows = [
        f"| `{catalog.short_name(m)}` | {', '.join(titles[p] for p in m.purposes)} | {m.advice} |"
        for m in models
    ]
    return ADVICE + "\n".join(rows) + "\n"


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
                xytext=(-6, 5),
                ha="right",
            )
        axes.set_xlim(6e3, 1.2e6)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
