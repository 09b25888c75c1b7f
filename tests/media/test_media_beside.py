"""What a picture file may hold beside its picture: kept, or named in a line, and never announced
in vain. The last table of docs/fidelity-tables.md is what this test finds; `python
tests/media/test_media_beside.py` writes it.
"""

import io
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from icc_profiles import rgb_profile
from PIL import Image, JpegImagePlugin, MpoImagePlugin
from tiffs import tiff

from srcli import catalog
from srcli.engine.resampler import Resampler
from srcli.errors import MediaError
from srcli.jobs.events import Done, Failed, Noted
from srcli.jobs.job import Options
from srcli.jobs.plan import plan
from srcli.jobs.run import run
from srcli.media.exif import pack_ifd
from srcli.media.image import inspect, read

DOCS = Path(__file__).parents[2] / "docs" / "fidelity-tables.md"
GOOGLE = "http://ns.google.com/photos/1.0/"


def colours(height: int = 12, width: int = 16, shift: int = 0) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    planes = np.stack((x * 9 + shift, y * 12, (x + y) * 6), axis=2) % 256
    return Image.fromarray(planes.astype(np.uint8))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def xmp(attributes: str = "", elements: str = "", **names: str) -> bytes:
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in names.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'rdf:about=""{declared} xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="kept" '
        f"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()


def container(*items: tuple[str, int]) -> str:
    """Google's directory of the parts of a file: (semantic, length)."""
    listed = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" '
        f'Item:Semantic="{what}" Item:Length="{length}"/></rdf:li>'
        for what, length in items
    )
    return f"<Container:Directory><rdf:Seq>{listed}</rdf:Seq></Container:Directory>"


CONTAINER = {"Container": GOOGLE + "container/", "Item": GOOGLE + "container/item/"}
GAIN = "http://ns.adobe.com/hdr-gain-map/1.0/"
# JPEG


def segment(number: int, data: bytes) -> bytes:
    return bytes((0xFF, 0xE0 + number)) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes, behind: bytes = b"", packet: bytes | None = None) -> bytes:
    data = saved(colours(), "JPEG", **({"xmp": packet} if packet else {}))
    at = 2 + 2 + int.from_bytes(data[4:6], "big")
    return data[:at] + b"".join(segments) + data[at:] + behind


def film() -> bytes:
    box = struct.pack(">I4s", 24, b"ftyp") + b"mp42\0\0\0\0mp42isom"
    return box + struct.pack(">I4s", 308, b"mdat") + bytes(range(200)) + b"\xff\xd8\xff" + bytes(97)


def gain_map_jpeg() -> bytes:
    packet = xmp('hdrgm:Version="1.0" hdrgm:GainMapMax="2.3"', hdrgm=GAIN)
    ramp = Image.fromarray(np.tile(np.arange(0, 240, 30, dtype=np.uint8), (6, 1)))
    return saved(ramp, "JPEG", quality=100, xmp=packet)


def ultra_hdr(with_film: bool = False) -> bytes:
    more = gain_map_jpeg()
    items = [("Primary", 0), ("GainMap", len(more))] + [("MotionPhoto", 332)] * with_film
    motion = 'GCamera:MotionPhoto="1" ' if with_film else ""
    packet = xmp(
        f'{motion}hdrgm:Version="1.0"',
        container(*items),
        hdrgm=GAIN,
        GCamera=GOOGLE + "camera/",
        **CONTAINER,
    )
    return jpeg(packet=packet, behind=more + (film() if with_film else b""))


def iso_gain_map() -> bytes:
    """Without XMP: ISO 21496-1 has segments of its own."""
    mark = b"urn:iso:std:iso:ts:21496:-1\0"
    second = (
        gain_map_jpeg()[:20] + segment(2, mark + b"numbers") + saved(colours(6, 8), "JPEG")[20:]
    )
    return jpeg(segment(2, mark + bytes(4)), behind=second)


