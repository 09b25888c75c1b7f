"""What a picture file says beside its pixels, and how it is changed for a larger picture."""

import math
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from srcli.media.exif import patch_exif
from srcli.media.xmp import changed

Chunk = tuple[bytes, bytes]
"""A PNG chunk: its type and its data."""

_IPTC_RESOURCE = 0x0404  # of Photoshop's image resources


CREDENTIALS_NOTE = "Content Credentials (C2PA), which hold for the picture as it was, were left out"
PATHS_NOTE = "Photoshop's paths were left out"
LAYOUT_NOTE = "the description gives the old size (OME-XML or an array's shape), and was left out"


@dataclass(frozen=True, slots=True, eq=False)
class GainMap:
    """What makes an HDR picture of this one (ISO 21496-1; Ultra HDR), as a JPEG holds it.

    Attributes:
        pixels: (h, w) or (h, w, 3), upright, uint8; usually smaller than the picture.
        size: (height, width) of the picture, upright.
        segments: of the gain map's own JPEG: XMP, ISO 21496-1 and the colour profile.
        mark: segments by which the picture says that it has one, beside its XMP.
        jpeg: as it is written, once it is enlarged.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    size: tuple[int, int]
    segments: bytes = field(repr=False)
    mark: bytes = field(repr=False)
    jpeg: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is carried from the file that was read to the file that is written.

    Attributes:
        icc: the ICC profile of the pixels.
        exif: EXIF as a TIFF stream (no `Exif\\0\\0` prefix), as the file had it: its orientation
            and sizes are those of the input (see exif_for).
        dpi: horizontal and vertical dots per inch.
        xmp: the XMP packet, as the file had it (see xmp_for).
        iptc: IPTC-IIM datasets.
        comments: of JPEG and GIF.
        texts: PNG's tEXt, zTXt and iTXt chunks.
        colour: PNG's cHRM, gAMA, sRGB, cICP, mDCV and cLLI chunks.
        gain_map: of an HDR picture.
    """

    icc: bytes | None = None
    exif: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = field(default=None, repr=False)
    iptc: bytes | None = field(default=None, repr=False)
    comments: tuple[bytes, ...] = ()
    texts: tuple[Chunk, ...] = ()
    colour: tuple[Chunk, ...] = ()
    gain_map: GainMap | None = None

    def stripped(self) -> "Metadata":
        """Only what says how the pixels look."""
        return Metadata(icc=self.icc, colour=self.colour)


def exif_for(metadata: Metadata, width: int, height: int) -> bytes | None:
    """The EXIF to write with a picture of this size (see patch_exif), or None."""
    if not metadata.exif:
        return None
    try:
        return patch_exif(metadata.exif, width, height)
    except ValueError:
        return None


def xmp_for(
    metadata: Metadata, width: int, height: int, gain_map_bytes: int | None = None
) -> bytes | None:
    """The XMP packet to write with a picture of this size (see xmp.changed), or None."""
    return changed(metadata.xmp, width, height, gain_map_bytes) if metadata.xmp else None


def iptc_of_resources(data: bytes) -> bytes | None:
    """The IPTC datasets among Photoshop's image resources (`8BIM`), if there are any."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        code = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2  # the name, its length in front, to an even count
        size = int.from_bytes(data[at : at + 4], "big")
        if code == _IPTC_RESOURCE:
            return data[at + 4 : at + 4 + size] or None
        at += 4 + (size + 1) // 2 * 2
    return None


def tells_layout(description: str) -> bool:
    """Whether a TIFF's description says how pixels lie, as microscopes and tifffile write it."""
    start = description[:4096].lstrip("\ufeff \t\r\n")
    return (start.startswith("<") and "<OME" in start) or re.match(
        r'\{"shape": ?\[', start
    ) is not None


def has_paths(data: bytes) -> bool:
    """Whether Photoshop's image resources include paths (2000 to 2997)."""
    return re.search(rb"8BIM[\x07-\x0b]", data) is not None


def resources_of_iptc(iptc: bytes) -> bytes:
    """The other way round."""
    head = b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big")
    return head + iptc + bytes(len(iptc) % 2)


def usable_icc(icc: object) -> bytes | None:
    """The profile, if its header is that of an ICC profile (ICC.1:2022, 7.2)."""
    if not isinstance(icc, bytes) or len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    return icc if 132 <= int.from_bytes(icc[:4], "big") <= len(icc) else None


def icc_space(icc: bytes) -> str:
    """The colour space of a profile: "RGB", "GRAY", "CMYK"."""
    return icc[16:20].decode("latin-1").strip()


def icc_for(metadata: Metadata, channels: int) -> bytes | None:
    """The profile, if it is for so many channels (1 or 3): any other would spoil the colours."""
    if metadata.icc is None:
        return None
    wanted = "GRAY" if channels == 1 else "RGB"
    return metadata.icc if icc_space(metadata.icc) == wanted else None


def usable_dpi(dpi: object) -> tuple[float, float] | None:
    """The resolution, if it is two positive numbers that a printer could mean."""
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    try:
        across, down = float(dpi[0]), float(dpi[1])
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    fine = all(math.isfinite(value) and 1 <= value <= 100_000 for value in (across, down))
    return (across, down) if fine else None
