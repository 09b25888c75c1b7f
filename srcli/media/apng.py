"""Animated PNG (PNG specification, third edition, 11.3.5): frames out of files and into them."""

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import BinaryIO

from srcli.media.animation import Animation, Disposal, Part
from srcli.media.pngchunks import SIGNATURE, chunk, chunks

_DISPOSALS: tuple[Disposal, ...] = ("keep", "clear", "restore")
_MAX_DELAY = 65_535


def scan(stream: BinaryIO) -> Animation:
    """Read what lies between the pixels.

    Raises:
        ValueError: it is damaged, or its number of frames is not what it says.
    """
    stream.seek(len(SIGNATURE) + 8)
    header = stream.read(13)
    width, height = struct.unpack(">II", header[:8])
    n_frames, plays, head = 1, 0, header[8:]
    tables = b""
    parts: list[Part] = []
    spans: list[tuple[int, int]] = []
    place: tuple[int, ...] | None = None

    def end_frame() -> None:
        if place is not None:
            parts.append(_part(place, spans, (width, height)))
        spans.clear()

    for kind, length in chunks(stream):
        at = stream.tell()
        if kind == b"acTL" and length == 8:
            n_frames, plays = struct.unpack(">II", stream.read(8))
        elif kind in (b"PLTE", b"tRNS") and length <= 1024:
            tables += chunk(kind, stream.read(length))
        elif kind == b"fcTL" and length == 26:
            end_frame()
            place = struct.unpack(">IIIIIHHBB", stream.read(26))
        elif kind == b"IDAT" and place is not None:
            spans.append((at, length))
        elif kind == b"fdAT" and place is not None and length >= 4:
            spans.append((at + 4, length - 4))
    end_frame()
    if len(parts) != n_frames:
        raise ValueError(f"{n_frames} frames are announced, and {len(parts)} are there")
    return Animation(width, height, tuple(parts), plays, head=head + tables)


def _part(place: tuple[int, ...], spans: list[tuple[int, int]], size: tuple[int, int]) -> Part:
    _, width, height, x, y, top, bottom, disposal, blend = place
    if not width or not height or x + width > size[0] or y + height > size[1]:
        raise ValueError("a frame lies outside the picture")
    if disposal >= len(_DISPOSALS) or not spans:
        raise ValueError("a frame without pixels, or of an unknown kind")
    seconds = Fraction(top, bottom or 100)
    return Part(x, y, width, height, seconds, _DISPOSALS[disposal], blend == 1, tuple(spans))


def still(stream: BinaryIO, animation: Animation, part: Part) -> bytes:
    """A frame as a PNG of its own."""
    pieces = []
    for at, length in part.spans:
        stream.seek(at)
        piece = stream.read(length)
        if len(piece) < length:
            raise EOFError
        pieces.append(chunk(b"IDAT", piece))
    size = struct.pack(">II", part.width, part.height)
    header = chunk(b"IHDR", size + animation.head[:5])
    return b"".join((SIGNATURE, header, animation.head[5:], *pieces, chunk(b"IEND", b"")))


class ApngFrames:
    """Puts an animated PNG together from stills.

    Args:
        write: takes the file's bytes in order.
        n_frames: there will be.
        plays: how many times; 0: for ever.
        head: the chunks of the first still before its pixels are taken; those of others are not.
    """

    def __init__(self, write: Callable[[bytes], None], *, n_frames: int, plays: int) -> None:
        self._write = write
        self._n_frames, self._plays = n_frames, plays
        self._sequence = 0
        self._first = True

    def frame(
        self, x: int, y: int, size: tuple[int, int], encoded: bytes, seconds: Fraction
    ) -> None:
        """Add a frame of (width, height), which replaces what was there."""
        at, control = len(SIGNATURE), False
        if self._first:
            self._write(SIGNATURE)
        while at < len(encoded):
            length = int.from_bytes(encoded[at : at + 4], "big")
            kind, data = encoded[at + 4 : at + 8], encoded[at + 8 : at + 8 + length]
            at += length + 12
            if kind == b"IDAT":
                if not control:
                    self._control(x, y, size, seconds)
                    control = True
                if self._first:
                    self._write(chunk(b"IDAT", data))
                else:
                    self._write(chunk(b"fdAT", self._next() + data))
            elif self._first and kind != b"IEND":
                self._write(chunk(kind, data))
                if kind == b"IHDR":
                    self._write(chunk(b"acTL", struct.pack(">II", self._n_frames, self._plays)))
        self._first = False

    def end(self) -> None:
        """Close the file."""
        self._write(chunk(b"IEND", b""))

    def _control(self, x: int, y: int, size: tuple[int, int], seconds: Fraction) -> None:
        delay = seconds.limit_denominator(_MAX_DELAY)
        if delay.numerator > _MAX_DELAY:
            delay = Fraction(min(_MAX_DELAY, round(seconds)))
        place = struct.pack(">IIII", *size, x, y)
        rest = struct.pack(">HHBB", delay.numerator, delay.denominator, 0, 0)
        self._write(chunk(b"fcTL", self._next() + place + rest))

    def _next(self) -> bytes:
        number = struct.pack(">I", self._sequence)
        self._sequence += 1
        return number
