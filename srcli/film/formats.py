"""Film files and the layouts of their frames, as data. Importing this costs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_NAMES = "mkv mp4 m4v mov webm avi wmv flv mpg mpeg m2v ts mts m2ts vob ogv 3gp mxf asf nut y4m"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
CONTAINERS = {"mkv": "matroska", "mp4": "mp4", "mov": "mov", "webm": "webm"}
_EXTENSION_OF = {".m4v": ".mp4", ".mp4": ".mp4", ".mov": ".mov", ".webm": ".webm"}

Kind = Literal["yuv", "rgb", "grey"]


def is_film(path: Path) -> bool:
    """Whether the name ends like a film that srcli reads."""
    return path.suffix.lower() in EXTENSIONS


def output_extension(path: Path) -> str:
    """The container for an input's result: its own where srcli writes it, else Matroska."""
    return _EXTENSION_OF.get(path.suffix.lower(), ".mkv")


@dataclass(frozen=True)
class Layout:
    """How a frame lies in memory: planes of 8-bit or little-endian 16-bit samples.

    Attributes:
        name: ffmpeg's pixel format.
        kind: ``yuv`` (Y, U, V), ``rgb`` (planes G, B, R) or ``grey``.
        bits: per sample: 8, 10, 12 or 16.
        halved: whether chroma has half the (height, width).
        fourcc: ffmpeg's tag of these raw frames, for a stream that declares itself.
        alpha: one more plane, the last, says how opaque; all of its range is used.
    """

    name: str
    kind: Kind
    bits: int
    halved: tuple[bool, bool]
    fourcc: bytes
    alpha: bool = False

    @property
    def maximum(self) -> int:
        """The greatest sample."""
        return (1 << self.bits) - 1

    def shapes(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane of a frame of (height, width)."""
        if self.kind == "grey":
            return (size,)
        alpha = (size,) if self.alpha else ()
        if self.kind == "rgb":
            return (size, size, size, *alpha)
        chroma = (
            -(-size[0] // (1 + self.halved[0])),
            -(-size[1] // (1 + self.halved[1])),
        )
        return (size, chroma, chroma, *alpha)

    def frame_bytes(self, size: tuple[int, int]) -> int:
        """Bytes of a whole frame."""
        return sum(h * w for h, w in self.shapes(size)) * (1 if self.bits == 8 else 2)


_SUBSAMPLING = {"420": ((True, True), 11), "422": ((False, True), 10), "444": ((False, False), 0)}
_EIGHT = {"420": b"I420", "422": b"Y42B", "444": b"444P"}


def _layouts() -> dict[str, Layout]:
    table = []
    for bits in (8, 10, 12, 16):
        tail = "" if bits == 8 else f"{bits}le"
        for name, (halved, code) in _SUBSAMPLING.items():
            tag = _EIGHT[name] if bits == 8 else bytes([*b"Y3", code, bits])
            table.append(Layout(f"yuv{name}p{tail}", "yuv", bits, halved, tag))
            if (name, bits) != ("420", 12):  # which ffmpeg does not have
                tag = bytes([*b"Y4", code, bits])
                table.append(Layout(f"yuva{name}p{tail}", "yuv", bits, halved, tag, alpha=True))
        grey = b"Y800" if bits == 8 else bytes([*b"Y1", 0, bits])
        table.append(Layout(f"gray{tail}", "grey", bits, (False, False), grey))
        for name, letters, alpha in (("gbrp", b"G3", False), ("gbrap", b"G4", True)):
            tag = bytes([*letters, 0, bits])
            table.append(Layout(name + tail, "rgb", bits, (False, False), tag, alpha))
    return {layout.name: layout for layout in table}


LAYOUTS = _layouts()

# packed and semi-planar formats: the planar layout that holds the same samples
_PACKED = {
    **dict.fromkeys(("nv12", "nv21"), "yuv420p"),
    **dict.fromkeys(("nv16", "yuyv422", "uyvy422", "yvyu422"), "yuv422p"),
    **dict.fromkeys(("nv24", "nv42"), "yuv444p"),
    **dict.fromkeys(("p010le", "p010be"), "yuv420p10le"),
    **dict.fromkeys(("p012le", "p012be"), "yuv420p12le"),
    **dict.fromkeys(("p016le", "p016be"), "yuv420p16le"),
    **dict.fromkeys(("p210le", "y210le", "nv20le"), "yuv422p10le"),
    **dict.fromkeys(("p212le", "y212le"), "yuv422p12le"),
    **dict.fromkeys(("p410le", "xv30le"), "yuv444p10le"),
    **dict.fromkeys(("p412le", "xv36le"), "yuv444p12le"),
    **dict.fromkeys(("x2rgb10le", "x2bgr10le"), "gbrp10le"),
    **dict.fromkeys(("rgb48le", "rgb48be", "bgr48le", "bgr48be", "gbrpf32le"), "gbrp16le"),
    **dict.fromkeys(("rgba", "bgra", "argb", "abgr", "ya8"), "gbrap"),
    **dict.fromkeys(
        ("rgba64le", "rgba64be", "bgra64le", "bgra64be", "ya16le", "ya16be", "gbrapf32le"),
        "gbrap16le",
    ),
    **dict.fromkeys(("ayuv", "vuya"), "yuva444p"),
    **dict.fromkeys(("ayuv64le", "ayuv64be"), "yuva444p16le"),
    **dict.fromkeys(("monow", "monob"), "gray"),
    **dict.fromkeys(("grayf32le",), "gray16le"),
}
_PLANAR = re.compile(r"(?P<kind>yuvj?|yuva|gbrp|gbrap|gray)(?P<sub>4\d\d)?p?(?P<bits>\d*)(le|be)?")


def layout_of(pix_fmt: str) -> Layout:
    """The layout that holds a pixel format's samples; odd subsamplings as 4:4:4.

    Of palettes, which may have transparent entries, the colours alone.
    """
    if pix_fmt in _PACKED:
        return LAYOUTS[_PACKED[pix_fmt]]
    found = _PLANAR.fullmatch(pix_fmt)
    if found is None:
        return LAYOUTS["gbrp"]  # palettes and packed RGB of 8 bits and less
    wanted = int(found["bits"] or 8)
    bits = next(n for n in (8, 10, 12, 16) if n >= min(wanted, 16))
    if found["kind"].startswith("yuv"):
        subsampling = found["sub"] if found["sub"] in _SUBSAMPLING else "444"
        alpha = "a" if found["kind"] == "yuva" else ""
        if (alpha, subsampling, bits) == ("a", "420", 12):
            bits = 16
        name = f"yuv{alpha}{subsampling}p"
    else:
        name = found["kind"]
    return LAYOUTS[name if bits == 8 else f"{name}{bits}le"]


def opaque(layout: Layout) -> Layout:
    """The same without transparency."""
    plain = layout.name.replace("yuva", "yuv").replace("gbrap", "gbrp")
    return LAYOUTS[plain]


def raw_name(pix_fmt: str) -> str:
    """What to ask ffmpeg for, so that it hands samples on as they are."""
    layout = layout_of(pix_fmt)
    # "yuvj" is yuv of full range; asking for another name would convert the range
    return pix_fmt if pix_fmt.startswith("yuvj") and layout.bits == 8 else layout.name
