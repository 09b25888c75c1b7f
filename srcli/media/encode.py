"""Pixels to bytes: one encoder a format, all fed with rows from top to bottom."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srcli.errors import MediaError, ResourceError, SrcliError
from srcli.media import gainmap
from srcli.media.animation import Array, Clock, changed
from srcli.media.apng import ApngFrames
from srcli.media.formats import Format
from srcli.media.gif import GifFrames
from srcli.media.metadata import Metadata, resources_of_iptc
from srcli.media.png import PngEncoder
from srcli.media.target import Target
from srcli.media.tiff_encoder import TiffEncoder, needs_big
from srcli.media.webp import WebpFrames

Strip = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of a picture before its rows.

    Attributes:
        size: (height, width) in pixels.
        channels: 1, 3, or 4 for CMYK: what each ink leaves, full without ink.
        alpha: the strips have one more channel, the last, not multiplied into the others.
        bits: 8 for uint8 strips, 16 for uint16 strips.
        metadata: written as far as the format can hold it.
    """

    size: tuple[int, int]
    channels: Literal[1, 3, 4]
    alpha: bool
    bits: Literal[8, 16] = 8
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def samples(self) -> int:
        """Channels, alpha included."""
        return self.channels + self.alpha

    @property
    def n_bytes(self) -> int:
        """Of all samples."""
        return self.size[0] * self.size[1] * self.samples * self.bits // 8


@dataclass(frozen=True, slots=True)
class Sequence:
    """That there are several pictures.

    Attributes:
        n_frames: how many.
        plays: how many times an animation is shown; 0: for ever.
        palette: of a GIF, from srcli.media.gif.palette_of.
        n_bytes: of all samples of all pages, about.
    """

    n_frames: int
    plays: int = 0
    palette: bytes | None = None
    n_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Choices:
    """How formats that have a choice are written."""

    quality: int
    lossless: bool


class Encoder(Protocol):
    """What every format's encoder does. `begin` comes before the rows of each picture."""

    def begin(self, page: Page, metadata: Metadata, seconds: Fraction) -> None: ...
    def rows(self, strip: Strip) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


def open_encoder(
    target: Target, entry: Format, choices: Choices, page: Page, sequence: Sequence | None
) -> Encoder:
    """The encoder for a format, for one picture, or several."""
    if entry.name == "tiff":
        return _Tiff(target, page.n_bytes if sequence is None else sequence.n_bytes)
    if entry.name == "gif" or sequence is not None:
        return _Frames(target, entry, choices, sequence)
    if entry.name == "png":
        return _Png(target.write)
    return _Pillow(target.write, entry, choices)


class _Png:
    """One PNG, by strips."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def begin(self, page: Page, metadata: Metadata, seconds: Fraction) -> None:
        self._encoder = PngEncoder(
            self._write,
            height=page.size[0],
            width=page.size[1],
            channels=page.samples,
            bits=page.bits,
            icc=metadata.icc,
            exif=metadata.exif,
            dpi=metadata.dpi,
            colour=metadata.colour,
            texts=metadata.texts,
        )

    def rows(self, strip: Strip) -> None:
        self._encoder.rows(strip)

    def finish(self) -> None:
        self._encoder.finish()

    def abort(self) -> None:
        if hasattr(self, "_encoder"):
            self._encoder.abort()


class _Tiff(TiffEncoder):
    """Pages of a TIFF, by strips."""

    def __init__(self, target: Target, n_bytes: int) -> None:
        super().__init__(target.write, target.patch, big=needs_big(n_bytes))

    def begin(self, page: Page, metadata: Metadata, seconds: Fraction) -> None:
        height, width = page.size
        self.page(
            height=height,
            width=width,
            channels=page.samples,
            bits=page.bits,
            metadata=metadata,
            inks=page.channels == 4,
        )


def mode_of(entry: Format, channels: int, alpha: bool) -> str:
    """Pillow's mode for the picture; RGB where the format has no grey."""
    if channels == 4:
        return "CMYK"
    if channels == 1 and entry.grey:
        return "LA" if alpha else "L"
    return "RGBA" if alpha else "RGB"


