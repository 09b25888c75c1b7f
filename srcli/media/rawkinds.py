"""Camera raw files, told by what they hold: most are TIFFs, whose first picture is a thumbnail."""

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from srcli.media.exif import Ifd, read_header, read_ifd

_MAGICS = (
    (b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (b"IIRO", "Olympus ORF"),
    (b"IIRS", "Olympus ORF"),
    (b"MMOR", "Olympus ORF"),
    (b"IIU\0", "Panasonic RW2"),
    (b"FOVb", "Sigma X3F"),
    (b"\0MRM", "Minolta MRW"),
    (b"II\x1a\0\0\0HEAPCCDR", "Canon CRW"),
)
_PHOTOMETRIC, _MAKE, _SUB_IFDS, _DNG_VERSION = 262, 271, 330, 50706
# PhotometricInterpretation: a colour filter array; LinearRaw (DNG 1.7, 2)
_OF_SENSORS = (32803, 34892)
_MAX_IFDS = 16


def kind_of(stream: BinaryIO) -> str | None:
    """What kind of camera raw a file is, for sentences; None for all that is none."""
    stream.seek(0)
    head = stream.read(16)
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return f"{'an' if kind[0] == 'O' else 'a'} {kind}"
    if head[4:12] == b"ftypcrx ":
        return "a Canon CR3"
    if head[8:10] == b"CR" and head[:4] == b"II*\0":
        return "a Canon CR2"
    ifds: list[Ifd] = []
    with suppress(ValueError):  # no TIFF, or damaged: what lies before the damage counts
        for ifd in _ifds(stream, head):
            ifds.append(ifd)  # noqa: PERF402
    if ifds and _DNG_VERSION in ifds[0].entries:
        return "a DNG"
    for ifd in ifds:
        photometric = ifd.entries.get(_PHOTOMETRIC)
        if photometric is not None and photometric.number(ifd.order) in _OF_SENSORS:
            make = ifds[0].entries.get(_MAKE)
            text = (make.value or b"").split(b"\0")[0].decode("latin-1").strip() if make else ""
            named = text and text.isprintable()
            return f"the raw file of a {text} camera" if named else "a raw file"
    return None


def _ifds(stream: BinaryIO, head: bytes) -> Iterator[Ifd]:
    """The directories of a TIFF, and those beneath them."""

    def read_at(at: int, length: int) -> bytes:
        stream.seek(at)
        return stream.read(length)

    order, big, following = read_header(head)
    for _ in range(_MAX_IFDS):
        if not following:
            return
        ifd = read_ifd(read_at, order, big, following)
        yield ifd
        below = ifd.entries.get(_SUB_IFDS)
        for offset in below.numbers(order)[:_MAX_IFDS] if below else ():
            try:
                yield read_ifd(read_at, order, big, offset)
            except ValueError:
                continue
        following = ifd.next
