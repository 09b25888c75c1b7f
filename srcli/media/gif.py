"""GIF (GIF89a specification, CompuServe 1990): frames taken out of files and put into them.

Pillow unpacks and packs the frames' pixels. It is not left to compose them: it fills what a frame
leaves open with a colour where every other program leaves it transparent, lets a frame inherit the
disposal of the one before, and changes the animation's size with a frame that sticks out.
"""

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from srcli.media.animation import Animation, Array, Disposal, Part
from srcli.media.metadata import Metadata

CENTISECOND = 100
_DISPOSALS: dict[int, Disposal] = {2: "clear", 3: "restore"}
_MAX_FRAMES = 100_000
_STRAY_PIXELS = 1 << 24  # of a frame that is larger than its canvas
_COLOURS = 255  # and transparency
_EXACT_COLOURS = 128  # of the input, kept as they are if there are no more
_SAMPLE_PIXELS = 1 << 16  # of each frame, from which a palette is made
_GREYS = bytes(v for level in range(256) for v in (level, level, level))
_XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def scan(stream: BinaryIO) -> Animation:
    """Read what lies between the pixels.

    Raises:
        EOFError, ValueError: it is cut short, or damaged.
    """
    stream.seek(6)
    width, height, flags, _, _ = struct.unpack("<HHBBB", _exactly(stream, 7))
    table = _exactly(stream, _table_bytes(flags)) if flags & 0x80 else _GREYS
    parts: list[Part] = []
    plays = 1
    control: tuple[int, Fraction, int | None] = (0, Fraction(0), None)
    while (kind := stream.read(1)) and kind != b";":
        if kind == b"!":
            label = _exactly(stream, 1)
            blocks = _sub_blocks(stream, label in (b"\xf9", b"\xff"))
            if label == b"\xf9" and len(blocks) >= 4:
                control = _control(blocks)
            elif label == b"\xff" and blocks[:12] == b"NETSCAPE2.0\x01" and len(blocks) >= 14:
                times = int.from_bytes(blocks[12:14], "little")
                plays = times + 1 if times else 0
        elif kind == b",":
            part = _part(stream, table, control)
            if not parts:  # as everyone does who meets a first frame that sticks out
                width, height = (
                    max(width, part.x + part.width),
                    max(height, part.y + part.height),
                )
            area = part.width * part.height
            if not area or area > max(width * height, _STRAY_PIXELS):
                raise ValueError("a frame of an impossible size")
            parts.append(part)
            control = (0, Fraction(0), None)
            if len(parts) > _MAX_FRAMES:
                raise ValueError("too many frames")
    if not parts:
        raise EOFError
    return Animation(width, height, tuple(parts), plays)


def has_alpha(animation: Animation) -> bool:
    """Whether something can be seen through: later frames' transparency shows earlier frames."""
    return animation.leaves_holes or animation.parts[0].transparent is not None


