"""TIFF (TIFF 6.0, BigTIFF): layouts and deep samples read, strips written.

tifffile reads the directories. It writes whole arrays or asks an iterator for them, and has no EXIF
directories; a writer that is handed strips is simpler than a thread that turns the one into the
other, so the writing is done here. Files are little-endian: Pillow cannot read a big-endian
BigTIFF.
"""

import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.media.deflate import RowBlocks, Rows, rows_per_block
from srcli.media.exif import (
    DESCRIPTIVE_TAGS,
    Value,
    build_exif,
    exif_of_tiff,
    ifd_bytes,
    pack_ifd,
    read_header,
    read_ifd,
    split_exif,
)
from srcli.media.metadata import (
    CREDENTIALS_NOTE,
    LAYOUT_NOTE,
    PATHS_NOTE,
    Metadata,
    has_paths,
    iptc_of_resources,
    tells_layout,
)
from srcli.media.tiffdata import Packing, packing_of, read_pieces

# It logs what is odd about a file; what matters is raised.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_DESCRIPTION, _XMP, _IPTC, _RESOURCES = 270, 700, 33723, 34377
_MASK = 4
_LESSER = 1 | _MASK  # NewSubfileType: a smaller version of another page, a mask
_MAX_PARENTS = 16  # whose SubIFDs are looked at
# Tags that describe the file and not the picture, or are carried: the baseline's, those of fax,
# JPEG and tiles; Photoshop's, of which IPTC goes on; XMP, IPTC, ICC, EXIF and GPS; padding.
_KNOWN = frozenset(
    {
        *DESCRIPTIVE_TAGS,
        *(*range(254, 267), 273, 274, *range(277, 285), 288, 289, *range(290, 294), 296, 297, 317),
        *(320, 321, *range(322, 329), 330, 332, 334, 336, 338, 339, 340, 341, 347),
        *(*range(512, 522), 529, 530, 531, 532, 700, 33723, 34377, 34665, 34675, 34853, 40965),
        *(59932, 50839),
    }
)
_CREDENTIALS = 52545
_GEO = frozenset({33550, 33922, 34264, 34735, 34736, 34737})
_NAMED = {
    301: "a transfer function for the colours was",
    318: "a white point for the colours was",
    319: "primaries for the colours were",
    333: "names of the inks were",
    37724: "Photoshop's layers were",
    42112: "GDAL's fields were",
    50838: "ImageJ's fields were",
}
_BIG_ABOVE = 2**32 - 2**26  # offsets have 32 bits; the rest is for directories and profiles
_LEVEL = 4

