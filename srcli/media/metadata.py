"""What a picture file says beside its pixels, and how it is changed for a larger picture."""

import math
import re
from dataclasses import dataclass, field

from srcli.media.exif import patch_exif

Chunk = tuple[bytes, bytes]
"""A PNG chunk: its type and its data."""

_XMP_SIZES = (
    (b"tiff:Orientation", None),
    (b"tiff:ImageWidth", 0),
    (b"tiff:ImageLength", 1),
    (b"exif:PixelXDimension", 0),
    (b"exif:PixelYDimension", 1),
)
_IPTC_RESOURCE = 0x0404  # of Photoshop's image resources


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
        colour: PNG's cHRM, gAMA, sRGB and cICP chunks.
    """

    icc: bytes | None = None
    exif: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = field(default=None, repr=False)
    iptc: bytes | None = field(default=None, repr=False)
    comments: tuple[bytes, ...] = ()
    texts: tuple[Chunk, ...] = ()
    colour: tuple[Chunk, ...] = ()

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


def xmp_for(metadata: Metadata, width: int, height: int) -> bytes | None:
    """The XMP packet for a picture of this size: orientation 1, sizes corrected, no thumbnails."""
    xmp = metadata.xmp
    if not xmp:
        return None
    for name, axis in _XMP_SIZES:
        number = b"1" if axis is None else str((width, height)[axis]).encode()
        xmp = re.sub(rb"(\b" + name + rb"\s*=\s*[\"'])\s*\d+", rb"\g<1>" + number, xmp)
        xmp = re.sub(rb"(<" + name + rb"\s*>)\s*\d+(?=\s*</)", rb"\g<1>" + number, xmp)
    return re.sub(rb"(?s)<xmp:Thumbnails\b.*?</xmp:Thumbnails\s*>", b"", xmp)


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
