"""Which module reads a format that neither Pillow nor tifffile reads in full."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from srcli.media.formats import FormatName
from srcli.media.picture import Decoded, Header

_MODULES: dict[FormatName, str] = {
    "netpbm": "srcli.media.netpbm",
    "psd": "srcli.media.psd",
    "sgi": "srcli.media.sgi",
    "ico": "srcli.media.ico",
    "tga": "srcli.media.tga",
    "dds": "srcli.media.dds",
    "jpeg2000": "srcli.media.jpeg2000",
    "jxl": "srcli.media.jxl",
    "exr": "srcli.media.exr",
    "hdr": "srcli.media.radiance",
    "raw": "srcli.media.raw",
}


class Reader(Protocol):
    """A module that reads one format.

    Both functions raise whatever suits them about a damaged file (see plain_errors).
    """

    def read_header(self, stream: BinaryIO, path: Path | None) -> Header:
        """What the file says of itself; nothing is decoded."""
        ...

    def decode(self, stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
        """(pixels, alpha, icc, notes), not yet turned upright as the header says."""
        ...


def reader_of(format: FormatName) -> Reader | None:
    """The module for a format, or None: then it is Pillow's, or tifffile's."""
    name = _MODULES.get(format)
    return None if name is None else cast(Reader, import_module(name))
