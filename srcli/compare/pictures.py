"""The pictures of a comparison: read, checked to show the same thing, scored."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from srcli.errors import MediaError, ResourceError, UsageError
from srcli.media.image import MAX_PIXELS, Picture, inspect, read
from srcli.quality.metrics import psnr_y, ssim_y

Role = Literal["before", "after", "reference"]
Enlarge = Literal["nearest", "smooth"]

MAX_TOTAL_PIXELS = 200_000_000  # all pictures together; a browser holds each at 4 bytes a pixel
_SAME_SHAPE = 0.01  # how far two aspects may differ: sizes are rounded, HR is cut to multiples


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture of a comparison.

    Attributes:
        role: what it is to the others.
        label: the name it goes by.
        path: its file.
        picture: 8 bits a channel; a reference is cut to the size of the pictures it scores.
        psnr_y, ssim_y: against the reference; None: not scored. Equal pictures: infinity and 1.
    """

    role: Role
    label: str
    path: Path
    picture: Picture
    psnr_y: float | None = None
    ssim_y: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.picture.pixels.shape[:2]
        return height, width


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What is compared: BEFORE, the AFTERs in the order they were named, the reference if any.

    Attributes:
        size: (height, width) that all are shown at: the largest of them.
        crop_border: pixels that the scores leave out at each side: the scale, as papers do.
        notes: what a user may want to know, as plain sentences.
    """

    pictures: tuple[Shown, ...]
    size: tuple[int, int]
    crop_border: int
    notes: tuple[str, ...] = ()

    @property
    def before(self) -> Shown:
        return self.pictures[0]

    @property
    def best(self) -> Shown | None:
        """The AFTER with the highest PSNR, if several are scored."""
        scored = [p for p in self.pictures if p.role == "after" and p.psnr_y is not None]
        return max(scored, key=lambda p: p.psnr_y or 0.0) if len(scored) > 1 else None


def compare(
    before: Path,
    afters: Sequence[Path],
    *,
    labels: Sequence[str],
    reference: Path | None = None,
    max_pixels: int = MAX_TOTAL_PIXELS,
) -> Comparison:
    """Read the pictures and score them.

    Args:
        before: the small picture, or one of the AFTERs' size.
        afters: what was made of it.
        labels: a name for each AFTER.
        reference: the true large picture. It may be up to a scale larger than the AFTERs, at the
            right and at the bottom, as HR pictures are before they are cut to a multiple.
        max_pixels: of all pictures together.

    Raises:
        UsageError: a picture is not of the others' shape, or labels and pictures differ in number.
        MediaError: one cannot be read.
        ResourceError: they are too large together.
    """
    if len(labels) != len(afters):
        raise UsageError(
            f"there are {len(afters)} pictures to compare with {before}, but {len(labels)} labels",
            "give each its own --label, in order, or none",
        )
    named: list[tuple[Role, str, Path]] = [("before", "before", before)]
    named += [("after", label, path) for label, path in zip(labels, afters, strict=True)]
    if reference is not None:
        named.append(("reference", "reference", reference))
    sizes = []
    for _, _, path in named:
        info = inspect(path, MAX_PIXELS)
        sizes.append((info.height, info.width))
    total = sum(height * width for height, width in sizes)
    if total > max_pixels:
        raise ResourceError(
            f"the pictures have {total / 1e6:,.0f} megapixels together, and a comparison holds "
            f"{max_pixels / 1e6:,.0f}",
            "compare fewer at once, or cut the same part out of each",
        )
    scale = max(w for _, w in sizes[1 : 1 + len(afters)]) / sizes[0][1]
    border = math.ceil(scale - 0.01) if scale > 1 else 0
    if reference is not None:
        sizes[-1] = _scorable(sizes[-1], sizes[1:-1], max(1, border))
    _check_shapes([path for _, _, path in named], sizes)
    shown: list[Shown] = []
    notes: list[str] = []
    if scale < 1:
        (h, w), (height, width) = sizes[0], max(sizes[1 : 1 + len(afters)])
        notes.append(
            f"BEFORE ({before.name}, {w} x {h}) is larger than AFTER ({width} x {height}): "
            "if you exchanged them, name the small picture first"
        )
    for role, label, path in named:
        picture = read(path, max_pixels=MAX_PIXELS)
        notes += [f"{path.name}: {note}" for note in picture.notes]
        shown.append(Shown(role, label, path, picture))
    if reference is not None:
        shown[-1] = _cut(shown[-1], sizes[-1])
        for place, entry in enumerate(shown[:-1]):
            shown[place], why = _scored(entry, shown[-1], border)
            if why and entry.role == "after":
                notes.append(f"{entry.path.name} is not scored: {why}")
    largest = max(shown, key=lambda p: p.size[0] * p.size[1])
    return Comparison(tuple(shown), largest.size, border, tuple(notes))


def _check_shapes(paths: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> None:
    """That all could show the same thing: one aspect, but for rounding."""
    largest = max(range(len(sizes)), key=lambda k: sizes[k][0] * sizes[k][1])
    height, width = sizes[largest]
    for path, (h, w) in zip(paths, sizes, strict=True):
        off = min(abs(w - width * h / height), abs(h - height * w / width))
        if off > max(1.5, _SAME_SHAPE * min(w, h)):
            raise UsageError(
                f"{path} ({w} x {h}) and {paths[largest]} ({width} x {height}) differ in shape",
                "all pictures of a comparison show the same thing, at any size",
            )


def _scorable(
    reference: tuple[int, int], afters: Sequence[tuple[int, int]], scale: int
) -> tuple[int, int]:
    """The reference's size without what a multiple of the scale leaves over."""
    height, width = reference
    for h, w in afters:
        if 0 <= height - h < scale and 0 <= width - w < scale:
            return h, w
    return reference


