"""Pictures from files: what a file is (inspect) and what it shows (read).

Pillow decodes, with two exceptions. It reads 16-bit RGB by keeping the high bytes only, so PNGs of
that kind are decoded twice, once for each byte; and TIFFs of more than 8 bits go through tifffile.
"""

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from srcli.errors import MediaError, SrcliError
from srcli.media import tiff
from srcli.media.formats import FORMATS, READABLE_TITLES, FormatName
from srcli.media.metadata import (
    Metadata,
    icc_space,
    patch_exif,
    strip_prefix,
    usable_dpi,
    usable_icc,
)

MAX_PIXELS = 500_000_000
# Pillow's own limit would refuse, or warn about, pictures that ours allows. Ours is checked against
# the file's header before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# A file that is cut short must not become a picture with a grey half.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pillow warns about oddities in files (EXIF, palettes); what matters becomes a note.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION = 0x0112
_PNG_HEADER_BYTES = 33

Pixels = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a picture's header says.

    Attributes:
        path: the file, or None for a stream.
        width, height: in pixels, after the EXIF orientation.
        channels: 1 (grey) or 3 (RGB; palettes and CMYK become RGB).
        has_alpha: it has transparency.
        bits: per channel, by the file's format and not by its values.
        n_frames: more than 1 for animations and TIFFs of several pages.
        notes: what a user may want to know, as plain sentences.
    """

    path: Path | None
    format: FormatName
    width: int
    height: int
    channels: Literal[1, 3]
    has_alpha: bool
    bits: int
    n_frames: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (height, width, channels), channels 1 or 3, uint8 (uint16 if read with depth 16).
        alpha: (height, width) of the same type, not multiplied into pixels; None if opaque.
        metadata: to be written with the result.
        notes: what was left out or changed, as plain sentences.
    """

    pixels: Pixels
    alpha: Pixels | None
    metadata: Metadata
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> Literal[8, 16]:
        """Bits per channel of the arrays."""
        return 16 if self.pixels.dtype == np.uint16 else 8


@dataclass(frozen=True, slots=True)
class _Header:
    info: ImageInfo
    orientation: int
    metadata: Metadata
    notes: tuple[str, ...] = ()


def inspect(source: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read a picture's header; nothing is decoded.

    Args:
        source: a file, or a stream at its start that can seek.
        max_pixels: pictures with more are refused.

    Raises:
        MediaError: there is no such file, it is no picture, or it is damaged or too large.
    """
    with _stream(source) as (stream, name):
        header = _read_header(stream, source, name, max_pixels)
    return replace(header.info, notes=header.notes + _depth_notes(header.info, 8))


def read(
    source: Path | BinaryIO,
    info: ImageInfo | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    depth: Literal[8, 16] = 8,
) -> Picture:
    """Decode a picture: upright, grey or RGB, transparency apart.

    Args:
        source: a file, or a stream at its start.
        info: what inspect said; a file that has changed since is refused.
        max_pixels: pictures with more are refused.
        depth: 16 gives uint16 arrays for files of more than 8 bits, scaled to 0..65535.

    Raises:
        MediaError: there is no such file, it is no picture, or it is damaged or too large.
    """
    with _stream(source) as (stream, name):
        header = _read_header(stream, source, name, max_pixels)
        size = (header.info.width, header.info.height)
        if info is not None and size != (info.width, info.height):
            raise MediaError(f"{name} changed while srcli was working", "run srcli again")
        with _plain_errors(name, header.info.format):
            decoded = _decode(stream, header)
    pixels, alpha, icc, notes = decoded
    expected = (size[1], size[0], header.info.channels)
    if pixels.shape != expected or (alpha is not None and alpha.shape != expected[:2]):
        raise MediaError(f"{name} is damaged: its header and its pixels disagree")
    deep = depth == 16 and header.info.bits > 8
    return Picture(
        pixels=_at_depth(pixels, 16 if deep else 8),
        alpha=None if alpha is None else _at_depth(alpha, 16 if deep else 8),
        metadata=replace(header.metadata, icc=icc),
        notes=(*header.notes, *notes, *_depth_notes(header.info, depth)),
    )


# Files and errors


@contextmanager
def _stream(source: Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """The source as a stream that can seek, and its name for messages."""
    if isinstance(source, Path):
        try:
            if source.is_dir():
                raise MediaError(f"{source} is a folder, not a picture")
            with source.open("rb") as stream:
                if not stream.seekable():
                    yield io.BytesIO(stream.read()), str(source)
                else:
                    yield stream, str(source)
        except OSError as exc:
            reason = "does not exist" if isinstance(exc, FileNotFoundError) else exc.strerror
            raise MediaError(f"{source} cannot be read: {reason or exc}") from exc
        return
    named = getattr(source, "name", None)
    name = named if isinstance(named, str) and named != "<stdin>" else "the standard input"
    if not source.seekable():
        yield io.BytesIO(source.read()), name
    else:
        source.seek(0)
        yield source, name
        source.seek(0)


@contextmanager
def _plain_errors(name: str, format: FormatName) -> Iterator[None]:
    """Whatever a decoder raises about a file becomes one plain sentence.

    Decoders meet hostile input here, and raise nearly every class of exception there is (OSError,
    SyntaxError, ValueError, struct.error, zlib.error, KeyError, RuntimeError, MemoryError ...).
    """
    title = FORMATS[format].title
    try:
        yield
    except SrcliError:
        raise
    except MemoryError as exc:
        raise MediaError(f"{name} does not fit in memory") from exc
    except Exception as exc:
        text = " ".join(str(exc).split())
        low = text.lower()
        if isinstance(exc, EOFError) or any(
            word in low for word in ("truncated", "not enough image data", "cut short", "eof")
        ):
            message = f"{name} is cut short: the end of the {title} is missing"
        elif (
            not isinstance(exc, (OSError, SyntaxError, ValueError, zlib.error))
            or isinstance(exc, UnidentifiedImageError)
            or not text
        ):  # what other exceptions say is of use to programmers only
            message = f"{name} is damaged, or a kind of {title} that srcli cannot read"
        else:
            message = f"{name} is damaged and cannot be decoded as {title} ({text[:200]})"
        raise MediaError(message) from exc


def _sniff(head: bytes, name: str) -> FormatName:
    """The format by the file's first bytes: what a name ends in proves nothing."""
    if not head:
        raise MediaError(f"{name} is empty")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:2] == b"BM":
        return "bmp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16:]):
        return "avif"
    raise MediaError(f"{name} is not a picture that srcli can read", f"it reads {READABLE_TITLES}")


