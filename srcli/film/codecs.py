"""Codecs by name: which encoder of ffmpeg's, which pixel formats, which options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from srcli.errors import UsageError
from srcli.film.ffmpeg import FFmpeg
from srcli.film.formats import LAYOUTS, Layout, layout_of, opaque
from srcli.film.options import FilmOptions
from srcli.film.probe import Mastering


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


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded, decided.

    Attributes:
        codec: its name.
        encoder: ffmpeg's.
        layout: of the raw frames that ffmpeg is fed with.
        pix_fmt: of the encoded film.
        arguments: of ffmpeg, from ``-c:v`` on.
    """

    codec: str
    encoder: str
    layout: Layout
    pix_fmt: str
    arguments: tuple[str, ...]

    @property
    def keeps_alpha_beside(self) -> bool:
        """Whether transparency lies in packets beside the picture's, which a tag announces."""
        return self.layout.alpha and self.codec == "vp9"


def choose(
    options: FilmOptions,
    source: Layout,
    size: tuple[int, int],
    extension: str,
    mastering: Mastering,
    ffmpeg: FFmpeg,
) -> Encoding:
    """Decide how to encode.

    Args:
        options: what was asked for.
        source: the layout of the source.
        size: (height, width) of the result.
        extension: of the result's file.
        mastering: of HDR10; the codecs that can say it do.
        ffmpeg: the binary.

    Raises:
        UsageError: the codec, pixel format or container do not go together.
    """
    if options.alpha == "discard" or extension == ".mp4":  # whose codecs have no place for it
        source = opaque(source)
    name = options.codec or _default_codec(source, size, extension)
    codec = codec_named(name)
    if extension not in codec.containers:
        raise UsageError(
            f"a {extension} file cannot hold {name}",
            f"name one of {', '.join(codec.containers)} with -o or --container",
        )
    encoder = next((e for e in codec.encoders if e in ffmpeg.encoders), None)
    if encoder is None:
        raise UsageError(f"{ffmpeg.exe} has no encoder {' or '.join(codec.encoders)}")
    layout, pix_fmt = _pixels(options.pix_fmt, name, codec, source)
    if layout.alpha and extension == ".mp4":
        raise UsageError(f"a {extension} file cannot hold {pix_fmt}, which has transparency")
    if codec.even and layout.kind == "yuv":
        _check_even(size, layout, name)
    arguments = ["-c:v", encoder, *codec.options, "-pix_fmt", pix_fmt]
    if options.crf is not None and codec.crf is None:
        raise UsageError(f"{name} does not take --crf")
    crf = codec.crf if options.crf is None else options.crf
    if crf is not None:
        arguments += [f"-{codec.crf_option}", f"{crf:g}"]
    if options.preset is not None and codec.preset_option is None:
        raise UsageError(f"{name} does not take --preset")
    preset = options.preset or codec.preset
    if encoder == "libaom-av1":
        arguments += ["-cpu-used", options.preset or "4"]
    elif preset is not None:
        arguments += [f"-{codec.preset_option}", preset]
    if encoder == "prores_ks":
        arguments += ["-profile:v", "4444" if layout.halved == (False, False) else "hq"]
    arguments += _with_parameters(encoder, mastering, options.encoder_args)
    return Encoding(name, encoder, layout, pix_fmt, tuple(arguments))


def keeps_mastering(encoding: Encoding) -> bool:
    """Whether HDR10 mastering metadata survive."""
    return encoding.encoder in ("libx264", "libx265", "libsvtav1")


def _default_codec(source: Layout, size: tuple[int, int], extension: str) -> str:
    if extension == ".webm":
        return "vp9"
    if source.alpha:
        return {".mov": "prores"}.get(extension, "vp9" if source.bits == 8 else "ffv1")
    # H.264 of more than 8 bits, or beyond level 5.2's 4096 x 2304, plays almost nowhere
    small = max(size) <= 4096 and size[0] * size[1] <= 4096 * 2304
    return "h264" if source.bits == 8 and small else "hevc"


