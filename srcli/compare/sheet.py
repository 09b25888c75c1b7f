"""A comparison as one picture, for papers and issues: the whole, and the same part of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from srcli.compare.page import plain, score_text
from srcli.compare.pictures import Comparison, Enlarge, Shown, as_srgb
from srcli.errors import UsageError
from srcli.media.write import open_writer

_CELL_PX = 372  # about; a cell is a whole multiple of what it shows
_MAX_CELL_PX = 744
_MIN_CELL_PX = 180  # a label needs room
_MARGIN_PX, _GAP_PX, _LINE_PX = 32, 18, 27
_TITLE_PX, _TEXT_PX = 22, 18
_CAPTION_PX = 2 * _LINE_PX + 10
_WHITE, _INK, _GREY = (255, 255, 255), (22, 26, 32), (98, 106, 117)
_BEST, _FRAME, _EDGE = (10, 95, 194), (255, 196, 0), (205, 210, 217)
_MAP_PX = 1024  # longest side of the map on which the most detailed part is sought


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of BEFORE, in its pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sizes and places, px: of the cells, the overview and the whole sheet."""

    cell: tuple[int, int]  # (width, height)
    columns: int
    overview: tuple[int, int]
    slot: int  # the overview's width with its caption
    beside: bool  # the overview is left of the cells, not above them
    size: tuple[int, int]

    def origin(self, k: int) -> tuple[int, int]:
        """Where the k-th cell begins."""
        x = _MARGIN_PX + (self.slot + _GAP_PX if self.beside else 0)
        y = _MARGIN_PX + (0 if self.beside else self.overview[1] + _CAPTION_PX + _GAP_PX)
        row, column = divmod(k, self.columns)
        return (
            x + column * (self.cell[0] + _GAP_PX),
            y + row * (self.cell[1] + _CAPTION_PX + _GAP_PX),
        )


def write_sheet(
    comparison: Comparison, path: Path, *, crop: Crop | None = None, enlarge: Enlarge = "nearest"
) -> Crop:
    """Draw the sheet and write it, whole or not at all.

    Args:
        comparison: from srcli.compare.pictures.compare.
        path: any picture format that srcli writes.
        crop: what the cells show; None: the most detailed part.
        enlarge: how what is smaller than the largest picture is enlarged.

    Returns:
        The crop.

    Raises:
        UsageError: the crop lies outside the picture, or the format is unknown.
        MediaError, ResourceError: the sheet cannot be written.
    """
    crop = crop or detailed(comparison)
    pixels = np.asarray(draw(comparison, crop, enlarge))
    height, width = pixels.shape[:2]
    with open_writer(path, size=(height, width), channels=3, alpha=False) as writer:
        writer.rows(pixels)
    return crop


def draw(comparison: Comparison, crop: Crop, enlarge: Enlarge = "nearest") -> Image.Image:
    """The sheet, RGB."""
    height, width = comparison.before.size
    if not (
        crop.width > 0
        and crop.height > 0
        and 0 <= crop.x <= width - crop.width
        and 0 <= crop.y <= height - crop.height
    ):
        raise UsageError(
            f"the crop {crop.x},{crop.y},{crop.width},{crop.height} does not lie inside "
            f"{comparison.before.path.name}, which is {width} x {height}",
            "x,y,width,height in pixels of BEFORE",
        )
    full = comparison.size
    ratio = full[1] / width
    shown = comparison.pictures
    plan = _plan(comparison, (crop.width * ratio, crop.height * ratio), len(shown))
    sheet = Image.new("RGB", plan.size, _WHITE)
    pen = ImageDraw.Draw(sheet)
    best = comparison.best
    for k, entry in enumerate(shown):
        image = Image.fromarray(as_srgb(entry))
        cell = _cut(image, crop, comparison.before.size, plan.cell, full, enlarge)
        x, y = plan.origin(k)
        sheet.paste(cell, (x, y))
        _edge(pen, x, y, cell.size)
        h, w = entry.size
        second = score_text(entry) or f"{w} x {h} px"
        colour = _BEST if entry is best else _GREY
        _caption(pen, x, y + cell.height, plan.cell[0], entry.label, second, colour)
        if entry is _main(comparison):
            title = f"{entry.label}, the whole picture"
            _overview(sheet, pen, image, title, comparison, crop, plan)
    return sheet


