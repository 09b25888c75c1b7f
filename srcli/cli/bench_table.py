"""Figures of ``srcli bench`` on stdout, in a CSV file and in a chart."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli import catalog
from srcli.errors import MediaError, SrcliError
from srcli.weights import tuned
from srcli.weights.cache import write_atomic

if TYPE_CHECKING:
    from srcli.bench.measure import Row
    from srcli.bench.run import Request, Result


def show(
    request: Request, result: Result, stored: Path | None, *, as_json: bool, quiet: bool
) -> None:
    if as_json:
        data = {
            "machine": tuned.machine(),
            "limits": [
                {"threads": n, "gflops": limits.gflops, "copy_gb_s": limits.copy_gb_s}
                for n, limits in result.limits.items()
            ],
            "rows": [row.as_json() for row in result.rows],
            "skipped": [
                {
                    "model": s.setup.model,
                    "scale": s.setup.scale,
                    "backend": s.setup.backend,
                    "baseline": s.setup.baseline,
                    "precision": s.setup.precision,
                    "error": s.error,
                }
                for s in result.skipped
            ],
            "tuned": str(stored) if stored else None,
        }
        print(json.dumps(data, ensure_ascii=False))
        return
    for n, limits in result.limits.items():
        speeds = ", ".join(f"{v:.0f} GFLOP/s {k}" for k, v in limits.gflops.items())
        print(f"{tuned.processor()}, {n} threads: {speeds}, copy {limits.copy_gb_s:.1f} GB/s")
    _table(result.rows)
    for skipped in result.skipped:
        setup = skipped.setup
        kind = "bare " if setup.baseline else ""
        what = f"{setup.model} x{setup.scale} {kind}{setup.backend} {setup.precision}"
        print(f"{what}: {skipped.error}", file=sys.stderr)
    if quiet:
        return
    for row in result.rows:
        for note in row.notes:
            print(f"{row.setup.model} {row.setup.backend}: {note}", file=sys.stderr)
    if stored is not None:
        print(f"kept in {stored}", file=sys.stderr)


def _table(rows: tuple[Row, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    heads = ("network", "LR", "backend", "precision", "threads", "tile")
    for head in heads:
        table.add_column(head, no_wrap=True)
    figures = ("ms", "quartiles", "MP/s", "of limit", "to fp32", "first s", "MiB", "params", "MACs")
    for head in figures:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        setup, (low, high) = row.setup, row.spread_s
        height, width = setup.size
        table.add_row(
            f"{setup.model} x{setup.scale}",
            f"{width}x{height}",
            f"bare {setup.backend}" if setup.baseline else setup.backend,
            setup.precision,
            str(setup.threads),
            "-" if setup.baseline else "auto" if setup.tile is None else str(setup.tile),
            f"{row.median_s * 1e3:.1f}",
            f"{low * 1e3:.1f}-{high * 1e3:.1f}",
            f"{row.megapixels_per_s:.2f}",
            "-" if row.share_of_limit is None else f"{row.share_of_limit:.0%}",
            "equal" if math.isinf(row.agreement_db) else f"{row.agreement_db:.0f} dB",
            "-" if row.first is None else f"{row.first.seconds:.2f}",
            _mebibytes(row),
            f"{row.cost.parameters / 1e3:.0f}K",
            f"{row.cost.multiply_adds / 1e9:.2f}G",
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200  # whoever reads it through a pipe wants whole lines
    console.print(table)


def _mebibytes(row: Row) -> str:
    peak = row.first.peak_bytes if row.first else None
    return "-" if peak is None else f"{peak / 2**20:.0f}"


def as_csv(rows: tuple[Row, ...]) -> bytes:
    out = io.StringIO()
    dicts = [_flat(row.as_json()) for row in rows]
    writer = csv.DictWriter(out, dicts[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dicts)
    return out.getvalue().encode()


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    height, width = fields["lr_size"]
    return fields | {"lr_size": f"{width}x{height}", "notes": "; ".join(fields["notes"])}


def as_chart(entries: list[tuple[catalog.Model, int]], rows: tuple[Row, ...]) -> bytes:
    """srcli's own rows whose network has a PSNR on Set5 in the catalogue."""
    from srcli.bench.plot import plot

    psnr = {(m.name, scale): m.variant(scale).psnr_set5 for m, scale in entries}
    drawn = [
        (row, value)
        for row in rows
        if not row.setup.baseline and (value := psnr[row.setup.model, row.setup.scale]) is not None
    ]
    if not drawn:
        raise SrcliError("the catalogue has no PSNR of these networks to draw")
    size = f"{rows[0].setup.size[1]}x{rows[0].setup.size[0]}"
    title = f"Quality and time: {size} pixels, {rows[0].setup.threads} threads"
    return plot([row for row, _ in drawn], [value for _, value in drawn], title)


def write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as exc:
        raise MediaError(f"{path} cannot be written: {exc.strerror or exc}") from exc
