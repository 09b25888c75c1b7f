"""Models as rows of a table, as facts line by line, and as JSON."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from srcli import catalog
from srcli.catalog import Catalogue, Denoise, Model, Purpose, Variant, WeightsFile
from srcli.weights import WeightsOptions, is_cached
from srcli.weights.cache import at_hand, bundled_path, cached_path, path_of

GAP = 2  # between columns
MARK = "*"
LONGEST_LINE = 100  # of sentences
USUAL_RANK = 5  # columns of this rank and below are shortened rather than left out


@dataclass(frozen=True)
class Row:
    """A model, the shortest name for it, and the variant that its figures are of (None: a
    resampler)."""

    model: Model
    name: str
    variant: Variant | None
    multiply_adds: float | None = None  # per output pixel, if counted
    taken_for: tuple[str, ...] = ()  # purposes whose ``-m`` takes it, if that is to be seen

    @classmethod
    def of(cls, model: Model, scale: int | None, catalogue: Catalogue) -> Row:
        name = catalog.short_name(model, catalogue)
        if not model.variants:
            return cls(model, name, None)
        return cls(model, name, model.variant(scale or catalog.default_scale(model)))

    @property
    def scale(self) -> int | None:
        return self.variant.scale if self.variant else None

    @property
    def bare_scales(self) -> str:
        return " ".join(map(str, self.model.scales)) or "any"

    @property
    def cost(self) -> str:
        return f"{self.multiply_adds / 1e3:.1f}K" if self.multiply_adds else ""

    @property
    def purposes(self) -> list[str]:
        """With a mark at those whose ``-m`` takes this model."""
        return [p + MARK * (p in self.taken_for) for p in self.model.purposes]

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
        count = self.variant.parameters if self.variant else 0
        return f"{count / 1e6:.1f}M" if count >= 10**7 else f"{count / 1e3:.0f}K" if count else ""

    @property
    def psnr(self) -> str:
        if self.variant is None or self.variant.psnr_set5 is None:
            return ""
        return f"{self.variant.psnr_set5:.2f}"


def counted(row: Row) -> Row:
    """With its cost, which the network itself tells."""
    from srcli.engine.pytorch.cost import per_pixel

    if row.variant is None:
        return row
    return replace(row, multiply_adds=per_pixel(row.model, row.variant.scale))


def marked(rows: Iterable[Row], scale: int | None, catalogue: Catalogue) -> list[Row]:
    """With the purposes for which ``-m`` takes each."""
    purposes = catalog.purposes(catalogue)
    taken = [(catalog.resolve(p.name, scale, catalogue).name, p.name) for p in purposes]
    return [replace(r, taken_for=tuple(p for m, p in taken if m == r.model.name)) for r in rows]


def scales_of(model: Model) -> str:
    return "any" if model.is_resampler else " ".join(f"x{s}" for s in model.scales)


@dataclass(frozen=True)
class Column:
    """One column; of what a narrow terminal has no room for, the highest rank goes first.

    Attributes:
        title, cell: at any width.
        short_title, short: where that is too wide.
    """

    title: str
    cell: Callable[[Row], str]
    rank: int
    short_title: str = ""
    short: Callable[[Row], str] | None = None
    right: bool = False

    def shortened(self) -> Column:
        return replace(self, title=self.short_title or self.title, cell=self.short or self.cell)


def _columns(scale: int | None, costs: bool) -> list[Column]:
    """What is shown of models whose figures are of one scale."""
    at = f" x{scale}" if scale is not None else ""
    columns = [
        Column("name", lambda r: r.name, 0),
        Column(
            "for",
            lambda r: " ".join(r.purposes),
            4,
            short=lambda r: " ".join(r.purposes[:1]),  # what it serves best
        ),
        Column("scales", lambda r: scales_of(r.model), 3, "x", lambda r: r.bare_scales),
        Column("params", lambda r: r.parameters, 2, "param", right=True),
        Column(f"PSNR{at}", lambda r: r.psnr, 1, f"dB{at}", right=True),
        Column("licence", lambda r: r.model.terms, 5, short=lambda r: _short_terms(r.model)),
        Column("weights", lambda r: r.weights, 7),
        Column("size", lambda r: r.size, 6, right=True),
        Column("family", lambda r: r.model.arch.family, 8),
    ]
    if costs:
        columns.insert(5, Column("MACs/px", lambda r: r.cost, 1, right=True))
    return columns


LICENCE_WIDTH = 14


def _short_terms(model: Model) -> str:
    text = "non-commercial" if model.non_commercial else model.licence
    return text if len(text) <= LICENCE_WIDTH else text[: LICENCE_WIDTH - 3] + "..."


def grouped(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows by the scale that their figures are of, the usual one first: figures of different
    scales say nothing beside each other. Resamplers, which have none, go with the first."""
    found: dict[int, list[Row]] = {}
    resamplers: list[Row] = []
    for row in rows:
        (resamplers if row.scale is None else found.setdefault(row.scale, [])).append(row)
    usual = catalog.DEFAULT_SCALE
    groups = [found[scale] for scale in sorted(found, key=lambda s: (s != usual, s))]
    if resamplers:
        groups[:1] = [[*(groups[0] if groups else []), *resamplers]]
    return groups


