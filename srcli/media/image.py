"""Pictures from files: what a file is (inspect) and what it shows (read, read_frames)."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from srcli.errors import MediaError
from srcli.media import apng, gif, jpeg, pngchunks, webp
from srcli.media.animation import Array, Part, composed
from srcli.media.colour import at_depth
from srcli.media.header import read_header, scan_frames
from srcli.media.picture import (
    MAX_PIXELS,
    Decoded,
    Frame,
    Header,
    ImageInfo,
    Picture,
    Pixels,
)
from srcli.media.samples import decode, turn, upright
from srcli.media.source import open_source, plain_errors

__all__ = [
    "MAX_PIXELS",
    "Frame",
    "ImageInfo",
    "Picture",
    "Pixels",
    "inspect",
    "is_opaque",
    "opaque",
    "read",
    "read_frames",
]

Depth = Literal[8, 16]


def inspect(source: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read a picture's header; nothing is decoded.

    Args:
        source: a file, or a stream at its start that can seek.
        max_pixels: pictures with more are refused.

    Raises:
        MediaError: there is no such file, it is no picture, or it is damaged or too large.
    """
    with _opened(source, max_pixels) as (_, _, header):
        pass
    return replace(header.info, notes=header.notes + depth_notes(header.info, 8))


def read(
    source: Path | BinaryIO,
    info: ImageInfo | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    depth: Depth = 8,
    inks: bool = False,
) -> Picture:
    """Decode a picture: upright, grey or RGB, transparency apart. Of several, the first.

    Args:
        source: a file, or a stream at its start.
        info: what inspect said; a file that has changed since is refused.
        max_pixels: pictures with more are refused.
        depth: 16 gives uint16 arrays for files of more than 8 bits, scaled to 0..65535.
        inks: CMYK stays (see Picture.black); else it is converted to sRGB.

    Raises:
        MediaError: there is no such file, it is no picture, or it is damaged or too large.
    """
    with _opened(source, max_pixels, info) as (stream, name, header):
        picture = next(_frames(stream, source, name, header, max_pixels, depth, inks)).picture
    if header.info.n_frames > 1:
        what = "pages" if header.info.format == "tiff" else "frames"
        note = f"only the first of {header.info.n_frames} {what} was taken"
        picture = replace(picture, notes=(*picture.notes, note))
    return picture


def is_opaque(
    source: Path | BinaryIO, info: ImageInfo | None = None, max_pixels: int = MAX_PIXELS
) -> bool:
    """Whether nothing of a picture can be seen through, whatever its header says. It is decoded.

    Args, raises: as ``read``.
    """
    return opaque(read(source, info, max_pixels, depth=16, inks=True))


def opaque(picture: Picture) -> bool:
    """The same of a decoded picture."""
    alpha = picture.alpha
    return alpha is None or bool((alpha == np.iinfo(alpha.dtype).max).all())


def read_frames(
    source: Path | BinaryIO,
    info: ImageInfo | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    depth: Depth = 8,
    inks: bool = False,
) -> Iterator[Frame]:
    """Decode all frames of an animation, or all pages, one after the other; or the one picture.

    Args:
        source, info, max_pixels, depth, inks: as ``read``.

    Yields:
        Frames of an animation are of one size and kind; pages may differ.

    Raises:
        MediaError: as ``read``.
    """
    with _opened(source, max_pixels, info) as (stream, name, header):
        yield from _frames(stream, source, name, header, max_pixels, depth, inks)


@contextmanager
def _opened(
    source: Path | BinaryIO, max_pixels: int, info: ImageInfo | None = None
) -> Iterator[tuple[BinaryIO, str, Header]]:
    """A source's stream, its name, and its header, which is to agree with what was said before."""
    with open_source(source) as (opened, name):
        stream, said = pngchunks.mended(opened)
        header = read_header(stream, source, name, max_pixels)
        now = header.info
        if info is not None and (now.width, now.height, now.n_frames) != (
            info.width,
            info.height,
            info.n_frames,
        ):
            raise MediaError(f"{name} changed while srcli was working", "run srcli again")
        yield stream, name, replace(header, notes=(*said, *header.notes))


