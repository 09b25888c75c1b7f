"""Scores on stdout and in a CSV file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.cli.screen import Screen
from srcli.errors import MediaError
from srcli.quality.candidates import ALWAYS, Run
from srcli.weights.cache import write_atomic

if TYPE_CHECKING:
    from srcli.quality.evaluate import Evaluation


@dataclass(frozen=True)
class Row:
    run: Run
    result: Evaluation


class ScoreTable:
    """Results on stdout and in the CSV file, each as soon as it is there."""

    def __init__(
        self,
        runs: Sequence[Run],
        metrics: Sequence[str],
        screen: Screen,
        *,
        as_json: bool,
        csv_file: Path | None,
    ) -> None:
        self.metrics, self.screen = metrics, screen
        self.as_json, self.csv_file = as_json, csv_file
        self.text = not as_json
        self.plain = not sys.stdout.isatty()
        self.rows: list[Row] = []
        self.titles = [
            *("model", "scale", "dataset", "pictures", "PSNR-Y", "SSIM-Y", "reference", "diff"),
            *metrics,
            "seconds",
        ]
        least = [0, 5, 0, 8, 7, 7, 9, 7, *(max(8, len(m)) for m in metrics), 8]
        least[0] = max(5, *(len(r.model.name) for r in runs))
        least[2] = max(7, *(len(r.benchmark.name) for r in runs))
        self.widths = least

    @property
    def failed(self) -> bool:
        return any(row.result.failures for row in self.rows)

    def __enter__(self) -> ScoreTable:
        if self.text and self.plain:
            self._line(self.titles)
        return self

    def __exit__(self, *_: object) -> None:
        # also after Ctrl-C: what is finished is shown
        if self.text and not self.plain and self.rows:
            self._table()

    def add(self, run: Run, result: Evaluation) -> None:
        self.rows.append(Row(run, result))
        if self.as_json:
            print(json.dumps(self._json(self.rows[-1]), ensure_ascii=False), flush=True)
        elif self.text and self.plain:
            self._line(self._cells(self.rows[-1]))
        if self.csv_file is not None:
            self._write_csv(self.csv_file)

    def _cells(self, row: Row) -> list[str]:
        run, result, reference = row.run, row.result, row.run.reference
        scored = len(result.scores)
        diff = ""
        if reference is not None and result.psnr_y is not None:
            diff = f"{result.psnr_y - reference[1]:+z.3f}"
        return [
            run.model.name,
            f"x{run.scale}",
            run.benchmark.name,
            str(scored) if scored == result.total else f"{scored} of {result.total}",
            _text(result.psnr_y, 3),
            _text(result.ssim_y, 4),
            _text(reference[1], 3) if reference else "",
            diff,
            *(_text(result.metric(name), 4) for name in self.metrics),
            f"{result.seconds:.1f}",
        ]

    def _line(self, cells: Sequence[str]) -> None:
        """Words to the left, numbers to the right."""
        padded = [
            f"{c:<{w}}" if t in {"model", "dataset"} else f"{c:>{w}}"
            for c, w, t in zip(cells, self.widths, self.titles, strict=True)
        ]
        print("  ".join(padded).rstrip(), flush=True)

    def _table(self) -> None:
        self.screen.stop()
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        empty = {"reference", "diff"} if all(r.run.reference is None for r in self.rows) else set()
        shown = [i for i, t in enumerate(self.titles) if t not in empty]
        for title in (self.titles[i] for i in shown):
            words = title in {"model", "dataset"}
            table.add_column(
                title,
                justify="left" if words else "right",
                style="bold" if title in {"model", "PSNR-Y"} else None,
                overflow="fold",
                no_wrap=not words,
            )
        for row in self.rows:
            cells = self._cells(row)
            table.add_row(*(Text(cells[i]) for i in shown))
        Console().print(table)

    def _json(self, row: Row) -> dict[str, Any]:
        from srcli.quality.score_log import as_json, finite

        run, result, reference = row.run, row.result, row.run.reference
        return {
            "model": run.model.name,
            "scale": run.scale,
            "dataset": run.benchmark.name,
            "source": run.benchmark.source,
            "psnr_y": finite(result.psnr_y),
            "ssim_y": result.ssim_y,
            "psnr_rgb": finite(result.psnr_rgb),
            **{name: finite(result.metric(name)) for name in self.metrics},
            "reference": reference[1] if reference else None,
            "reference_model": reference[0] if reference else None,
            "scored": len(result.scores),
            "total": result.total,
            "seconds": round(result.seconds, 4),
            "pictures": [as_json(score) for score in result.scores],
            "failed": [{"name": f.name, "error": f.error, "hint": f.hint} for f in result.failures],
        }

    def _write_csv(self, path: Path) -> None:
        """A row per picture, and one without a picture's name for the mean."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [*ALWAYS, *self.metrics]
        writer.writerow(["model", "scale", "dataset", "picture", *names, "seconds", "error"])
        for row in self.rows:
            head = [row.run.model.name, row.run.scale, row.run.benchmark.name]
            result = row.result
            for s in result.scores:
                values = [s.psnr_y, s.ssim_y, s.psnr_rgb, *(s.metrics[m] for m in self.metrics)]
                writer.writerow([*head, s.name, *values, round(s.seconds, 4), ""])
            for f in result.failures:
                writer.writerow([*head, f.name, *("" for _ in names), "", f.error])
            means = [result.psnr_y, result.ssim_y, result.psnr_rgb]
            means += [result.metric(m) for m in self.metrics]
            writer.writerow([*head, "", *means, round(result.seconds, 4), ""])
        try:
            write_atomic(path, out.getvalue().encode())
        except OSError as exc:
            raise MediaError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
