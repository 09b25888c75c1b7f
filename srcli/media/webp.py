"""Animated WebP (WebP container specification, RFC 9649): frames out of files and into them."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from srcli.media.animation import Animation, Part
from srcli.media.metadata import Metadata

MILLISECOND = 1000
_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")
_ICC, _ALPHA, _EXIF, _XMP, _ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
_NO_BLEND, _CLEAR = 0x02, 0x01
_MAX_CHUNKS = 1_000_000


@dataclass(frozen=True, slots=True)
class WebpScan:
    """An animation, and whether it may be transparent."""

    animation: Animation
    has_alpha: bool


def chunks(stream: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset of the data, length) of the RIFF chunks between two offsets."""
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            return
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def scan(stream: BinaryIO) -> WebpScan | None:
    """The frames; None for a still.

    Raises:
        ValueError: a frame lies outside the canvas.
    """
    stream.seek(4)
    end = 8 + int.from_bytes(stream.read(4), "little")
    flags, width, height, plays = 0, 0, 0, 1
    parts: list[Part] = []
    for kind, at, length in chunks(stream, 12, end):
        stream.seek(at)
        if kind == b"VP8X" and length >= 10:
            raw = stream.read(10)
            flags = raw[0]
            width, height = (int.from_bytes(raw[k : k + 3], "little") + 1 for k in (4, 7))
        elif kind == b"ANIM" and length >= 6:
            plays = struct.unpack("<IH", stream.read(6))[1]
        elif kind == b"ANMF" and length >= 16:
            parts.append(_part(stream, at, length))
    if not flags & _ANIMATION or not parts:
        return None
    if any(p.x + p.width > width or p.y + p.height > height for p in parts):
        raise ValueError("a frame lies outside the picture")
    animation = Animation(width, height, tuple(parts), plays)
    return WebpScan(animation, bool(flags & _ALPHA) or animation.leaves_holes)


def _part(stream: BinaryIO, at: int, length: int) -> Part:
    raw = stream.read(16)
    x, y, width, height, delay = (
        int.from_bytes(raw[k : k + 3], "little") for k in (0, 3, 6, 9, 12)
    )
    spans = tuple(
        (start - 8, size + 8)
        for kind, start, size in chunks(stream, at + 16, at + length)
        if kind in _PIXELS
    )
    return Part(
        x * 2,
        y * 2,
        width + 1,
        height + 1,
        Fraction(delay, MILLISECOND),
        "clear" if raw[15] & _CLEAR else "keep",
        not raw[15] & _NO_BLEND,
        spans,
    )


def still(stream: BinaryIO, part: Part) -> bytes:
    """A frame as a WebP of its own."""
    body = b""
    for at, length in part.spans:
        stream.seek(at)
        piece = stream.read(length)
        if len(piece) < length:
            raise EOFError
        body += piece + bytes(length % 2)
    if body.startswith(b"ALPH"):
        body = _extended(_ALPHA, part.width, part.height) + body
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _extended(flags: int, width: int, height: int) -> bytes:
    return _chunk(b"VP8X", struct.pack("<I", flags) + _size(width, height))


def _size(width: int, height: int) -> bytes:
    return _three(width - 1) + _three(height - 1)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


class WebpFrames:
    """Puts an animated WebP together from stills.

    Args:
        write: takes the file's bytes in order.
        patch: called with (offset, bytes), to write over what lies there.
        width, height: of the canvas.
        alpha: the frames have transparency.
        plays: how many times; 0: for ever.
        metadata: colour profile, EXIF and XMP.
    """

    per_second = MILLISECOND

    def __init__(
        self,
        write: Callable[[bytes], None],
        patch: Callable[[int, bytes], None],
        *,
        width: int,
        height: int,
        alpha: bool,
        plays: int,
        metadata: Metadata,
    ) -> None:
        self._write, self._patch, self._metadata = write, patch, metadata
        self._at = 0
        flags = _ANIMATION | (_ALPHA if alpha else 0)
        for flag, data in ((_ICC, metadata.icc), (_EXIF, metadata.exif), (_XMP, metadata.xmp)):
            flags |= flag if data else 0
        self._put(b"RIFF" + bytes(4) + b"WEBP" + _extended(flags, width, height))
        if metadata.icc:
            self._put(_chunk(b"ICCP", metadata.icc))
        self._put(_chunk(b"ANIM", bytes(4) + struct.pack("<H", min(plays, 65_535))))

    def frame(self, x: int, y: int, size: tuple[int, int], encoded: bytes, delay: int) -> None:
        """Add a frame of (width, height), which replaces what was there; x and y are even."""
        body = encoded[12:]
        kept, at = [], 0
        while at + 8 <= len(body):
            length = int.from_bytes(body[at + 4 : at + 8], "little")
            after = at + 8 + length + length % 2
            if body[at : at + 4] in _PIXELS:
                kept.append(body[at:after])
            at = after
        head = _three(x // 2) + _three(y // 2) + _size(*size)
        head += _three(min(delay, 2**24 - 1)) + bytes([_NO_BLEND])
        self._put(_chunk(b"ANMF", head + b"".join(kept)))

    def end(self) -> None:
        """Close the file."""
        for kind, data in ((b"EXIF", self._metadata.exif), (b"XMP ", self._metadata.xmp)):
            if data:
                self._put(_chunk(kind, data))
        self._patch(4, struct.pack("<I", self._at - 8))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._at += len(data)