# Headers


def _read_header(stream: BinaryIO, source: Path | BinaryIO, name: str, max_pixels: int) -> _Header:
    format = _sniff(stream.read(64), name)
    path = source if isinstance(source, Path) else None
    with _plain_errors(name, format):
        stream.seek(0)
        if format == "tiff":
            header = _tiff_header(stream, path)
        else:
            header = _pillow_header(stream, path, format)
    width, height = header.info.width, header.info.height
    if width < 1 or height < 1:
        raise MediaError(f"{name} is damaged: its header says {width} x {height} pixels")
    if width * height > max_pixels:
        megapixels = [f"{count / 1e6:,.4g}" for count in (width * height, max_pixels)]
        if width * height > 1e10:
            megapixels[0] = f"{width * height / 1e6:,.0f}"
        raise MediaError(
            f"{name} is {megapixels[0]} megapixels, over the limit of {megapixels[1]}",
            "raise it with --max-pixels",
        )
    notes = list(header.notes)
    frames = header.info.n_frames
    if frames > 1:
        what = "pages" if format == "tiff" else "frames"
        notes.append(f"only the first of {frames} {what} was taken")
    metadata, dropped = _checked(header.metadata)
    return replace(header, metadata=metadata, notes=(*notes, *dropped))


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
    return Metadata(icc, exif or None, usable_dpi(metadata.dpi)), notes


def _tiff_header(stream: BinaryIO, path: Path | None) -> _Header:
    layout = tiff.read_layout(stream)
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
        n_frames=layout.n_pages,
    )
    return _Header(info, layout.orientation, layout.metadata)


