"""JPEG 2000 (ISO/IEC 15444-1): OpenJPEG decodes, through Pillow or pylibjpeg-openjpeg.

Pillow reads 16 bits of grey alone, and carries no metadata of a JP2 file. pylibjpeg-openjpeg, an
extra, gives the samples as they are.
"""

import io
import logging
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from srcli.errors import MediaError
from srcli.media.boxes import boxes
from srcli.media.exif import strip_prefix
from srcli.media.header import open_image, pillow_header
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header
from srcli.media.sample_range import full_range
from srcli.media.samples import decode_plain

_MAX_BYTES = 1 << 26  # of metadata
_CODESTREAM = b"\xff\x4f\xff\x51"
_EXIF = bytes.fromhex("4a706754696666457869662d3e4a5032")  # "JpgTiffExif->JP2"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_SYCC = 18


@dataclass(frozen=True, slots=True)
class _Scan:
    """What lies before the pixels.

    Attributes:
        bits: per sample, the most of all components.
        components: of the codestream, before a palette.
        sycc: colours are luma and chroma, which pylibjpeg-openjpeg leaves as they are.
    """

    bits: int
    components: int
    sycc: bool
    metadata: Metadata


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    header = pillow_header(stream, path, "jpeg2000")
    found, info = _scan(stream), header.info
    if found.bits > 8 and found.components > 1:
        # Pillow's 8 bits of them would be wrong: what is nearly white becomes black.
        if found.sycc or info.cmyk:
            raise NotImplementedError(f"CMYK or YCC of {found.bits} bits")
        if _openjpeg() is None:
            raise MediaError(
                f"JPEG 2000 of {found.bits} bits in colour needs a package that is not installed",
                'pip install "srcli[jpeg2000]"',
            )
    return replace(
        header,
        info=replace(info, bits=found.bits),
        orientation=1,  # the standard has none: the picture is stored as it is seen
        metadata=replace(found.metadata, dpi=header.metadata.dpi),
    )


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    info, icc, decoder = header.info, header.metadata.icc, _openjpeg()
    samples = info.channels + info.has_alpha
    if info.bits > 8 and samples > 1 and decoder is not None:
        stream.seek(0)
        array = decoder.decode(stream.read())
        if array.shape != (info.height, info.width, samples) or array.dtype != np.uint16:
            raise ValueError("its samples are laid out in an unknown way")
        array = full_range(array, info.bits)
        colours = array[:, :, : info.channels]
        if info.has_alpha:
            return colours, np.ascontiguousarray(array[:, :, -1]), icc, ()
        return colours, None, icc, ()
    pixels, alpha, icc, notes = decode_plain(stream, header, inks=inks)
    if samples == 1 and info.bits != 8:
        image = open_image(stream, "jpeg2000")
        image.load()
        # Pillow moves the bits to the upper end of its 8 or 16
        spare = (16 if image.mode == "I;16" else 8) - info.bits
        array = np.asarray(image) >> max(0, spare)
        pixels = full_range(array, info.bits)[:, :, None]
    return pixels, alpha, icc, notes


def _openjpeg() -> Any:
    """The module openjpeg, or None where it is not installed."""
    try:
        import openjpeg
    except ImportError:
        return None
    # It logs what is wrong with a file, and raises it too.
    logging.getLogger("openjpeg").setLevel(logging.CRITICAL + 1)
    return openjpeg


def _scan(stream: BinaryIO) -> _Scan:
    stream.seek(0)
    metadata: dict[str, Any] = {}
    sycc, at = False, 0
    if stream.read(4) != _CODESTREAM:
        size = stream.seek(0, io.SEEK_END)
        for kind, start, end in boxes(stream, 0, size):
            if kind == b"jp2c":
                at = start
                break
            if kind == b"jp2h":
                for inner, first, last in boxes(stream, start, end):
                    if inner == b"colr":
                        _read_colours(_part(stream, first, last), metadata)
                sycc = metadata.pop("space", None) == _SYCC
            elif kind == b"uuid":
                data = _part(stream, start, end)
                name = {_EXIF: "exif", _XMP: "xmp", _IPTC: "iptc"}.get(data[:16])
                if name is not None:
                    metadata.setdefault(name, data[16:])
    stream.seek(at)
    head = stream.read(42)
    if head[:4] != _CODESTREAM:
        raise ValueError("there is no codestream in it")
    (components,) = struct.unpack_from(">H", head, 40)
    sizes = stream.read(3 * components)
    if not sizes or len(sizes) < 3 * components:
        raise EOFError
    bits = max((size & 0x7F) + 1 for size in sizes[::3])
    if bits > 16:
        raise NotImplementedError(f"{bits} bits per sample")
    if "exif" in metadata:
        metadata["exif"] = strip_prefix(metadata["exif"])
    return _Scan(bits, components, sycc, Metadata(**metadata))


def _read_colours(data: bytes, metadata: dict[str, Any]) -> None:
    """A colour specification: a number of the standard's, or a profile."""
    if data[:1] == b"\1" and len(data) >= 7:
        metadata.setdefault("space", int.from_bytes(data[3:7], "big"))
    elif data[:1] in (b"\2", b"\3"):
        metadata.setdefault("icc", data[3:])


def _part(stream: BinaryIO, start: int, end: int) -> bytes:
    if end - start > _MAX_BYTES:
        raise ValueError("a box of an impossible length")
    stream.seek(start)
    return stream.read(end - start)
