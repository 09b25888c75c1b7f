"""Windows icons: the largest picture in one, which is a PNG or a BMP without its file header."""

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from srcli.media import samples
from srcli.media.formats import FormatName
from srcli.media.header import pillow_header
from srcli.media.picture import Decoded, Header
from srcli.media.pngchunks import SIGNATURE

_DIRECTORY, _ENTRY = struct.Struct("<HHH"), struct.Struct("<BBBBHHII")
_DIB = struct.Struct("<Iii")


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    data, number = _largest(stream)
    one = io.BytesIO(data)
    if data.startswith(SIGNATURE):
        header = pillow_header(one, path, "png")
        header = replace(header, info=replace(header.info, n_frames=1))
    else:
        header = pillow_header(one, path, "ico")
    notes = (f"the largest of {number} pictures was taken",) if number > 1 else ()
    return replace(header, info=replace(header.info, format="ico"), notes=(*header.notes, *notes))


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    data, _ = _largest(stream)
    kind: FormatName = "png" if data.startswith(SIGNATURE) else "ico"
    plain = replace(header, info=replace(header.info, format=kind), orientation=1)
    return samples.decode_plain(io.BytesIO(data), plain)


def _largest(stream: BinaryIO) -> tuple[bytes, int]:
    """The largest picture as a file of its own, a PNG or an icon, and how many there are."""
    stream.seek(0)
    data = stream.read()
    _, _, number = _DIRECTORY.unpack_from(data)
    found: tuple[tuple[int, int], bytes] | None = None
    for k in range(number):
        entry = _ENTRY.unpack_from(data, _DIRECTORY.size + k * _ENTRY.size)
        length, at = entry[6], entry[7]
        picture = data[at : at + length]
        if len(picture) < length:
            raise EOFError
        if picture.startswith(SIGNATURE):
            width, height = struct.unpack_from(">II", picture, 16)
        else:
            _, width, height = _DIB.unpack_from(picture)
            height = abs(height) // 2  # the mask lies above the picture
            if width < 1 or width * height > 8 * length:  # Pillow decodes before it says the size
                raise EOFError
        rank = width * height, entry[5]
        if found is None or rank > found[0]:
            if not picture.startswith(SIGNATURE):
                # the directory's sizes have 8 bits, and Pillow believes them
                sizes = (min(width, 256) % 256, min(height, 256) % 256)
                one = (*sizes, *entry[2:6], length, _DIRECTORY.size + _ENTRY.size)
                picture = _DIRECTORY.pack(0, 1, 1) + _ENTRY.pack(*one) + picture
            found = rank, picture
    if found is None:
        raise ValueError("there is no picture in it")
    return found[1], number