def terminal_width() -> int:
    """In letters; what goes into a file or a pipe has all the room it wants, but for COLUMNS."""
    wide = (10**6, 0)
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return shutil.get_terminal_size(wide).columns if os.environ.get("COLUMNS") else wide[0]


def print_tables(
    groups: Sequence[Sequence[Row]],
    *,
    costs: bool = False,
    purpose: Purpose | None = None,
    taken: Model | None = None,
) -> None:
    """One table for each group, all with the same columns.

    Args:
        costs: with multiply-adds.
        purpose: under each row, what the model does well and badly.
        taken: what ``-m`` with the purpose's name takes, which is said.
    """
    width = terminal_width()
    every = [row for group in groups for row in group]
    scales = [next((r.scale for r in group if r.scale is not None), None) for group in groups]
    columns = [_columns(scale, costs) for scale in scales]
    kept = _fitting(columns, every, width)
    widths = [max(len(c[i].title) for c in kept) for i in range(len(kept[0]))] if kept else []
    widths = [max([w, *(len(kept[0][i].cell(row)) for row in every)]) for i, w in enumerate(widths)]
    for number, (group, shown) in enumerate(zip(groups, kept, strict=True)):
        if number:
            print()
        _print_line([c.title for c in shown], shown, widths)
        for row in group:
            _print_line([c.cell(row) for c in shown], shown, widths)
            said = row.model.advice
            if purpose is not None and row.model == taken:
                said = f"Recommended: -m {purpose.name} takes this one. {said}".rstrip()
            if purpose is not None and said:
                print(wrapped(said, "    "))


def _fitting(
    tables: Sequence[Sequence[Column]], rows: Sequence[Row], width: int
) -> list[list[Column]]:
    """The columns that there is room for: the usual ones in full, else as many as fit in short."""

    def needed(columns: Sequence[Column]) -> int:
        widest = [max([len(c.title), *(len(c.cell(row)) for row in rows)]) for c in columns]
        return sum(widest) + GAP * (len(columns) - 1)

    def without_least(tables: list[list[Column]], above: int) -> list[list[Column]]:
        """As few columns taken off as will do, down to those of rank ``above``."""
        while any(needed(columns) > width for columns in tables):
            least = max(column.rank for column in tables[0])
            if least <= above:
                break
            tables = [[c for c in columns if c.rank != least] for columns in tables]
        return tables

    kept = without_least([list(columns) for columns in tables], USUAL_RANK)
    if all(needed(columns) <= width for columns in kept):
        return kept
    return without_least([[c.shortened() for c in columns] for columns in tables], 0)


def _print_line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> None:
    padded = [
        text.rjust(width) if column.right else text.ljust(width)
        for text, column, width in zip(cells, columns, widths, strict=True)
    ]
    print((" " * GAP).join(padded).rstrip())


def wrapped(text: str, indent: str, first: str | None = None) -> str:
    """A sentence in lines that can be read.

    Args:
        indent: before each line.
        first: before the first one, instead.
    """
    return textwrap.fill(
        text,
        min(terminal_width(), LONGEST_LINE),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_purpose(purpose: Purpose, scale: int | None) -> None:
    """What ``-m`` with its name takes."""
    model = catalog.resolve(purpose.name, scale)
    native = scale is None or model.is_resampler or scale in model.scales
    how = "" if native else f", which has {scales_of(model)}"
    print(wrapped(purpose.about, ""))
    print(f"-m {purpose.name} takes {catalog.short_name(model)}{how}.")


def print_purposes(scale: int | None, catalogue: Catalogue) -> None:
    """What ``-m photo`` and the like take, and what they are for."""
    purposes = catalog.purposes(catalogue)
    if not purposes:
        return
    found = [catalog.resolve(p.name, scale, catalogue) for p in purposes]
    taken = [catalog.short_name(model, catalogue) for model in found]
    names = max(len(p.name) for p in purposes) + GAP
    models = max(map(len, taken)) + GAP
    print()
    print(wrapped(f"-m also takes a purpose, and uses the model named here ({MARK} above).", ""))
    print(wrapped("`srcli models --for photo` explains one.", ""))
    for purpose, name in zip(purposes, taken, strict=True):
        first = f"  {purpose.name:<{names}}{name:<{models}}"
        print(wrapped(purpose.about, " " * len(first), first))


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
        "short_name": row.name,
        "for": list(model.purposes),
        "advice": model.advice,
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
                "at_hand": at_hand(v, options),
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
