"""TIFF (TIFF 6.0, BigTIFF), read: what a page holds, and its samples. tifffile reads the rest."""

import logging
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.media.exif import (
    DESCRIPTIVE_TAGS,
    build_exif,
    exif_of_tiff,
    read_header,
    read_ifd,
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
from srcli.media.sample_range import clipped_notes, empty, full_range
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
    out = empty(shape, layout.bits)
    notes: tuple[str, ...] = ()
    for y, x, first, values in read_pieces(stream, packing, layout.wanted):
        h, w, n = values.shape
        out[y : y + h, x : x + w, first : first + n] = full_range(values, layout.bits)
        notes += tuple(note for note in clipped_notes(values) if note not in notes)
    if layout.inverted:
        # Adding to the alpha sample what is subtracted would be wrong: grey only.
        np.subtract(np.iinfo(out.dtype).max, out[:, :, 0], out=out[:, :, 0])
    return out, notes