def motion_photo(packet: bool = True) -> bytes:
    said = xmp(
        'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"',
        container(("Primary", 0), ("MotionPhoto", 332))
        + "<GCamera:MotionPhotoTimestampUs>7</GCamera:MotionPhotoTimestampUs>",
        GCamera=GOOGLE + "camera/",
        **CONTAINER,
    )
    return jpeg(packet=said if packet else None, behind=bytes(8) + film())


def samsung(*blocks: tuple[str, bytes]) -> bytes:
    body, entries, places = b"", b"", []
    for name, data in blocks:
        places.append(len(body))
        body += struct.pack("<HHI", 0, 0xA30, len(name)) + name.encode() + data
    for (name, data), place in zip(blocks, places, strict=True):
        size = 8 + len(name) + len(data)
        entries += struct.pack("<HHII", 0, 0xA30, len(body) - place, size)
    head = b"SEFH" + struct.pack("<II", 106, len(blocks)) + entries
    return jpeg(behind=body + head + struct.pack("<I", len(head)) + b"SEFT")


def mpo(*pictures: Image.Image) -> bytes:
    return saved(colours(), "MPO", save_all=True, append_images=[*pictures])


def depth_in_xmp() -> bytes:
    """As older phones of Google's have it: in XMP of more than one segment."""
    identity = b"0" * 32
    packet = xmp(
        f'xmpNote:HasExtendedXMP="{identity.decode()}" GDepth:Format="RangeLinear" '
        'GImage:Mime="image/jpeg" GAudio:Mime="audio/mp4"',
        xmpNote="http://ns.adobe.com/xmp/note/",
        GDepth=GOOGLE + "depthmap/",
        GImage=GOOGLE + "image/",
        GAudio=GOOGLE + "audio/",
    )
    more = b'<a GDepth:Data="..." GImage:Data="..." GAudio:Data="..."/>'
    more = identity + struct.pack(">II", len(more), 0) + more
    return jpeg(segment(1, b"http://ns.adobe.com/xmp/extension/\0" + more), packet=packet)


def depth_behind() -> bytes:
    second = xmp(elements="<a>urn:com:apple:photo:2016:aux:depth</a>")
    matte = xmp(elements="<a>urn:com:apple:photo:2018:aux:portraiteffectsmatte</a>")
    return jpeg(behind=saved(colours(), "JPEG", xmp=second) + saved(colours(), "JPEG", xmp=matte))


def photoshop_paths() -> bytes:
    data = b"8BIM" + struct.pack(">H", 2000) + b"\0\0" + struct.pack(">I", 26) + bytes(26)
    return jpeg(segment(13, b"Photoshop 3.0\0" + data))


# PNG


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    sums = zlib.crc32(kind + data) ^ wrong
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sums)


