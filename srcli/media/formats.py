"""The picture formats srcli reads and writes, and what each can hold.

A table and three questions about it. Importing this module costs nothing: no Pillow, no numpy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from srcli.errors import ResourceError, UsageError

FormatName = Literal[
    "png",
    "jpeg",
    "webp",
    "tiff",
    "bmp",
    "avif",
    "gif",
    "heif",
    "jpeg2000",
    "jxl",
    "psd",
    "raw",
    "exr",
    "hdr",
    "netpbm",
    "tga",
    "dds",
    "qoi",
    "sgi",
    "pcx",
    "ico",
]


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: the name srcli uses for it.
        title: how it is written in sentences.
        extensions: lower case, with the dot; the first is the usual one.
        max_side_px: the longest side a file of this format can have when srcli writes it.
        max_pixels: the most pixels a file of this format can have, or None where only sides count.
        alpha: it holds transparency.
        grey: it holds one channel; the others store grey as RGB.
        deep: it holds 16 bits per channel.
        inks: it holds CMYK.
        lossless: srcli writes it without loss, or can.
        streams: srcli writes it strip by strip, so that the output need not fit in memory.
        several: what more than one picture in a file are.
        holds: what it says beside the pixels (resolution: in a place other than EXIF).
        writable: srcli writes it (it reads every format of the table).
    """

    name: FormatName
    title: str
    extensions: tuple[str, ...]
    max_side_px: int
    max_pixels: int | None = None
    alpha: bool = True
    grey: bool = True
    deep: bool = False
    inks: bool = False
    lossless: bool = True
    streams: bool = False
    several: Literal["frames", "pages"] | None = None
    holds: frozenset[str] = frozenset()
    writable: bool = True


def _all_but(*missing: str) -> frozenset[str]:
    return frozenset({"icc", "exif", "xmp", "iptc", "dpi", "comment", "text"} - {*missing})


_READ_ONLY: tuple[tuple[FormatName, str, tuple[str, ...]], ...] = (
    ("jpeg2000", "JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc")),
    ("jxl", "JPEG XL", (".jxl",)),
    ("psd", "Photoshop", (".psd", ".psb")),
    (
        "raw",
        "camera raw",
        (
            *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".raf", ".orf", ".rw2"),
            *(".pef", ".srw", ".mrw", ".x3f"),
        ),
    ),
    ("exr", "OpenEXR", (".exr",)),
    ("hdr", "Radiance HDR", (".hdr",)),
    ("netpbm", "PNM", (".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm")),
    ("tga", "TGA", (".tga",)),
    ("dds", "DDS", (".dds",)),
    ("qoi", "QOI", (".qoi",)),
    ("sgi", "SGI", (".sgi",)),
    ("pcx", "PCX", (".pcx",)),
    ("ico", "ICO", (".ico",)),
)

_ALL = (
    Format(
        "png",
        "PNG",
        (".png", ".apng"),
        2**31 - 1,
        deep=True,
        streams=True,
        several="frames",
        holds=_all_but("comment"),
    ),
    # The marker holds 65,535, but libjpeg and libjpeg-turbo stop at JPEG_MAX_DIMENSION.
    Format(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        65_500,
        alpha=False,
        inks=True,
        lossless=False,
        holds=_all_but("text") | {"gain map"},
    ),
    Format(
        "webp",
        "WebP",
        (".webp",),
        16_383,
        grey=False,
        several="frames",
        holds=_all_but("iptc", "dpi", "comment", "text"),
    ),
    Format(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        2**31 - 1,
        deep=True,
        inks=True,
        streams=True,
        several="pages",
        holds=_all_but("comment", "text"),
    ),
    # 32-bit BMPs have no alpha that programs agree on. Its length field ends at 4 GB.
    Format(
        "bmp",
        "BMP",
        (".bmp", ".dib"),
        2**31 - 1,
        max_pixels=2**32 // 3 - 2**20,
        alpha=False,
        holds=frozenset({"dpi"}),
    ),
    # Beyond these, libavif refuses to read the file again (its default limits).
    Format(
        "avif",
        "AVIF",
        (".avif",),
        32_768,
        max_pixels=16_384**2,
        grey=False,
        lossless=False,
        holds=_all_but("iptc", "dpi", "comment", "text"),
    ),
    Format(
        "gif",
        "GIF",
        (".gif",),
        65_535,
        grey=False,
        lossless=False,  # 256 colours
        several="frames",
        holds=frozenset({"xmp", "comment"}),
    ),
    Format("heif", "HEIC", (".heic", ".heif"), 65_535, grey=False, writable=False),
    *(
        Format(name, title, extensions, 2**31 - 1, writable=False)
        for name, title, extensions in _READ_ONLY
    ),
)
FORMATS: dict[FormatName, Format] = {entry.name: entry for entry in _ALL}
_BY_EXTENSION = {extension: entry for entry in _ALL for extension in entry.extensions}
EXTENSIONS = frozenset(_BY_EXTENSION)
READABLE_TITLES = ", ".join(entry.title for entry in _ALL[:-1]) + f" and {_ALL[-1].title}"


