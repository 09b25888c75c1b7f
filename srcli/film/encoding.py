"""How a film's frames are encoded: codec, encoder, pixel format, options; decided before work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srcli.errors import UsageError
from srcli.film.codecs import Codec, codec_named
from srcli.film.description import Mastering
from srcli.film.ffmpeg import FFmpeg
from srcli.film.formats import LAYOUTS, Layout, layout_of, opaque
from srcli.film.options import FilmOptions


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


def choose_encoding(
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
