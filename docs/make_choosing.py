"""Makes the sheets of docs/choosing.md, by `python docs/make_choosing.py`.

Photographs come from the package scikit-image, which has to be installed (CC0 or public domain);
drawing, comic, screenshot and logo are drawn here. Each input is a small picture, which every model
enlarges four times; a sheet shows the same part of all results. Names of sheets make these alone.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import srcli
from srcli import catalog

HERE = Path(__file__).parent / "choosing"
SCALE = 4
MODELS = ("bicubic", "bcrn", "photo", "damaged", "drawing")  # as -m takes them
DEFAULT = "bcrn"
CROP = (80, 60)  # of the input, pixels: width, height
GAP, HEAD = 6, 30
LARGE, SMALL = 21, 16  # letters, for a page that shows the sheet at two thirds of its size
QUALITY = 82
Box = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One kind of picture.

    Attributes:
        picture: what is enlarged.
        at: left and upper corner of the part that is shown, in pixels of the picture.
    """

    picture: Image.Image
    at: Box


def cases() -> dict[str, Case]:
    """The pictures, by the name of their sheet."""
    return {
        "photo": Case(_photograph("chelsea").reduce(2), (55, 20)),
        "jpeg": Case(_compressed(_noisy(_photograph("coffee").reduce(2), 8.0), 40), (95, 55)),
        "scan": Case(_photograph("page").reduce(2), (20, 20)),
        "drawing": Case(drawing(), (40, 30)),
        "comic": Case(_compressed(comic(), 30), (44, 6)),
        "screenshot": Case(screenshot(), (22, 20)),
        "logo": Case(logo(), (10, 20)),
    }


def _photograph(name: str) -> Image.Image:
    """One of the pictures in the package scikit-image, which need not be imported for it."""
    package = importlib.util.find_spec("skimage")
    assert package is not None, "pip install scikit-image"
    folder = Path(next(iter(package.submodule_search_locations or [])))
    return Image.open(folder / "data" / f"{name}.png").convert("RGB")


def _noisy(picture: Image.Image, levels: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, levels, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _compressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def drawing() -> Image.Image:
    """A cartoon: lines and flat colours, drawn large and made smaller."""
    canvas = Image.new("RGB", (640, 480), "#bfe3f5")
    draw = ImageDraw.Draw(canvas)
    line = {"outline": "#20242c", "width": 7}
    draw.ellipse((470, 30, 590, 150), fill="#ffd94a", **line)
    draw.polygon(
        [(0, 480), (0, 350), (210, 270), (420, 360), (640, 290), (640, 480)], fill="#7cc46b"
    )
    draw.line([(0, 350), (210, 270), (420, 360), (640, 290)], fill="#20242c", width=7)
    draw.ellipse((190, 140, 450, 400), fill="#f4a259", **line)
    draw.polygon([(215, 210), (205, 85), (300, 150)], fill="#f4a259", **line)
    draw.polygon([(425, 210), (435, 85), (340, 150)], fill="#f4a259", **line)
    for x in (265, 375):
        draw.ellipse((x - 30, 215, x + 30, 285), fill="white", **line)
        draw.ellipse((x - 10, 235, x + 14, 275), fill="#20242c")
        draw.ellipse((x - 4, 240, x + 4, 250), fill="white")
    draw.polygon([(300, 300), (340, 300), (320, 325)], fill="#d1495b", **line)
    draw.arc((270, 295, 320, 350), 10, 170, fill="#20242c", width=6)
    draw.arc((320, 295, 370, 350), 10, 170, fill="#20242c", width=6)
    for y in (310, 330):
        draw.line((120, y - 12, 250, y), fill="#20242c", width=4)
        draw.line((390, y, 520, y - 12), fill="#20242c", width=4)
    return canvas.reduce(4)


def comic() -> Image.Image:
    """A panel of a comic: ink lines of several widths, hatching, dots of print, lettering."""
    canvas = Image.new("RGB", (640, 480), "#f6d7a7")
    draw = ImageDraw.Draw(canvas)
    ink = "#16181d"
    for y in range(0, 480, 26):  # dots, as printed comics have for shades
        for x in range(13 * (y // 26 % 2), 640, 26):
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill="#dd8f52")
    draw.polygon(
        [(330, 480), (345, 330), (420, 290), (560, 290), (620, 350), (640, 480)], fill="#b3262e"
    )
    draw.line([(330, 480), (345, 330), (420, 290)], fill=ink, width=8)
    draw.line([(560, 290), (620, 350), (640, 470)], fill=ink, width=8)
    draw.ellipse((390, 100, 580, 330), fill="#f2c9a1", outline=ink, width=8)
    draw.pieslice((378, 70, 592, 300), 180, 360, fill="#2b4a8b", outline=ink, width=8)
    draw.polygon([(370, 190), (330, 212), (480, 196)], fill="#2b4a8b", outline=ink, width=6)
    for x in (440, 510):
        draw.ellipse((x - 18, 212, x + 18, 246), fill="white", outline=ink, width=5)
        draw.ellipse((x - 8, 222, x + 6, 240), fill=ink)
    draw.line([(420, 205), (458, 198)], fill=ink, width=7)
    draw.line([(494, 198), (532, 205)], fill=ink, width=7)
    draw.line([(474, 240), (464, 270), (482, 272)], fill=ink, width=5, joint="curve")
    draw.chord((445, 270, 520, 310), 0, 180, fill="#7a1f1f", outline=ink, width=5)
    for k in range(9):  # shadow at the cheek, hatched
        draw.line([(548 - 4 * k, 215 + 11 * k), (572 - 5 * k, 225 + 11 * k)], fill=ink, width=3)
    draw.ellipse((175, 35, 425, 125), fill="white", outline=ink, width=6)
    draw.polygon([(340, 110), (385, 160), (375, 105)], fill="white")
    draw.line([(338, 118), (385, 160), (378, 112)], fill=ink, width=6, joint="curve")
    draw.text((300, 80), "MY BIKE?!", fill=ink, font=ImageFont.load_default(40), anchor="mm")
    return canvas.reduce(4)


def screenshot() -> Image.Image:
    """A window with small text, as a screen shows it."""
    canvas = Image.new("RGB", (176, 124), "#f3f4f6")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, 176, 16), fill="#2f3b52")
    draw.text((6, 2), "Settings", fill="white", font=ImageFont.load_default(10))
    small = ImageFont.load_default(9)
    rows = ("Save copies in", "Keep for 30 days", "Ask before deleting", "Language: English")
    for k, row in enumerate(rows):
        top = 24 + 20 * k
        draw.rectangle((8, top, 18, top + 10), outline="#6b7280", fill="white")
        if k != 1:
            draw.line([(10, top + 5), (13, top + 8), (17, top + 2)], fill="#1a73e8", width=2)
        draw.text((24, top - 1), row, fill="#1f2937", font=small)
    draw.rounded_rectangle((112, 104, 168, 120), 4, fill="#1a73e8")
    draw.text((128, 106), "Apply", fill="white", font=small)
    return canvas