class _Pillow:
    """Gathers the picture in Pillow's own memory and encodes it at the end."""

    def __init__(self, write: Callable[[bytes], None], entry: Format, choices: Choices) -> None:
        self._write, self._entry, self._choices = write, entry, choices

    def begin(self, page: Page, metadata: Metadata, seconds: Fraction) -> None:
        self._metadata = metadata
        self._row = 0
        height, width = page.size
        mode = mode_of(self._entry, page.channels, page.alpha)
        try:
            self._image = Image.new(mode, (width, height), None)
        except MemoryError as exc:
            needed = height * width * len(mode) / 1e6
            raise ResourceError(
                f"{self._entry.title} is encoded in memory, and {needed:,.0f} MB were not "
                "available",
                "use .png or .tif, which are written strip by strip",
            ) from exc

    def rows(self, strip: Strip) -> None:
        piece = _image(strip, self._image.mode)
        if piece.mode != self._image.mode:
            piece = piece.convert(self._image.mode)
        self._image.paste(piece, (0, self._row))
        self._row += len(strip)

    def finish(self) -> None:
        gain_map = self._metadata.gain_map
        if gain_map is None:
            _save(self._image, _Sink(self._write), self._entry, self._choices, self._metadata)
            return
        picture = io.BytesIO()
        _save(self._image, picture, self._entry, self._choices, self._metadata)
        self._write(gainmap.joined(picture.getvalue(), gain_map))

    def abort(self) -> None:
        if hasattr(self, "_image"):
            self._image.close()


def _image(strip: Strip, mode: str = "") -> Image.Image:
    samples = np.ascontiguousarray(strip)
    if mode == "CMYK":
        height, width = samples.shape[:2]
        return Image.frombytes(mode, (width, height), samples.tobytes())
    # 2 channels: LA, 3: RGB, 4: RGBA
    return Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def _save(
    image: Image.Image, sink: Any, entry: Format, choices: Choices, metadata: Metadata
) -> None:
    try:
        image.save(sink, entry.name.upper(), **_options(entry, choices, metadata))
    except SrcliError:
        raise
    except MemoryError as exc:
        message = f"there is not enough memory to encode {entry.title}"
        raise ResourceError(message) from exc
    except (OSError, ValueError, RuntimeError, SystemError) as exc:
        raise MediaError(f"{entry.title} could not be encoded: {exc}") from exc


def _options(entry: Format, choices: Choices, metadata: Metadata) -> dict[str, Any]:
    """Pillow's options."""
    options: dict[str, Any] = {}
    if entry.name != "bmp":
        options = {"quality": choices.quality, "icc_profile": metadata.icc}
        if metadata.exif:
            prefix = b"Exif\0\0" if entry.name == "jpeg" else b""
            options["exif"] = prefix + metadata.exif
        if metadata.xmp:
            options["xmp"] = metadata.xmp
    if entry.name == "jpeg":
        options |= {"subsampling": 0, "optimize": False, "extra": _segments(metadata)}
    elif entry.name == "webp":
        # Without `exact`, colours under alpha 0 are zeroed: a loss, if an unseen one.
        options |= {"lossless": choices.lossless, "exact": choices.lossless}
        if choices.lossless:
            options["quality"] = 70  # there it means effort
    elif entry.name == "avif":
        options |= {"subsampling": "4:4:4"}
    if metadata.dpi and entry.name in ("jpeg", "bmp"):
        options["dpi"] = tuple(min(65_535, value) for value in metadata.dpi)
    return options


def _segments(metadata: Metadata) -> bytes:
    """JPEG's segments that Pillow does not write: IPTC, and more than one comment."""
    segments = []
    if metadata.iptc:
        segments.append((b"\xff\xed", b"Photoshop 3.0\0" + resources_of_iptc(metadata.iptc)))
    segments += [(b"\xff\xfe", comment) for comment in metadata.comments]
    return b"".join(marker + (len(data) + 2).to_bytes(2, "big") + data for marker, data in segments)