def _frames(
    stream: BinaryIO,
    source: Path | BinaryIO,
    name: str,
    header: Header,
    max_pixels: int,
    depth: Depth,
    inks: bool,
) -> Iterator[Frame]:
    info = header.info
    if info.n_frames > 1 and info.format != "tiff":
        with plain_errors(name, info.format):
            yield from _animation(stream, name, header, depth)
        return
    yield Frame(_decoded(stream, name, header, depth, inks))
    for page in range(1, info.n_frames):
        following = read_header(stream, source, name, max_pixels, page)
        yield Frame(_decoded(stream, name, following, depth, inks))


def _decoded(
    stream: BinaryIO, name: str, header: Header, depth: Depth, inks: bool = False
) -> Picture:
    with plain_errors(name, header.info.format):
        decoded = decode(stream, header, inks=inks)
        if header.info.format == "jpeg":
            header = _with_what_follows(stream, header)
    return _picture(name, header, decoded, depth)


def _with_what_follows(stream: BinaryIO, header: Header) -> Header:
    """With the gain map of an HDR picture, and a word about what else a JPEG holds."""
    stream.seek(0)
    found = jpeg.other_content(stream.read())
    gain_map = found.gain_map
    if gain_map is not None:
        turned = turn(gain_map.pixels, header.orientation)
        size = header.info.height, header.info.width
        gain_map = replace(gain_map, pixels=turned, size=size)
    metadata = replace(header.metadata, gain_map=gain_map)
    notes = (*header.notes, *found.notes)
    return replace(header, metadata=metadata, notes=notes, quality=found.quality)


def _picture(name: str, header: Header, decoded: Decoded, depth: Depth) -> Picture:
    pixels, alpha, icc, notes = decoded
    info = header.info
    expected = (info.height, info.width, info.channels)
    black: Pixels | None = None
    if info.cmyk and pixels.shape[2] == 4:
        pixels, black = np.ascontiguousarray(pixels[:, :, :3]), pixels[:, :, 3]
    if pixels.shape != expected or (alpha is not None and alpha.shape != expected[:2]):
        raise MediaError(f"{name} is damaged: its header and its pixels disagree")
    held: Depth = 16 if depth == 16 and info.bits > 8 else 8
    return Picture(
        pixels=at_depth(pixels, held),
        alpha=None if alpha is None else at_depth(alpha, held),
        black=None if black is None else at_depth(np.ascontiguousarray(black), held),
        metadata=replace(header.metadata, icc=icc),
        notes=(*header.notes, *notes, *depth_notes(info, depth)),
        quality=header.quality,
    )


def _animation(stream: BinaryIO, name: str, header: Header, depth: Depth) -> Iterator[Frame]:
    info = header.info
    animation, _ = scan_frames(stream, info.format)
    assert animation is not None, "read_header found frames"
    icc = header.metadata.icc

    def still(part: Part) -> tuple[Array, Array | None]:
        if info.format == "gif":
            data = gif.still(stream, part)
        elif info.format == "webp":
            data = webp.still(stream, part)
        else:
            data = apng.still(stream, animation, part)
        one = io.BytesIO(data)
        # a frame may be larger than the canvas by what gif.scan allows, and no more
        part_header = read_header(one, one, name, max(MAX_PIXELS, info.width * info.height))
        pixels, alpha, _, _ = decode(one, part_header)
        return pixels, alpha

    for pixels, alpha, seconds in composed(animation, still, info.channels):
        seen = upright(pixels, alpha if info.has_alpha else None, header.orientation)
        yield Frame(_picture(name, header, (*seen, icc, ()), depth), seconds)


def depth_notes(info: ImageInfo, depth: int) -> tuple[str, ...]:
    """A word about bits that are not read."""
    held = 8 if info.shallow or info.format in ("avif", "heif") else depth  # Pillow's limit
    return (f"{info.bits}-bit picture read at {held} bits",) if info.bits > held else ()
