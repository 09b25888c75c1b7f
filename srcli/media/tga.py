"""TGA (Truevision's specification, version 2.0): Pillow decodes, the header says what alpha is."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from srcli.media.header import open_image, pillow_header
from srcli.media.picture import Decoded, Header
from srcli.media.samples import from_image

_HEAD_BYTES = 18
_ALPHA_BITS = 0x0F  # of the image descriptor


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    header = pillow_header(stream, path, "tga")
    if header.info.has_alpha and not _has_alpha(stream):
        header = replace(header, info=replace(header.info, has_alpha=False))
    return header


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    image = open_image(stream, "tga")
    image.load()
    pixels, alpha, icc, notes = from_image(image, 8, None)
    if alpha is not None and not header.info.has_alpha:
        if alpha.min() != alpha.max():
            notes = (*notes, "a fourth channel that is no transparency was left out")
        alpha = None
    return pixels, alpha, icc, notes


def _has_alpha(stream: BinaryIO) -> bool:
    """Whether bits of a pixel, or of a palette's colour, are alpha."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    return bool(head[17] & _ALPHA_BITS) or (head[1] == 1 and head[7] == 32)