def _pillow_header(stream: BinaryIO, path: Path | None, format: FormatName) -> _Header:
    bits, late_exif, grey_alpha = 8, None, False
    if format == "png":
        bits, late_exif, grey_alpha = _scan_png(stream)
    elif format == "avif":
        bits = _avif_bits(stream.read(1 << 16))
    image = _open(stream, format)
    if image.mode == "1":
        bits = 1
    exif_bytes = image.info.get("exif") or late_exif
    if late_exif:
        image.info["exif"] = late_exif
    notes: tuple[str, ...] = ()
    orientation = 1
    try:
        # The base class's method: PngImageFile.getexif decodes the picture to look for more.
        exif = Image.Image.getexif(image)
        orientation = tiff.valid_orientation(exif.get(_ORIENTATION, 1))
        if not exif_bytes and len(exif):
            exif_bytes = exif.tobytes()
    except Exception:  # a damaged EXIF block must not cost the picture (see _plain_errors)
        notes = ("damaged EXIF data was dropped",)
        exif_bytes = None
    channels, has_alpha = _kind_of_mode(image)
    if grey_alpha:
        channels = 1  # at 16 bits Pillow calls it RGBA
    try:
        n_frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception:  # damage behind the first frame must not cost the first frame
        n_frames = 1
    width, height = image.size
    if orientation >= 5:
        width, height = height, width
    metadata = Metadata(
        icc=image.info.get("icc_profile"),
        exif=strip_prefix(exif_bytes) if isinstance(exif_bytes, bytes) else None,
        dpi=image.info.get("dpi"),
    )
    info = ImageInfo(path, format, width, height, channels, has_alpha, bits, n_frames)
    return _Header(info, orientation, metadata, notes)


def _open(stream: BinaryIO, format: FormatName) -> ImageFile.ImageFile:
    stream.seek(0)
    # "MPO", the JPEGs of phones with a second picture inside, is found through "JPEG".
    return Image.open(stream, formats=[format.upper()])


def _kind_of_mode(image: Image.Image) -> tuple[Literal[1, 3], bool]:
    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    has_alpha = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA":
        has_alpha = True
    return (1 if grey else 3), has_alpha


def _scan_png(stream: BinaryIO) -> tuple[int, bytes | None, bool]:
    """The bits per channel, the EXIF chunk if it lies behind the pixels, and: grey and alpha."""
    head = stream.read(_PNG_HEADER_BYTES)
    if len(head) < _PNG_HEADER_BYTES or head[12:16] != b"IHDR":
        raise EOFError
    bits, colour_type = head[24], head[25]
    bits = 8 if colour_type == 3 else bits
    seen_pixels = False
    for _ in range(1_000_000):
        start = stream.read(8)
        if len(start) < 8 or start[4:] == b"IEND":
            break
        length = int.from_bytes(start[:4], "big")
        seen_pixels |= start[4:] == b"IDAT"
        if start[4:] == b"eXIf" and seen_pixels and length < 1 << 24:
            return bits, stream.read(length), colour_type == 4
        stream.seek(length + 4, io.SEEK_CUR)
    return bits, None, colour_type == 4


def _avif_bits(head: bytes) -> int:
    """Bits per channel from the AV1 configuration box (AV1-ISOBMFF 2.3.3)."""
    at = head.find(b"av1C")
    if at < 0 or at + 7 > len(head):
        return 8
    flags = head[at + 6]
    if not flags & 0x40:
        return 8
    return 12 if flags & 0x20 else 10


# Pixels

_Decoded = tuple[Pixels, Pixels | None, bytes | None, tuple[str, ...]]


def _decode(stream: BinaryIO, header: _Header) -> _Decoded:
    """(pixels, alpha, icc, notes), upright; uint16 is of full range, whatever the file's bits."""
    info, icc = header.info, header.metadata.icc
    if info.format == "tiff":
        pixels, alpha, icc, notes = _decode_tiff(stream, header)
    elif info.format == "png" and info.bits == 16:
        samples, key = _deep_png(stream)
        pixels, alpha = samples[:, :, : info.channels], None
        if samples.shape[2] > info.channels:
            alpha = samples[:, :, info.channels]
        elif key is not None:
            alpha = _keyed(pixels, key, 65_535)
        notes = ()
    else:
        image = _open(stream, info.format)
        _check_size(image, header)
        image.load()
        pixels, alpha, icc, notes = _from_image(image, info.bits, icc)
    if info.format != "tiff":
        pixels, alpha = _upright(pixels, alpha, header.orientation)
    return pixels, alpha, icc, notes


def _check_size(image: Image.Image, header: _Header) -> None:
    """That the decoder is about to decode what was checked against the limit."""
    if sorted(image.size) != sorted((header.info.width, header.info.height)):
        raise ValueError("two sizes in one header")


