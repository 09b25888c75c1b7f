"""What a caller gives as a picture, and what he names to be written, as the rooms have them."""

from __future__ import annotations

import io
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.errors import MediaError, UsageError
from srcli.media.remote import is_url
from srcli.sizes import pixels_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from srcli.media.image import Picture

    Array = NDArray[Any]

FilePath = str | os.PathLike[str]
Encoded = bytes | bytearray | memoryview

_FLOAT_SLACK = 1e-3  # how far from 0..1 a float sample may lie: filters overshoot, 0..255 does not


@dataclass(frozen=True)
class Given:
    """A picture as it was given.

    Attributes:
        source: a path, the bytes of a file, or an array.
        pillow: it was a Pillow image, whose bytes these are.
    """

    source: Any
    pillow: bool = False

    @property
    def encoded(self) -> bool:
        """Whether it is a file or the bytes of one."""
        return isinstance(self.source, Path | bytes)

    def size(self, max_pixels: int) -> tuple[int, int]:
        """(height, width), as it is to be seen."""
        if not self.encoded:
            height, width = picture_of(self.source, max_pixels).pixels.shape[:2]
            return height, width
        from srcli.media.image import inspect

        info = inspect(self._opened(), max_pixels)
        return info.height, info.width

    def read(self, max_pixels: int) -> Picture:
        from srcli.media.image import read

        return read(self._opened(), max_pixels=max_pixels, depth=16)

    def _opened(self) -> Path | io.BytesIO:
        if isinstance(self.source, Path):
            check_source(self.source)
            return self.source
        return io.BytesIO(self.source)


def given_by(source: object) -> Given:
    """Raises UsageError if it is nothing that holds a picture."""
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not path:
            raise UsageError("the name of the picture is empty")
        if is_url(path):
            raise UsageError(
                f"{path} is a URL, and upscale takes a file's name",
                "give the bytes that you fetched, or use the command: srcli upscale URL",
            )
        return Given(Path(path))
    if isinstance(source, bytes | bytearray | memoryview):
        if not len(source):
            raise UsageError("the bytes given are empty")
        return Given(bytes(source))
    if "PIL" in sys.modules:
        from PIL import Image

        if isinstance(source, Image.Image):
            return Given(_stored(source), pillow=True)
    if type(source).__module__ != "numpy" and not hasattr(source, "__array_interface__"):
        raise UsageError(
            f"a {type(source).__name__} is not an array, a Pillow image, a path or bytes",
            "give a numpy array, a PIL.Image.Image, a path, or the bytes of a file",
        )
    return Given(source)


def _stored(image: Image.Image) -> bytes:
    """A Pillow image as the bytes of a file without loss: then it is read as all files are."""
    if not image.width or not image.height:
        raise UsageError(f"a Pillow image of {image.width}x{image.height} has no pixels")
    if image.mode in ("F", "I"):
        array = "floats in 0..1" if image.mode == "F" else "16 bits (uint16)"
        raise UsageError(
            f"a Pillow image of mode {image.mode} has no known range",
            f"give an array of {array}, or convert it to L",
        )
    if image.mode in ("YCbCr", "HSV", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "PA":
        image = image.convert("RGBA")
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    kind = "TIFF" if image.mode in ("CMYK", "LAB") else "PNG"
    fast = {"compress_level": 1} if kind == "PNG" else {}
    out = io.BytesIO()
    try:
        image.save(out, kind, exif=image.getexif(), **fast)
    except (OSError, ValueError) as exc:
        raise UsageError(f"a Pillow image of mode {image.mode} cannot be used: {exc}") from exc
    return out.getvalue()


def fitted(lr_size: tuple[int, int], width: int | None, height: int | None) -> tuple[int, int]:
    """(height, width) of the result, with the picture's proportions."""
    lr_height, lr_width = lr_size
    wanted = [n / m for n, m in ((width, lr_width), (height, lr_height)) if n is not None]
    return max(1, round(lr_height * min(wanted))), max(1, round(lr_width * min(wanted)))


def spelled(path: FilePath) -> str:
    """As typed on the command line, where "-" is a stream."""
    return os.path.join(".", "-") if os.fspath(path) == "-" else os.fspath(path)  # noqa: PTH118


def check_source(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, and upscale takes one picture")


def check_named(given: Given, output: FilePath) -> None:
    """UsageError for a name that no file can have; and for a folder, where the picture has no name
    that its file there could have."""
    if "\0" in os.fspath(output):
        raise UsageError(f"output, {os.fspath(output)!r}, is a name that no file can have")
    if isinstance(given.source, Path):
        return
    if Path(output).is_dir() or os.fspath(output).endswith(("/", os.sep)):
        raise UsageError(
            f"output is a folder, {os.fspath(output)}, and the picture is not from a file whose "
            "name could be used there",
            f"name the file to write, for example output={str(Path(output, 'large.png'))!r}",
        )


def check_target(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise UsageError(f"{path} exists", "name another output, or pass overwrite=True")


def picture_of(array: Array, max_pixels: int, *, deep: bool | None = None) -> Picture:
    """An array as the rooms have pictures: (h, w, 1 or 3), alpha apart.

    Floats stay floats if they have no alpha and ``deep`` is None; else they become uint16, or uint8
    if it is False, as uint16 does then.
    """
    import numpy as np

    from srcli.media.image import Picture
    from srcli.media.metadata import Metadata

    if not isinstance(array, np.ndarray):  # what can be seen as one: numpy's own scalars, say
        array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise UsageError(
            f"an array of shape {array.shape} is not a picture",
            "shapes are (h, w), (h, w, 1), (h, w, 2), (h, w, 3) and (h, w, 4)",
        )
    if array.size == 0:
        raise UsageError(f"an array of shape {array.shape} has no pixels")
    if array.shape[0] * array.shape[1] > max_pixels:
        size, limit = pixels_apart(array.shape[0] * array.shape[1], max_pixels)
        raise MediaError(
            f"the array has {size}, over the limit of {limit}", "raise it with max_pixels"
        )
    samples = _known(array)
    if samples.ndim == 3 and samples.shape[2] in (2, 4) and deep is None:
        deep = True  # what is hidden under alpha is filled in integers
    if deep is not None and samples.dtype == np.float32:
        white, kind = (65_535, np.uint16) if deep else (255, np.uint8)
        samples = np.rint(samples * np.float32(white)).astype(kind)
    elif deep is False and samples.dtype == np.uint16:
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    alpha = None
    if samples.shape[2] in (2, 4):
        samples, alpha = samples[:, :, :-1], np.ascontiguousarray(samples[:, :, -1])
    pixels: Any = np.ascontiguousarray(samples)  # float32 here, which Picture does not name
    return Picture(pixels, alpha, Metadata())


def _known(array: Array) -> Array:
    """uint8, uint16 or float32 in 0..1."""
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return array.astype(np.uint16, copy=False)  # in this machine's byte order
    if array.dtype.kind != "f":
        raise UsageError(
            f"an array of {array.dtype} has no known range",
            "convert it: uint8 in 0..255, uint16 in 0..65535, or float in 0..1",
        )
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError("the array holds values that are not finite numbers")
    if low < -_FLOAT_SLACK or high > 1 + _FLOAT_SLACK:
        raise UsageError(
            f"the array's floats lie in {low:.4g}..{high:.4g}, and the range is 0..1",
            "divide by the largest value, for example 255, or convert to uint8 or uint16",
        )
    return np.clip(array, 0, 1).astype(np.float32)
