"""Blocks of video codecs, by the real ones in ffmpeg."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from srcli.errors import MediaError, UsageError
from srcli.film.ffmpeg import LOG, FFmpeg, find_ffmpeg
from srcli.training.degradations.kernels import Picture
from srcli.training.degradations.steps import BLOCK, Frame, Range, rounded

# name -> (ffmpeg's encoder, its option, and that option's values at quality 1 and 100)
CODECS = {
    "h264": ("libx264", "-crf", 51, 15),
    "h265": ("libx265", "-crf", 51, 15),
    "mpeg4": ("mpeg4", "-q:v", 31, 2),
    "mpeg2": ("mpeg2video", "-q:v", 31, 2),
}
QUIET = {"libx265": ("-x265-params", "log-level=error:pools=none:frame-threads=1")}


@dataclass(frozen=True)
class Video:
    """Through a video codec and back, as the last frame of a short film in which the picture moves:
    so its blocks are partly drawn anew, partly moved from the frame before.

    Attributes:
        codecs: of ``CODECS``, equally likely.
        quality: 1..100, of each codec's own range.
        frames: length of the film; 1: the picture alone, as a key frame.
        motion: most pixels from one frame to the next, along each axis.
    """

    codecs: tuple[str, ...] = ("h264", "mpeg4", "mpeg2")
    quality: Range = (30, 90)
    frames: Range = (1, 4)
    motion: Range = (0, 3)
    probability: float = 1.0

    def __call__(self, picture: Picture, frame: Frame, rng: Generator) -> Picture:
        codec = str(rng.choice(self.codecs))
        quality = rng.uniform(*self.quality)
        count = int(rng.integers(int(self.frames[0]), int(self.frames[1]) + 1))
        steps = rng.uniform(*self.motion, 2) * rng.choice((-1, 1), 2)
        top, left = (int(n) for n in rng.integers(0, BLOCK, 2))
        height, width = picture.shape[:2]
        below, right = (height + top) % 2, (width + left) % 2  # 4:2:0 wants even sides
        rows, columns = np.arange(-top, height + below), np.arange(-left, width + right)
        pixels, film = rounded(picture), []
        for k in reversed(range(count)):
            dy, dx = (round(float(step) * k) for step in steps)
            at = _mirrored(rows - dy, height), _mirrored(columns - dx, width)
            film.append(pixels[at[0][:, None], at[1]])
        decoded = through(np.stack(film), codec, quality)[-1]
        out: Picture = decoded[top : top + height, left : left + width].astype(np.float32)
        return out


def through(film: NDArray[np.uint8], codec: str, quality: float) -> NDArray[np.uint8]:
    """Encoded, in 4:2:0, and decoded.

    Args:
        film: (frames, h, w, 3), h and w even.
        codec: of ``CODECS``.
        quality: 1..100.

    Returns:
        Of the same shape.

    Raises:
        UsageError: the ffmpeg here has no such encoder.
        MediaError: it failed.
    """
    encoder, option, worst, best = CODECS[codec]
    ffmpeg = _ffmpeg()
    if encoder not in ffmpeg.encoders:
        raise UsageError(f"The ffmpeg here ({ffmpeg.exe}) has no encoder {encoder}.")
    size = f"{film.shape[2]}x{film.shape[1]}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24")
    value = worst + (best - worst) * (quality - 1) / 99
    coded = _run(
        ffmpeg, film.tobytes(), *raw, "-s", size, "-r", "25", "-i", "-", "-pix_fmt", "yuv420p",
        "-c:v", encoder, option, f"{value:.1f}", *QUIET.get(encoder, ()), "-threads", "1",
        "-f", "nut", "-",
    )  # fmt: skip
    pixels = _run(ffmpeg, coded, "-threads", "1", "-i", "-", *raw, "-")
    if len(pixels) != film.nbytes:
        raise MediaError(f"{encoder} gave {len(pixels)} bytes back where {film.nbytes} went in.")
    return np.frombuffer(pixels, np.uint8).reshape(film.shape)


@cache
def _ffmpeg() -> FFmpeg:
    return find_ffmpeg()


def _run(ffmpeg: FFmpeg, given: bytes, *arguments: str) -> bytes:
    log = [option for option in LOG if option != "-nostdin"]
    done = subprocess.run(
        [ffmpeg.exe, *log, *arguments], input=given, capture_output=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MediaError(f"ffmpeg failed on a training crop: {said[-1] if said else 'in silence'}")
    return done.stdout


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Places outside of 0..length - 1, reflected at the edges."""
    turn = places % (2 * length)
    inside: NDArray[np.int64] = np.minimum(turn, 2 * length - 1 - turn)
    return inside
