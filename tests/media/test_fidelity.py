"""What becomes of what a picture has: the table in docs/fidelity-tables.md is what this test finds.

Every cell is kept, changed with a word about it, or refused with a reason. `python
tests/media/test_fidelity.py` writes the table.
"""

import io
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from icc_profiles import cmyk_profile, grey_profile, rgb_profile
from PIL import Image, PngImagePlugin

from srcli import catalog
from srcli.engine.resampler import Resampler
from srcli.jobs.events import Done, Failed, Noted
from srcli.jobs.job import Options
from srcli.jobs.plan import plan
from srcli.jobs.run import run
from srcli.media.image import inspect, read
from srcli.media.metadata import resources_of_iptc

DOCS = Path(__file__).parents[2] / "docs" / "fidelity-tables.md"
FORMATS = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "WebP": "webp", "AVIF": "avif"}
PROPERTIES = ("pixels", "ICC", "EXIF", "XMP", "IPTC", "DPI", "text")
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="a source"/></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)
IPTC = b"\x1c\x02\x50\x00\x08A Writer\x1c\x02\x78\x00\x05words"


def exif(dpi: bool = False) -> bytes:
    made = Image.Exif()
    made[0x010F], made[0x013B] = "a maker", "an artist"
    if dpi:
        made[0x011A], made[0x011B], made[0x0128] = 300.0, 300.0, 2
    made.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    return made.tobytes()[6:]


@dataclass(frozen=True)
class Source:
    """A file with everything that its format holds."""

    format: str
    bits: int
    kind: str
    data: bytes
    has: frozenset[str]
    notes: str = ""


