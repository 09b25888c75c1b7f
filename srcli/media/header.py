"""What a picture's header says, as far as reading and carrying on need it. Nothing is decoded."""

import contextlib
import ctypes
import io
import logging
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import Image, ImageFile

from srcli.errors import MediaError
from srcli.media import apng, gif, pngchunks, rawkinds, tiff, webp
from srcli.media.animation import Animation
from srcli.media.bounds import least_bytes, tiff_bytes
from srcli.media.exif import patch_exif, resolution_of, strip_prefix
from srcli.media.formats import FormatName
from srcli.media.metadata import Metadata, iptc_of_resources, usable_dpi, usable_icc
from srcli.media.other_content import other_content
from srcli.media.picture import Header, ImageInfo
from srcli.media.readers import reader_of
from srcli.media.source import plain_errors, sniff
from srcli.sizes import pixels_apart

ORIENTATION = 0x0112
_HEAD_BYTES = 512
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"

# Pillow's own limit would refuse, or warn about, pictures that ours allows. Ours is checked against
# the file's header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# A file that is cut short must not become a picture with a grey half.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pillow warns about oddities in files (EXIF, palettes); what matters becomes a note.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)


def _hush_libtiff() -> None:
    """Keep libtiff from printing what is wrong with a file, where Pillow comes with it as a library
    of its own (on Linux and macOS)."""
    from PIL import _imaging

    with contextlib.suppress(OSError, AttributeError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.restype = ctypes.c_void_p
        set_handler(None)


_hush_libtiff()


def read_header(
    stream: BinaryIO, source: Path | BinaryIO, name: str, max_pixels: int, page: int = 0
) -> Header:
    """The header of a picture, or of a TIFF's page.

    Raises:
        MediaError: it is no picture, or it is damaged or too large.
    """
    format: FormatName = "raw"
    if rawkinds.kind_of(stream) is None:
        stream.seek(0)
        format = sniff(stream.read(_HEAD_BYTES), name)
    path = source if isinstance(source, Path) else None
    with plain_errors(name, format):
        stream.seek(0)
        if format == "tiff":
            header = _tiff_header(stream, path, page)
        else:
            reader = reader_of(format)
            if reader is not None:
                header = reader.read_header(stream, path)
            else:
                header = pillow_header(stream, path, format)
    width, height = header.info.width, header.info.height
    if width < 1 or height < 1:
        raise MediaError(f"{name} is damaged: its header says {width} x {height} pixels")
    if width * height > max_pixels:
        size, limit = pixels_apart(width * height, max_pixels)
        raise MediaError(
            f"{name} has {size}, over the limit of {limit}", "raise it with --max-pixels"
        )
    with plain_errors(name, format):
        least = least_bytes(stream, header)
    n_bytes = stream.seek(0, io.SEEK_END)
    if least > n_bytes:
        raise MediaError(
            f"{name} is cut short, or its header is damaged: it says {width:,} x {height:,} pixels,"
            f" and {n_bytes:,} bytes cannot hold so many"
        )
    metadata, dropped = _checked(header.metadata)
    return replace(header, metadata=metadata, notes=(*header.notes, *dropped))


def _checked(metadata: Metadata) -> tuple[Metadata, list[str]]:
    """Without the parts that are damaged, and a note for each."""
    notes = []
    icc, exif = usable_icc(metadata.icc), metadata.exif
    if metadata.icc and not icc:
        notes.append("a damaged colour profile was dropped")
    if exif:
        try:
            patch_exif(exif, 1, 1)
        except (ValueError, struct.error):
            notes.append("damaged EXIF data was dropped")
            exif = None
    dpi = usable_dpi(metadata.dpi)
    if dpi is None and exif:
        dpi = usable_dpi(resolution_of(exif))
    return replace(metadata, icc=icc, exif=exif or None, dpi=dpi), notes


def _tiff_header(stream: BinaryIO, path: Path | None, page: int) -> Header:
    layout = tiff.read_layout(stream, page)
    width, height = layout.width, layout.height
    if layout.orientation >= 5:
        width, height = height, width
    info = ImageInfo(
        path,
        "tiff",
        width,
        height,
        channels=1 if layout.kind == "grey" else 3,
        has_alpha=layout.alpha is not None,
        bits=layout.bits,
        n_frames=len(layout.page_bits),
        page_bits=layout.page_bits,
        cmyk=layout.kind == "cmyk",
    )
    return Header(
        info,
        layout.orientation,
        layout.metadata,
        layout.notes,
        page,
        least_bytes=tiff_bytes(layout),
    )


def pillow_header(stream: BinaryIO, path: Path | None, format: FormatName) -> Header:
    """The header of what Pillow reads; nothing is decoded."""
    scan = pngchunks.scan(stream) if format == "png" else None
    bits, late_exif = (scan.bits, scan.late_exif) if scan else (8, None)
    if format == "avif":
        bits = _avif_bits(stream.read(1 << 16))
    image = open_image(stream, format)
    if image.mode == "1":
        bits = 1
    if format == "heif":
        bits = int(image.info.get("bit_depth", 8))
    exif_bytes = image.info.get("exif") or late_exif
    if late_exif:
        image.info["exif"] = late_exif
    notes: tuple[str, ...] = ()
    orientation = 1
    try:
        # The base class's method: PngImageFile.getexif decodes the picture to look for more.
        exif = Image.Image.getexif(image)
        orientation = tiff.valid_orientation(exif.get(ORIENTATION, 1))
        if not exif_bytes and len(exif):
            exif_bytes = exif.tobytes()
    except Exception:  # a damaged EXIF block must not cost the picture (see plain_errors)
        notes = ("damaged EXIF data was dropped",)
        exif_bytes = None
    channels, has_alpha = kind_of_mode(image)
    if scan and scan.colour_type == 4:
        channels = 1  # at 16 bits Pillow calls it RGBA
    if scan:
        notes = (*notes, *scan.notes)
    animation, animated_alpha = scan_frames(stream, format, scan)
    width, height = image.size
    n_frames, plays = 1, 0
    if animation is not None:
        n_frames, plays = len(animation.parts), animation.plays
        width, height = animation.width, animation.height
        has_alpha |= animated_alpha
        if format == "gif":  # a frame may be grey, and another coloured
            channels, has_alpha = 3, animated_alpha
    elif format in ("avif", "heif") and (n_avif := getattr(image, "n_frames", 1)) > 1:
        notes = (*notes, f"only the first of {n_avif} frames was taken")
    notes = (*notes, *other_content(stream, format))
    if orientation >= 5:
        width, height = height, width
    profile = _bmp_profile(stream) if format == "bmp" else None
    metadata, left_out = _pillow_metadata(image, exif_bytes, scan, profile)
    info = ImageInfo(
        path,
        format,
        width,
        height,
        channels,
        has_alpha,
        bits,
        n_frames,
        plays,
        cmyk=image.mode == "CMYK",
    )
    return Header(info, orientation, metadata, notes + left_out)


def scan_frames(
    stream: BinaryIO, format: FormatName, png: pngchunks.PngScan | None = None
) -> tuple[Animation | None, bool]:
    """The frames of an animation, None for a still; and whether something can be seen through."""
    if format == "gif":
        found = gif.scan(stream)
        return (found, gif.has_alpha(found)) if len(found.parts) > 1 else (None, False)
    if format == "webp":
        animated = webp.scan(stream)
        if animated is not None and len(animated.animation.parts) > 1:
            return animated.animation, animated.has_alpha
    if format == "png" and (png or pngchunks.scan(stream)).n_frames > 1:
        animation = apng.scan(stream)
        return animation, animation.leaves_holes
    return None, False


def _pillow_metadata(
    image: ImageFile.ImageFile,
    exif: Any,
    png: pngchunks.PngScan | None,
    profile: bytes | None,
) -> tuple[Metadata, tuple[str, ...]]:
    info = image.info
    applist = getattr(image, "applist", ())
    comments = [data for name, data in applist if name == "COM"]
    if image.format == "GIF" and isinstance(info.get("comment"), bytes):
        comments = [info["comment"]]
    notes: tuple[str, ...] = ()
    if any(data.startswith(_EXTENDED_XMP) for _, data in applist):
        notes = ("extended XMP data was left out",)
    xmp = png.xmp if png else info.get("xmp")
    resources = b"".join(
        data[14:] for name, data in applist if name == "APP13" and data[:14] == b"Photoshop 3.0\0"
    )
    return Metadata(
        icc=info.get("icc_profile") or profile,
        exif=strip_prefix(exif) if isinstance(exif, bytes) else None,
        dpi=info.get("dpi"),
        xmp=xmp if isinstance(xmp, bytes) else None,
        iptc=png.iptc if png else iptc_of_resources(resources),
        comments=tuple(comments),
        texts=tuple(png.texts) if png else (),
        colour=tuple(png.colour) if png else (),
    ), notes


def _bmp_profile(stream: BinaryIO) -> bytes | None:
    """The profile embedded in a BMP (BITMAPV5HEADER), which Pillow does not give."""
    stream.seek(14)
    head = stream.read(124)
    if len(head) < 124 or int.from_bytes(head[:4], "little") < 124 or head[56:60] != b"DEBM":
        return None
    at, length = struct.unpack_from("<II", head, 112)
    stream.seek(14 + at)
    return stream.read(min(length, 1 << 24)) or None


def open_image(stream: BinaryIO, format: FormatName, page: int = 0) -> ImageFile.ImageFile:
    """Pillow's image, not decoded; of a TIFF the page of this index."""
    stream.seek(0)
    if format == "heif":
        _prepare_heif()
    # "MPO", the JPEGs of phones with a second picture inside, is found through "JPEG".
    image = Image.open(stream, formats=[format.upper()])
    if page:
        image.seek(page)
    return image


def _prepare_heif() -> None:
    """Teach Pillow to read HEIC, through libheif.

    Raises:
        MediaError: the package for it is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError as exc:
        raise MediaError(
            "HEIC needs a package that is not installed", 'pip install "srcli[heic]"'
        ) from exc
    register_heif_opener()


def kind_of_mode(image: Image.Image) -> tuple[Literal[1, 3], bool]:
    """Channels without transparency, and whether there is transparency."""
    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    has_alpha = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA":
        has_alpha = True
    return (1 if grey else 3), has_alpha


def _avif_bits(head: bytes) -> int:
    """Bits per channel from the AV1 configuration box (AV1-ISOBMFF 2.3.3)."""
    at = head.find(b"av1C")
    if at < 0 or at + 7 > len(head):
        return 8
    flags = head[at + 6]
    if not flags & 0x40:
        return 8
    return 12 if flags & 0x20 else 10
