"""Pictures decoded ahead of their turn, by other threads, while the network works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from srcli.engine.result import Pixels
from srcli.errors import MediaError
from srcli.jobs.plan import Job, Options, decoded_bytes
from srcli.media.damage import damage
from srcli.media.formats import FORMATS
from srcli.media.gif import palette_of
from srcli.media.image import Frame, Picture, opaque, read, read_frames

SHARE = 8  # what is read ahead takes at most an eighth of the memory


@dataclass(frozen=True)
class Opened:
    """A source whose first picture is decoded; and of a GIF to be written, its palette.

    ``damage``: what is plainly wrong with the picture, if that was to be looked for.
    """

    first: Frame
    others: Iterator[Frame]
    palette: bytes | None
    damage: str | None = None


class Reader:
    """Opens the jobs' sources.

    Args:
        pool: as many threads as ``options.jobs``.
        jobs: in their order; films among them are not read here.
        memory_bytes: of which a share may be taken by what is read ahead.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, jobs: Sequence[Job], options: Options, memory_bytes: int
    ) -> None:
        self._pool, self._jobs, self._options = pool, jobs, options
        self._memory_bytes = memory_bytes
        self._ahead: dict[int, Future[Opened]] = {}

    def begin(self, index: int) -> Future[Opened]:
        """Open a source, if that has not begun."""
        if index not in self._ahead:
            self._ahead[index] = self._pool.submit(open_source, self._jobs[index], self._options)
        return self._ahead[index]

    def take(self, index: int) -> Future[Opened]:
        """The source whose turn it is; it is no longer held here."""
        begun = self.begin(index)
        del self._ahead[index]
        return begun

    @property
    def held_bytes(self) -> int:
        """Memory of what is read ahead."""
        return sum(decoded_bytes(self._jobs[k]) for k in self._ahead)

    def look_ahead(self, index: int) -> None:
        """Begin to open the pictures that follow a job, as many as there are threads and memory."""
        for k in range(index + 1, min(index + 1 + self._options.jobs, len(self._jobs))):
            job = self._jobs[k]
            if job.film is not None:
                break
            wanted = 0 if k in self._ahead else decoded_bytes(job)
            if (self.held_bytes + wanted) * SHARE > self._memory_bytes:
                break
            self.begin(k)

    def following(self, opened: Opened) -> Future[Frame | None]:
        """The next frame, or page."""
        return self._pool.submit(next, opened.others, None)


def open_source(job: Job, options: Options) -> Opened:
    """Decode the first picture of a job's source."""
    palette = None
    if job.n_frames > 1 and job.format == "gif":
        pictures = (frame.picture for frame in _frames(job, options))
        palette = palette_of(((p.pixels, p.alpha) for p in pictures), enlarged=False)
    frames = _frames(job, options)
    first = next(frames)
    found = None
    if options.suggest and job.n_frames == 1 and job.scale > 1:
        found = damage(first.picture.pixels, first.picture.quality)
    return Opened(first, frames, palette, found)


def _frames(job: Job, options: Options) -> Iterator[Frame]:
    source = job.opened()
    inks = FORMATS[job.format].inks
    if job.n_frames == 1:
        one = read(source, job.info, options.max_pixels, depth=job.depth, inks=inks)
        if not job.alpha and options.alpha != "discard":
            if not opaque(one):
                raise MediaError(f"{job.source} changed while srcli was working", "run srcli again")
            one = replace(one, alpha=None)
        yield Frame(_prepared(one, options))
        return
    for frame in read_frames(source, job.info, options.max_pixels, depth=job.depth, inks=inks):
        yield replace(frame, picture=_prepared(frame.picture, options))


def _prepared(picture: Picture, options: Options) -> Picture:
    if options.strip_metadata:
        picture = replace(picture, metadata=picture.metadata.stripped())
    if options.depth == "16" and picture.bits == 8:
        alpha, black = picture.alpha, picture.black
        picture = replace(
            picture,
            pixels=_deepened(picture.pixels),
            alpha=None if alpha is None else _deepened(alpha),
            black=None if black is None else _deepened(black),
        )
    return picture


def _deepened(samples: Pixels) -> Pixels:
    """8 bits as 16: 255 becomes 65535."""
    return samples.astype(np.uint16) * np.uint16(257)
