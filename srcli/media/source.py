"""Files and streams of pictures, and plain words for what is wrong with them."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import UnidentifiedImageError

from srcli.errors import MediaError, SrcliError
from srcli.media.formats import FORMATS, READABLE_TITLES, FormatName

# What files begin with, where that says enough.
_MARKS: dict[FormatName, tuple[bytes, ...]] = {
    "jpeg2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    "psd": (b"8BPS",),
    "exr": (b"\x76\x2f\x31\x01",),
    "hdr": (b"#?RADIANCE", b"#?RGBE"),
    "raw": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0"),
    "dds": (b"DDS ",),
    "qoi": (b"qoif",),
    "sgi": (b"\x01\xda",),
    "ico": (b"\0\0\x01\0",),
}
# version, run lengths, bits of a sample
_PCX = {bytes((version, 1, bits)) for version in (0, 2, 3, 5) for bits in (1, 2, 4, 8)}
_AFTER_MAGIC = b" \t\n\v\f\r#"  # of a PNM
_TGA_EXTENSIONS = FORMATS["tga"].extensions
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1")


@contextmanager
def open_source(source: Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """The source as a stream that can seek, and its name for messages."""
    if isinstance(source, Path):
        try:
            if source.is_dir():
                raise MediaError(f"{source} is a folder, not a picture")
            with source.open("rb") as stream:
                if not stream.seekable():
                    yield io.BytesIO(stream.read()), str(source)
                else:
                    yield stream, str(source)
        except OSError as exc:
            reason = "does not exist" if isinstance(exc, FileNotFoundError) else exc.strerror
            raise MediaError(f"{source} cannot be read: {reason or exc}") from exc
        return
    named = getattr(source, "name", None)
    name = named if isinstance(named, str) and named != "<stdin>" else "the standard input"
    if not source.seekable():
        yield io.BytesIO(source.read()), name
    else:
        source.seek(0)
        yield source, name
        source.seek(0)


@contextmanager
def plain_errors(name: str, format: FormatName) -> Iterator[None]:
    """Whatever a decoder raises about a file becomes one plain sentence.

    Decoders meet hostile input here, and raise nearly every class of exception there is (OSError,
    SyntaxError, ValueError, struct.error, zlib.error, KeyError, RuntimeError, MemoryError ...).
    """
    title = FORMATS[format].title
    try:
        yield
    except SrcliError:
        raise
    except MemoryError as exc:
        raise MediaError(f"{name} does not fit in memory") from exc
    except Exception as exc:
        text = " ".join(str(exc).split())
        low = text.lower()
        if isinstance(exc, EOFError) or any(
            word in low for word in ("truncated", "not enough image data", "cut short", "eof")
        ):
            message = f"{name} is cut short: the end of the {title} is missing"
        elif isinstance(exc, NotImplementedError) and text:
            message = f"{name} is a kind of {title} that srcli does not read: {text[:200]}"
        elif (
            not isinstance(exc, (OSError, SyntaxError, ValueError, zlib.error))
            or isinstance(exc, (UnidentifiedImageError, UnicodeError))
            or not text
        ):  # what other exceptions say is of use to programmers only
            message = f"{name} is damaged, or a kind of {title} that srcli cannot read"
        else:
            message = f"{name} is damaged and cannot be decoded as {title} ({text[:200]})"
        raise MediaError(message) from exc


def sniff(head: bytes, name: str) -> FormatName:
    """The format by the file's first bytes: what a name ends in proves nothing."""
    if not head:
        raise MediaError(f"{name} is empty")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:2] == b"BM":
        return "bmp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16:]):
        return "avif"
    if head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _HEIF_BRANDS):
        return "heif"
    for format, marks in _MARKS.items():
        if head.startswith(marks):
            return format
    if head[4:12] == b"ftypcrx ":
        return "raw"
    if head[:1] == b"P" and head[1:2] in b"123456Ff" and head[2:3] in _AFTER_MAGIC:
        return "netpbm"
    if head[:3] == b"P7\n":
        return "netpbm"
    if head[:1] == b"\n" and head[1:4] in _PCX:
        return "pcx"
    if name.lower().endswith(_TGA_EXTENSIONS) and tga_header(head):
        return "tga"
    raise MediaError(f"{name} is not a picture that srcli can read", f"it reads {READABLE_TITLES}")


def tga_header(head: bytes) -> bool:
    """Whether a file can begin as a TGA: the format has no mark of its own."""
    if len(head) < 18:
        return False
    mapped, kind, map_bits, depth, descriptor = head[1], head[2], head[7], head[16], head[17]
    sizes = int.from_bytes(head[12:14], "little"), int.from_bytes(head[14:16], "little")
    depths = {1: (8,), 2: (16, 24, 32), 3: (8, 16)}.get(kind & 7, ())
    if mapped > 1 or kind & ~0x0B or depth not in depths or not all(sizes) or descriptor & 0xC0:
        return False
    return map_bits in (15, 16, 24, 32) if mapped else kind & 7 != 1