def _pixels(wanted: str | None, name: str, codec: Codec, source: Layout) -> tuple[Layout, str]:
    """What to feed and what to encode."""
    if wanted is not None:
        layout = layout_of(wanted)
        made = (*codec.layouts, *(packed for _, packed in codec.feed))
        if wanted not in made or layout.name not in codec.layouts:
            raise UsageError(
                f"{name} does not take --pix-fmt {wanted}", f"one of {', '.join(made)}"
            )
        return layout, wanted
    layout = _nearest(source, [LAYOUTS[n] for n in codec.layouts])
    return layout, dict(codec.feed).get(layout.name, layout.name)


def _nearest(source: Layout, layouts: Sequence[Layout]) -> Layout:
    """The layout that loses least: transparency, depth, then chroma; of those the smallest."""

    grey = source.kind == "grey"
    layouts = [n for n in layouts if n.alpha == source.alpha] or [n for n in layouts if not n.alpha]

    def loss(layout: Layout) -> tuple[int, int, int, int]:
        bits = max(0, source.bits - layout.bits)
        if layout.kind == "grey" and not grey:
            bits += 16  # all colours
        chroma = 0 if grey else sum(source.halved) - sum(layout.halved)
        other = layout.kind != source.kind
        return (bits, max(0, -chroma), other, layout.bits - source.bits + max(0, chroma))

    return min(layouts, key=loss)


def _check_even(size: tuple[int, int], layout: Layout, name: str) -> None:
    odd = [n for n, half in zip(size, layout.halved, strict=True) if half and n % 2]
    if odd:
        raise UsageError(
            f"{name} in {layout.name} needs an even width and height, "
            f"but the result is {size[1]}x{size[0]}",
            "choose another factor or --width, or --pix-fmt yuv444p, or --codec ffv1",
        )


def _with_parameters(encoder: str, mastering: Mastering, extra: tuple[str, ...]) -> tuple[str, ...]:
    """The user's arguments, and HDR10's values in the encoder's own words."""
    option, own = {
        "libx265": ("-x265-params", "log-level=error"),
        "libx264": ("-x264-params", ""),
        "libsvtav1": ("-svtav1-params", ""),
    }.get(encoder, ("", ""))
    parts = [p for p in (own, _mastering(encoder, mastering)) if p]
    if not option or not parts:
        return extra
    arguments = list(extra)
    if option in arguments[:-1]:  # what the user says comes last, and wins
        at = arguments.index(option)
        parts.append(arguments[at + 1])
        del arguments[at : at + 2]
    return (option, ":".join(parts), *arguments)


def _mastering(encoder: str, mastering: Mastering) -> str:
    parts = []
    if mastering.primaries is not None and mastering.luminance is not None:
        r, g, b, white = (mastering.primaries[k : k + 2] for k in range(0, 8, 2))
        low, high = mastering.luminance
        if encoder == "libsvtav1":
            points = "".join(f"{n}({x:g},{y:g})" for n, (x, y) in
                             (("G", g), ("B", b), ("R", r), ("WP", white)))  # fmt: skip
            parts.append(f"mastering-display={points}L({high:g},{low:g})")
        else:
            points = "".join(f"{n}({round(x * 50_000)},{round(y * 50_000)})" for n, (x, y) in
                             (("G", g), ("B", b), ("R", r), ("WP", white)))  # fmt: skip
            key = "master-display" if encoder == "libx265" else "mastering-display"
            parts.append(f"{key}={points}L({round(high * 10_000)},{round(low * 10_000)})")
    if mastering.content_light is not None:
        key = {"libx265": "max-cll", "libx264": "cll"}.get(encoder, "content-light")
        parts.append(f"{key}={mastering.content_light[0]},{mastering.content_light[1]}")
    return ":".join(parts)
