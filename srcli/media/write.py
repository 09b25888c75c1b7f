"""Pixels to files: rows in from top to bottom, a whole file under its name at the end or none."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import numpy as np
from PIL import features

from srcli.errors import MediaError, UsageError
from srcli.media.colour import inks_left
from srcli.media.deflate import pipeline_bytes
from srcli.media.encode import Choices, Encoder, Page, Sequence, Strip, mode_of, open_encoder
from srcli.media.formats import FORMATS, Format, FormatName, check_output, format_of
from srcli.media.metadata import Metadata
from srcli.media.output_metadata import OutputMetadata, for_later_frame, output_metadata
from srcli.media.target import Target, open_target

__all__ = ["Page", "Sequence", "Writer", "memory_needed", "open_writer"]

QUALITY = 95
_FRAME_COPIES = 4  # the one before, the one that comes, and what packing it takes


def memory_needed(
    format: FormatName,
    size: tuple[int, int],
    channels: int,
    alpha: bool,
    bits: int = 8,
    *,
    animated: bool = False,
) -> int:
    """About how many bytes a Writer of this kind holds at its largest.

    Args:
        format: of the output.
        size: (height, width) in pixels.
        channels: 1, 3 or 4.
        alpha: there is one more.
        bits: per channel.
        animated: it has frames.
    """
    height, width = size
    if format == "gif" or animated:
        return _FRAME_COPIES * height * width * (channels + alpha) * bits // 8
    if FORMATS[format].streams:
        return pipeline_bytes(width * (channels + alpha) * bits // 8)
    stored = 1 if mode_of(FORMATS[format], channels, alpha) == "L" else 4  # Pillow keeps RGB in 4
    # WebP and AVIF copy the picture once out of Pillow and once into their own planes.
    encoder = {"webp": 8, "avif": 9}.get(format, 0)
    return height * width * (stored + encoder)


def open_writer(
    path: Path | BinaryIO,
    *,
    size: tuple[int, int],
    channels: Literal[1, 3, 4],
    alpha: bool,
    bits: Literal[8, 16] = 8,
    metadata: Metadata | None = None,
    format: FormatName | None = None,
    quality: int | None = None,
    lossless: bool = False,
    sequence: Sequence | None = None,
) -> "Writer":
    """A writer of one picture, to be used in a `with` statement; nothing is created before that.

    Args:
        path: the file, whose folder exists, or a stream, which gets all at the end or nothing.
        size: (height, width) in pixels.
        channels: 1, 3, or 4 for CMYK: what each ink leaves, full without ink.
        alpha: the strips have one more channel, the last, not multiplied into the others.
        bits: 8 for uint8 strips, 16 for uint16 strips.
        metadata: written as far as the format can hold it.
        format: by the path's extension if not given.
        quality: 1 to 100, for JPEG, WebP and AVIF; 95 if not given.
        lossless: WebP without loss; formats that always lose something are refused.
        sequence: there are several pictures, each of which begins with Writer.begin; the size and
            so on are those of the first.

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
    check_output(entry, width, height, alpha, bits, lossless=lossless)
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is not between 1 and 100")
    if entry.name == "avif" and not features.check("avif"):
        raise UsageError("this Pillow cannot write AVIF", "use .webp, or install a newer Pillow")
    if isinstance(path, Path) and path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a plain file"
        raise MediaError(f"{path} cannot be written: it is {kind}")
    if sequence is not None and entry.several is None:
        raise UsageError(f"{entry.title} cannot hold several pictures", "use .gif, .webp or .tif")
    if channels == 4 and not entry.inks:
        raise UsageError(f"{entry.title} cannot hold CMYK", "use .tif or .jpg")
    page = Page(size, channels, alpha, bits, metadata or Metadata())
    return Writer(path, entry, page, Choices(quality or QUALITY, lossless), sequence)


class Writer:
    """Takes rows from top to bottom; made by open_writer.

    Leaving the `with` block normally finishes the file and gives it its name; leaving it by an
    exception removes what was written, and a file that had the name before is as it was.

    Attributes:
        bytes_in_memory: about what it holds at its largest.
        notes: what of the metadata the format could not take, of all pages begun, as plain
            sentences.
    """

    def __init__(
        self,
        path: Path | BinaryIO,
        entry: Format,
        page: Page,
        choices: Choices,
        sequence: Sequence | None,
    ) -> None:
        self._path = path
        self._entry, self._choices, self._sequence = entry, choices, sequence
        self._page = page
        self._taken, self._begun = 0, 0
        self._target: Target | None = None
        self._encoder: Encoder | None = None
        self.bytes_in_memory = memory_needed(
            entry.name,
            page.size,
            page.channels,
            page.alpha,
            page.bits,
            animated=sequence is not None and entry.several == "frames",
        )
        self._output = self._output_metadata(page)
        self.notes = self._output.notes

    def _output_metadata(self, page: Page) -> OutputMetadata:
        return output_metadata(page.metadata, self._entry, page.channels, page.size)

    def __enter__(self) -> Self:
        self._target = open_target(self._path)
        try:
            self._encoder = open_encoder(
                self._target, self._entry, self._choices, self._page, self._sequence
            )
            if self._sequence is None:
                self.begin(self._page)
        except BaseException:
            self._target.abort()
            raise
        return self

    def begin(self, page: Page, seconds: Fraction | None = None) -> None:
        """Begin the next picture of several.

        Args:
            page: of an animation the same each time.
            seconds: how long a frame is shown.

        Raises:
            UsageError, ResourceError: the format cannot hold this page.
        """
        assert self._encoder is not None, "begin outside the with block"
        self._check_complete()
        if self._begun and self._entry.several == "pages":
            height, width = page.size
            check_output(self._entry, width, height, page.alpha, page.bits)
            self._output = self._output_metadata(page)
            self.notes += tuple(n for n in self._output.notes if n not in self.notes)
        elif self._begun:
            assert page.size == self._page.size, "the frames of an animation are of one size"
            self._output = for_later_frame(self._output)
        self._page, self._taken = page, 0
        self._begun += 1
        self._encoder.begin(page, self._output.metadata, seconds or Fraction(0))

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
        page = self._page
        height, width = page.size
        assert strip.ndim == 3 and strip.shape[1:] == (width, page.samples), strip.shape
        assert strip.dtype == (np.uint8 if page.bits == 8 else np.uint16), strip.dtype
        self._taken += len(strip)
        assert self._taken <= height, f"{self._taken} rows of {height}"
        if self._output.to_srgb is not None:
            strip = self._output.to_srgb(strip)  # type: ignore[arg-type]
        if page.channels == 4:
            strip = strip.copy()
            strip[:, :, :4] = inks_left(strip[:, :, :4])
        self._encoder.rows(strip)

    def _check_complete(self) -> None:
        height = self._page.size[0]
        assert not self._begun or self._taken == height, f"{self._taken} rows of {height}"

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
                n_frames = 1 if self._sequence is None else self._sequence.n_frames
                assert self._begun == n_frames, f"{self._begun} pictures of {n_frames}"
                self._check_complete()
                encoder.finish()
                self._target.commit()
        except BaseException:
            kind = BaseException
            raise
        finally:
            if kind is not None:
                encoder.abort()
                self._target.abort()