def detailed(comparison: Comparison) -> Crop:
    """The part of BEFORE with the most detail, by the slopes of the luma in what was made of it."""
    (h, w), (_, width) = comparison.before.size, comparison.size
    ratio = width / w
    crop_w = min(w, max(1, round(min(240.0, max(96.0, width / 4)) / ratio)))
    crop_h = min(h, max(1, round(crop_w * 0.75)))
    # not of the reference, which may have detail where BEFORE has nothing left
    made = comparison.best or comparison.pictures[1]
    luma = Image.fromarray(as_srgb(made)).convert("L")
    luma.thumbnail((4 * _MAP_PX, 4 * _MAP_PX), Image.Resampling.BOX)
    grey: NDArray[np.float32] = np.asarray(luma).astype(np.float32)
    slopes = np.zeros_like(grey)
    slopes[:, 1:] += np.abs(np.diff(grey, axis=1))
    slopes[1:] += np.abs(np.diff(grey, axis=0))
    # the root: many edges count for more than one strong one
    share = min(1.0, _MAP_PX / max(w, h))
    size = max(1, round(w * share)), max(1, round(h * share))
    coarse = np.asarray(Image.fromarray(np.sqrt(slopes)).resize(size, Image.Resampling.BOX))
    sums = np.pad(coarse.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    win_w = min(size[0], max(1, round(crop_w * share)))
    win_h = min(size[1], max(1, round(crop_h * share)))
    totals = sums[win_h:, win_w:] - sums[:-win_h, win_w:] - sums[win_h:, :-win_w]
    totals += sums[:-win_h, :-win_w]
    y, x = np.unravel_index(int(totals.argmax()), totals.shape)
    return Crop(
        min(w - crop_w, round(int(x) / share)),
        min(h - crop_h, round(int(y) / share)),
        crop_w,
        crop_h,
    )


def _main(comparison: Comparison) -> Shown:
    """What stands for the whole: the reference, or the first AFTER."""
    last = comparison.pictures[-1]
    return last if last.role == "reference" else comparison.pictures[1]


def _plan(comparison: Comparison, part: tuple[float, float], n: int) -> _Plan:
    width, height = part  # of the crop, in pixels of the largest picture
    factor: float = max(1, round(_CELL_PX / width))
    if width * factor > _MAX_CELL_PX or height * factor > _MAX_CELL_PX:
        factor = _MAX_CELL_PX / max(width, height)
    cell = max(1, round(width * factor)), max(1, round(height * factor))
    rows = 1 if n <= 3 else 2 if n <= 10 else 3
    columns = -(-n // rows)
    rows = -(-n // columns)
    pitch = max(cell[0], _MIN_CELL_PX)
    cell = pitch, cell[1]
    grid = (
        columns * pitch + (columns - 1) * _GAP_PX,
        rows * (cell[1] + _CAPTION_PX) + (rows - 1) * _GAP_PX,
    )
    full_h, full_w = comparison.size
    aspect = full_w / full_h
    tall = grid[1] - _CAPTION_PX
    beside = tall * aspect <= 1.25 * grid[0]
    if beside:
        overview = max(1, round(tall * aspect)), tall
        slot = max(_MIN_CELL_PX, overview[0])
        size = slot + _GAP_PX + grid[0], grid[1]
    else:
        overview = grid[0], max(1, round(grid[0] / aspect))
        slot = grid[0]
        size = grid[0], overview[1] + _CAPTION_PX + _GAP_PX + grid[1]
    whole = size[0] + 2 * _MARGIN_PX, size[1] + 2 * _MARGIN_PX
    return _Plan(cell, columns, overview, slot, beside, whole)


def _cut(
    image: Image.Image,
    crop: Crop,
    before: tuple[int, int],
    cell: tuple[int, int],
    full: tuple[int, int],
    enlarge: Enlarge,
) -> Image.Image:
    """The crop of one picture, as large as a cell."""
    across, down = image.width / before[1], image.height / before[0]
    box = (
        crop.x * across,
        crop.y * down,
        min(image.width, (crop.x + crop.width) * across),
        min(image.height, (crop.y + crop.height) * down),
    )
    whole = (image.height, image.width) == full
    height = cell[1]
    width = min(cell[0], max(1, round(height * crop.width / crop.height)))
    grows = width >= box[2] - box[0]
    # pixels of the large pictures are shown as they are
    sharp = grows and (whole or enlarge == "nearest")
    how = Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC
    return image.resize((width, height), how, box=box)


def _overview(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    image: Image.Image,
    title: str,
    comparison: Comparison,
    crop: Crop,
    plan: _Plan,
) -> None:
    """The whole picture with a frame around the crop."""
    width, height = plan.overview
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    x, y = _MARGIN_PX, _MARGIN_PX
    sheet.paste(small, (x, y))
    _edge(pen, x, y, small.size)
    h, w = comparison.before.size
    left, top = x + crop.x * width / w, y + crop.y * height / h
    right, bottom = left + crop.width * width / w, top + crop.height * height / h
    for grow, colour in ((2, _INK), (1, _FRAME), (0, _FRAME), (-1, _INK)):
        near = max(x, left - grow), max(y, top - grow)
        far = min(x + width, right + grow) - 1, min(y + height, bottom + grow) - 1
        pen.rectangle((near, (max(near[0], far[0]), max(near[1], far[1]))), outline=colour)
    full_h, full_w = comparison.size
    sizes = f"{w} x {h}"
    if (h, w) != (full_h, full_w):
        sizes += f" to {full_w} x {full_h}"
    text = f"{sizes} px"
    if any(p.psnr_y is not None for p in comparison.pictures):
        text += " \u00b7 PSNR-Y, SSIM-Y of the whole"
    _caption(pen, x, y + height, plan.slot, title, text, _GREY)


def _edge(pen: ImageDraw.ImageDraw, x: int, y: int, size: tuple[int, int]) -> None:
    """A thin line around a picture, so that white ones end somewhere."""
    pen.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=_EDGE)


def _caption(
    pen: ImageDraw.ImageDraw,
    x: int,
    y: int,
    width: int,
    title: str,
    text: str,
    colour: tuple[int, int, int],
) -> None:
    for line, (words, size, ink) in enumerate(((title, _TITLE_PX, _INK), (text, _TEXT_PX, colour))):
        font = ImageFont.load_default(size)
        pen.text(
            (x, y + 10 + line * _LINE_PX), _fitted(pen, plain(words), font, width), ink, font=font
        )


def _fitted(
    pen: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """The text, cut to a width."""
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."
