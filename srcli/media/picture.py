"""What a picture is once it is read."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srcli.media.formats import FormatName
from srcli.media.metadata import Metadata

MAX_PIXELS = 500_000_000

Pixels = NDArray[np.uint8 | np.uint16]

Decoded = tuple[Pixels, Pixels | None, bytes | None, tuple[str, ...]]
"""Pixels, alpha, ICC profile and notes."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a picture's header says.

    Attributes:
        path: the file, or None for a stream.
        width, height: in pixels, after the EXIF orientation.
        channels: 1 (grey) or 3 (RGB; palettes and CMYK become RGB).
        cmyk: it is that, of the first page.
        shallow: it is read at 8 bits, whatever it holds.
        has_alpha: it has transparency.
        bits: per channel, by the file's format and not by its values; of the first page.
        n_frames: more than 1 for animations and TIFFs of several pages.
        plays: how many times an animation is shown; 0: for ever.
        notes: what a user may want to know, as plain sentences.
        page_bits: of every page, where there are several.
    """

    path: Path | None
    format: FormatName
    width: int
    height: int
    channels: Literal[1, 3]
    has_alpha: bool
    bits: int
    n_frames: int = 1
    plays: int = 0
    notes: tuple[str, ...] = ()
    page_bits: tuple[int, ...] = ()
    cmyk: bool = False
    shallow: bool = False

    @property
    def deepest(self) -> int:
        """Bits of the deepest page."""
        return max((self.bits, *self.page_bits))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (height, width, channels), channels 1 or 3, uint8 (uint16 if read with depth 16).
        alpha: (height, width) of the same type, not multiplied into pixels; None if opaque.
        metadata: to be written with the result.
        black: of CMYK that was read as inks: (height, width) of the same type, full where there is
            no black ink; pixels are then what cyan, magenta and yellow leave, full without ink.
        notes: what was left out or changed, as plain sentences.
        quality: of a JPEG file, 1 to 100, by its quantisation table.
    """

    pixels: Pixels
    alpha: Pixels | None
    metadata: Metadata
    notes: tuple[str, ...] = ()
    black: Pixels | None = None
    quality: int | None = None

    @property
    def bits(self) -> Literal[8, 16]:
        """Bits per channel of the arrays."""
        return 16 if self.pixels.dtype == np.uint16 else 8


@dataclass(frozen=True, slots=True)
class Header:
    """An ImageInfo, and what only reading needs.

    Attributes:
        least_bytes: that the pixels take in the file; 0 where that is not known here.
        quality: as Picture's.
    """

    info: ImageInfo
    orientation: int
    metadata: Metadata
    notes: tuple[str, ...] = ()
    page: int = 0
    least_bytes: int = 0
    quality: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One of several pictures in a file.

    Attributes:
        picture: of an animation: composed, as it is to be seen, and of the animation's size.
        seconds: how long it is shown; None for pages.
    """

    picture: Picture
    seconds: Fraction | None = None
