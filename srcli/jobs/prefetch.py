"""Pictures decoded ahead of their turn, by other threads, while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from srcli.engine.result import Pixels
from srcli.errors import MediaError
from srcli.jobs.inspect import NamedInput
from srcli.jobs.job import Job, Options, decoded_bytes
from srcli.media.damage import damage
from srcli.media.formats import FORMATS
from srcli.media.gif import palette_of
from srcli.media.image import Frame, Picture, opaque, read, read_frames

SHARE = 8  # what is read ahead takes at most an eighth of the memory


@dataclass(frozen=True)
class Opened:
    """A source whose first picture is decoded; and of a GIF to be written, its palette.

    ``damage``: what is plainly wrong with the picture, if that was to be inspected for.
    """

    first: Frame
    others: Iterator[Frame]
    palette: bytes | None
    damage: str | None = None


@dataclass
class _Coming:
    """An item that is, or will be, inspected at; and its source, once it is being opened."""

    job: Future[Job]
    opened: Future[Opened] | None = None


class Reader:
    """Looks at what is to be done, and opens the sources, ahead of their turn.

    Args:
        pool: as many threads as ``options.jobs``.
        items: in their order; films among them are not read here.
        inspect: makes a job of an item.
        memory_bytes: of which a share may be taken by what is read ahead.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        items: Iterable[Job | NamedInput],
        inspect: Callable[[Job | NamedInput], Job],
        options: Options,
        memory_bytes: int,
    ) -> None:
        self._pool, self._items, self._inspect = pool, iter(items), inspect
        self._options, self._memory_bytes = options, memory_bytes
        self._coming: deque[_Coming] = deque()
        self._current: _Coming | None = None

    def next(self) -> Job | None:
        """The job whose turn it is; None after the last one."""
        self._inspect_further()
        if not self._coming:
            self._current = None
            return None
        self._current = self._coming.popleft()
        return self._current.job.result()

    def take(self) -> Future[Opened]:
        """The source of the job whose turn it is, opened; it is no longer held here."""
        assert self._current is not None
        return self._begun(self._current)

    @property
    def held_bytes(self) -> int:
        """Memory of what is read ahead."""
        return sum(decoded_bytes(one.job.result()) for one in self._coming if one.opened)

    def read_ahead(self) -> None:
        """Begin to open the pictures that follow, as many as there are threads and memory."""
        self._inspect_further()
        for one in self._coming:
            if not one.job.done():
                break
            job = one.job.result()
            if job.skip or job.failure is not None:
                continue
            if job.film is not None:
                break
            wanted = 0 if one.opened else decoded_bytes(job)
            if (self.held_bytes + wanted) * SHARE > self._memory_bytes:
                break
            self._begun(one)

    def _inspect_further(self) -> None:
        """Begin to look at as many items as there are threads, and one more."""
        while len(self._coming) <= self._options.jobs:
            item = next(self._items, None)
            if item is None:
                return
            if isinstance(item, Job):
                inspected: Future[Job] = Future()
                inspected.set_result(item)
            else:
                inspected = self._pool.submit(self._inspect, item)
            self._coming.append(_Coming(inspected))

    def _begun(self, one: _Coming) -> Future[Opened]:
        if one.opened is None:
            one.opened = self._pool.submit(open_source, one.job.result(), self._options)
        return one.opened

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