class _Sink(io.RawIOBase):
    """A stream for Pillow without a file number, so that every byte comes through `write`."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._to = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._to(bytes(data))
        return len(data)


class _Frames:
    """An animation, or a still GIF, frame by frame: each is gathered and written when complete.

    Of a frame only the rectangle is written in which it differs from the one before.
    """

    def __init__(
        self, target: Target, entry: Format, choices: Choices, sequence: Sequence | None
    ) -> None:
        self._target, self._entry, self._choices = target, entry, choices
        self._sequence = sequence
        self._now: Array | None = None
        self._before: Array | None = None
        self._row = 0
        self._sink: GifFrames | WebpFrames | ApngFrames | None = None

    def begin(self, page: Page, metadata: Metadata, seconds: Fraction) -> None:
        self._end_frame()
        self._page, self._metadata, self._seconds = page, metadata, seconds
        if self._sink is None:
            self._sink = self._open(page, metadata)
            self._clock = Clock(getattr(self._sink, "per_second", 1))
        try:
            kind = np.uint8 if page.bits == 8 else np.uint16
            self._now = np.empty((*page.size, page.samples), kind)
        except MemoryError as exc:
            raise ResourceError(f"there is not enough memory for a frame of {page.size}") from exc
        self._row = 0

    def rows(self, strip: Strip) -> None:
        assert self._now is not None, "rows before a frame"
        self._now[self._row : self._row + len(strip)] = strip
        self._row += len(strip)

    def finish(self) -> None:
        self._end_frame()
        assert self._sink is not None
        self._sink.end()

    def abort(self) -> None:
        self._now = self._before = None

    def _open(self, page: Page, metadata: Metadata) -> GifFrames | WebpFrames | ApngFrames:
        height, width = page.size
        write, many = self._target.write, self._sequence
        if self._entry.name == "gif":
            return GifFrames(
                write,
                width=width,
                height=height,
                palette=many.palette if many else None,
                plays=many.plays if many else None,
                metadata=metadata,
            )
        assert many is not None
        if self._entry.name == "webp":
            return WebpFrames(
                write,
                self._target.patch,
                width=width,
                height=height,
                alpha=page.alpha,
                plays=many.plays,
                metadata=metadata,
            )
        return ApngFrames(write, n_frames=many.n_frames, plays=many.plays)

    def _end_frame(self) -> None:
        now, page = self._now, self._page if self._now is not None else None
        if now is None or page is None:
            return
        sink, seconds = self._sink, self._seconds
        height, width = page.size
        x, y = 0, 0
        # A GIF cannot make opaque pixels transparent but by clearing all.
        if self._before is not None and not (self._entry.name == "gif" and page.alpha):
            x, y, width, height = changed(self._before, now)
        if isinstance(sink, WebpFrames):  # where offsets are even
            x, y, width, height = x & ~1, y & ~1, width + (x & 1), height + (y & 1)
        part = now[y : y + height, x : x + width]
        if isinstance(sink, GifFrames):
            sink.frame(x, y, part, page.channels, self._clock.ticks(seconds))
        else:
            encoded = self._still(part, page)
            if isinstance(sink, WebpFrames):
                sink.frame(x, y, (width, height), encoded, self._clock.ticks(seconds))
            elif isinstance(sink, ApngFrames):
                sink.frame(x, y, (width, height), encoded, seconds)
        self._before, self._now = now, None

    def _still(self, part: Array, page: Page) -> bytes:
        """A part as a file of its own."""
        out = io.BytesIO()
        if self._entry.name == "webp":
            image = _image(part)
            if image.mode in ("L", "LA"):
                image = image.convert("RGB" if image.mode == "L" else "RGBA")
            _save(image, out, self._entry, self._choices, Metadata())
            return out.getvalue()
        one = Page((part.shape[0], part.shape[1]), page.channels, page.alpha, page.bits)

        def put(data: bytes) -> None:
            out.write(data)

        encoder = _Png(put)
        first = self._before is None
        encoder.begin(one, self._metadata if first else Metadata(), Fraction(0))
        encoder.rows(part)
        encoder.finish()
        return out.getvalue()
