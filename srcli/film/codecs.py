"""Codecs by name: which encoder of ffmpeg's, which pixel formats, which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srcli.errors import UsageError


@dataclass(frozen=True)
class Codec:
    """One way to encode.

    Attributes:
        encoders: of ffmpeg's, the first that the binary has serves.
        layouts: that it takes, by srcli.film.formats; those with transparency where the container
            holds it.
        crf: the default, in its own numbers; None: it has no such thing.
        crf_option: ffmpeg's name for it.
        options: that always go with it.
        preset_option: ffmpeg's name for a preset; None: it has none.
        preset: the default.
        even: in 4:2:0 and 4:2:2 sides must be even.
        containers: that hold it.
        feed: pixel format that frames are converted to without a loss, by kind of layout.
    """

    encoders: tuple[str, ...]
    layouts: tuple[str, ...]
    crf: float | None = None
    crf_option: str = "crf"
    options: tuple[str, ...] = ()
    preset_option: str | None = None
    preset: str | None = None
    even: bool = False
    containers: tuple[str, ...] = (".mkv", ".mp4", ".mov")
    feed: tuple[tuple[str, str], ...] = ()


def _yuv(*bits: int, chroma: Sequence[str] = ("420", "422", "444")) -> tuple[str, ...]:
    return tuple(f"yuv{c}p{'' if b == 8 else f'{b}le'}" for b in bits for c in chroma)


CODECS = {
    "h264": Codec(
        ("libx264",), (*_yuv(8, 10), "gray", "gray10le"), 18,
        preset_option="preset", preset="medium", even=True,
    ),
    "hevc": Codec(
        ("libx265",), (*_yuv(8, 10, 12), "gray", "gray10le", "gray12le"), 20,
        preset_option="preset", preset="medium", even=True,
    ),
    "av1": Codec(
        ("libsvtav1", "libaom-av1"), _yuv(8, 10, chroma=("420",)), 24,
        preset_option="preset", preset="6", containers=(".mkv", ".mp4", ".webm"),
    ),
    "vp9": Codec(
        ("libvpx-vp9",), (*_yuv(8, 10, 12), "gbrp", "gbrp10le", "gbrp12le", "yuva420p"), 24,
        options=("-b:v", "0", "-row-mt", "1"), preset_option="cpu-used", preset="2",
        containers=(".mkv", ".mp4", ".webm"),
    ),
    "prores": Codec(
        ("prores_ks",), (*_yuv(10, chroma=("422", "444")), "yuva444p10le"),
        options=("-vendor", "apl0"), containers=(".mkv", ".mov"), even=True,
    ),
    "ffv1": Codec(
        ("ffv1",),
        (*_yuv(8, 10, 12, 16), "gray", "gray10le", "gray12le", "gray16le",
         "gbrp", "gbrp10le", "gbrp12le", "gbrp16le",
         *(f"yuva{c}p{b}" for c in ("420", "422", "444") for b in ("", "10le", "16le")),
         "gbrap", "gbrap10le", "gbrap12le", "gbrap16le"),
        options=("-level", "3", "-coder", "1", "-context", "1", "-g", "1", "-slicecrc", "1"),
        containers=(".mkv", ".mov"),
    ),
    "png": Codec(
        ("png",), ("gbrp", "gbrp16le", "gray", "gray16le", "gbrap", "gbrap16le"),
        containers=(".mkv", ".mov"),
        feed=(("gbrp", "rgb24"), ("gbrp16le", "rgb48be"), ("gray16le", "gray16be"),
              ("gbrap", "rgba"), ("gbrap16le", "rgba64be")),
    ),
}  # fmt: skip
_NVENC = Codec((), _yuv(8, chroma=("420", "444")), 20, "cq", preset_option="preset", preset="p5",
               even=True, feed=(("yuv420p10le", "p010le"),))  # fmt: skip
_HARDWARE = {
    "nvenc": _NVENC,
    "qsv": replace(_NVENC, layouts=("yuv420p",), crf_option="global_quality", preset="medium",
                   feed=(("yuv420p", "nv12"), ("yuv420p10le", "p010le"))),
    "videotoolbox": replace(_NVENC, layouts=("yuv420p",), crf=60, crf_option="q:v",
                            preset_option=None, preset=None, feed=(("yuv420p10le", "p010le"),)),
}  # fmt: skip


def codec_names() -> tuple[str, ...]:
    """What --codec takes."""
    cards = [f"{c}_{h}" for h in _HARDWARE for c in ("h264", "hevc", "av1")]
    return (*CODECS, *cards)


def codec_named(name: str) -> Codec:
    """A codec, or a graphics card's encoder such as ``hevc_nvenc``.

    Raises:
        UsageError: there is none of that name.
    """
    if name in CODECS:
        return CODECS[name]
    codec, _, card = name.partition("_")
    if codec not in ("h264", "hevc", "av1") or card not in _HARDWARE:
        raise UsageError(
            f"--codec {name} is not one of {', '.join(CODECS)}",
            "or a graphics card's encoder, such as hevc_nvenc",
        )
    found = _HARDWARE[card]
    layouts = found.layouts if codec == "h264" else (*found.layouts, "yuv420p10le")
    containers = CODECS[codec].containers
    return replace(found, encoders=(name,), layouts=layouts, containers=containers)