def _decode_tiff(stream: BinaryIO, header: _Header) -> _Decoded:
    """By Pillow (libtiff) what has up to 8 bits or is packed with LZW; the rest by tifffile."""
    layout = tiff.read_layout(stream)
    icc = header.metadata.icc
    if layout.bits <= 8 or not layout.decodable:
        try:
            decoded = _pillow_tiff(stream, header, layout)
        except Exception:  # libtiff declines layouts that tifffile reads (see _plain_errors)
            if not layout.decodable:
                raise
        else:
            fits = decoded[0].shape[2] == header.info.channels
            if fits and (decoded[1] is not None) == (layout.alpha is not None):
                return decoded
            if not layout.decodable:
                raise ValueError("its samples are laid out in an unknown way")
    samples = tiff.read_samples(stream, layout)
    notes: tuple[str, ...] = ()
    pixels: Pixels = samples[:, :, : header.info.channels]
    alpha: Pixels | None = None if layout.alpha is None else samples[:, :, layout.alpha]
    if layout.kind == "cmyk":
        ink = Image.fromarray(np.ascontiguousarray(_at_depth(samples[:, :, :4], 8)), "CMYK")
        rgb, icc, notes = _cmyk_to_rgb(ink, icc)
        pixels = np.asarray(rgb)
        alpha = None if alpha is None else _at_depth(alpha, 8)
    if alpha is not None and layout.premultiplied:
        pixels = _unmultiplied(pixels, alpha)
    pixels, alpha = _upright(pixels, alpha, layout.orientation)
    return pixels, alpha, icc, notes


def _pillow_tiff(stream: BinaryIO, header: _Header, layout: tiff.Layout) -> _Decoded:
    image = _open(stream, "tiff")
    _check_size(image, header)
    if layout.bits == 16 and image.mode in ("RGB", "RGBA"):
        pixels, alpha = _deep_tiff(stream, layout)
        return pixels, alpha, header.metadata.icc, ()
    image.load()
    left = tiff.valid_orientation(image.getexif().get(_ORIENTATION, 1))
    pixels, alpha, icc, notes = _from_image(
        image, layout.bits, header.metadata.icc, inverted=layout.inverted
    )
    pixels, alpha = _upright(pixels, alpha, left)
    return pixels, alpha, icc, notes


def _deep_png(stream: BinaryIO) -> tuple[NDArray[np.uint16], tuple[int, ...] | None]:
    """The samples of a 16-bit PNG (h, w, c), and its colour key, exactly."""
    stream.seek(0)
    data = bytearray(stream.read())
    colour_type = data[25]
    if colour_type == 4:
        # Grey and alpha at 16 bits is laid out as RGBA at 8, filters and interlacing included.
        data[24:26] = b"\x08\x06"
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        image = _open(io.BytesIO(data), "png")
        image.load()
        return np.asarray(image).view(">u2").astype(np.uint16), None
    whole = io.BytesIO(data)
    image = _open(whole, "png")
    key = image.info.get("transparency")
    if colour_type == 0:
        image.load()
        grey = np.asarray(image).astype(np.uint16)[:, :, None]
        return grey, (key,) if isinstance(key, int) else None
    samples = _both_bytes(lambda: _open(whole, "png"))
    return samples, tuple(key) if isinstance(key, tuple) and len(key) == 3 else None


def _deep_tiff(stream: BinaryIO, layout: tiff.Layout) -> tuple[Pixels, Pixels | None]:
    """A 16-bit RGB TIFF in a compression that only Pillow knows (LZW)."""
    samples = _both_bytes(lambda: _open(stream, "tiff"))
    alpha = samples[:, :, 3] if samples.shape[2] > 3 else None
    pixels: Pixels = samples[:, :, :3]
    if alpha is not None and layout.premultiplied:
        pixels = _unmultiplied(pixels, alpha)
    return pixels, alpha


def _both_bytes(open_again: Callable[[], ImageFile.ImageFile]) -> NDArray[np.uint16]:
    """Samples of 16 bits, from one picture decoded twice.

    Pillow unpacks RGB of 16 bits by dropping the low byte. Told the other byte order, it drops the
    high one.
    """
    big_endian = True
    halves = []
    for order in ("B", "L"):  # the first byte of each pair, then the second
        image = open_again()
        tiles = []
        for tile in image.tile:
            args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            kind = str(args[0])
            if not kind.endswith((";16B", ";16L", ";16N")):
                raise ValueError(f"16-bit samples of kind {kind}")
            big_endian = kind.endswith("B") or (kind.endswith("N") and sys.byteorder == "big")
            # RGBa would divide the colours by the alpha, byte by byte.
            changed = (kind[:-1].replace("RGBa", "RGBA") + order, *args[1:])
            whole = changed if isinstance(tile.args, tuple) else changed[0]
            tiles.append(tile._replace(args=whole))
        image.tile = tiles
        image.load()
        halves.append(np.asarray(image))
    high, low = halves if big_endian else halves[::-1]
    samples = high.astype(np.uint16)
    samples <<= 8
    samples |= low
    return samples