def _cut(shown: Shown, size: tuple[int, int]) -> Shown:
    """The picture without the rows and columns beyond a size."""
    height, width = size
    whole = shown.picture
    part = replace(
        whole,
        pixels=np.ascontiguousarray(whole.pixels[:height, :width]),
        alpha=None if whole.alpha is None else np.ascontiguousarray(whole.alpha[:height, :width]),
    )
    return replace(shown, picture=part)


def _scored(entry: Shown, reference: Shown, border: int) -> tuple[Shown, str]:
    """The entry with its scores, or as it was and the reason why."""
    if entry.size != reference.size:
        (h, w), (height, width) = entry.size, reference.size
        return entry, f"it is {w} x {h}, the reference {width} x {height}"
    if entry.picture.alpha is not None or reference.picture.alpha is not None:
        return entry, "there is transparency"
    sr, hr = entry.picture.pixels, reference.picture.pixels
    try:
        scores = psnr_y(sr, hr, border), ssim_y(sr, hr, border)
    except ValueError:
        return entry, f"nothing is left inside a border of {border} pixels"
    return replace(entry, psnr_y=scores[0], ssim_y=scores[1]), ""


def as_image(picture: Picture) -> Image.Image:
    """As Pillow has it: L, LA, RGB or RGBA."""
    samples = picture.pixels
    if picture.alpha is not None:
        samples = np.concatenate((samples, picture.alpha[:, :, None]), axis=2)
    if samples.shape[2] == 1:
        samples = samples[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(samples))


def as_srgb(entry: Shown) -> NDArray[np.uint8]:
    """(h, w, 3) in sRGB by the picture's own profile, on white where it is transparent.

    Raises:
        MediaError: its profile cannot be used.
    """
    image = as_image(entry.picture)
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode.removesuffix("A")) if alpha else image
    if entry.picture.metadata.icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(entry.picture.metadata.icc))
            converted = ImageCms.profileToProfile(
                colours, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError) as exc:
            raise MediaError(f"the colour profile of {entry.path} cannot be used: {exc}") from exc
        colours = converted or colours
    colours = colours.convert("RGB")
    if alpha:
        white = Image.new("RGB", colours.size, "white")
        white.paste(colours, mask=alpha)
        colours = white
    return cast("NDArray[np.uint8]", np.asarray(colours))
