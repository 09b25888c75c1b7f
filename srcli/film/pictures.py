"""A film's frames as pictures: a numbered row of them, or a few to judge the result by."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from srcli.engine.engine import Engine
from srcli.engine.result import Pixels
from srcli.errors import MediaError
from srcli.film.colour import Conversion
from srcli.film.decode import Decoder, Frame, Planes
from srcli.film.formats import layout_of, opaque
from srcli.film.frames import FrameUpscaler
from srcli.film.packets import Timeline, scan
from srcli.film.plan import WAITING, PicturesPlan
from srcli.film.stages import Ahead
from srcli.film.upscale import FilmReport, Moment, Note, absolute_cut, n_wanted
from srcli.media.atomic import make_folder
from srcli.media.write import open_writer

_LEAD_S = 1


def upscale_to_pictures(
    plan: PicturesPlan,
    engine: Engine,
    passes: Sequence[int],
    *,
    on_progress: Callable[[Moment], None] = lambda _: None,
    note: Note = lambda _: None,
) -> FilmReport:
    """Write the frames, each whole or not at all; those that exist may be left as they are.

    Args:
        engine, passes: what enlarges, see Engine.strips.
        on_progress: called after each frame.
        note: called with what the user should know.

    Raises:
        MediaError: the film cannot be read, or a picture not be written.
        ResourceError: the disk is full.
    """
    film, report = plan.film, FilmReport()
    timeline = scan(film, plan.ffmpeg)
    if not timeline.times:
        raise MediaError(f"{film.path} has no frames to upscale")
    cut = absolute_cut(plan.options, timeline)
    wanted = [t for t in timeline.seconds() if _inside(t, cut.start, cut.end)]
    total = n_wanted(timeline, cut)
    layout = layout_of(film.pix_fmt)
    before = Conversion.of(layout, film.colour, film.size)
    after = before if plan.alpha else replace(before, layout=opaque(layout))
    mode = plan.options.alpha
    upscaler = FrameUpscaler(engine, passes, plan.sr_size, before, after, alpha=mode)
    report.engine.on_note = note
    if plan.options.preview is not None:
        n = min(plan.options.preview, len(wanted))
        picks = [wanted[(2 * k + 1) * len(wanted) // (2 * n)] for k in range(n)]
        frames, total = _picked(plan, timeline, picks), n
    else:
        frames = _all(plan, cut.start, cut.end)
    make_folder(plan.numbered(1).parent)
    last: Frame | None = None
    rgb = torch.empty(0)
    with Ahead(frames, WAITING) as ahead:
        for number, frame in enumerate(ahead, 1):
            path = plan.numbered(number)
            if path.exists() and plan.keep_existing:
                report.resumed += 1
            else:
                if last is not None and frame.data == last.data:
                    report.repeated += 1
                else:
                    rgb = _enlarged(upscaler, frame.planes(layout, film.size), plan.alpha, report)
                last = frame
                began = time.perf_counter()
                _write(path, rgb, plan)
                report.encode_s += time.perf_counter() - began
            report.frames = number
            report.n_bytes += path.stat().st_size
            on_progress(
                Moment(
                    number,
                    max(number, total),
                    report.resumed,
                    float(frame.seconds),
                    report.n_bytes,
                )
            )
    if not report.frames:
        raise MediaError(f"{film.path} has no frames to upscale")
    return report


def _enlarged(upscaler: FrameUpscaler, planes: Planes, alpha: bool, report: FilmReport) -> Tensor:
    """The frame in float, (height, width, channels), the last one its transparency if wanted."""
    began = time.perf_counter()
    prepared = upscaler.prepared(planes)
    before_s, began = time.perf_counter() - began, time.perf_counter()
    enlarged = upscaler.enlarged(prepared, report.engine)
    report.network_s += time.perf_counter() - began
    began = time.perf_counter()
    rgb = upscaler.rgb(enlarged)
    if alpha:
        rgb = torch.cat([rgb, upscaler.alpha(enlarged)[:, :, None]], 2)
    report.colour_s += before_s + time.perf_counter() - began
    return rgb


def _inside(t: Fraction, start: Fraction | None, end: Fraction | None) -> bool:
    return (start is None or t >= start) and (end is None or t < end)


def _all(plan: PicturesPlan, start: Fraction | None, end: Fraction | None) -> Generator[Frame]:
    film = plan.film
    with Decoder(film, plan.ffmpeg, deinterlace=film.interlaced) as decoder:
        for frame in decoder:
            if end is not None and frame.seconds >= end:
                return
            if _inside(frame.seconds, start, end):
                yield frame


def _picked(plan: PicturesPlan, timeline: Timeline, picks: Sequence[Fraction]) -> Generator[Frame]:
    """The frames shown at some times, each decoded from a key frame before it."""
    for pick in picks:
        found = None
        for start_s in (float(pick) - _LEAD_S, None):
            if start_s is not None and start_s <= float(timeline.seconds()[0]):
                continue
            found = _first_from(plan, pick, start_s)
            if found is not None and found.seconds == pick:
                break
        if found is not None:
            yield found


def _first_from(plan: PicturesPlan, pick: Fraction, start_s: float | None) -> Frame | None:
    film = plan.film
    with Decoder(film, plan.ffmpeg, start_s=start_s, deinterlace=film.interlaced) as decoder:
        for frame in decoder:
            if frame.seconds >= pick:
                return frame
    return None


def _write(path: Path, rgb: torch.Tensor, plan: PicturesPlan) -> None:
    pixels = _quantised(rgb, plan.bits)
    if plan.film.rotation % 90 == 0:
        pixels = np.ascontiguousarray(np.rot90(pixels, round(plan.film.rotation / 90)))
    channels: Literal[1, 3] = 1 if pixels.shape[2] - plan.alpha == 1 else 3
    writer = open_writer(
        path,
        size=(pixels.shape[0], pixels.shape[1]),
        channels=channels,
        alpha=plan.alpha,
        bits=plan.bits,
        quality=plan.quality,
    )
    with writer:
        writer.rows(pixels)


def _quantised(rgb: torch.Tensor, bits: Literal[8, 16]) -> Pixels:
    whole = (rgb.clamp(0, 1) * ((1 << bits) - 1)).round_()
    return whole.to(torch.uint8 if bits == 8 else torch.uint16).cpu().numpy()