Kind = Literal["grey", "rgb", "palette", "cmyk", "other"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page of a TIFF is laid out.

    Attributes:
        height, width: as stored, before the orientation.
        kind: what the colour samples mean.
        samples: per pixel, the extra ones included.
        wanted: the indices of those that are colour, and of alpha.
        bits: per sample.
        alpha: the index of the sample that is alpha, or None.
        premultiplied: the colours are multiplied by alpha.
        inverted: grey where 0 is white.
        orientation: 1 to 8.
        page: its index in the file.
        page_bits: of the pages of full size; thumbnails and masks do not count.
        packing: how its samples lie in the file, or why read_samples cannot take them.
        notes: what the file holds beside this and is left out, as plain sentences.
    """

    height: int
    width: int
    kind: Kind
    samples: int
    wanted: tuple[int, ...]
    bits: int
    alpha: int | None
    premultiplied: bool
    inverted: bool
    orientation: int
    page: int
    page_bits: tuple[int, ...]
    packing: Packing | NotImplementedError
    metadata: Metadata
    notes: tuple[str, ...] = ()


def valid_orientation(value: object) -> int:
    """EXIF's orientation, or 1 where it is none of 1 to 8."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_layout(stream: BinaryIO, number: int = 0) -> Layout:
    """Read a page's directory, counted among those of full size.

    Raises whatever tifffile raises on a damaged one.
    """
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        pages, left_out = _full_size(list(file.pages))
        index, page = pages[number]
        tags = page.tags
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        colours, kind = _KINDS.get(photometric, (samples, "other"))
        bits = _bits(page)
        if bits < 1 or samples < colours:
            raise NotImplementedError("its samples differ in their depth, or lack colours")
        alpha, premultiplied = _alpha(page, kind, colours)
        wanted = (*range(colours), *(() if alpha is None else (alpha,)))

        def value_of(tag: int) -> Any:
            found = tags.get(tag)
            return None if found is None else found.value

        try:
            packing: Packing | NotImplementedError = packing_of(page)
        except NotImplementedError as exc:
            packing = exc
        icc, orientation = value_of(34675), value_of(274)
        notes = [] if samples == len(wanted) else [_extra_note(samples - len(wanted))]
        notes += (*(left_out if number == 0 else ()), *_beside(page))
        if tells_layout(page.description):
            notes.append(LAYOUT_NOTE)
        return Layout(
            height=int(page.imagelength),
            width=int(page.imagewidth),
            kind=kind,
            samples=samples,
            wanted=wanted,
            bits=bits,
            alpha=alpha,
            premultiplied=premultiplied,
            inverted=photometric == 0,
            orientation=valid_orientation(orientation),
            page=index,
            page_bits=tuple(_bits(p) for _, p in pages),
            packing=packing,
            metadata=_metadata(
                stream,
                int(page.offset),
                icc=icc if isinstance(icc, bytes) else None,
                dpi=_dpi(value_of(282), value_of(283), value_of(296)),
            ),
            notes=tuple(notes),
        )


def _full_size(chain: list[Any]) -> tuple[list[tuple[int, Any]], tuple[str, ...]]:
    """((index, page) of the pictures of full size, what of the others is left out).

    They are the pages that do not call themselves smaller versions or masks; where none is, the
    picture lies beneath a thumbnail, and has the index -1.
    """
    full = [(k, p) for k, p in enumerate(chain) if not int(p.subfiletype) & _LESSER]
    beneath = [below for page in chain[:_MAX_PARENTS] for below in _beneath(page)]
    larger = [p for p in beneath if not int(p.subfiletype) & _LESSER]
    notes = []
    if any(int(p.subfiletype) & _MASK for p in [*chain, *beneath]):
        notes.append("a transparency mask that is a picture of its own was left out")
    if not full:
        full, larger = [(-1, p) for p in larger] or [(0, chain[0])], []
    if larger:
        notes.append(f"pictures beneath other pages (SubIFDs) were left out: {len(larger)}")
    return full, tuple(notes)


def _beneath(page: Any) -> list[Any]:
    """The pages of its SubIFDs; those that cannot be read cost no picture."""
    try:
        return list(page.pages or ())
    except Exception:  # see plain_errors in source.py
        return []


def _beside(page: Any) -> list[str]:
    """What else a page holds that does not go on, as sentences."""
    codes = {int(tag.code) for tag in page.tags}
    notes = [f"{what} left out" for tag, what in _NAMED.items() if tag in codes]
    if _CREDENTIALS in codes:
        notes.append(CREDENTIALS_NOTE)
    resources = page.tags.get(_RESOURCES)
    if resources is not None and isinstance(resources.value, bytes) and has_paths(resources.value):
        notes.append(PATHS_NOTE)
    if _GEO & codes:
        notes.append("the place on the map (GeoTIFF) was left out")
    others = sorted(codes - _KNOWN - _GEO - _NAMED.keys() - {_CREDENTIALS})
    if others:
        listed = ", ".join(map(str, others[:8])) + (", ..." if len(others) > 8 else "")
        notes.append(f"TIFF fields that srcli does not know were left out: {listed}")
    return notes


def _alpha(page: Any, kind: Kind, colours: int) -> tuple[int | None, bool]:
    """(the index of the sample that is alpha, whether the colours are multiplied by it)."""
    samples = int(page.samplesperpixel)
    extra = tuple(int(value) for value in page.extrasamples)
    if kind == "rgb" and samples == 4 and not extra:
        extra = (2,)  # four samples and no word about the fourth: taken as alpha by everyone
    if kind == "palette":
        return None, False
    for index, meaning in enumerate(extra, colours):
        if meaning in (1, 2) and index < samples:
            return index, meaning == 1
    return None, False


def _extra_note(n: int) -> str:
    return f"extra samples, which are neither colour nor transparency, were left out: {n} a pixel"


def _bits(page: Any) -> int:
    """Per sample; 0 where samples differ in theirs."""
    return page.bitspersample if isinstance(page.bitspersample, int) else 0


# PhotometricInterpretation -> (colour samples, what they are)
_KINDS: dict[int, tuple[int, Kind]] = {
    **{0: (1, "grey"), 1: (1, "grey"), 2: (3, "rgb"), 3: (1, "palette"), 5: (4, "cmyk")},
    **{6: (3, "other"), 8: (3, "other")},
}


def _metadata(
    stream: BinaryIO,
    directory: int,
    *,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
) -> Metadata:
    def read_at(at: int, length: int) -> bytes:
        stream.seek(at)
        return stream.read(length)

    def raw(tag: int) -> bytes | None:
        entry = tags.get(tag)
        return None if entry is None else entry.value

    try:
        order, big, _ = read_header(read_at(0, 16))
        tags = read_ifd(read_at, order, big, directory).entries
        first, photo, place = exif_of_tiff(read_at, directory)
        if _DESCRIPTION in first and tells_layout(first[_DESCRIPTION][2].decode("latin-1")):
            del first[_DESCRIPTION]
        exif = build_exif(first, photo, place)
    except (ValueError, struct.error, OverflowError, OSError):
        return Metadata(icc=icc, dpi=dpi)
    resources = raw(_RESOURCES)
    iptc = raw(_IPTC) or (iptc_of_resources(resources) if resources else None)
    if iptc:
        iptc = iptc.rstrip(b"\0") or None  # written as LONGs by some, and filled up with zeros
    return Metadata(icc=icc, exif=exif, dpi=dpi, xmp=raw(_XMP), iptc=iptc)


def _dpi(across: Any, down: Any, unit: Any) -> tuple[float, float] | None:
    if not (isinstance(across, tuple) and isinstance(down, tuple)) or unit not in (2, 3, None):
        return None
    if len(across) != 2 or len(down) != 2 or not across[1] or not down[1]:
        return None
    per_inch = 2.54 if unit == 3 else 1.0
    return across[0] / across[1] * per_inch, down[0] / down[1] * per_inch


def read_samples(
    stream: BinaryIO, layout: Layout
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], tuple[str, ...]]:
    """The page's samples that are wanted (height, width, n), stretched to the full range.

    Returns:
        uint8 for up to 8 bits, else uint16 (floats: 0..1 becomes 0..65535, clipped); and notes.
    """
    if layout.kind in ("palette", "other"):
        raise NotImplementedError("its colours are not grey, RGB, CMYK, a palette or 8-bit Lab")
    packing = layout.packing
    if not isinstance(packing, Packing):
        raise packing
    shape = layout.height, layout.width, len(layout.wanted)
    out = _empty(shape, layout.bits)
    notes: tuple[str, ...] = ()
    for y, x, first, values in read_pieces(stream, packing, layout.wanted):
        h, w, n = values.shape
        out[y : y + h, x : x + w, first : first + n] = full_range(values, layout.bits)
        notes += tuple(note for note in clipped_notes(values) if note not in notes)
    if layout.inverted:
        # Adding to the alpha sample what is subtracted would be wrong: grey only.
        np.subtract(np.iinfo(out.dtype).max, out[:, :, 0], out=out[:, :, 0])
    return out, notes


