"""EXIF changed in place; profiles and resolutions taken or left."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from srcli.media.exif import (
    build_exif,
    pack_ifd,
    patch_exif,
    read_header,
    read_ifd,
    resolution_of,
    with_resolution,
)
from srcli.media.formats import FORMATS
from srcli.media.image import read
from srcli.media.metadata import (
    Metadata,
    exif_for,
    usable_dpi,
    usable_icc,
    xmp_for,
)
from srcli.media.output_metadata import output_metadata
from srcli.media.write import open_writer

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_with_thumbnail(order: str, last: bool = True) -> bytes:
    """IFD0 (orientation, sizes, Exif with SHORT sizes and a maker note), IFD1 with a thumbnail."""

    def short(value: int) -> tuple[int, int, bytes]:
        return 3, 1, struct.pack(order + "H", value)

    def long(value: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack(order + "I", value)

    note = (7, 40, b"MAKERNOTE at some offset" + bytes(16))
    inner = {0x927C: note, 0xA002: short(640), 0xA003: short(480), 0xC0DE: short(7)}
    outer = {0x0100: long(640), 0x0101: short(480), 0x010F: (2, 8, b"a maker\0")}
    outer |= {0x0112: short(8), 0x8769: long(0)}
    inner_at = 8 + len(pack_ifd(outer, order, False, 8))  # type: ignore[arg-type]
    outer[0x8769] = long(inner_at)
    body = pack_ifd(outer, order, False, 8)  # type: ignore[arg-type]
    body += pack_ifd(inner, order, False, inner_at)  # type: ignore[arg-type]
    first_at = 8 + len(body)
    thumbnail = b"\xff\xd8 a small picture of a secret \xff\xd9"
    tags = {0x0103: short(6), 0x0201: long(0), 0x0202: long(len(thumbnail))}
    tags[0x0201] = long(first_at + len(pack_ifd(tags, order, False, first_at)))  # type: ignore[arg-type]
    next_at = 2 + 12 * len(outer)
    body = body[:next_at] + struct.pack(order + "I", first_at) + body[next_at + 4 :]
    body += pack_ifd(tags, order, False, first_at) + thumbnail  # type: ignore[arg-type]
    head = struct.pack(order + "HHI", 0x4949 if order == "<" else 0x4D4D, 42, 8)
    return head + body + (b"" if last else b"something else behind it")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize("last", [True, False])
def test_exif_is_changed_where_it_must_be_and_nowhere_else(
    order: str, prefix: bytes, last: bool
) -> None:
    before = exif_with_thumbnail(order, last)
    after = exif_for(Metadata(exif=prefix + before), 70_000, 3)
    assert after is not None and b"secret" not in after and b"secret" in before
    assert (len(after) < len(before)) == last
    assert after.index(b"MAKERNOTE") == before.index(b"MAKERNOTE")  # offsets inside stay true
    exif = Image.Exif()
    exif.load(after)
    assert (exif[0x0112], exif[0x0100], exif[0x0101], exif[0x010F]) == (1, 70_000, 3, "a maker")
    inner = exif.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003], inner[0xC0DE]) == (70_000, 3, 7)
    assert not exif.get_ifd(1)
    changed = sum(a != b for a, b in zip(before, after, strict=False))
    assert changed <= 60
    assert patch_exif(after, 70_000, 3) == after


@pytest.mark.parametrize(
    "bad", [b"", b"no exif", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_malformed_exif_is_dropped(bad: bytes) -> None:
    assert exif_for(Metadata(exif=bad), 1, 1) is None


@given(st.data())
def test_mutated_exif_never_raises(data: st.DataObject) -> None:
    exif = bytearray(exif_with_thumbnail("<"))
    for _ in range(data.draw(st.integers(1, 6))):
        exif[data.draw(st.integers(0, len(exif) - 1))] = data.draw(st.integers(0, 255))
    del exif[data.draw(st.integers(1, len(exif))) :]
    out = exif_for(Metadata(exif=bytes(exif)), 10, 20)
    assert out is None or len(out) <= len(exif)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_costs_a_note_and_not_the_picture(tmp_path) -> None:

    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    picture = read(tmp_path / "a.jpg")
    assert picture.metadata.exif is None
    assert any("EXIF" in note for note in picture.notes)
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png", icc_profile=b"junk")
    picture = read(tmp_path / "b.png")
    assert picture.metadata.icc is None and any("profile" in note for note in picture.notes)
    assert picture.pixels.dtype == np.uint8


def icc_for(icc: bytes | None, channels: int) -> bytes | None:
    return output_metadata(Metadata(icc=icc), FORMATS["png"], channels, (1, 1)).metadata.icc


def test_profiles_go_only_with_pixels_of_their_kind() -> None:
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    assert icc_for(SRGB, 3) == SRGB and icc_for(grey, 1) == grey
    assert icc_for(SRGB, 1) is None and icc_for(grey, 3) is None
    assert icc_for(None, 3) is None
    assert usable_icc(SRGB) == SRGB
    assert usable_icc(SRGB[:100]) is None and usable_icc(SRGB[:-9]) is None
    assert usable_icc(None) is None


@pytest.mark.parametrize(
    "dpi", [None, (72,), (0, 0), (-1, 72), (float("nan"), 72), ("a", "b"), (1e9, 1e9)]
)
def test_resolutions_that_mean_nothing(dpi: object) -> None:
    assert usable_dpi(dpi) is None
    assert usable_dpi((72, 300)) == (72.0, 300.0)


def test_xmp_says_the_new_size_and_no_orientation() -> None:
    before = (
        b'<rdf:Description tiff:Orientation="6" tiff:ImageWidth = "640" exif:PixelXDimension='
        b'"640" xmp:Rating="4"><exif:PixelYDimension>480</exif:PixelYDimension><xmp:Thumbnails>'
        b"<rdf:Alt>secret</rdf:Alt></xmp:Thumbnails></rdf:Description>"
    )
    after = xmp_for(Metadata(xmp=before), 2560, 1920)
    assert after == (
        b'<rdf:Description tiff:Orientation="1" tiff:ImageWidth = "2560" exif:PixelXDimension='
        b'"2560" xmp:Rating="4"><exif:PixelYDimension>1920</exif:PixelYDimension>'
        b"</rdf:Description>"
    )
    assert xmp_for(Metadata(xmp=after), 2560, 1920) == after
    assert xmp_for(Metadata(), 1, 1) is None


GDEPTH = b'<a xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" '


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'GDepth:Near="1" x:y="2"/>', b'x:y="2"/>'),
        (b"GDepth:Near='1'><GDepth:Far>3</GDepth:Far><b/></a>", b"><b/></a>"),
        (b"><GDepth:Far/><GDepth:Data a='b'/><b/></a>", b"><b/></a>"),
        (b"><GDepth:A><GDepth:B>1</GDepth:B></GDepth:A>2</a>", b">2</a>"),
    ],
)
def test_xmp_that_announces_what_is_left_out(before: bytes, after: bytes) -> None:
    made = xmp_for(Metadata(xmp=GDEPTH + before), 4, 4)
    assert made is not None and b"GDepth" not in made
    assert made.replace(b" ", b"") == (b"<a" + after).replace(b" ", b"")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", [b"<GDepth:a ", b"<GDepth:a>", b"<GDepth:a b>", b" ", b"GDepth:a=", b"<rdf:li>", b"'"]
)
def test_hostile_xmp_takes_no_longer_than_its_length(piece: bytes) -> None:
    hostile = GDEPTH + b'xmlns:C="http://ns.google.com/photos/1.0/container/"><C:Directory>'
    hostile += piece * (400_000 // len(piece))
    assert xmp_for(Metadata(xmp=hostile + b"</C:Directory>"), 4, 4) is not None


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_that_is_given_a_resolution(order: str) -> None:
    before = exif_with_thumbnail(order)
    after = with_resolution(before, (300, 150))
    assert resolution_of(before) is None and resolution_of(after) == (300, 150)
    assert after.index(b"MAKERNOTE") == before.index(b"MAKERNOTE")
    exif = Image.Exif()
    exif.load(after)
    assert exif[0x010F] == "a maker" and exif.get_ifd(0x8769)[0xA002] == 640
    ifds = []
    for stream in (before, after):
        _, _, offset = read_header(stream)
        first = read_ifd(lambda at, n, data=stream: data[at : at + n], order, False, offset)  # type: ignore[arg-type]
        ifds.append(first)
    assert ifds[0].next == ifds[1].next and set(ifds[0].entries) < set(ifds[1].entries)
    assert with_resolution(after, (72, 72)) == after
    assert resolution_of(with_resolution(None, (72, 72))) == (72, 72)
    assert build_exif({}, {}, {}) is None


def test_comments_and_text_in_each_others_formats(tmp_path) -> None:
    def written(name: str, metadata: Metadata) -> Metadata:
        page = {"size": (2, 3), "channels": 3, "alpha": False, "metadata": metadata}
        with open_writer(tmp_path / name, **page) as writer:
            writer.rows(np.zeros((2, 3, 3), np.uint8))
        return read(tmp_path / name).metadata

    comments = (b"first", "zweiter, mit \u00fc".encode(), b"latin \xfc")
    assert written("a.jpg", Metadata(comments=comments)).comments == comments
    texts = written("a.png", Metadata(comments=comments)).texts
    assert [kind for kind, _ in texts] == [b"tEXt", b"iTXt", b"tEXt"]
    assert written("b.jpg", Metadata(texts=texts)).comments == comments
    assert written("a.gif", Metadata(comments=(b"c" * 300,), xmp=b"<x/>")).comments == (b"c" * 300,)
    title = (b"zTXt", b"Title\0\0" + zlib.compress(b"words"))
    assert written("b.png", Metadata(texts=(title,))).texts == (title,)
    said = output_metadata(Metadata(texts=(title,)), FORMATS["jpeg"], 3, (2, 3))
    assert "text" in said.notes[0] and said.metadata.comments == ()


def test_what_says_how_pixels_look_is_never_stripped() -> None:
    gamma = ((b"gAMA", bytes(4)),)
    whole = Metadata(SRGB, b"exif", (72, 72), b"xmp", b"iptc", (b"c",), ((b"tEXt", b"a"),), gamma)
    assert whole.stripped() == Metadata(icc=SRGB, colour=gamma)
    assert output_metadata(whole.stripped(), FORMATS["png"], 3, (1, 1)).metadata.colour == gamma
    assert output_metadata(Metadata(colour=gamma), FORMATS["webp"], 3, (1, 1)).notes


def test_what_is_too_long_for_a_jpeg() -> None:
    exif = exif_with_thumbnail("<")
    long = Metadata(
        None, exif + bytes(70_000), None, b"x" * 70_000, b"i" * 70_000, (b"c" * 70_000,)
    )
    said = output_metadata(long, FORMATS["jpeg"], 3, (1, 1))
    assert len(said.notes) == 4 and said.metadata == Metadata()
