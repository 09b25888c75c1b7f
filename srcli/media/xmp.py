"""XMP packets (ISO 16684-1), changed in place: what they say of sizes, and of what is left out."""

import re
from collections.abc import Callable, Iterator

_SIZES = (
    (b"tiff:Orientation", None),
    (b"tiff:ImageWidth", 0),
    (b"tiff:ImageLength", 1),
    (b"exif:PixelXDimension", 0),
    (b"exif:PixelYDimension", 1),
)
_GOOGLE = b"http://ns.google.com/photos/1.0/"
_CONTAINER = _GOOGLE + b"container/"
_PANORAMA = _GOOGLE + b"panorama/"
# Properties that announce what lies elsewhere in the file, or hold it: namespace and names.
_ANNOUNCED = (
    (_GOOGLE + b"camera/", rb"(?:MotionPhoto|MicroVideo)\w*"),
    (b"http://ns.oplus.com/photos/1.0/camera/", rb"\w+"),
    (_GOOGLE + b"depthmap/", rb"\w+"),
    (_GOOGLE + b"image/", rb"\w+"),
    (_GOOGLE + b"audio/", rb"\w+"),
    (b"http://ns.google.com/photos/dd/1.0/device/", rb"\w+"),
    (b"http://ns.adobe.com/xmp/note/", rb"HasExtendedXMP"),
)
_OF_GAIN_MAPS = (
    (b"http://ns.adobe.com/hdr-gain-map/1.0/", rb"\w+"),
    (b"http://ns.apple.com/HDRGainMap/1.0/", rb"\w+"),
)
_MAX_PREFIXES = 4  # one is usual
_SEMANTIC = re.compile(rb"\b\w+:Semantic(?:\s*=\s*[\"']|\s*>)\s*(\w+)")


def changed(xmp: bytes, width: int, height: int, gain_map_bytes: int | None = None) -> bytes:
    """The packet for a picture of this size.

    Orientation becomes 1 and sizes the picture's, those of panoramas included; thumbnails go, and
    what announces films, views, depth and sound, which the new file does not hold.

    Args:
        gain_map_bytes: the length of the gain map that follows the picture, if one does.
    """
    for name, axis in _SIZES:
        number = b"1" if axis is None else str((width, height)[axis]).encode()
        xmp = _with_numbers(xmp, rb"\b" + name, lambda _, number=number: number)  # type: ignore[misc]
    xmp = _panorama(xmp, width, height)
    xmp = _replaced(xmp, b"xmp:Thumbnails", lambda _: b"")
    for namespace, names in _ANNOUNCED:
        xmp = _without(xmp, namespace, names)
    if gain_map_bytes is None:
        for namespace, names in _OF_GAIN_MAPS:
            xmp = _without(xmp, namespace, names)
    return _container(xmp, gain_map_bytes)


def container_items(xmp: bytes) -> list[str]:
    """What the file's parts are, by Google's container directory, in their order."""
    return [
        item.decode("latin-1")
        for prefix in _prefixes(xmp, _CONTAINER)
        for start, end in _elements(xmp, re.escape(prefix) + b":Directory")
        for item in _SEMANTIC.findall(xmp[start:end])
    ]


def _prefixes(xmp: bytes, namespace: bytes) -> list[bytes]:
    declared = rb"\bxmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']"
    return sorted({*re.findall(declared, xmp)})[:_MAX_PREFIXES]


def _elements(xmp: bytes, names: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of elements whose names match, the outer ones of those that are nested.

    Packets come from anywhere: the time that this takes grows with their length and no faster.
    """
    at, unclosed = 0, set[bytes]()
    for match in re.finditer(rb"<(" + names + rb")(?=[\s/>])", xmp):
        if match.start() < at or match[1] in unclosed:
            continue
        tag_end = xmp.find(b">", match.end())
        if tag_end < 0:
            return
        if xmp[tag_end - 1 : tag_end] != b"/":
            closing = xmp.find(b"</" + match[1], tag_end)
            tag_end = xmp.find(b">", closing) if closing >= 0 else -1
            if tag_end < 0:
                unclosed.add(match[1])
                continue
        at = tag_end + 1
        yield match.start(), at


def _replaced(xmp: bytes, names: bytes, new: Callable[[bytes], bytes]) -> bytes:
    """With other bytes for each element whose name matches."""
    parts, at = [], 0
    for start, end in _elements(xmp, names):
        parts += [xmp[at:start], new(xmp[start:end])]
        at = end
    return b"".join((*parts, xmp[at:]))


def _without(xmp: bytes, namespace: bytes, names: bytes) -> bytes:
    """Without properties, whether written as attributes or as elements."""
    for prefix in _prefixes(xmp, namespace):
        name = re.escape(prefix) + b":" + names
        xmp = _replaced(xmp, name, lambda _: b"")
        xmp = re.sub(rb"\s" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        if not re.search(rb"[\s</]" + re.escape(prefix) + b":", xmp):
            declared = rb"\sxmlns:" + re.escape(prefix) + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')"
            xmp = re.sub(declared, b"", xmp)
    return xmp


def _with_numbers(xmp: bytes, name: bytes, change: Callable[[int], bytes]) -> bytes:
    """With the number that an attribute or element says changed."""

    def new(match: re.Match[bytes]) -> bytes:
        return match[1] + change(int(match[2]))

    xmp = re.sub(rb"(" + name + rb"\s*=\s*[\"'])\s*(\d{1,18})", new, xmp)
    return re.sub(rb"(<" + name.removeprefix(rb"\b") + rb"\s*>)\s*(\d{1,18})(?=\s*</)", new, xmp)


def _panorama(xmp: bytes, width: int, height: int) -> bytes:
    """The sizes of a photo sphere, of which the picture may be a part, made larger with it."""
    for prefix in _prefixes(xmp, _PANORAMA):
        for side, now, place in ((b"Width", width, b"Left"), (b"Height", height, b"Top")):
            name = rb"\b" + re.escape(prefix) + b":"
            area = name + b"CroppedAreaImage" + side + b"Pixels"
            found = re.search(area + rb"(?:\s*=\s*[\"']|\s*>)\s*(\d{1,9})", xmp)
            if found is None or not int(found[1]):
                continue
            before = int(found[1])
            for what in (
                b"FullPano" + side + b"Pixels",
                b"CroppedArea" + place + b"Pixels",
                b"LargestValidInteriorRect" + side,
                b"LargestValidInteriorRect" + place,
                b"CroppedAreaImage" + side + b"Pixels",
            ):
                xmp = _with_numbers(
                    xmp,
                    name + what,
                    lambda n, now=now, before=before: str(round(n * now / before)).encode(),  # type: ignore[misc]
                )
    return xmp


def _container(xmp: bytes, gain_map_bytes: int | None) -> bytes:
    """The directory of the file's parts, without those that are no longer there."""

    def item(element: bytes) -> bytes:
        said = _SEMANTIC.search(element)
        if said is not None and said[1] == b"Primary":
            return _with_numbers(element, rb"\b\w+:Padding", lambda _: b"0")
        if said is not None and said[1] == b"GainMap" and gain_map_bytes is not None:
            length = str(gain_map_bytes).encode()
            return _with_numbers(element, rb"\b\w+:Length", lambda _: length)
        return b""

    def directory(element: bytes) -> bytes:
        kept = _replaced(element, b"rdf:li", item)
        return kept if len(_SEMANTIC.findall(kept)) > 1 else b""

    for prefix in _prefixes(xmp, _CONTAINER):
        xmp = _replaced(xmp, re.escape(prefix) + b":Directory", directory)
    return xmp
