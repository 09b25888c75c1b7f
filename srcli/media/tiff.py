"""TIFF (TIFF 6.0, BigTIFF): layouts and deep samples read, strips written.

tifffile reads what Pillow cannot: 16-bit RGB, floats, separate planes. It writes whole arrays or
asks an iterator for them, and has no EXIF directories; a writer that is handed strips is simpler
than a thread that turns the one into the other, so the writing is done here. Files are little-
endian: Pillow cannot read a big-endian BigTIFF.
"""

import io
import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.media.deflate import RowBlocks, Rows, rows_per_block
from srcli.media.metadata import (
    Metadata,
    Value,
    build_exif,
    exif_of_tiff,
    ifd_bytes,
    pack_ifd,
    split_exif,
)

# It logs what is odd about a file; what matters is raised.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_PLAIN = frozenset({1, 8, 32946, 32773, 34925})  # none, deflate (two numbers), PackBits, LZMA
_MAX_SAMPLES = 16
_BIG_ABOVE = 2**32 - 2**26  # offsets have 32 bits; the rest is for directories and profiles
_LEVEL = 4

Kind = Literal["grey", "rgb", "palette", "cmyk", "other"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the first page of a TIFF is laid out.

    Attributes:
        height, width: as stored, before the orientation.
        kind: what the colour samples mean.
        samples: per pixel, the extra ones included.
        bits: per sample.
        alpha: the index of the sample that is alpha, or None.
        premultiplied: the colours are multiplied by alpha.
        inverted: grey where 0 is white.
        orientation: 1 to 8.
        decodable: read_samples knows the compression.
    """

    height: int
    width: int
    kind: Kind
    samples: int
    bits: int
    alpha: int | None
    premultiplied: bool
    inverted: bool
    orientation: int
    n_pages: int
    decodable: bool
    metadata: Metadata


def valid_orientation(value: object) -> int:
    """EXIF's orientation, or 1 where it is none of 1 to 8."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_layout(stream: BinaryIO) -> Layout:
    """Read the directory of the first page. Raises whatever tifffile raises on a damaged one."""
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages[0]
        n_pages = len(file.pages)
        tags = page.tags
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        colours, kind = _KINDS.get(photometric, (samples, "other"))
        bits = page.bitspersample
        if not isinstance(bits, int) or samples > _MAX_SAMPLES or samples < colours:
            raise ValueError("its samples are laid out in an unknown way")
        extra = tuple(int(value) for value in page.extrasamples)
        if photometric == 2 and samples == 4 and not extra:
            extra = (2,)  # four samples and no word about the fourth: taken as alpha by everyone
        meaning = next((value for value in extra if value in (1, 2)), None)
        alpha = colours + extra.index(meaning) if meaning is not None else None
        if kind == "palette":
            alpha = None

        def value_of(tag: int) -> Any:
            found = tags.get(tag)
            return None if found is None else found.value

        icc, orientation = value_of(34675), value_of(274)
        return Layout(
            height=int(page.imagelength),
            width=int(page.imagewidth),
            kind=kind,
            samples=samples,
            bits=bits,
            alpha=alpha if alpha is None or alpha < samples else None,
            premultiplied=meaning == 1,
            inverted=photometric == 0,
            orientation=valid_orientation(orientation),
            n_pages=n_pages,
            decodable=int(page.compression) in _PLAIN and int(page.predictor) in (1, 2),
            metadata=Metadata(
                icc=icc if isinstance(icc, bytes) else None,
                exif=_exif(stream),
                dpi=_dpi(value_of(282), value_of(283), value_of(296)),
            ),
        )


# PhotometricInterpretation -> (colour samples, what they are)
_KINDS: dict[int, tuple[int, Kind]] = {
    **{0: (1, "grey"), 1: (1, "grey"), 2: (3, "rgb"), 3: (1, "palette"), 5: (4, "cmyk")},
    **{6: (3, "other"), 8: (3, "other")},
}


def _exif(stream: BinaryIO) -> bytes | None:
    def read_at(at: int, length: int) -> bytes:
        stream.seek(at)
        return stream.read(length)

    try:
        return build_exif(*exif_of_tiff(read_at))
    except (ValueError, struct.error, OverflowError, OSError):
        return None


def _dpi(across: Any, down: Any, unit: Any) -> tuple[float, float] | None:
    if not (isinstance(across, tuple) and isinstance(down, tuple)) or unit not in (2, 3, None):
        return None
    if len(across) != 2 or len(down) != 2 or not across[1] or not down[1]:
        return None
    per_inch = 2.54 if unit == 3 else 1.0
    return across[0] / across[1] * per_inch, down[0] / down[1] * per_inch


def read_samples(stream: BinaryIO, layout: Layout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """All samples of the first page (height, width, samples), stretched to the full range.

    Returns:
        uint8 for up to 8 bits, else uint16 (floats: 0..1 becomes 0..65535, clipped).
    """
    import tifffile

    if layout.kind in ("palette", "other"):
        raise ValueError("its colours are of an unknown kind")
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages[0]
        end = stream.seek(0, io.SEEK_END)
        if len(page.dataoffsets) != len(page.databytecounts):
            raise ValueError("its lists of strips disagree")
        strips = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        # tifffile would give zeros for strips that are missing.
        if any(length == 0 or at + length > end for at, length in strips):
            raise EOFError
        samples = page.asarray(maxworkers=1)
        separate = int(page.planarconfig) == 2 and layout.samples > 1
    if samples.ndim == 2:
        samples = samples[:, :, None]
    elif separate:
        samples = np.moveaxis(samples, 0, 2)
    if samples.shape != (layout.height, layout.width, layout.samples):
        raise ValueError("its samples are laid out in an unknown way")
    stretched = full_range(samples, layout.bits)
    if layout.inverted:
        # Adding to the alpha sample what is subtracted would be wrong: grey only.
        stretched = stretched.copy()
        stretched[:, :, 0] = np.iinfo(stretched.dtype).max - stretched[:, :, 0]
    return stretched


def full_range(
    samples: NDArray[Any], bits: int, *, inverted: bool = False
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Samples of `bits` bits as uint8 (up to 8 bits) or uint16, black 0 and white the maximum."""
    out: NDArray[np.uint8] | NDArray[np.uint16]
    kind = samples.dtype.kind
    if kind not in "uif":
        raise ValueError(f"samples of type {samples.dtype}")
    if kind == "u" and bits in (8, 16) and samples.dtype.itemsize * 8 == bits:
        out = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    else:
        top = 1.0 if kind == "f" else float(2 ** (bits - (kind == "i")) - 1)
        full = 255.0 if bits <= 8 else 65_535.0
        out = np.empty(samples.shape, np.uint8 if bits <= 8 else np.uint16)
        for row in range(0, len(samples), 64):  # floats need not exist all at once
            part = np.nan_to_num(samples[row : row + 64].astype(np.float64), nan=0.0)
            out[row : row + 64] = np.rint(np.clip(part / top, 0, 1) * full)
    return np.iinfo(out.dtype).max - out if inverted else out


class TiffEncoder:
    """Writes one TIFF from rows given top to bottom: strips, deflate, horizontal differences.

    Args:
        write: takes the file's bytes in order.
        patch: called once at the end with (offset, bytes), to write over what lies there.
        height, width: in pixels.
        channels: 1 or 3, and one more with alpha (not multiplied into the colours).
        bits: 8 or 16 per sample.
        icc, exif, dpi: as in Metadata; exif is split into the directories of the file.
        big: BigTIFF, or None to use it where the file might not fit in 4 GB.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        patch: Callable[[int, bytes], None],
        *,
        height: int,
        width: int,
        channels: int,
        bits: int,
        icc: bytes | None = None,
        exif: bytes | None = None,
        dpi: tuple[float, float] | None = None,
        big: bool | None = None,
    ) -> None:
        self._write = write
        self._patch = patch
        self._height, self._width, self._channels = height, width, channels
        self._icc, self._dpi = icc, dpi
        self._tags: dict[int, Value] = {}
        self._children: dict[int, dict[int, Value]] = {}
        if exif:
            self._tags, exif_tags, gps_tags = split_exif(exif)
            self._children = {34665: exif_tags, 34853: gps_tags}
        self._type: np.dtype[Any] = np.dtype("u1" if bits == 8 else "<u2")
        row_bytes = width * channels * self._type.itemsize
        self._big = height * row_bytes > _BIG_ABOVE if big is None else big
        self._offsets: list[int] = []
        self._counts: list[int] = []
        self._rows_per_strip = rows_per_block(row_bytes, height)
        self._blocks = RowBlocks(
            height=height, row_bytes=row_bytes, encode=self._encode, sink=self._take
        )
        head = b"II" + self._head(0)
        write(head)
        self._at = len(head)

    def rows(self, strip: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Take a strip (n, width, channels), uint8 or, for 16 bits, uint16."""
        native = np.ascontiguousarray(strip).reshape(len(strip), -1)
        self._blocks.add(native.view(np.uint8))

    def finish(self) -> None:
        """Write what is left, then the directories."""
        self._blocks.finish()
        big = self._big
        offset_type, code = (16, "Q") if big else (4, "I")

        def numbers(kind: int, code: str, values: list[int]) -> Value:
            return kind, len(values), struct.pack(f"<{len(values)}{code}", *values)

        def short(*values: int) -> Value:
            return numbers(3, "H", list(values))

        channels = self._channels
        tags = {
            **self._tags,
            256: numbers(4, "I", [self._width]),
            257: numbers(4, "I", [self._height]),
            258: short(*[self._type.itemsize * 8] * channels),
            259: short(8),
            262: short(1 if channels < 3 else 2),
            273: numbers(offset_type, code, self._offsets),
            274: short(1),
            277: short(channels),
            278: numbers(4, "I", [self._rows_per_strip]),
            279: numbers(offset_type, code, self._counts),
            284: short(1),
            317: short(2),
        }
        if channels in (2, 4):
            tags[338] = short(2)
        if self._dpi:
            for tag, value in zip((282, 283), self._dpi, strict=True):
                tags[tag] = (5, 1, struct.pack("<II", round(value * 1000), 1000))
            tags[296] = short(2)
        if self._icc:
            tags[34675] = (7, len(self._icc), self._icc)
        self._align()
        for tag, child in self._children.items():
            if child:
                tags[tag] = numbers(18 if big else 4, code, [self._at])
                self._put(pack_ifd(child, "<", big, self._at))
        first = self._at
        directory = pack_ifd(tags, "<", big, first)
        assert len(directory) == ifd_bytes(tags, big)
        self._put(directory)
        self._patch(2, self._head(first))

    def abort(self) -> None:
        """Stop; the file is then without a directory."""
        self._blocks.abort()

    def _head(self, first: int) -> bytes:
        if self._big:
            return struct.pack("<HHHQ", 43, 8, 0, first)
        return struct.pack("<HI", 42, first)

    def _encode(self, rows: Rows, above: Rows) -> bytes:
        """One strip, on a thread. Differences run within rows, so `above` plays no part."""
        native = rows.view(self._type.newbyteorder("=")).reshape(len(rows), -1, self._channels)
        native[:, 1:] = np.diff(native, axis=1)
        ordered = native.astype(self._type, copy=False)
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
        return packer.compress(ordered.tobytes()) + packer.flush()

    def _take(self, packed: bytes) -> None:
        self._align()
        self._offsets.append(self._at)
        self._counts.append(len(packed))
        self._put(packed)

    def _align(self) -> None:
        if self._at % 2:
            self._put(b"\0")

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._at += len(data)