def still(stream: BinaryIO, part: Part) -> bytes:
    """A frame as a GIF of its own."""
    pieces = []
    for at, length in part.spans:
        stream.seek(at)
        pieces.append(_exactly(stream, length))
    descriptor, data = pieces
    size = max(0, (len(part.palette) // 3 - 1).bit_length() - 1)
    head = b"GIF89a" + struct.pack("<HHBBB", part.width, part.height, 0x80 | size, 0, 0)
    key = b"" if part.transparent is None else _control_block(0, 0, part.transparent)
    place = struct.pack("<HHHHB", 0, 0, part.width, part.height, descriptor[8] & 0x40)
    return b"".join((head, part.palette, key, b",", place, data, b";"))


def _exactly(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _table_bytes(flags: int) -> int:
    return int(3 << ((flags & 7) + 1))


def _sub_blocks(stream: BinaryIO, keep: bool) -> bytes:
    """Their contents, if they are to be kept."""
    kept = b""
    while length := _exactly(stream, 1)[0]:
        if keep and len(kept) < 64:
            kept += _exactly(stream, length)
        else:
            stream.seek(length, 1)
    return kept


def _control(block: bytes) -> tuple[int, Fraction, int | None]:
    flags, delay, index = struct.unpack("<BHB", block[:4])
    return flags >> 2 & 7, Fraction(delay, CENTISECOND), index if flags & 1 else None


def _part(stream: BinaryIO, table: bytes, control: tuple[int, Fraction, int | None]) -> Part:
    at = stream.tell()
    x, y, width, height, flags = struct.unpack("<HHHHB", _exactly(stream, 9))
    own = _exactly(stream, _table_bytes(flags)) if flags & 0x80 else b""
    start = stream.tell()
    _exactly(stream, 1)
    _sub_blocks(stream, keep=False)
    disposal, seconds, transparent = control
    return Part(
        x,
        y,
        width,
        height,
        seconds,
        _DISPOSALS.get(disposal, "keep"),
        True,
        ((at, 9), (start, stream.tell() - start)),
        own or table,
        transparent,
    )


def _control_block(disposal: int, delay: int, transparent: int | None) -> bytes:
    flags = disposal << 2 | (transparent is not None)
    return b"!\xf9\x04" + struct.pack("<BHB", flags, delay, transparent or 0) + b"\0"


def palette_of(pictures: Iterable[tuple[Array, Array | None]], *, enlarged: bool) -> bytes:
    """Up to 255 colours that pictures need, as RGB triples; the 256th index is transparency's.

    Args:
        pictures: (pixels, alpha), uint8.
        enlarged: they are the very pictures that are to be written. Else they are to be enlarged:
            few colours are kept exactly, so that flat areas stay what they are, and the rest of the
            palette goes to the colours that lie between them.
    """
    seen: set[int] = set()
    samples = []
    for pixels, alpha in pictures:
        colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        opaque = None if alpha is None else alpha >= 128
        flat = colours.reshape(-1, 3) if opaque is None else colours[opaque]
        if len(seen) <= _EXACT_COLOURS and not enlarged:
            seen.update(np.unique(_codes(flat[None])).tolist())
        samples.append(_sample(colours, opaque, enlarged))
    exact = [code.to_bytes(3, "big") for code in sorted(seen)]
    if len(exact) > _EXACT_COLOURS:
        exact = []
    mosaic = np.concatenate(
        [sample for sample in samples if len(sample)] or [np.zeros((1, 3), np.uint8)]
    )
    image = Image.fromarray(mosaic[None])
    left = _COLOURS - len(exact)
    raw = bytes(image.quantize(left, Image.Quantize.MEDIANCUT, kmeans=1).getpalette() or ())
    chosen = [raw[at : at + 3] for at in range(0, min(len(raw), 3 * left), 3)]
    return b"".join(dict.fromkeys([*exact, *chosen]))


def _sample(
    colours: NDArray[np.uint8], opaque: NDArray[np.bool_] | None, enlarged: bool
) -> NDArray[np.uint8]:
    """Some of a picture's colours, (n, 3), with those that lie between its pixels."""
    step = max(1, int((colours.shape[0] * colours.shape[1] / _SAMPLE_PIXELS) ** 0.5))
    if enlarged or opaque is not None:
        flat = colours[::step, ::step]
        return flat.reshape(-1, 3) if opaque is None else flat[opaque[::step, ::step]]
    image = Image.fromarray(np.ascontiguousarray(colours[::step, ::step]))
    twice = image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
    return np.asarray(twice).reshape(-1, 3)


def _codes(colours: Array) -> NDArray[np.uint32]:
    """(h, w, 3) to (h, w): one number a colour."""
    red, green, blue = (colours[..., k].astype(np.uint32) for k in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


class GifFrames:
    """Puts a GIF together from frames.

    Args:
        write: takes the file's bytes in order.
        width, height: of the canvas.
        palette: from palette_of; None: made from the first frame, for a still.
        plays: how many times; 0: for ever; None: a still.
        metadata: comments and XMP.
    """

    per_second = CENTISECOND

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        width: int,
        height: int,
        palette: bytes | None,
        plays: int | None,
        metadata: Metadata,
    ) -> None:
        self._write = write
        self._size = width, height
        self._palette, self._plays, self._metadata = palette, plays, metadata
        self._dither = Image.Dither.FLOYDSTEINBERG if palette is None else Image.Dither.NONE
        self._reference: Image.Image | None = None

    def frame(self, x: int, y: int, samples: Array, channels: int, delay: int) -> None:
        """Add a frame: (h, w, channels and alpha), which replaces what was there."""
        alpha = samples[:, :, channels] if samples.shape[2] > channels else None
        colours = np.broadcast_to(samples[:, :, :channels], (*samples.shape[:2], 3))
        if self._reference is None:
            self._begin(self._palette or palette_of([(colours, alpha)], enlarged=True))
        assert self._reference is not None
        image = Image.fromarray(np.ascontiguousarray(colours))
        # A dithered animation flickers; without it, what does not move stays as it was.
        indices = np.asarray(image.quantize(palette=self._reference, dither=self._dither)).copy()
        indices[indices == _COLOURS] = 0  # filled up with the first colour
        # Pillow looks colours up coarsely: those that the palette has are to stay what they are.
        codes = _codes(colours)
        at = np.searchsorted(self._known, codes).clip(max=len(self._known) - 1)
        exact = self._known[at] == codes
        indices[exact] = self._order[at][exact]
        if alpha is not None:
            indices[alpha < 128] = _COLOURS
        still_image = Image.fromarray(indices).convert("L")
        disposal, key = (2, _COLOURS) if alpha is not None else (1, None)
        if alpha is not None or self._plays is not None:
            self._write(_control_block(disposal if self._plays is not None else 0, delay, key))
        self._write(b"".join(GifImagePlugin.getdata(still_image, (x, y))))

    def end(self) -> None:
        """Close the file."""
        self._write(b";")

    def _begin(self, palette: bytes) -> None:
        known = _codes(np.frombuffer(palette, np.uint8).reshape(1, -1, 3))[0]
        self._order = np.argsort(known).astype(np.uint8)
        self._known = known[self._order]
        table = palette + palette[:3] * (256 - len(palette) // 3)
        self._reference = Image.new("P", (1, 1))
        self._reference.putpalette(table)
        parts = [b"GIF89a", struct.pack("<HHBBB", *self._size, 0xF7, 0, 0), table]
        if self._plays is not None and self._plays != 1:
            times = min(65_535, max(0, self._plays - 1))
            parts.append(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", times, 0))
        for comment in self._metadata.comments:
            pieces = [comment[at : at + 255] for at in range(0, len(comment), 255)]
            parts.append(b"!\xfe" + b"".join(bytes([len(p)]) + p for p in pieces) + b"\0")
        if self._metadata.xmp:
            parts.append(b"!\xff\x0bXMP DataXMP" + self._metadata.xmp + _XMP_TRAILER)
        self._write(b"".join(parts))