def clipped_notes(samples: NDArray[Any]) -> tuple[str, ...]:
    """A word about what full_range cuts off."""
    if samples.dtype.kind == "i" and samples.size and samples.min() < 0:
        return ("values below 0 were clipped",)
    if samples.dtype.kind != "f":
        return ()
    numbers, inside = True, True
    for row in range(0, len(samples), 64):
        part = samples[row : row + 64]
        numbers = numbers and not np.isnan(part).any()
        inside = inside and not ((part < 0) | (part > 1)).any()
    notes = () if numbers else ("samples that are no numbers (NaN) became black",)
    return notes if inside else (*notes, "values below 0 and above 1 were clipped")


def full_range(
    samples: NDArray[Any], bits: int, *, inverted: bool = False
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Samples of `bits` bits as uint8 (up to 8 bits) or uint16, black 0 and white the maximum."""
    kind = samples.dtype.kind
    if kind not in "uif":
        raise ValueError(f"samples of type {samples.dtype}")
    if kind == "u" and bits in (8, 16) and samples.dtype.itemsize * 8 == bits:
        out: NDArray[np.uint8] | NDArray[np.uint16]
        out = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    else:
        top = 1.0 if kind == "f" else float(2 ** (bits - (kind == "i")) - 1)
        full = 255.0 if bits <= 8 else 65_535.0
        out = _empty(samples.shape, bits)
        for row in range(0, len(samples), 64):  # floats need not exist all at once
            with np.errstate(invalid="ignore"):  # what a signalling NaN raises
                wide = samples[row : row + 64].astype(np.float64)
            part = np.nan_to_num(wide, nan=0.0)
            out[row : row + 64] = np.rint(np.clip(part / top, 0, 1) * full)
    return np.iinfo(out.dtype).max - out if inverted else out


def _empty(shape: tuple[int, ...], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    return np.empty(shape, np.uint8) if bits <= 8 else np.empty(shape, np.uint16)


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
