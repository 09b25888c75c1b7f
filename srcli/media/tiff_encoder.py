"""TIFF (TIFF 6.0, BigTIFF), written strip by strip.

tifffile writes whole arrays or asks an iterator for them, and has no EXIF directories; a writer
that is handed strips is simpler than a thread that turns the one into the other. Files are
little-endian: Pillow cannot read a big-endian BigTIFF.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.media.deflate import RowBlocks, Rows, rows_per_block
from srcli.media.exif import Value, ifd_bytes, pack_ifd, split_exif
from srcli.media.metadata import Metadata

_XMP, _IPTC = 700, 33723
_BIG_ABOVE = 2**32 - 2**26  # offsets have 32 bits; the rest is for directories and profiles
_LEVEL = 4


@dataclass(slots=True)
class _Page:
    """A page on its way into the file."""

    height: int
    width: int
    channels: int
    type: np.dtype[Any]
    rows_per_strip: int
    metadata: Metadata
    inks: bool
    offsets: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


class TiffEncoder:
    """Writes a TIFF from rows given top to bottom: strips, deflate, horizontal differences.

    A page begins with `page`, and ends with the next one or with the file.

    Args:
        write: takes the file's bytes in order.
        patch: called with (offset, bytes), to write over what lies there.
        big: BigTIFF: needed where the file might not fit in 4 GB.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        patch: Callable[[int, bytes], None],
        *,
        big: bool,
    ) -> None:
        self._write = write
        self._patch = patch
        self._big = big
        self._page: _Page | None = None
        self._blocks: RowBlocks[bytes] | None = None
        head = (
            struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)
            if big
            else struct.pack("<2sHI", b"II", 42, 0)
        )
        self._link_at = 8 if big else 4  # where the next directory's offset goes
        write(head)
        self._at = len(head)

    def page(
        self,
        *,
        height: int,
        width: int,
        channels: int,
        bits: int,
        metadata: Metadata,
        inks: bool = False,
    ) -> None:
        """Begin a page.

        Args:
            height, width: in pixels.
            channels: 1, 3, or 4 inks, and one more with alpha (not multiplied into the colours).
            bits: 8 or 16 per sample.
            inks: the first four channels are CMYK.
            metadata: what is to be written of it; EXIF is split into the directories of the file.
        """
        self._end_page()
        kind: np.dtype[Any] = np.dtype("u1" if bits == 8 else "<u2")
        row_bytes = width * channels * kind.itemsize
        rows_per_strip = rows_per_block(row_bytes, height)
        page = self._page = _Page(height, width, channels, kind, rows_per_strip, metadata, inks)
        self._blocks = RowBlocks(
            height=height,
            row_bytes=row_bytes,
            encode=lambda rows, above: _packed(rows, page),
            sink=self._take,
        )

    def rows(self, strip: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Take a strip (n, width, channels), uint8 or, for 16 bits, uint16."""
        assert self._blocks is not None, "rows before a page"
        native = np.ascontiguousarray(strip).reshape(len(strip), -1)
        self._blocks.add(native.view(np.uint8))

    def finish(self) -> None:
        """Write what is left."""
        self._end_page()

    def abort(self) -> None:
        """Stop; the page is then without a directory."""
        if self._blocks is not None:
            self._blocks.abort()

    def _end_page(self) -> None:
        if self._page is None or self._blocks is None:
            return
        self._blocks.finish()
        big, page, code = self._big, self._page, "Q" if self._big else "I"
        tags, children = self._tags(page)
        self._align()
        for tag, child in children.items():
            if child:
                tags[tag] = (18 if big else 4, 1, struct.pack("<" + code, self._at))
                self._put(pack_ifd(child, "<", big, self._at))
        start = self._at
        directory = pack_ifd(tags, "<", big, start)
        assert len(directory) == ifd_bytes(tags, big)
        self._put(directory)
        self._patch(self._link_at, struct.pack("<" + code, start))
        self._link_at = start + (8 + 20 * len(tags) if big else 2 + 12 * len(tags))
        self._page = self._blocks = None

    def _tags(self, page: _Page) -> tuple[dict[int, Value], dict[int, dict[int, Value]]]:
        """The page's tags, and those of its EXIF and GPS directories."""
        offset_type, code = (16, "Q") if self._big else (4, "I")

        def numbers(kind: int, code: str, values: list[int]) -> Value:
            return kind, len(values), struct.pack(f"<{len(values)}{code}", *values)

        def short(*values: int) -> Value:
            return numbers(3, "H", list(values))

        tags: dict[int, Value] = {}
        children: dict[int, dict[int, Value]] = {}
        if page.metadata.exif:
            tags, exif_tags, gps_tags = split_exif(page.metadata.exif)
            children = {34665: exif_tags, 34853: gps_tags}
        channels = page.channels
        tags = {
            **tags,
            256: numbers(4, "I", [page.width]),
            257: numbers(4, "I", [page.height]),
            258: short(*[page.type.itemsize * 8] * channels),
            259: short(8),
            262: short(5 if page.inks else 1 if channels < 3 else 2),
            273: numbers(offset_type, code, page.offsets),
            274: short(1),
            277: short(channels),
            278: numbers(4, "I", [page.rows_per_strip]),
            279: numbers(offset_type, code, page.counts),
            284: short(1),
            317: short(2),
        }
        if channels in ((5,) if page.inks else (2, 4)):
            tags[338] = short(2)
        if page.metadata.dpi:
            for tag, value in zip((282, 283), page.metadata.dpi, strict=True):
                tags[tag] = (5, 1, struct.pack("<II", round(value * 1000), 1000))
            tags[296] = short(2)
        raw = {34675: page.metadata.icc, _XMP: page.metadata.xmp, _IPTC: page.metadata.iptc}
        for tag, data in raw.items():
            if data:
                tags[tag] = (1 if tag == _XMP else 7, len(data), data)
        return tags, children

    def _take(self, packed: bytes) -> None:
        assert self._page is not None
        self._align()
        self._page.offsets.append(self._at)
        self._page.counts.append(len(packed))
        self._put(packed)

    def _align(self) -> None:
        if self._at % 2:
            self._put(b"\0")

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._at += len(data)


def _packed(rows: Rows, page: _Page) -> bytes:
    """One strip, on a thread."""
    native = rows.view(page.type.newbyteorder("=")).reshape(len(rows), -1, page.channels)
    native[:, 1:] = np.diff(native, axis=1)
    ordered = native.astype(page.type, copy=False)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    return packer.compress(ordered.tobytes()) + packer.flush()


def needs_big(n_bytes: int) -> bool:
    """Whether a file of so many bytes of samples is to be a BigTIFF."""
    return n_bytes > _BIG_ABOVE
