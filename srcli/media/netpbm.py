"""PBM, PGM, PPM, PAM (Netpbm's pages pbm(5) to pam(5)) and PFM, exactly.

Pillow keeps 8 of 16 bits of a PPM, and knows neither PAM nor colours in PFM.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.media.metadata import Metadata
from srcli.media.picture import Decoded, Header, ImageInfo, Pixels
from srcli.media.sample_range import clipped_notes, full_range

_SPACE = b" \t\n\v\f\r"
_TOKEN_BYTES = 32
_COMMENT_BYTES = 1 << 16
_SAMPLES = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_PLAIN = (b"P1", b"P2", b"P3")
_FLOATS = (b"Pf", b"PF")
_COMMENT = re.compile(rb"#[^\r\n]*")


@dataclass(frozen=True, slots=True)
class _Layout:
    magic: bytes
    width: int
    height: int
    samples: int
    maxval: int
    little_endian: bool
    has_alpha: bool
    at: int

    @property
    def bits(self) -> int:
        return 32 if self.magic in _FLOATS else self.maxval.bit_length()


def read_header(stream: BinaryIO, path: Path | None) -> Header:
    """See readers.Reader."""
    layout = _layout(stream)
    info = ImageInfo(
        path,
        "netpbm",
        layout.width,
        layout.height,
        3 if layout.samples >= 3 else 1,
        layout.has_alpha,
        layout.bits,
    )
    return Header(info, 1, Metadata(), least_bytes=_least_bytes(layout))


def decode(stream: BinaryIO, header: Header, *, inks: bool) -> Decoded:
    """See readers.Reader."""
    layout = _layout(stream)
    stream.seek(layout.at)
    shape = layout.height, layout.width, layout.samples
    if layout.magic in _PLAIN:
        samples, more = _plain(stream.read(), layout)
    else:
        samples, more = _binary(stream, layout), stream.read(2)
    pixels = _stretched(samples.reshape(shape), layout)
    notes = clipped_notes(samples)
    if more[:1] == b"P":
        notes = (*notes, "only the first of several pictures in the file was taken")
    if layout.has_alpha:
        return pixels[:, :, :-1], np.ascontiguousarray(pixels[:, :, -1]), None, notes
    return pixels, None, None, notes


def _least_bytes(layout: _Layout) -> int:
    samples = layout.width * layout.height * layout.samples
    if layout.magic in _PLAIN:
        return samples if layout.magic == b"P1" else 2 * samples - 1
    if layout.magic == b"P4":
        return (layout.width + 7) // 8 * layout.height
    return samples * (4 if layout.magic in _FLOATS else 1 + (layout.maxval > 255))


def _layout(stream: BinaryIO) -> _Layout:
    stream.seek(0)
    magic = stream.read(2)
    if magic == b"P7":
        return _pam_layout(stream)
    width, height = _number(stream), _number(stream)
    maxval, little_endian = 1, False
    if magic in _FLOATS:
        little_endian = float(_token(stream)) < 0
    elif magic not in (b"P1", b"P4"):
        maxval = _number(stream)
    return _checked(
        _Layout(magic, width, height, _SAMPLES[magic], maxval, little_endian, False, stream.tell())
    )


def _pam_layout(stream: BinaryIO) -> _Layout:
    stream.readline(_COMMENT_BYTES)
    said: dict[bytes, bytes] = {}
    while (line := stream.readline(_COMMENT_BYTES).strip()) != b"ENDHDR":
        if not line and stream.read(1) == b"":
            raise EOFError
        key, _, value = line.partition(b" ")
        said.setdefault(key, value.strip())
    width, height, samples, maxval = (
        int(said[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
    )
    if not 1 <= samples <= 4:
        raise NotImplementedError(f"PAM of {samples} samples per pixel")
    at = stream.tell()
    return _checked(_Layout(b"P7", width, height, samples, maxval, False, samples in (2, 4), at))


def _checked(layout: _Layout) -> _Layout:
    if layout.width < 1 or layout.height < 1 or not 1 <= layout.maxval <= 65_535:
        raise ValueError("impossible numbers in its header")
    return layout


def _token(stream: BinaryIO) -> bytes:
    """The next word; one byte of white space behind it is read too, which the format requires."""
    token = b""
    while len(token) <= _TOKEN_BYTES:
        byte = stream.read(1)
        if not byte:
            raise EOFError
        if byte == b"#":
            stream.readline(_COMMENT_BYTES)
            if token:
                return token
        elif byte not in _SPACE:
            token += byte
        elif token:
            return token
    raise ValueError("a word in its header has no end")


def _number(stream: BinaryIO) -> int:
    token = _token(stream)
    if not token.isdigit():
        raise ValueError("its header has words where numbers belong")
    return int(token)


def _plain(data: bytes, layout: _Layout) -> tuple[NDArray[Any], bytes]:
    """The samples written as digits, and what follows them."""
    n = layout.width * layout.height * layout.samples
    data = _COMMENT.sub(b" ", data)
    if layout.magic == b"P1":  # white space between the digits may be missing
        digits, _, more = data.partition(b"P")
        samples = np.frombuffer(b"".join(digits.split())[:n], np.uint8) - np.uint8(ord("0"))
        more = b"P" * bool(more)
    else:
        words = data.split(maxsplit=n)
        more = words[n] if len(words) > n else b""
        words = words[:n]
        if any(len(word) > 5 or not word.isdigit() for word in words):
            raise ValueError("there are words where numbers belong")
        samples = np.array([int(word) for word in words], np.uint32)
    if len(samples) < n:
        raise EOFError
    if n and int(samples.max()) > layout.maxval:
        raise ValueError("a sample is larger than the header says is possible")
    return samples, more


def _binary(stream: BinaryIO, layout: _Layout) -> NDArray[Any]:
    shape = layout.height, layout.width * layout.samples
    if layout.magic == b"P4":
        row_bytes = (layout.width + 7) // 8
        packed = np.frombuffer(_exactly(stream, row_bytes * layout.height), np.uint8)
        rows = packed.reshape(layout.height, row_bytes)
        return np.unpackbits(rows, axis=1, count=layout.width)
    if layout.magic in _FLOATS:
        name = "<f4" if layout.little_endian else ">f4"
    else:
        name = "u1" if layout.maxval < 256 else ">u2"
    kind: np.dtype[Any] = np.dtype(name)
    data = _exactly(stream, shape[0] * shape[1] * kind.itemsize)
    samples = np.frombuffer(data, kind).reshape(shape)
    return samples[::-1] if layout.magic in _FLOATS else samples


def _exactly(stream: BinaryIO, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def _stretched(samples: NDArray[Any], layout: _Layout) -> Pixels:
    """Samples of 0..maxval in the full range of their type."""
    if layout.magic in _FLOATS:
        return full_range(samples, 32)
    if layout.magic in (b"P1", b"P4"):  # 1 is black
        return (np.uint8(255) * (1 - samples)).astype(np.uint8)
    deep = layout.maxval > 255
    kind = np.uint16 if deep else np.uint8
    if layout.maxval in (255, 65_535):
        return samples.astype(kind)
    full = 65_535 if deep else 255
    steps = np.arange(full + 1, dtype=np.int64) * full
    table = np.minimum((steps + layout.maxval // 2) // layout.maxval, full)
    out: Pixels = table.astype(kind)[samples]
    return out