def png(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    data = saved(image or colours(), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def hidden_default() -> bytes:
    frames = [colours(shift=40), colours(shift=80)]
    options = {"save_all": True, "append_images": frames, "default_image": True, "duration": 40}
    return saved(colours(), "PNG", **options)


def one_frame_hidden() -> bytes:
    options = {"save_all": True, "append_images": [colours(shift=40)], "default_image": True}
    return saved(colours(), "PNG", **options)


# TIFF


def stored(**more: object) -> bytes:
    options = {"photometric": 2, **more}
    return tiff(np.asarray(colours()), **options)  # type: ignore[arg-type]


def ascii_tag(text: bytes) -> tuple[int, int, bytes]:
    return 2, len(text) + 1, text + b"\0"


def beneath(kind: int, first: int = 0) -> bytes:
    """A TIFF whose SubIFD is another picture of a NewSubfileType."""
    inner = tiff(np.asarray(colours(24, 32, 60)), photometric=2)
    at = int.from_bytes(inner[4:8], "little")
    shift = 8 + 12 * 16 * 3 + 4000  # beyond the outer file's end
    outer = tiff(
        np.asarray(colours()),
        photometric=2,
        tags={254: (4, 1, struct.pack("<I", first)), 330: (4, 1, struct.pack("<I", 0))},
    )
    outer = outer.ljust(shift, b"\0")
    count = int.from_bytes(inner[at : at + 2], "little")
    entries = {254: (4, 1, struct.pack("<I", kind))}
    for k in range(count):
        tag, form, n, _ = struct.unpack_from("<HHII", inner, at + 2 + 12 * k)
        size = n * {3: 2, 4: 4}[form]
        place = at + 10 + 12 * k
        if size > 4:
            place = int.from_bytes(inner[place : place + 4], "little")
        value = inner[place : place + size]
        if tag == 273:
            offsets = struct.unpack(f"<{n}I", value)
            value = struct.pack(f"<{n}I", *(o - 8 + shift for o in offsets))
        entries[tag] = form, n, value
    whole = outer + inner[8:at]
    start = len(whole) + len(whole) % 2
    pointer = whole.index(struct.pack("<HHI", 330, 4, 1)) + 8
    whole = whole[:pointer] + struct.pack("<I", start) + whole[pointer + 4 :]
    return whole.ljust(start, b"\0") + pack_ifd(entries, "<", False, start)


# WebP, GIF, AVIF, BMP


def webp_with_a_chunk() -> bytes:
    data = (
        saved(colours(), "WEBP", lossless=True, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
        + b"note\4\0\0\0abcd"
    )
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def gif_with(label: bytes, *blocks: bytes) -> bytes:
    data = saved(colours().quantize(16), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    body = b"".join(bytes((len(block),)) + block for block in blocks)
    return data[:at] + b"!" + label + body + b"\0" + data[at:]


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


def avif_with(*boxes: bytes) -> bytes:
    return saved(colours(32, 32), "AVIF", quality=90) + b"".join(boxes)


C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def bmp_with_profile() -> bytes:
    profile = rgb_profile()
    plain = saved(colours(), "BMP")
    pixels = plain[54:]
    head = bytearray(124)
    head[:40] = plain[14:54]
    struct.pack_into("<I", head, 0, 124)
    head[56:60] = b"DEBM"
    struct.pack_into("<II", head, 112, 124 + len(pixels), len(profile))
    total = 14 + 124 + len(pixels) + len(profile)
    return b"BM" + struct.pack("<IHHI", total, 0, 0, 138) + bytes(head) + pixels + profile


# what each file is expected to become


@dataclass(frozen=True)
class Holding:
    """A file that holds something, and what is to become of that.

    Attributes:
        ext: the file's.
        what: it holds, for the table.
        to: the extension of the output.
        says: of the line that names it; empty if it is kept, or goes without a word.
        kept: of the output's bytes, if it is kept.
        gone: what the output may not contain: announcements of what is left out.
        silent: why there is no word.
    """

    ext: str
    what: str
    make: Callable[[], bytes]
    to: str = ""
    says: str = ""
    kept: Callable[[bytes], bool] | None = None
    gone: str = ""
    silent: str = ""


def has_gain_map(data: bytes) -> bool:
    """As a reader of MPF and one of Google's container finds it: 4 x 3 became 8 x 6."""
    first = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    both = MpoImagePlugin.MpoImageFile.adopt(first, first._getmp())
    both.seek(1)
    second = np.asarray(both).astype(int)
    grey = second if second.ndim == 2 else second[:, :, 0]
    smooth = (np.diff(grey, axis=1) >= -4).all()
    lengths = re.findall(rb'"GainMap" Item:Length="(\d+)"', data)
    at_end = all(data[len(data) - int(n) :][:2] == b"\xff\xd8" for n in lengths)
    return both.size == (16, 12) and bool(smooth) and at_end and data.endswith(b"\xff\xd9")


def says(text: bytes) -> Callable[[bytes], bool]:
    return lambda data: text in data


def is_opaque_jpeg(data: bytes) -> bool:
    return Image.open(io.BytesIO(data)).mode == "RGB"


def is_larger_one(data: bytes) -> bool:
    return Image.open(io.BytesIO(data)).size == (64, 48)


SPHERE = (
    'GPano:FullPanoWidthPixels="64" GPano:CroppedAreaImageWidthPixels="16" '
    'GPano:CroppedAreaLeftPixels="5" GPano:ProjectionType="equirectangular"'
)
MPVD = box(b"mpvd", film())
META = box(
    b"meta", bytes(4) + box(b"auxC", bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0")
)
HOLDINGS = [
    Holding("jpg", "HDR gain map (Ultra HDR)", ultra_hdr, kept=has_gain_map),
    Holding(
        "jpg",
        "HDR gain map (Ultra HDR)",
        ultra_hdr,
        "png",
        "PNG holds no HDR gain map",
        gone="hdrgm:",
    ),
    Holding("jpg", "HDR gain map (Ultra HDR)", ultra_hdr, "webp", "no HDR gain map", gone="hdrgm:"),
    Holding("jpg", "HDR gain map (ISO 21496-1)", iso_gain_map, kept=has_gain_map),
    Holding(
        "jpg",
        "gain map and film",
        lambda: ultra_hdr(True),
        says="the film",
        kept=has_gain_map,
        gone="MotionPhoto",
    ),
    Holding(
        "jpg",
        "film of a motion photo",
        motion_photo,
        says="the film",
        gone="MotionPhoto|Directory|ftyp",
    ),
    Holding(
        "jpg",
        "film of a motion photo (Samsung)",
        lambda: samsung(("Image_UTC_Data", b"17"), ("MotionPhoto_Data", film())),
        says="the film",
    ),
    Holding(
        "jpg",
        "what else Samsung's cameras add",
        lambda: samsung(("DualShot_DepthMap_1", b"0" * 50)),
        says="DualShot_DepthMap_1",
    ),
    Holding(
        "jpg",
        "second view (MPO)",
        lambda: mpo(colours(shift=9)),
        says="other views of the picture (MPO) were left out: 1",
    ),
    Holding(
        "jpg", "depth map, in XMP", depth_in_xmp, says="the depth map", gone="GDepth|HasExtended"
    ),
    Holding(
        "jpg",
        "picture before it was changed, in XMP",
        depth_in_xmp,
        says="another view",
        gone="GImage",
    ),
    Holding("jpg", "sound, in XMP", depth_in_xmp, says="the sound", gone="GAudio"),
    Holding("jpg", "depth map, as a second JPEG", depth_behind, says="the depth map"),
    Holding("jpg", "matte, as a second JPEG", depth_behind, says="the matte"),
    Holding("jpg", "XMP of more than one segment", depth_in_xmp, says="extended XMP"),
    Holding(
        "jpg",
        "sizes of a photo sphere",
        lambda: jpeg(packet=xmp(SPHERE, GPano=GOOGLE + "panorama/")),
        kept=says(
            b'FullPanoWidthPixels="128" GPano:CroppedAreaImageWidthPixels="32" '
            b'GPano:CroppedAreaLeftPixels="10"'
        ),
    ),
    Holding("jpg", "Photoshop's paths", photoshop_paths, says="paths"),
    Holding(
        "jpg",
        "Content Credentials (C2PA)",
        lambda: jpeg(segment(11, b"JP\0\1 jumb c2pa")),
        says="C2PA",
    ),
    Holding("jpg", "segments of other programs", lambda: jpeg(segment(4, b"mine")), says="APP4"),
    Holding(
        "jpg", "other data behind the picture", lambda: jpeg(behind=b"mine" * 9), says="36 bytes"
    ),
    Holding("jpg", "no end marker, all pixels there", lambda: jpeg()[:-2], says="end marker"),
    Holding(
        "png",
        "chunks with a wrong checksum",
        lambda: png(chunk(b"tEXt", b"Title\0a", 1)),
        says="tEXt",
    ),
    Holding("png", "default image that is no frame", hidden_default, says="default image"),
    Holding("png", "one frame behind the default image", one_frame_hidden, says="one frame"),
    Holding(
        "png",
        "light levels of HDR (mDCV, cLLI)",
        lambda: png(chunk(b"cLLI", bytes(8))),
        kept=says(b"cLLI"),
    ),
    Holding("png", "chunks of other programs", lambda: png(chunk(b"miNe", b"abc")), says="miNe"),
    Holding("png", "Content Credentials (C2PA)", lambda: png(chunk(b"caBX", b"abc")), says="C2PA"),
    Holding(
        "png",
        "alpha that is full everywhere",
        lambda: saved(colours().convert("RGBA"), "PNG"),
        "jpg",
        kept=is_opaque_jpeg,
    ),
    Holding(
        "tif",
        "extra samples",
        lambda: tiff(np.dstack([np.asarray(colours())] * 2), photometric=2, extra=(0, 0, 0)),
        says="extra samples",
    ),
    Holding("tif", "mask of transparency", lambda: beneath(4), says="transparency mask"),
    Holding("tif", "pictures in SubIFDs", lambda: beneath(0), says="SubIFDs"),
    Holding(
        "tif", "smaller version in a SubIFD", lambda: beneath(1), silent="made of the old pixels"
    ),
    Holding(
        "tif", "picture beneath its thumbnail", lambda: beneath(0, first=1), kept=is_larger_one
    ),
    Holding(
        "tif",
        "Photoshop's layers",
        lambda: stored(tags={37724: (7, 9, b"Adobe PS\0")}),
        says="layers",
    ),
    Holding(
        "tif",
        "place on the map (GeoTIFF)",
        lambda: stored(tags={33550: (12, 3, bytes(24))}),
        says="GeoTIFF",
    ),
    Holding(
        "tif",
        "primaries, white point",
        lambda: stored(tags={318: (5, 2, b"\1\0\0\0" * 4)}),
        says="white point",
    ),
    Holding(
        "tif",
        "fields of other programs",
        lambda: stored(tags={65000: (3, 1, b"\1\0")}),
        says="65000",
    ),
    Holding(
        "tif",
        "Content Credentials (C2PA)",
        lambda: stored(tags={52545: (7, 9, b"any bytes")}),
        says="C2PA",
    ),
    Holding(
        "tif",
        "values beyond 0..1",
        lambda: tiff(np.full((4, 4, 3), 1.5, "f4"), photometric=2),
        says="clipped",
    ),
    Holding("webp", "chunks of other programs", webp_with_a_chunk, says="note"),
    Holding(
        "gif",
        "colour profile",
        lambda: gif_with(b"\xff", b"ICCRGBG1012", b"abc"),
        says="colour profile",
    ),
    Holding(
        "gif",
        "extensions of other programs",
        lambda: gif_with(b"\xff", b"MINE    1.0", b"abc"),
        says="MINE",
    ),
    Holding(
        "gif",
        "text drawn over frames",
        lambda: gif_with(b"\x01", bytes(12), b"abc"),
        says="text that is drawn",
    ),
    Holding("avif", "film of a motion photo", lambda: avif_with(MPVD), says="the film"),
    Holding("avif", "depth map", lambda: avif_with(META), says="the depth map"),
    Holding(
        "avif",
        "HDR gain map",
        lambda: avif_with(box(b"meta", bytes(4) + box(b"infe", b"\2\0\0\0\0\2\0\0tmap"))),
        says="the HDR gain map",
    ),
    Holding(
        "avif",
        "Content Credentials (C2PA)",
        lambda: avif_with(box(b"uuid", C2PA + b"abc")),
        says="C2PA",
    ),
    Holding("bmp", "colour profile", bmp_with_profile, "png", kept=says(b"iCCP")),
]


@dataclass(frozen=True)
class Outcome:
    """What came of a file: its lines, and the output's bytes."""

    notes: tuple[str, ...]
    data: bytes


def enlarged(holding: Holding, folder: Path) -> Outcome:
    source = folder / f"a.{holding.ext}"
    target = folder / f"b.{holding.to or holding.ext}"
    source.write_bytes(holding.make())
    options = Options(
        catalog.resolve("bicubic"), 2.0, output=str(target), overwrite=True, quality=100
    )
    events: list[object] = []
    run(plan([str(source)], options), options, Resampler("bicubic"), tell=events.append)
    assert not [e for e in events if isinstance(e, Failed)], events
    assert any(isinstance(e, Done) for e in events)
    return Outcome(tuple(e.text for e in events if isinstance(e, Noted)), target.read_bytes())


@pytest.mark.parametrize("holding", HOLDINGS, ids=lambda h: f"{h.ext}-{h.to}-{h.what}")
def test_what_a_file_holds_is_kept_or_named(holding: Holding, tmp_path: Path) -> None:
    outcome = enlarged(holding, tmp_path)
    said = [note for note in outcome.notes if holding.says and holding.says in note]
    assert bool(said) == bool(holding.says), outcome.notes
    assert holding.kept is None or holding.kept(outcome.data)
    assert not holding.gone or not re.search(holding.gone.encode(), outcome.data)
    assert bool(said) or holding.kept is not None or (holding.silent and not outcome.notes)
    packet = read(io.BytesIO(holding.make())).metadata.xmp
    if packet:
        assert b'dc:source="kept"' in outcome.data  # the rest of XMP goes on


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF", "BMP"])
def test_a_plain_file_has_no_lines(form: str) -> None:
    data = saved(colours(32, 32), form)
    assert inspect(io.BytesIO(data)).notes == () == read(io.BytesIO(data)).notes


def test_a_gain_map_is_turned_with_its_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = saved(colours(), "JPEG", exif=exif, xmp=xmp('hdrgm:Version="1.0"', hdrgm=GAIN))
    (tmp_path / "a.jpg").write_bytes(plain + gain_map_jpeg())
    gain_map = read(tmp_path / "a.jpg").metadata.gain_map
    assert gain_map is not None and gain_map.size == (16, 12)
    assert gain_map.pixels.shape == (8, 6)
    assert (np.diff(gain_map.pixels.astype(int), axis=0) > 20).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [2, 3, 6, 40, 400])
def test_only_the_end_marker_may_be_missing(progressive: bool, cut: int) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
    data = saved(image, "JPEG", progressive=progressive)
    whole = read(io.BytesIO(data)).pixels
    try:
        picture = read(io.BytesIO(data[:-cut]))
    except MediaError as error:
        assert cut > 2 and "cut short" in error.message
    else:
        assert np.array_equal(picture.pixels, whole) and any(
            "end marker" in n for n in picture.notes
        )
        assert cut == 2 or cut == 3


def test_a_progressive_jpeg_whose_last_scans_are_missing() -> None:
    data = saved(colours(64, 64), "JPEG", progressive=True)
    scans = [m.start() for m in re.finditer(rb"\xff\xda", data)]
    with pytest.raises(MediaError, match="cut short"):
        read(io.BytesIO(data[: scans[-1]]))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_chunks_that_a_picture_needs_have_right_checksums(kind: bytes) -> None:
    data = bytearray(saved(colours().quantize(16), "PNG"))
    at = data.index(kind) + 4 + int.from_bytes(data[data.index(kind) - 4 :][:4], "big")
    data[at] ^= 1
    with pytest.raises(MediaError):
        read(io.BytesIO(bytes(data)))


def test_apples_own_png_is_named() -> None:
    data = png()
    apple = data[:8] + chunk(b"CgBI", bytes(4)) + data[8:]
    with pytest.raises(MediaError, match="CgBI") as caught:
        inspect(io.BytesIO(apple))
    assert "damaged" not in caught.value.message


def cfa() -> bytes:
    """A thumbnail whose SubIFD is a sensor's."""
    data = beneath(0, first=1)
    at = data.rindex(struct.pack("<HHIHH", 262, 3, 1, 2, 0)) + 8
    return data[:at] + struct.pack("<H", 32803) + data[at + 2 :]


def broken_chain() -> bytes:
    """A DNG whose first directory says that another follows, beyond the file's end."""
    data = bytearray(stored(tags={50706: (1, 4, b"\1\4\0\0")}))
    at = int.from_bytes(data[4:8], "little")
    after = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[after : after + 4] = (len(data) + 99).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("DNG", lambda: stored(tags={50706: (1, 4, b"\1\4\0\0")})),
        ("a raw file", cfa),
        ("DNG", broken_chain),
        (
            "NIKON camera",
            lambda: tiff(
                np.zeros((4, 4, 1), "u2"), photometric=32803, tags={271: ascii_tag(b"NIKON")}
            ),
        ),
        ("Canon CR2", lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(99)),
        ("Canon CR3", lambda: box(b"ftyp", b"crx \0\0\0\1crx isom") + bytes(99)),
        ("Fujifilm RAF", lambda: b"FUJIFILMCCD-RAW 0201" + bytes(99)),
        ("Olympus ORF", lambda: b"IIRO\x08\0\0\0" + bytes(99)),
        ("Panasonic RW2", lambda: b"IIU\0\x18\0\0\0" + bytes(99)),
    ],
)
def test_camera_raw_is_told_by_what_it_holds(
    what: str, make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is then refused without the package that reads it."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(MediaError, match=f"{what}: camera raw needs a package") as caught:
        inspect(io.BytesIO(make()))
    assert caught.value.hint == 'pip install "srcli[raw]"'


@pytest.mark.parametrize("make", [cfa, lambda: stored(tags={50706: (1, 4, b"\1\4\0\0")})])
def test_a_thumbnail_is_never_taken_for_camera_raw(make: Callable[[], bytes]) -> None:
    """Where LibRaw reads none of it, nothing is read."""
    pytest.importorskip("rawpy")
    with pytest.raises(MediaError, match="camera raw"):
        inspect(io.BytesIO(make()))


@pytest.mark.parametrize("alpha", [254, 255])
def test_alpha_decides_by_its_values(tmp_path: Path, alpha: int) -> None:
    image = colours().convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, alpha))
    image.save(tmp_path / "a.png")
    options = Options(catalog.resolve("bicubic"), 2.0, output=str(tmp_path / "a.jpg"))
    (job,) = plan([str(tmp_path / "a.png")], options)
    assert job.alpha == (alpha < 255)
    assert (job.failure is None) == (alpha == 255)


# the page

BEGIN, END = (
    "<!-- generated by tests/media/test_media_beside.py -->\n",
    "<!-- end of holdings -->\n",
)
TITLES = {
    "jpg": "JPEG",
    "png": "PNG",
    "tif": "TIFF",
    "webp": "WebP",
    "gif": "GIF",
    "avif": "AVIF, HEIC",
    "bmp": "BMP",
}


def table() -> str:
    lines = ["| file | what it may hold | to | becomes |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        for holding in HOLDINGS:
            outcome = enlarged(holding, Path(name))
            said = [note for note in outcome.notes if holding.says and holding.says in note]
            parts = ["kept, or made to fit"] * (holding.kept is not None)
            parts += [f"*{said[0]}*"] if said else []
            parts += [f"left out silently: {holding.silent}"] if holding.silent else []
            to = TITLES[holding.to] if holding.to else "the same"
            row = (TITLES[holding.ext], holding.what, to, "; ".join(parts))
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def test_the_page_says_so() -> None:
    page = DOCS.read_text(encoding="utf-8")
    written = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
    assert written == table(), "python tests/media/test_media_beside.py writes the page anew"


if __name__ == "__main__":
    whole = DOCS.read_text(encoding="utf-8")
    head, tail = whole[: whole.index(BEGIN) + len(BEGIN)], whole[whole.index(END) :]
    DOCS.write_text(head + table() + tail, encoding="utf-8")
