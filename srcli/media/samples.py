"""The samples of a picture file, upright, whatever it stores them as.

Pillow decodes, with two exceptions. It reads 16-bit RGB by keeping the high bytes only, so PNGs of
that kind are decoded twice, once for each byte; and of most TIFFs it only unpacks (see tiffdata).
"""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from srcli.media import jpeg, pngchunks, tiff
from srcli.media.colour import at_depth, cmyk_to_rgb, inks_left, lab_to_rgb, unmultiplied
from srcli.media.header import ORIENTATION, kind_of_mode, open_image
from srcli.media.picture import Decoded, Header, Pixels
from srcli.media.readers import reader_of
from srcli.media.sample_range import clipped_notes, full_range


def decode(stream: BinaryIO, header: Header, *, inks: bool = False) -> Decoded:
    """(pixels, alpha, icc, notes), upright; uint16 is of full range, whatever the file's bits.

    With ``inks``, pixels of CMYK are what each of the four inks leaves, full without ink.
    """
    if header.info.format == "tiff":
        return _decode_tiff(stream, header, inks)
    reader = reader_of(header.info.format)
    if reader is not None:
        pixels, alpha, icc, notes = reader.decode(stream, header, inks=inks)
    else:
        pixels, alpha, icc, notes = decode_plain(stream, header, inks=inks)
    pixels, alpha = upright(pixels, alpha, header.orientation)
    return pixels, alpha, icc, notes


def decode_plain(stream: BinaryIO, header: Header, *, inks: bool = False) -> Decoded:
    """Decoded by Pillow, whose format this is, and not turned."""
    info, icc = header.info, header.metadata.icc
    if info.format == "png" and info.bits == 16:
        samples, key = _deep_png(stream)
        pngchunks.check_pixels(stream)
        pixels: Pixels = samples[:, :, : info.channels]
        alpha: Pixels | None = None
        if samples.shape[2] > info.channels:
            alpha = samples[:, :, info.channels]
        elif key is not None:
            alpha = _keyed(pixels, key, 65_535)
        return pixels, alpha, icc, ()
    image, said = _loaded(stream, header)
    if info.format == "png":
        pngchunks.check_pixels(stream)
    pixels, alpha, icc, notes = from_image(image, info.bits, icc, inks=inks)
    return pixels, alpha, icc, (*said, *notes)


def _loaded(stream: BinaryIO, header: Header) -> tuple[Image.Image, tuple[str, ...]]:
    """Pillow's image, decoded, and a word about what was mended for it."""
    format = header.info.format
    image = open_image(stream, format)
    _check_size(image, header)
    try:
        image.load()
    except OSError:
        whole = _with_end(stream) if format == "jpeg" else None
        if whole is None:
            raise
        image = open_image(whole, "jpeg")
        image.load()
        return image, ("the end marker of the JPEG is missing; all its pixels are there",)
    return image, ()


def _with_end(stream: BinaryIO) -> io.BytesIO | None:
    """A JPEG that lacks no more than its end marker, mended."""
    stream.seek(0)
    whole = jpeg.with_end(stream.read())
    return None if whole is None else io.BytesIO(whole)


def _check_size(image: Image.Image, header: Header) -> None:
    """That the decoder is about to decode what was checked against the limit."""
    if sorted(image.size) != sorted((header.info.width, header.info.height)):
        raise ValueError("two sizes in one header")


def _decode_tiff(stream: BinaryIO, header: Header, inks: bool) -> Decoded:
    """By what its strips and tiles say; else by Pillow: palettes, Lab, YCbCr, and what is packed by
    JPEG, WebP or a fax's codes."""
    layout = tiff.read_layout(stream, header.page)
    if layout.kind in ("palette", "other") or isinstance(layout.packing, NotImplementedError):
        return _pillow_tiff(stream, header, layout, inks)
    samples, notes = tiff.read_samples(stream, layout)
    icc = header.metadata.icc
    pixels: Pixels = samples[:, :, : header.info.channels]
    alpha: Pixels | None = None if layout.alpha is None else samples[:, :, -1]
    if layout.kind == "cmyk":
        pixels = samples[:, :, :4]
        if alpha is not None and layout.premultiplied:
            pixels = unmultiplied(pixels, alpha)
        if inks:
            pixels = inks_left(pixels)
        else:
            ink = Image.fromarray(np.ascontiguousarray(at_depth(pixels, 8)), "CMYK")
            rgb, icc, said = cmyk_to_rgb(ink, icc)
            notes += said
            pixels = np.asarray(rgb)
            alpha = None if alpha is None else at_depth(alpha, 8)
            if layout.bits > 8:
                notes = (*notes, f"{layout.bits}-bit CMYK was converted at 8 bits")
    elif alpha is not None and layout.premultiplied:
        pixels = unmultiplied(pixels, alpha)
    pixels, alpha = upright(pixels, alpha, layout.orientation)
    return pixels, alpha, icc, notes


