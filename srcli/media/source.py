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
            or isinstance(exc, UnidentifiedImageError)
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
    raise MediaError(f"{name} is not a picture that srcli can read", f"it reads {READABLE_TITLES}")
