"""What of a picture's metadata a file of another format takes, and a word about the rest."""

from dataclasses import dataclass, replace

from srcli.media import gainmap
from srcli.media.colour import ToSrgb
from srcli.media.exif import with_resolution
from srcli.media.formats import Format
from srcli.media.metadata import Chunk, GainMap, Metadata, exif_for, icc_space, xmp_for
from srcli.media.pngchunks import comment_chunk, iptc_chunk, is_srgb, text_of, xmp_chunk

# of one marker segment, less what stands in front
_JPEG_BYTES = {"EXIF": 65_533 - 6, "XMP": 65_533 - 29, "IPTC": 65_533 - 28}
_COMMENT = b"Comment"


@dataclass(frozen=True, slots=True)
class OutputMetadata:
    """What is written with the pixels.

    Attributes:
        metadata: in the format's own terms: what it does not hold is None, or something else.
        to_srgb: to be done to every strip, if the colours cannot be said otherwise.
        notes: what was changed or left out, as plain sentences.
    """

    metadata: Metadata
    to_srgb: ToSrgb | None
    notes: tuple[str, ...]


def output_metadata(
    metadata: Metadata, entry: Format, channels: int, size: tuple[int, int]
) -> OutputMetadata:
    """What goes into a file.

    Args:
        entry: its format.
        channels: of the picture, 1, 3, or 4 for CMYK.
        size: (height, width) of the output.
    """
    height, width = size
    notes: list[str] = []
    missing: list[str] = []
    icc, to_srgb = _colours(metadata, entry, channels, notes)
    gain_map = _gain_map(metadata, entry, channels, size, missing)
    exif = exif_for(metadata, width, height)
    xmp = xmp_for(metadata, width, height, len(gain_map.jpeg) if gain_map else None)
    iptc, dpi = metadata.iptc, metadata.dpi
    if dpi and "dpi" not in entry.holds:
        if "exif" in entry.holds:
            exif = with_resolution(exif, dpi)
        else:
            missing.append("resolution")
        dpi = None
    blocks = {"EXIF": exif, "XMP": xmp, "IPTC": iptc}
    for name, data in blocks.items():
        if data and name.lower() not in entry.holds:
            missing.append(name)
            blocks[name] = None
        elif data and entry.name == "jpeg" and len(data) > _JPEG_BYTES[name]:
            notes.append(f"the {name} data is too long for JPEG and was left out")
            blocks[name] = None
    if gain_map and metadata.xmp and not blocks["XMP"] and not gain_map.mark:
        notes.append("the HDR gain map was left out with it")
        gain_map = None
    comments, texts = _texts(metadata, entry, missing)
    if entry.name == "png":
        texts += [xmp_chunk(blocks["XMP"])] if blocks["XMP"] else []
        texts += [iptc_chunk(blocks["IPTC"])] if blocks["IPTC"] else []
    if missing:
        *others, last = (f"no {what}" for what in missing)
        listed = f"{', '.join(others)} and {last}" if others else last
        notes.append(f"{entry.title} holds {listed}: left out")
    written = Metadata(
        icc=icc,
        exif=blocks["EXIF"],
        dpi=dpi,
        xmp=blocks["XMP"],
        iptc=blocks["IPTC"],
        comments=tuple(comments),
        texts=tuple(texts),
        colour=metadata.colour if entry.name == "png" else (),
        gain_map=gain_map,
    )
    return OutputMetadata(written, to_srgb, tuple(notes))


def _gain_map(
    metadata: Metadata,
    entry: Format,
    channels: int,
    size: tuple[int, int],
    missing: list[str],
) -> GainMap | None:
    """The gain map to write behind the picture, if the format holds one."""
    if metadata.gain_map is None:
        return None
    if "gain map" not in entry.holds or channels == 4:
        missing.append("HDR gain map")
        return None
    return gainmap.enlarged(metadata.gain_map, size)


def for_later_frame(output: OutputMetadata) -> OutputMetadata:
    """For a later frame, whose colours are treated alike, and of which nothing more is said."""
    return replace(output, metadata=Metadata(), notes=())


def _colours(
    metadata: Metadata, entry: Format, channels: int, notes: list[str]
) -> tuple[bytes | None, ToSrgb | None]:
    """The profile to write, or what is done to the pixels instead."""
    icc = metadata.icc
    if icc is None:
        if entry.name != "png" and not is_srgb(metadata.colour):
            notes.append(f"{entry.title} holds no gamma and primaries as PNG does: left out")
        return None, None
    space = icc_space(icc)
    expected, kind = {1: ("GRAY", "grey"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK")}[channels]
    if space != expected:
        notes.append(f"a colour profile for {space} was left out: the picture is {kind}")
        return None, None
    if "icc" in entry.holds and (channels > 1 or entry.grey):
        return icc, None
    try:
        to_srgb = ToSrgb(icc, channels)
    except ValueError:
        notes.append("a colour profile that cannot be used was left out")
        return None, None
    why = "holds no colour profile" if "icc" not in entry.holds else "has no grey"
    notes.append(f"colours were converted to sRGB: {entry.title} {why}")
    return None, to_srgb


def _texts(
    metadata: Metadata, entry: Format, missing: list[str]
) -> tuple[list[bytes], list[Chunk]]:
    """(comments, PNG's chunks)"""
    texts, comments = list(metadata.texts), list(metadata.comments)
    if "text" in entry.holds:
        return [], texts + [comment_chunk(comment) for comment in comments]
    if "comment" in entry.holds:
        said = [chunk for chunk in texts if chunk[1].partition(b"\0")[0] == _COMMENT]
        comments += [text for chunk in said if (text := text_of(chunk))]
        texts = [chunk for chunk in texts if chunk not in said]
        limit = 65_533
        if any(len(comment) > limit for comment in comments):
            missing.append("comments so long")
        comments = [comment for comment in comments if len(comment) <= limit]
    elif comments:
        missing.append("comments")
        comments = []
    if texts:
        missing.append("text fields")
    return comments, []
