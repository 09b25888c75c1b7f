"""OpenEXR, by the OpenEXR project's own module, an extra."""

import contextlib
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.errors import MediaError
from srcli.media.linear_light import BT709, to_srgb
from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo

_STRAY_PIXELS = 1 << 24  # outside of the picture
_RGB, _LUMA = ("R", "G", "B"), ("Y",)
_opening = threading.Lock()


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    file = _open(stream, header_only=True)
    parts = file.parts
    head = parts[0].header
    names = {str(channel.name) for channel in head["channels"]}
    if not names.issuperset(_RGB) and (not names.issuperset(_LUMA) or {"RY", "BY"} & names):
        raise NotImplementedError("its channels are not R, G and B, or Y: " + ", ".join(names))
    wanted = _RGB if names.issuperset(_RGB) else _LUMA
    width, height = _size(head["displayWindow"])
    notes: tuple[str, ...] = ()
    if len(parts) > 1:
        notes = (f"only the first of {len(parts)} parts was taken",)
    if more := sorted(names - {*wanted, "A"}):
        notes = (*notes, f"these channels were left out: {', '.join(more)}"[:300])
    stored = _size(head["dataWindow"])
    if stored[0] * stored[1] > 4 * width * height + _STRAY_PIXELS:
        raise NotImplementedError("it holds far more than it shows")
    if "deep" in str(head.get("type")):
        raise NotImplementedError("deep pixels")
    channels: Literal[1, 3] = 3 if wanted == _RGB else 1
    info = ImageInfo(path, "exr", width, height, channels, "A" in names, 16)
    return Header(info, 1, Metadata(), notes)


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    part = _open(stream, header_only=False).parts[0]
    head, info = part.header, header.info
    names = _RGB if info.channels == 3 else _LUMA
    window = head["dataWindow"]
    light = _placed([part.channels[name].pixels for name in names], window, header, head)
    alpha = None
    if info.has_alpha:
        opacity = _placed([part.channels["A"].pixels], window, header, head)[:, :, 0]
        opacity = np.clip(np.nan_to_num(opacity), 0, 1)
        # colours are multiplied by it
        light = np.where(
            opacity[:, :, None] > 0, light / np.maximum(opacity, 1e-6)[:, :, None], light
        )
        alpha = np.rint(opacity * 65_535).astype(np.uint16)
    pixels, notes = to_srgb(light, _primaries(head))
    return pixels, alpha, None, notes


def _open(stream: BinaryIO, *, header_only: bool) -> Any:
    try:
        import OpenEXR
    except ImportError as exc:
        raise MediaError(
            "OpenEXR needs a package that is not installed", 'pip install "srcli[exr]"'
        ) from exc
    stream.seek(0)
    # of a damaged file it prints a word into the results, which is no word of ours
    with _opening, contextlib.redirect_stdout(_Others(sys.stdout)):
        return OpenEXR.File(stream, separate_channels=True, header_only=header_only, num_threads=1)


class _Others:
    """A stream in which nothing arrives that this thread writes, and all that others do."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _size(window: Any) -> tuple[int, int]:
    (left, top), (right, bottom) = (tuple(int(v) for v in corner) for corner in window)
    return right - left + 1, bottom - top + 1


def _primaries(head: Any) -> tuple[float, ...]:
    said = head.get("chromaticities")
    found = tuple(float(value) for value in said) if said is not None else BT709
    return found if len(found) == 8 and min(found[1::2]) > 0 else BT709


def _placed(
    planes: list[NDArray[Any]], window: Any, header: Header, head: Any
) -> NDArray[np.float32]:
    """Channels on the display window, black where the data window leaves it open."""
    width, height = _size(window)
    if any(plane.shape != (height, width) for plane in planes):
        raise NotImplementedError("its channels are of different sizes")
    left, top = (int(a) - int(b) for a, b in zip(window[0], head["displayWindow"][0], strict=True))
    out = np.zeros((header.info.height, header.info.width, len(planes)), np.float32)
    y0, y1 = max(0, top), min(header.info.height, top + height)
    x0, x1 = max(0, left), min(header.info.width, left + width)
    if y0 < y1 and x0 < x1:
        for k, plane in enumerate(planes):
            out[y0:y1, x0:x1, k] = plane[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