def _pillow_tiff(stream: BinaryIO, header: Header, layout: tiff.Layout, inks: bool) -> Decoded:
    """What Pillow makes of it, if it has as many channels as the file says."""
    if layout.page < 0:
        raise NotImplementedError(f"its picture lies beneath a thumbnail; {_why_not(layout)}")
    try:
        image = open_image(stream, "tiff", layout.page)
    except UnidentifiedImageError as exc:  # Pillow knows no such layout
        raise NotImplementedError(_why_not(layout)) from exc
    _check_size(image, header)
    image.load()
    left = tiff.valid_orientation(image.getexif().get(ORIENTATION, 1))
    pixels, alpha, icc, notes = from_image(
        image, layout.bits, header.metadata.icc, inverted=layout.inverted, inks=inks
    )
    n = 4 if inks and layout.kind == "cmyk" else header.info.channels
    deep = layout.bits > 8 and pixels.dtype == np.uint8
    if deep or pixels.shape[2] != n or (alpha is not None) != (layout.alpha is not None):
        raise NotImplementedError(_why_not(layout))
    pixels, alpha = upright(pixels, alpha, left)
    return pixels, alpha, icc, notes


def _why_not(layout: tiff.Layout) -> str:
    if layout.kind == "other":
        return "its colours are not grey, RGB, CMYK, a palette or 8-bit Lab"
    if isinstance(layout.packing, NotImplementedError):
        return str(layout.packing)
    return f"a palette of {layout.bits} bits"


def _deep_png(stream: BinaryIO) -> tuple[NDArray[np.uint16], tuple[int, ...] | None]:
    """The samples of a 16-bit PNG (h, w, c), and its colour key, exactly."""
    stream.seek(0)
    data = bytearray(stream.read())
    colour_type = data[25]
    if colour_type == 4:
        # Grey and alpha at 16 bits is laid out as RGBA at 8, filters and interlacing included.
        data[24:26] = b"\x08\x06"
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        image = open_image(io.BytesIO(data), "png")
        image.load()
        return np.asarray(image).view(">u2").astype(np.uint16), None
    whole = io.BytesIO(data)
    image = open_image(whole, "png")
    key = image.info.get("transparency")
    if colour_type == 0:
        image.load()
        grey = np.asarray(image).astype(np.uint16)[:, :, None]
        return grey, (key,) if isinstance(key, int) else None
    samples = _both_bytes(lambda: open_image(whole, "png"))
    return samples, tuple(key) if isinstance(key, tuple) and len(key) == 3 else None


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


def from_image(
    image: Image.Image,
    bits: int,
    icc: bytes | None,
    *,
    inverted: bool = False,
    inks: bool = False,
) -> Decoded:
    """Arrays of a loaded Pillow image of any mode, not yet upright."""
    notes: tuple[str, ...] = ()
    mode = image.mode
    key = image.info.get("transparency")
    pixels: Pixels
    if mode == "F" or mode.startswith("I"):
        samples = np.asarray(image)
        pixels = full_range(samples, bits, inverted=inverted)[:, :, None]
        return pixels, None, icc, clipped_notes(samples)
    if mode in ("P", "PA"):
        has_alpha = kind_of_mode(image)[1]
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif mode == "CMYK" and inks:
        return inks_left(np.asarray(image)), None, icc, ()
    elif mode == "CMYK":
        image, icc, notes = cmyk_to_rgb(image, icc)
    elif mode == "LAB":
        image = lab_to_rgb(image)
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


def upright(pixels: Pixels, alpha: Pixels | None, orientation: int) -> tuple[Pixels, Pixels | None]:
    """Turned and mirrored as EXIF's orientation (1 to 8) says."""
    if alpha is not None:
        alpha = cast(Pixels, np.ascontiguousarray(turn(alpha, orientation)))
    return cast(Pixels, np.ascontiguousarray(turn(pixels, orientation))), alpha


def turn(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """One array of them; it may be a view."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