def is_picture(path: Path) -> bool:
    """Whether the name ends like a picture that srcli reads (for listing folders)."""
    return path.suffix.lower() in EXTENSIONS


def format_of(path: Path) -> Format:
    """The format that a file name asks for, by its extension.

    Raises:
        UsageError: there is no extension, or srcli does not know it.
    """
    found = _BY_EXTENSION.get(path.suffix.lower())
    if found is None:
        named = f"the extension {path.suffix}" if path.suffix else "a name without an extension"
        writable = ", ".join(entry.extensions[0] for entry in _ALL if entry.writable)
        raise UsageError(f"{path}: {named} names no picture format", f"use one of {writable}")
    return found


def check_several(entry: Format, source: Format, n_frames: int) -> None:
    """Whether a format holds the frames, or pages, of a file of another.

    Raises:
        UsageError: it does not.
    """
    if entry.several == source.several:
        return
    if source.several == "pages":
        message, others = f"{entry.title} cannot hold {n_frames} pages", ".tif"
    else:
        what = "durations" if entry.several else "an animation"
        message = f"{entry.title} cannot hold {what}, and the picture has {n_frames} frames"
        others = ".gif, .webp or .png"
    raise UsageError(message, f"use {others}, or take the first alone with --frames first")


def check_output(
    format: Format | FormatName,
    width: int,
    height: int,
    has_alpha: bool,
    bits: Literal[8, 16] = 8,
    *,
    lossless: bool = False,
) -> None:
    """Whether a picture fits in a format, asked before any work is done.

    Args:
        format: an entry of the table, or its name.
        width, height: of the output, in pixels.
        has_alpha: the output has transparency.
        bits: per channel.
        lossless: nothing of the pixels is to be lost.

    Raises:
        ResourceError: the format cannot hold so many pixels.
        UsageError: the format cannot hold transparency or 16 bits, has no lossless form, or is
            one srcli only reads.
    """
    entry = format if isinstance(format, Format) else FORMATS[format]
    if not entry.writable:
        raise UsageError(f"srcli reads {entry.title} but does not write it", "use .png or .webp")
    # Sizes come before abilities: the advice then names a format that fits both ways.
    others = "use .png or .tif" if max(width, height) > 16_383 else "use .png, .tif or .webp"
    if max(width, height) > entry.max_side_px:
        raise ResourceError(
            f"{entry.title} holds at most {entry.max_side_px:,} pixels a side,"
            f" and the output is {width:,} x {height:,}",
            others if entry.name not in ("png", "tiff") else None,
        )
    if entry.max_pixels is not None and width * height > entry.max_pixels:
        raise ResourceError(
            f"{entry.title} holds at most {entry.max_pixels / 1e6:,.0f} megapixels,"
            f" and the output has {width * height / 1e6:,.0f}",
            others,
        )
    if has_alpha and not entry.alpha:
        raise UsageError(f"{entry.title} cannot hold transparency, and the picture has it", others)
    if bits == 16 and not entry.deep:
        raise UsageError(f"{entry.title} cannot hold 16 bits per channel", "use .png or .tif")
    if lossless and not entry.lossless:
        raise UsageError(f"srcli does not write {entry.title} without loss", others)