def _from_image(
    image: Image.Image, bits: int, icc: bytes | None, *, inverted: bool = False
) -> _Decoded:
    """Arrays of a loaded Pillow image of any mode, not yet upright."""
    notes: tuple[str, ...] = ()
    mode = image.mode
    key = image.info.get("transparency")
    pixels: Pixels
    if mode == "F" or mode.startswith("I"):
        samples = np.asarray(image)
        pixels = tiff.full_range(samples, bits, inverted=inverted)[:, :, None]
        return pixels, None, icc, notes
    if mode in ("P", "PA"):
        has_alpha = _kind_of_mode(image)[1]
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif mode == "CMYK":
        image, icc, notes = _cmyk_to_rgb(image, icc)
    elif mode == "LAB":
        image = _lab_to_rgb(image)
        icc, notes = None, ("Lab colours were converted to sRGB",)
    elif mode in ("1", "La", "RGBa", "RGBX", "YCbCr", "HSV"):
        image = image.convert({"1": "L", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB"))
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"pixels of kind {mode}")
    samples = np.asarray(image)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    if samples.shape[2] in (2, 4):
        return samples[:, :, :-1], np.ascontiguousarray(samples[:, :, -1]), icc, notes
    if mode in ("1", "L") and isinstance(key, int):
        # The key counts in the file's bits; Pillow has stretched the samples to 8.
        stretched = min(255, key * 255 // (2 ** min(bits, 8) - 1))
        return samples, _keyed(samples, (stretched,), 255), icc, notes
    if mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        return samples, _keyed(samples, key, 255), icc, notes
    return samples, None, icc, notes


def _keyed(pixels: Pixels, key: tuple[int, ...], opaque: int) -> Pixels:
    """Alpha of a picture in which one colour is transparent (PNG's tRNS)."""
    seen = (pixels != np.array(key, np.int64)).any(axis=2)
    return np.where(seen, opaque, 0).astype(pixels.dtype)


def _cmyk_to_rgb(
    image: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """To sRGB by the picture's own profile, or by plain arithmetic without one."""
    if icc is not None and icc_space(icc) == "CMYK":
        try:
            rgb = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            rgb = None
        if rgb is not None:
            return rgb, _srgb_profile(), ("CMYK colours were converted to sRGB by their profile",)
    note = "CMYK colours were converted to RGB without a profile and may look different"
    return image.convert("RGB"), None, (note,)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    rgb = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert rgb is not None
    return rgb


def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _upright(
    pixels: Pixels, alpha: Pixels | None, orientation: int
) -> tuple[Pixels, Pixels | None]:
    """Turned and mirrored as EXIF's orientation (1 to 8) says."""
    if alpha is not None:
        alpha = cast(Pixels, np.ascontiguousarray(_turned(alpha, orientation)))
    return cast(Pixels, np.ascontiguousarray(_turned(pixels, orientation))), alpha


def _turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _unmultiplied(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Colours divided by their alpha, by which some TIFFs have them multiplied."""
    full = np.iinfo(pixels.dtype).max
    out = np.empty_like(pixels)
    for row in range(len(pixels)):
        scaled = pixels[row].astype(np.uint64) * full
        divisor = np.maximum(alpha[row], 1).astype(np.uint64)[:, None]
        out[row] = np.minimum((scaled + divisor // 2) // divisor, full)
    return out


def _at_depth(samples: Pixels, depth: Literal[8, 16]) -> Pixels:
    """Samples of the full range of one type, as the full range of the other, rounded."""
    if depth == 16:
        return samples.astype(np.uint16) * 257 if samples.dtype == np.uint8 else samples
    if samples.dtype == np.uint8:
        return samples
    out = np.empty(samples.shape, np.uint8)
    for row in range(0, len(samples), 64):  # the 32-bit sums need not exist all at once
        # v / 257 is v * 255 / 65535; 128 of 257 rounds it, and there are no ties.
        out[row : row + 64] = (samples[row : row + 64].astype(np.uint32) + 128) // 257
    return out


def _depth_notes(info: ImageInfo, depth: int) -> tuple[str, ...]:
    held = 8 if info.format == "avif" else depth  # Pillow decodes AVIF to 8 bits
    return (f"{info.bits}-bit picture read at {held} bits",) if info.bits > held else ()
