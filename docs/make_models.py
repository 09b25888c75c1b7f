"""Writes docs/models.md and docs/models.png from the catalogue: `python docs/make_models.py`."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from PIL import Image

from srcli import catalog
from srcli.catalog import Family, Model, Variant
from srcli.engine.pytorch.cost import per_pixel
from srcli.media.chart import COLOURS, Axis, Chart, png

HERE = Path(__file__).parent
SCALE = 4  # of the plot
LEAST_DB = 30.4  # below lie weights that were made for looks, or other LR pictures
SIZE, BOX, RADIUS = (1000, 650), (80, 50, 940, 600), 5

FAMILIES: dict[str, str] = {
    "convolution": "Convolutions in a row, each on the one before.",
    "residual": "What layers add to what goes around them is learned, not the whole.",
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

HEAD = """# The networks

*Made from the catalogue by `docs/make_models.py`; a test keeps it so.*

Each is a name for `srcli upscale -m`, `eval`, `bench`, `train` and `export`. The families are the
six designs of the lightweight-SR survey (Gendy, He and Sabor, Information Fusion 2023,
doi:10.1016/j.inffus.2023.01.024).

```sh
srcli models --for drawing
srcli models --family attention --scale 4
srcli models --scale 3 --sort speed --all
srcli models show fsrcnn
```

Parameters and multiply-adds (MACs) per output pixel are of the largest scale up to x4. PSNR-Y is
dB on Set5 ([how](eval.md)). What has no weights is trained by `srcli train NAME-x4`
([how](training.md)), NAME without its tag.

![PSNR against parameters at x4, by family](models.png)
"""

MISSING = """## What is not here, and why

- The networks that ESRN's search found (ESRN, ESRN-F, ESRN-V): their lists of blocks are nowhere
  published. `esrn` is the example in its code's documentation; `config.blocks` takes any list.
- VDSR's distillation without data (VDSR-half), on pictures that a generator makes: `srcli train
  vdsr_half-x4 --preset distilled` has it give what VDSR gives on your photographs.
"""

CHANGES = """## Changes of any network

GhostSR's **ghost convolutions** (Nie et al., TMLR 2022,
[arXiv:2101.08525](https://arxiv.org/abs/2101.08525)): half of what a convolution gives is its other
half, moved by at most a pixel, which is learned; half of its weights and multiply-adds are left.
`ghostsr_edsr` is EDSR-baseline so changed, as in the paper's code. Any network with regular
convolutions between its features can be trained so, by `--set config.ghost=true`, or with the names
of the convolutions that are meant:

```text
srcli train rlfn_s-x4 --set config.ghost=true --data photos --out run
srcli train carn-x2 --set config.ghost="['b?.b?.body.*']" --data photos --out run
srcli upscale --weights run/rlfn_s-x4.safetensors photo.png
```

The file says what was changed, so that it loads strictly, and tiles give the same as the whole
picture. Networks without such convolutions are refused: those of BCRN and BSRN are separated
already.
"""


PURPOSES = """## By purpose

A purpose stands for a model, as in `srcli upscale photo.jpg -m photo`: for the first of its own
that has the scale, else for the first.

| name | for | what `-m` takes at x4 |
|---|---|---|
"""

ADVICE = """## What each does well and badly

By looking at results for clean, compressed, noisy and scanned photos, drawings and screens.

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


def points() -> Iterator[tuple[str, str, int, float]]:
    """(name, family, parameters, dB) of what is drawn."""
    for model in catalog.models():
        if SCALE in model.scales:
            variant = model.variant(SCALE)
            if variant.psnr_set5 is not None and variant.psnr_set5 >= LEAST_DB:
                yield model.name, model.arch.family, variant.parameters, variant.psnr_set5


def plot() -> bytes:
    """docs/models.png, with what it shows as JSON in its text."""
    found = list(points())
    canvas = Image.new("RGB", SIZE, "white")
    decades = [math.log10(p[2]) for p in found]
    chart = Chart(
        canvas,
        BOX,
        f"Set5 x{SCALE}, dB",
        Axis(10.0 ** math.floor(min(decades)), 10.0 ** math.ceil(max(decades)), logarithmic=True),
        Axis.around([p[3] for p in found], room=0.05),
        digits=",.0f",
    )
    chart.draw.text(((BOX[0] + BOX[2]) / 2 - 30, BOX[3] + 22), "parameters", fill="black")
    colours = dict(zip(FAMILIES, COLOURS, strict=False))
    for _, _, parameters, psnr in found:
        chart.reserve((parameters, psnr), RADIUS)
    for name, family, parameters, psnr in found:
        chart.bubble((parameters, psnr), RADIUS, colours[family], name.partition(".")[0])
    drawn = dict.fromkeys(family for _, family, _, _ in found)
    for k, family in enumerate(drawn):
        chart.name(k, family, colours[family])
    return png(canvas, json.dumps(found))


if __name__ == "__main__":
    (HERE / "models.md").write_text(page(), encoding="utf-8")
    (HERE / "models.png").write_bytes(plot())
