"""``srcli compare``: before and after as a page or as one picture."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from srcli import catalog
from srcli.cli.options import JsonObjectFlag, QuietFlag, overwrite_flag, parse_choice
from srcli.cli.streams import print_json
from srcli.errors import MediaError, UsageError
from srcli.media.formats import check_output, format_of
from srcli.options import FILES, PICTURE

if TYPE_CHECKING:
    from srcli.compare.pictures import Comparison, Shown
    from srcli.compare.sheet import Crop

EXAMPLES = """
srcli compare photo.jpg photo_x4.jpg                a page with a divider to drag
srcli compare photo.jpg a.png b.png --sheet c.png   one picture, side by side
srcli compare small.png a.png --reference true.png  with PSNR and SSIM
"""
_SCALE = re.compile(r"(?:^|[_@\-. ])(?:x(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)x)(?=$|[_@\-. ])", re.I)
_SIZE = re.compile(r"x?[\d.]+x?[\d.]*", re.I)  # all that a default name adds: x4, 640x480


def compare(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE", help="The picture before: a small one, or one of the same size."
        ),
    ],
    afters: Annotated[
        list[Path],
        typer.Argument(metavar="AFTER", help="The picture after, or several to choose from."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            rich_help_panel=FILES,
            help="Where the web page goes. Default: <before>_compare.html beside BEFORE, unless "
            "--sheet is given.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=FILES,
            help="Draw the comparison as one picture, for papers and reports.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="HR",
            rich_help_panel=FILES,
            help="The true large picture, to measure PSNR-Y and SSIM-Y against.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        overwrite_flag("Replace results that exist."),
    ] = False,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME",
            rich_help_panel=PICTURE,
            help="A name for each AFTER, in the same order; to be repeated.",
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            rich_help_panel=PICTURE,
            help="The part that --sheet shows, in pixels of BEFORE. Default: where there is most "
            "detail.",
        ),
    ] = None,
    enlarge: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            rich_help_panel=PICTURE,
            help="How BEFORE is enlarged beside the others: nearest (square pixels) or smooth.",
        ),
    ] = "nearest",
    as_json: JsonObjectFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Show before and after: a page with a divider, or one picture."""
    how = cast("Literal['nearest', 'smooth']", _choice(enlarge))
    inputs = [before, *afters, *([reference] if reference else [])]
    for path in inputs:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        if path.is_dir():
            raise UsageError(f"{path} is a folder, and compare takes pictures")
    if labels and len(labels) != len(afters):
        raise UsageError(
            f"there are {len(afters)} pictures after, but {len(labels)} labels",
            "give each its own --label, in the same order, or none",
        )
    part = _crop(crop)
    if crop and sheet is None:
        raise UsageError("--crop is for --sheet")
    target = _page(before, output) if output is not None or sheet is None else None
    if sheet is not None:
        check_output(format_of(sheet), 1, 1, has_alpha=False)
    _check_outputs([p for p in (target, sheet) if p is not None], inputs, overwrite)

    from srcli.compare.page import page
    from srcli.compare.pictures import compare as read
    from srcli.compare.sheet import Crop, write_sheet
    from srcli.weights.cache import write_atomic

    names = list(labels) if labels else _labels(before, afters)
    comparison = read(before, afters, labels=names, reference=reference)
    notes = list(comparison.notes)
    drawn: Crop | None = None
    if target is not None:
        data, more = page(comparison, enlarge=how)
        notes += more
        try:
            write_atomic(target, data)
        except OSError as exc:
            raise MediaError(f"{target} cannot be written: {exc.strerror or exc}") from exc
    if sheet is not None:
        drawn = write_sheet(
            comparison, sheet, crop=Crop(*part) if part is not None else None, enlarge=how
        )
    _tell(comparison, target, sheet, drawn, notes, as_json=as_json, quiet=quiet)


def _choice(enlarge: str) -> str:
    return parse_choice("--enlarge", enlarge, ("nearest", "smooth"))


def _crop(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match or not (int(match[3]) and int(match[4])):
        raise UsageError(
            f"--crop {text} is not x,y,width,height",
            "pixels of BEFORE, for example 30,20,40,30",
        )
    x, y, width, height = (int(part) for part in match.groups())
    return x, y, width, height


def _page(before: Path, output: str | None) -> Path:
    """Where the page goes."""
    name = f"{before.stem}_compare.html"
    if output is None:
        return before.with_name(name)
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        return path / name
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"{path}: the page's name must end in .html", "for one picture, use --sheet"
        )
    return path


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise UsageError(f"the output {path} is also an input", "name another output")
        if path.is_dir():
            raise UsageError(f"{path} is a folder")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder {path.parent} does not exist")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists", "choose another name, or add --overwrite")


def _labels(before: Path, afters: Sequence[Path]) -> list[str]:
    """Names by the files' names: the model where one is named, else what sets the file apart."""
    names = [_label(before, path) for path in afters]
    return [
        name if names.count(name) == 1 else _apart(name, path)
        for name, path in zip(names, afters, strict=True)
    ]


def _apart(name: str, path: Path) -> str:
    """A name that another picture has too, with the file's folder."""
    file = f"{path.parent.name or '.'}/{path.name}"
    return file if name == path.name else f"{name} ({file})"


def _label(before: Path, after: Path) -> str:
    rest = after.stem
    if rest.startswith(before.stem) and rest != before.stem:
        rest = rest[len(before.stem) :].strip("_-@. ") or rest
    known = {m.name for m in catalog.models()} | {a.name for a in catalog.architectures()}
    known |= {purpose.name for purpose in catalog.purposes()}
    scale = _SCALE.search(rest)
    factor = f" x{scale[1] or scale[2]}" if scale else ""
    for text in (rest, after.parent.name):
        found = [n for n in known if re.search(rf"(?<![a-z0-9]){re.escape(n)}(?![a-z0-9])", text)]
        if found:
            return max(found, key=len) + factor
    return after.name if _SIZE.fullmatch(rest) else rest


def _tell(
    comparison: Comparison,
    target: Path | None,
    sheet: Path | None,
    crop: Crop | None,
    notes: Sequence[str],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    if not quiet:
        for note in notes:
            print(note, file=sys.stderr)
    if as_json:
        fields: dict[str, Any] = {
            "event": "done",
            "input": str(comparison.before.path),
            "output": str(target) if target else None,
            "sheet": str(sheet) if sheet else None,
            "crop": [crop.x, crop.y, crop.width, crop.height] if crop else None,
            "crop_border": comparison.crop_border,
            "pictures": [_as_json(p) for p in comparison.pictures],
        }
        print_json(fields)
    elif not quiet:
        for path in (target, sheet):
            if path is not None:
                print(path, flush=True)
        if target is not None:
            print(f"To see it, open {target.absolute().as_uri()} in a browser.", file=sys.stderr)


def _as_json(shown: Shown) -> dict[str, Any]:
    """One picture; ``psnr_y`` of equal pictures, which is infinite, is null."""
    psnr = shown.psnr_y
    return {
        "role": shown.role,
        "label": shown.label,
        "path": str(shown.path),
        "size": list(shown.size),
        "psnr_y": None if psnr is None or math.isinf(psnr) else round(psnr, 4),
        "ssim_y": None if shown.ssim_y is None else round(shown.ssim_y, 6),
    }
