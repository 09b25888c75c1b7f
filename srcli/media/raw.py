"""Camera raw files, developed by LibRaw through rawpy, an extra."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from srcli.errors import MediaError
from srcli.media.colour import srgb_profile
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo

_KEPT = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)  # of the first directory
_INNER = (0x8769, 0x8825)  # EXIF and GPS
_MAKER_NOTE = 0x927C


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    with _opened(stream) as raw:
        sizes = raw.sizes
        # LibRaw's flip: 5 and 6 are quarter turns
        turned = sizes.flip in (5, 6)
        size = (sizes.height, sizes.width) if turned else (sizes.width, sizes.height)
        ratio = sizes.pixel_aspect
    if not 0.99 < ratio < 1.01:
        raise NotImplementedError("its pixels are not square")
    info = ImageInfo(path, "raw", *size, 3, False, 16)
    exif, notes = _exif(stream)
    return Header(info, 1, Metadata(exif=exif, icc=srgb_profile()), notes)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    with _opened(stream) as raw:
        pixels = raw.postprocess(use_camera_wb=True, output_bps=16)
    notes = ("the camera's raw samples were developed by LibRaw's defaults",)
    return np.ascontiguousarray(pixels), None, header.metadata.icc, notes


def _opened(stream: BinaryIO) -> Any:
    try:
        import rawpy
    except ImportError as exc:
        raise MediaError(
            "camera raw files need a package that is not installed", 'pip install "srcli[raw]"'
        ) from exc
    stream.seek(0)
    try:
        return rawpy.imread(io.BytesIO(stream.read()))
    except rawpy.LibRawError as exc:
        said = exc.args[0] if exc.args else b""
        text = said.decode("latin-1") if isinstance(said, bytes) else str(said)
        raise ValueError(text or "LibRaw does not read it") from exc


def _exif(stream: BinaryIO) -> tuple[bytes | None, tuple[str, ...]]:
    """What the first directory says of the photo; the maker's notes point into the file."""
    stream.seek(0)
    if stream.read(4)[2:] not in (b"*\0", b"\0*"):
        return None, ()
    stream.seek(0)
    try:
        found, kept = Image.Exif(), Image.Exif()
        found.load_from_fp(stream)
        for tag in _KEPT:
            if tag in found:
                kept[tag] = found[tag]
        for tag in _INNER:
            inner = dict(found.get_ifd(tag))
            inner.pop(_MAKER_NOTE, None)
            if inner:
                kept.get_ifd(tag).update(inner)
        return kept.tobytes()[6:] or None, ()
    except Exception:  # a damaged EXIF block must not cost the picture (see plain_errors)
        return None, ("damaged EXIF data was dropped",)
