"""Pixels to files: rows in from top to bottom, a whole file under its name at the end or none."""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.media.atomic import part_of, plain_errors
from srcli.media.deflate import pipeline_bytes
from srcli.media.formats import FORMATS, Format, FormatName, check_output, format_of
from srcli.media.metadata import Metadata, exif_for, icc_for
from srcli.media.png import PngEncoder
from srcli.media.tiff import TiffEncoder

QUALITY = 95
_JPEG_EXIF_BYTES = 65_533 - 6  # one marker segment, less the prefix

Strip = NDArray[np.uint8] | NDArray[np.uint16]


class _Encoder(Protocol):
    def rows(self, strip: Strip) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


def memory_needed(
    format: FormatName, size: tuple[int, int], channels: int, alpha: bool, bits: int = 8
) -> int:
    """About how many bytes a Writer of this kind holds at its largest.

    Args:
        format: of the output.
        size: (height, width) in pixels.
        channels: 1 or 3.
        alpha: there is one more.
        bits: per channel.
    """
    height, width = size
    if FORMATS[format].streams:
        return pipeline_bytes(width * (channels + alpha) * bits // 8)
    stored = 1 if _mode(FORMATS[format], channels, alpha) == "L" else 4  # Pillow keeps RGB in 4
    # WebP and AVIF copy the picture once out of Pillow and once into their own planes.
    encoder = {"webp": 8, "avif": 9}.get(format, 0)
    return height * width * (stored + encoder)


def open_writer(
    path: Path | BinaryIO,
    *,
    size: tuple[int, int],
    channels: Literal[1, 3],
    alpha: bool,
    bits: Literal[8, 16] = 8,
    metadata: Metadata | None = None,
    format: FormatName | None = None,
    quality: int | None = None,
    lossless: bool = False,
) -> "Writer":
    """A writer of one picture, to be used in a `with` statement; nothing is created before that.

    Args:
        path: the file, whose folder exists, or a stream, which gets all at the end or nothing.
        size: (height, width) in pixels.
        channels: 1 or 3.
        alpha: the strips have one more channel, the last, not multiplied into the others.
        bits: 8 for uint8 strips, 16 for uint16 strips.
        metadata: written as far as the format can hold it.
        format: by the path's extension if not given.
        quality: 1 to 100, for JPEG, WebP and AVIF; 95 if not given.
        lossless: WebP without loss.

    Raises:
        UsageError: the format is unknown or cannot hold such a picture.
        ResourceError: the format cannot hold so many pixels.
    """
    if format is None:
        if not isinstance(path, Path):
            raise UsageError("a stream has no extension to tell the format by", "name the format")
        entry = format_of(path)
    else:
        entry = FORMATS[format]
    height, width = size
    check_output(entry, width, height, alpha, bits)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is not between 1 and 100")
    if entry.name == "avif" and not features.check("avif"):
        raise UsageError("this Pillow cannot write AVIF", "use .webp, or install a newer Pillow")
    if isinstance(path, Path) and path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a plain file"
        raise MediaError(f"{path} cannot be written: it is {kind}")
    return Writer(
        path,
        entry,
        size=size,
        channels=channels,
        alpha=alpha,
        bits=bits,
        metadata=metadata or Metadata(),
        quality=QUALITY if quality is None else quality,
        lossless=lossless,
    )


class Writer:
    """Takes rows from top to bottom; made by open_writer.

    Leaving the `with` block normally finishes the file and gives it its name; leaving it by an
    exception removes what was written, and a file that had the name before is as it was.

    Attributes:
        bytes_in_memory: about what it holds at its largest.
        notes: what of the metadata the format could not take, as plain sentences.
    """

    def __init__(
        self,
        path: Path | BinaryIO,
        entry: Format,
        *,
        size: tuple[int, int],
        channels: Literal[1, 3],
        alpha: bool,
        bits: Literal[8, 16],
        metadata: Metadata,
        quality: int,
        lossless: bool,
    ) -> None:
        self._path = path
        self._entry = entry
        self._size = size
        self._samples = channels + alpha
        self._bits = bits
        self._quality, self._lossless = quality, lossless
        self._mode = _mode(entry, channels, alpha)
        self._taken = 0
        self._target: _Target | None = None
        self._encoder: _Encoder | None = None
        self.bytes_in_memory = memory_needed(entry.name, size, channels, alpha, bits)
        notes = []
        self._icc = icc_for(metadata, 1 if self._mode in ("L", "LA") else 3)
        self._exif = exif_for(metadata, size[1], size[0])
        self._dpi = metadata.dpi
        if entry.name == "bmp" and (self._icc or self._exif):
            notes.append("BMP holds no colour profile and no EXIF: they were left out")
        if entry.name == "jpeg" and self._exif and len(self._exif) > _JPEG_EXIF_BYTES:
            notes.append("the EXIF data is too long for JPEG and was left out")
            self._exif = None
        self.notes: tuple[str, ...] = tuple(notes)

    def __enter__(self) -> Self:
        target = _FileTarget(self._path) if isinstance(self._path, Path) else None
        self._target = target or _StreamTarget(self._path)  # type: ignore[arg-type]
        try:
            self._encoder = self._new_encoder(self._target)
        except BaseException:
            self._target.abort()
            raise
        return self

    def rows(self, strip: Strip) -> None:
        """Write the next rows.

        Args:
            strip: (n, width, channels, alpha included), uint8 or, for 16 bits, uint16. It is
                copied before this returns.

        Raises:
            ResourceError: the disk is full.
            MediaError: the file cannot be written.
        """
        assert self._encoder is not None, "rows outside the with block"
        height, width = self._size
        assert strip.ndim == 3 and strip.shape[1:] == (width, self._samples), strip.shape
        assert strip.dtype == (np.uint8 if self._bits == 8 else np.uint16), strip.dtype
        self._taken += len(strip)
        assert self._taken <= height, f"{self._taken} rows of {height}"
        self._encoder.rows(strip)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._target is not None and self._encoder is not None
        encoder, self._encoder = self._encoder, None
        try:
            if kind is None:
                height = self._size[0]
                assert self._taken == height, f"{self._taken} rows of {height}"
                encoder.finish()
                self._target.commit()
        except BaseException:
            kind = BaseException
            raise
        finally:
            if kind is not None:
                encoder.abort()
                self._target.abort()

    def _new_encoder(self, target: "_Target") -> _Encoder:
        height, width = self._size
        if self._entry.name == "png":
            return PngEncoder(
                target.write,
                height=height,
                width=width,
                channels=self._samples,
                bits=self._bits,
                icc=self._icc,
                exif=self._exif,
                dpi=self._dpi,
            )
        if self._entry.name == "tiff":
            return TiffEncoder(
                target.write,
                target.patch,
                height=height,
                width=width,
                channels=self._samples,
                bits=self._bits,
                icc=self._icc,
                exif=self._exif,
                dpi=self._dpi,
            )
        options: dict[str, Any] = {}
        if self._entry.name != "bmp":
            options = {"quality": self._quality, "icc_profile": self._icc}
            if self._exif:
                prefix = b"Exif\0\0" if self._entry.name == "jpeg" else b""
                options["exif"] = prefix + self._exif
        if self._entry.name == "jpeg":
            options |= {"subsampling": 0, "optimize": False}
        elif self._entry.name == "webp":
            # Without `exact`, colours under alpha 0 are zeroed: a loss, if an unseen one.
            options |= {"lossless": self._lossless, "exact": self._lossless}
            if self._lossless:
                options["quality"] = 70  # there it means effort
        elif self._entry.name == "avif":
            options |= {"subsampling": "4:4:4"}
        if self._dpi and self._entry.name in ("jpeg", "bmp"):
            options["dpi"] = self._dpi
        return _PillowEncoder(target.write, self._size, self._mode, self._entry, options)


def _mode(entry: Format, channels: int, alpha: bool) -> str:
    """Pillow's mode for the picture; RGB where the format has no grey."""
    if channels == 1 and entry.grey:
        return "LA" if alpha else "L"
    return "RGBA" if alpha else "RGB"


class _PillowEncoder:
    """Gathers the picture in Pillow's own memory and encodes it at the end."""

    def __init__(
        self,
        write: Any,
        size: tuple[int, int],
        mode: str,
        entry: Format,
        options: dict[str, Any],
    ) -> None:
        self._write = write
        self._entry = entry
        self._options = options
        self._row = 0
        try:
            self._image = Image.new(mode, (size[1], size[0]), None)
        except MemoryError as exc:
            needed = size[0] * size[1] * len(mode) / 1e9
            raise ResourceError(
                f"{entry.title} is encoded in memory, and {needed:.1f} GB of it could not be had",
                "use .png or .tif, which are written strip by strip",
            ) from exc

    def rows(self, strip: Strip) -> None:
        samples = np.ascontiguousarray(strip)
        if samples.shape[2] == 1:
            piece = Image.fromarray(samples[:, :, 0])
        else:
            piece = Image.fromarray(samples)  # 2 channels: LA, 3: RGB, 4: RGBA
        if piece.mode != self._image.mode:
            piece = piece.convert(self._image.mode)
        self._image.paste(piece, (0, self._row))
        self._row += len(strip)

    def finish(self) -> None:
        sink: Any = _Sink(self._write)
        try:
            self._image.save(sink, self._entry.name.upper(), **self._options)
        except SrcliError:
            raise
        except MemoryError as exc:
            message = f"there is not enough memory to encode {self._entry.title}"
            raise ResourceError(message) from exc
        except (OSError, ValueError, RuntimeError, SystemError) as exc:
            raise MediaError(f"{self._entry.title} could not be encoded: {exc}") from exc

    def abort(self) -> None:
        self._image.close()


class _Sink(io.RawIOBase):
    """A stream for Pillow without a file number, so that every byte comes through `write`."""

    def __init__(self, write: Any) -> None:
        self._to = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._to(bytes(data))
        return len(data)


# Where the bytes go


class _Target(Protocol):
    def write(self, data: bytes) -> None: ...
    def patch(self, at: int, data: bytes) -> None: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...


class _FileTarget:
    """A hidden file beside the final one, renamed at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = part_of(path)
        with self._errors():
            self._file: IO[bytes] = self._part.open("xb")

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(str(self._path), self._path.parent)

    def write(self, data: bytes) -> None:
        with self._errors():
            self._file.write(data)

    def patch(self, at: int, data: bytes) -> None:
        with self._errors():
            self._file.seek(at)
            self._file.write(data)

    def commit(self) -> None:
        with self._errors():
            self._file.flush()
            # Some disks report only now that they are full; and after a crash the name must not
            # stand for an empty file.
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)


class _StreamTarget:
    """A stream, such as standard output, that gets the file whole or not at all."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        named = getattr(stream, "name", None)
        self._name = named if isinstance(named, str) and named[:1] != "<" else "the standard output"
        with self._errors():
            # Closed by commit or abort.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return plain_errors(self._name, Path(tempfile.gettempdir()))

    def write(self, data: bytes) -> None:
        with self._errors():
            self._file.write(data)

    def patch(self, at: int, data: bytes) -> None:
        with self._errors():
            self._file.seek(at)
            self._file.write(data)

    def commit(self) -> None:
        with self._errors():
            self._file.seek(0)
        try:
            shutil.copyfileobj(self._file, self._stream)
            self._stream.flush()
        except OSError as exc:
            raise MediaError(f"{self._name} cannot be written: {exc.strerror or exc}") from exc
        self.abort()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
