"""A comparison as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from importlib import resources

from PIL import Image

import srcli
from srcli.compare.pictures import Comparison, Enlarge, Shown, as_image
from srcli.errors import ResourceError

MAX_PICTURE_BYTES = 24_000_000  # as a data URI 32 MB, all that older Firefoxes take
MAX_PAGE_BYTES = 150_000_000
_MAX_WEBP_SIDE_PX = 16_383
_LOSSY_QUALITY = 95


def page(
    comparison: Comparison,
    *,
    enlarge: Enlarge = "nearest",
    max_picture_bytes: int = MAX_PICTURE_BYTES,
    max_page_bytes: int = MAX_PAGE_BYTES,
) -> tuple[bytes, list[str]]:
    """The page, UTF-8, and what was done to the pictures that a user may want to know.

    Pictures are embedded as WebP without loss (PNG beyond WebP's 16,383 pixels a side), with their
    colour profile and without any other metadata: a page is made to be passed on. One that takes
    more than ``max_picture_bytes`` so is embedded with loss instead, which the page says too.

    Args:
        comparison: from srcli.compare.pictures.compare.
        enlarge: how the page first shows what is smaller than the largest: as pixels or smooth.
        max_picture_bytes: of one picture, encoded.
        max_page_bytes: of all of them.

    Raises:
        ResourceError: a picture, or all of them, are too large for a page.
    """
    notes: list[str] = []
    figures, total = [], 0
    for shown in comparison.pictures:
        kind, data = _encoded(shown, max_picture_bytes, notes)
        total += len(data)
        if total > max_page_bytes:
            raise ResourceError(
                f"the pictures take more than {max_page_bytes / 1e6:,.0f} "
                "MB, the most that a page may have",
                "compare fewer at once, or cut the same part out of each",
            )
        figures.append(_figure(shown, kind, data))
    template = (resources.files("srcli.compare") / "page.html").read_text("utf-8")
    name = plain(comparison.before.path.name)
    about = _about(comparison, enlarge, [*map(plain, comparison.notes), *map(plain, notes)])
    parts = {
        "POLICY": _policy(template),
        "GENERATOR": f"srcli {srcli.__version__}",
        "TITLE": html.escape(f"{name}: before and after"),
        "NAME": html.escape(name),
        "FIGURES": "\n".join(figures),
        # inside a script element only "<" could end it
        "DATA": json.dumps(about, ensure_ascii=False).replace("<", "\\u003c"),
    }
    # in one go: what is put in is not looked at again
    text = re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)
    return text.encode("utf-8"), notes


def plain(name: str) -> str:
    """A name as it can be shown: bytes that are no text, and characters that control, replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def score_text(shown: Shown) -> str:
    """``30.12 dB, 0.8765`` or nothing."""
    if shown.psnr_y is None or shown.ssim_y is None:
        return ""
    if math.isinf(shown.psnr_y):
        return "equals the reference"
    return f"{shown.psnr_y:.2f} dB \u00b7 {shown.ssim_y:.4f}"


def _policy(template: str) -> str:
    """Content security: this style, this script, pictures from the page itself, nothing else."""

    def sha256(tag: str) -> str:
        found = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.S)
        assert found
        digest = hashlib.sha256(found[1].encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {sha256('style')}; "
        f"script-src {sha256('script')}; base-uri 'none'; form-action 'none'"
    )


def _about(comparison: Comparison, enlarge: Enlarge, notes: list[str]) -> dict[str, object]:
    """What the script is told."""
    height, width = comparison.size
    (h, w), best = comparison.before.size, comparison.best
    sizes = f"{w} \u00d7 {h} px"
    if (h, w) != (height, width):
        sizes += f" \u2192 {width} \u00d7 {height} px"
    if any(p.psnr_y is not None for p in comparison.pictures):
        notes = [
            "Scores: PSNR and SSIM of the luma (BT.601) against the reference, "
            f"{comparison.crop_border} pixels left out at each side.",
            *notes,
        ]
    return {
        "width": width,
        "height": height,
        "sizes": sizes,
        "smooth": enlarge == "smooth",
        "notes": notes,
        "pictures": [
            {
                "role": p.role,
                "label": plain(p.label),
                "file": plain(p.path.name),
                "width": p.size[1],
                "height": p.size[0],
                "score": score_text(p),
                "best": p is best,
            }
            for p in comparison.pictures
        ],
    }


def _figure(shown: Shown, kind: str, data: bytes) -> str:
    label = html.escape(plain(shown.label))
    height, width = shown.size
    see_through = ' class="alpha"' if shown.picture.alpha is not None else ""
    score = html.escape(score_text(shown).partition(" \u00b7 ")[0])
    caption = f"{label} <small>{score}</small>" if score else label
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return (
        f'  <figure><img alt="{label}" width="{width}" height="{height}"{see_through} src="{uri}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _encoded(shown: Shown, max_bytes: int, notes: list[str]) -> tuple[str, bytes]:
    """(format, bytes), without loss if that fits in ``max_bytes``."""
    image = as_image(shown.picture)
    icc = shown.picture.metadata.icc
    webp = max(image.size) <= _MAX_WEBP_SIDE_PX
    data = _saved(image, icc, "webp" if webp else "png")
    if len(data) <= max_bytes:
        return ("webp" if webp else "png"), data
    size = f"{len(data) / 1e6:,.0f} MB without loss, more than the {max_bytes / 1e6:,.0f} of a page"
    if webp:
        data = _saved(image, icc, "webp", lossy=True)
        if len(data) <= max_bytes:
            notes.append(
                f"{shown.path.name} takes {size}: it is embedded with loss (WebP, quality "
                f"{_LOSSY_QUALITY})"
            )
            return "webp", data
    raise ResourceError(
        f"{shown.path} takes {size}", "cut the same part out of each picture and compare those"
    )


def _saved(image: Image.Image, icc: bytes | None, kind: str, *, lossy: bool = False) -> bytes:
    sink = io.BytesIO()
    if kind == "png":
        image.save(sink, "PNG", icc_profile=icc)
        return sink.getvalue()
    if image.mode in ("L", "LA"):
        # WebP has no grey; a grey profile would not fit what it then holds
        icc = None
        image = image.convert("RGBA" if image.mode == "LA" else "RGB")
    # effort 1 packs within 3 % of effort 4 in a third of the time
    how = {"quality": _LOSSY_QUALITY} if lossy else {"lossless": True, "quality": 50, "method": 1}
    image.save(sink, "WEBP", icc_profile=icc or b"", exact=True, **how)
    return sink.getvalue()