def pixels(kind: str, bits: int) -> np.ndarray:
    """Smooth, so that lossy formats can be compared; grey, RGB, RGBA or CMYK."""
    y, x = np.mgrid[:18, :26]
    channels = {"grey": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[kind]
    planes = [(x * (5 - c) + y * (c + 1) + 20) % 256 for c in range(channels)]
    samples = np.stack(planes, axis=2)
    return (
        samples.astype(np.uint8) if bits == 8 else (samples * 257 + 3).clip(0, 65535).astype("u2")
    )


def profile(kind: str) -> bytes:
    return {"grey": grey_profile, "CMYK": cmyk_profile}.get(kind, rgb_profile)()


def png(kind: str, bits: int) -> bytes:
    from srcli.media.png import PngEncoder
    from srcli.media.pngchunks import iptc_chunk, xmp_chunk

    out = io.BytesIO()
    if kind == "palette":
        image = Image.fromarray(pixels("RGB", 8)).quantize(64)
        text = PngImagePlugin.PngInfo()
        text.add_text("Title", "a title")
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        kind_, data = iptc_chunk(IPTC)
        text.add(kind_, data)
        image.save(out, "PNG", icc_profile=profile(kind), exif=exif(), dpi=(300, 300), pnginfo=text)
        return out.getvalue()
    samples = pixels(kind, bits)
    encoder = PngEncoder(
        lambda data: out.write(data) and None,
        height=samples.shape[0],
        width=samples.shape[1],
        channels=samples.shape[2],
        bits=bits,
        icc=profile(kind),
        exif=exif(),
        dpi=(300, 300),
        texts=[(b"tEXt", b"Title\0a title"), xmp_chunk(XMP), iptc_chunk(IPTC)],
    )
    encoder.rows(samples)
    encoder.finish()
    return out.getvalue()


def jpeg(kind: str, bits: int) -> bytes:
    out = io.BytesIO()
    samples = pixels(kind, 8)
    mode = {"grey": "L", "RGB": "RGB", "CMYK": "CMYK"}[kind]
    image = Image.fromarray(samples[..., 0] if kind == "grey" else samples, mode)
    resources = b"Photoshop 3.0\0" + resources_of_iptc(IPTC)
    image.save(
        out,
        "JPEG",
        quality=100,
        subsampling=0,
        icc_profile=profile(kind),
        exif=b"Exif\0\0" + exif(),
        xmp=XMP,
        dpi=(300, 300),
        comment=b"a title",
        extra=b"\xff\xed" + struct.pack(">H", len(resources) + 2) + resources,
    )
    return out.getvalue()


def tiff(kind: str, bits: int) -> bytes:
    out = io.BytesIO()
    tags: list[Any] = [
        (34675, 7, None, profile(kind), True),
        (700, 1, None, XMP, True),
        (33723, 7, None, IPTC, True),
        (271, 2, None, "a maker", True),
        (315, 2, None, "an artist", True),
    ]
    more: dict[str, Any] = {}
    if kind == "palette":
        samples = np.asarray(Image.fromarray(pixels("RGB", 8)).quantize(64))
        greys = np.tile(np.arange(256) * 257, (3, 1)).astype("u2")
        more = {"photometric": "palette", "colormap": greys}
    else:
        samples = pixels(kind, bits)
        more = {"photometric": {"grey": "minisblack", "CMYK": "separated"}.get(kind, "rgb")}
        samples = samples[..., 0] if kind == "grey" else samples
        if kind == "RGBA":
            more["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(
        out,
        samples,
        resolution=(300, 300),
        resolutionunit=2,
        description="a title",
        metadata=None,
        extratags=tags,
        **more,
    )
    return out.getvalue()


def pillow(form: str, kind: str) -> bytes:
    out = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": "4:4:4"}
    Image.fromarray(pixels(kind, 8)).save(
        out, form, icc_profile=profile(kind), exif=exif(dpi=True), xmp=XMP, **options
    )
    return out.getvalue()


def sources() -> list[Source]:
    every = frozenset(PROPERTIES[1:])
    found = [
        Source("PNG", bits, kind, png(kind, bits), every)
        for bits, kinds in ((8, ("grey", "RGB", "RGBA", "palette")), (16, ("grey", "RGB", "RGBA")))
        for kind in kinds
    ]
    found += [Source("JPEG", 8, kind, jpeg(kind, 8), every) for kind in ("grey", "RGB", "CMYK")]
    found += [
        Source("TIFF", bits, kind, tiff(kind, bits), every)
        for bits, kinds in (
            (8, ("grey", "RGB", "RGBA", "palette", "CMYK")),
            (16, ("grey", "RGB", "RGBA", "CMYK")),
        )
        for kind in kinds
    ]
    for form in ("WebP", "AVIF"):
        found += [
            Source(form, 8, kind, pillow(form.upper(), kind), every - {"IPTC", "text"})
            for kind in ("RGB", "RGBA")
        ]
    return found


SOURCES = sources()


@dataclass
class Outcome:
    """What came of one conversion."""

    refused: str = ""
    notes: list[str] = field(default_factory=list)
    cells: dict[str, str] = field(default_factory=dict)


def texts_of(path: Path) -> bytes:
    """All that a file says in text: TIFF's description, comments, PNG's chunks."""
    metadata = read(path).metadata
    return b"\n".join(
        [*metadata.comments, *(data for _, data in metadata.texts), metadata.exif or b""]
    )


def convert(source: Source, target: str, folder: Path) -> Outcome:
    before = folder / f"a.{FORMATS[source.format]}"
    after = folder / "out" / f"b.{FORMATS[target]}"
    before.write_bytes(source.data)
    after.unlink(missing_ok=True)
    model = catalog.resolve("lanczos")
    options = Options(model=model, scale=1.0, output=str(after), overwrite=True, quality=100)
    events: list[object] = []
    run(plan([str(before)], options), options, Resampler("lanczos"), tell=events.append)
    outcome = Outcome(notes=[e.text for e in events if isinstance(e, Noted)])
    failed = [e for e in events if isinstance(e, Failed)]
    if failed:
        outcome.refused = failed[0].error
        assert not after.exists()
        return outcome
    assert any(isinstance(e, Done) for e in events)
    outcome.cells = {name: cell(name, source, before, after, outcome) for name in PROPERTIES}
    return outcome


WORDS = {
    "pixels": ("converted", "read at", "reduced"),
    "ICC": ("sRGB", "profile"),
    "EXIF": ("EXIF",),
    "XMP": ("XMP",),
    "IPTC": ("IPTC",),
    "DPI": ("resolution",),
    "text": ("text", "comment"),
}


def cell(name: str, source: Source, before: Path, after: Path, outcome: Outcome) -> str:
    if name != "pixels" and name not in source.has:
        return ""
    if is_kept(name, source, before, after):
        return "kept"
    said = [note for note in outcome.notes if any(word in note for word in WORDS[name])]
    return f"word: {said[0]}" if said else "LOST"


def is_kept(name: str, source: Source, before: Path, after: Path) -> bool:
    old, new = (read(path, depth=16, inks=True) for path in (before, after))
    if name == "pixels":
        if old.bits != new.bits or (old.black is None) != (new.black is None):
            return False
        if old.black is not None and np.abs(old.black.astype(int) - new.black).max() > 6:
            return False
        grey = np.broadcast_to(old.pixels, new.pixels.shape).astype(int)
        limit = {"jpg": 6, "avif": 6, "webp": 8}.get(after.suffix[1:], 0)
        same = np.abs(grey - new.pixels).max() <= limit * (257 if old.bits == 16 else 1)
        return bool(same) and (old.alpha is None) == (new.alpha is None)
    if name == "ICC":
        return new.metadata.icc == profile(source.kind)
    if name == "EXIF":
        made = new.metadata.exif or b""
        return b"a maker" in made and b"an artist" in made
    if name == "XMP":
        return new.metadata.xmp == XMP
    if name == "IPTC":
        return new.metadata.iptc == IPTC
    if name == "DPI":
        return new.metadata.dpi is not None and abs(new.metadata.dpi[0] - 300) < 0.5
    return b"a title" in texts_of(after)


def table() -> str:
    """The page's generated part."""
    lines = []
    numbered: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        lines += ["| from | to | " + " | ".join(PROPERTIES) + " |", "|---" * 9 + "|"]
        for source in SOURCES:
            for target in FORMATS:
                outcome = convert(source, target, folder)
                row = f"| {source.format} {source.bits}-bit {source.kind} | {target} | "
                if outcome.refused:
                    text = outcome.refused.split(": ", 1)[-1]
                    number = numbered.setdefault(f"refused: {text}", len(numbered) + 1)
                    lines.append(row + " | ".join([f"refused ({number})"] + [""] * 6) + " |")
                    continue
                cells = [shown(value, numbered) for value in outcome.cells.values()]
                lines.append(row + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{number}. {note}" for note, number in numbered.items()]
    return "\n".join(lines) + "\n"


def shown(value: str, numbered: dict[str, int]) -> str:
    if not value.startswith("word: "):
        return value or "–"
    note = value.removeprefix("word: ")
    return f"changed ({numbered.setdefault(note, len(numbered) + 1)})"


BEGIN, END = "<!-- generated by tests/media/test_fidelity.py -->\n", "<!-- end -->\n"


def test_nothing_is_lost_without_a_word_and_the_page_says_so() -> None:
    made = table()
    assert "LOST" not in made, [line for line in made.splitlines() if "LOST" in line]
    page = DOCS.read_text(encoding="utf-8")
    written = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
    assert written == made, "python tests/media/test_fidelity.py writes the page anew"


def test_the_sources_are_what_they_say() -> None:
    """A file that holds nothing would pass the test above."""
    for source in SOURCES:
        info, picture = inspect(io.BytesIO(source.data)), read(io.BytesIO(source.data))
        assert info.format == source.format.lower() and info.bits == source.bits
        assert info.channels == (1 if source.kind == "grey" else 3)
        assert info.has_alpha == (source.kind == "RGBA")
        metadata = picture.metadata
        assert metadata.xmp == XMP and metadata.dpi == pytest.approx((300, 300), abs=0.1)
        assert b"a maker" in (metadata.exif or b"")
        assert (metadata.iptc == IPTC) == ("IPTC" in source.has)
        assert source.kind == "CMYK" or metadata.icc == profile(source.kind)


if __name__ == "__main__":
    whole = DOCS.read_text(encoding="utf-8")
    head, tail = whole[: whole.index(BEGIN) + len(BEGIN)], whole[whole.index(END) :]
    DOCS.write_text(head + table() + tail, encoding="utf-8")