def logo() -> Image.Image:
    """A sign on a transparent ground, with soft edges."""
    large = Image.new("RGBA", (480, 480), (0, 0, 0, 0))
    draw = ImageDraw.Draw(large)
    draw.ellipse((30, 30, 450, 450), fill="#0f766e")
    draw.ellipse((95, 95, 385, 385), fill=(0, 0, 0, 0))
    draw.polygon([(240, 110), (350, 330), (240, 270), (130, 330)], fill="#f59e0b")
    draw.text((150, 392), "NORTH", fill="white", font=ImageFont.load_default(52))
    shadow = Image.new("RGBA", large.size, (0, 0, 0, 0))
    shadow.putalpha(
        large.getchannel("A").filter(ImageFilter.GaussianBlur(14)).point(lambda v: v // 2)
    )
    return Image.alpha_composite(shadow, large).reduce(4)


def sheet(case: Case) -> Image.Image:
    """The input as pixels, and what each model makes of it, in two rows."""
    (left, upper), (width, height) = case.at, CROP
    box = (left, upper, left + width, upper + height)
    shown = case.picture.crop(box).resize((width * SCALE, height * SCALE), Image.Resampling.NEAREST)
    panels = {("input", "pixel by pixel"): shown}
    for name in MODELS:
        large = srcli.upscale(case.picture, scale=SCALE, model=name)
        panels[_label(name)] = large.crop(tuple(SCALE * v for v in box))
    cell = width * SCALE + GAP, height * SCALE + GAP + HEAD
    canvas = Image.new("RGB", (3 * cell[0] - GAP, 2 * cell[1] - GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for k, ((name, network), panel) in enumerate(panels.items()):
        x, y = k % 3 * cell[0], k // 3 * cell[1]
        at, font = (x + 1, y + HEAD - 8), ImageFont.load_default(LARGE)
        draw.text(at, name, fill="black", font=font, anchor="ls")
        beside = (at[0] + int(draw.textlength(f"{name}  ", font)), at[1])
        small = ImageFont.load_default(SMALL)
        draw.text(beside, network, fill="#555555", font=small, anchor="ls")
        canvas.paste(_checkered(panel), (x, y + HEAD))
    return canvas


def _label(name: str) -> tuple[str, str]:
    """What one types for a model, and the network that it means, if that has another name."""
    if name == DEFAULT:
        return "without -m", f"the default, {name}"
    network = catalog.short_name(catalog.resolve(name, SCALE))
    return f"-m {name}", network if network != name else ""


def _checkered(picture: Image.Image) -> Image.Image:
    """What can be seen through, over the squares that stand for nothing."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    rows, columns = np.indices((picture.height, picture.width)) // 16
    squares = np.where((rows + columns) % 2, 255, 215).astype(np.uint8)
    ground = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(ground, picture).convert("RGB")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, case in cases().items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        made = sheet(case)
        made.save(HERE / f"{name}.jpg", quality=QUALITY, optimize=True)
        print(name, made.size, (HERE / f"{name}.jpg").stat().st_size)


if __name__ == "__main__":
    main()
