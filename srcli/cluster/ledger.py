"""Which job is whose: handed out in groups of about equal work, given back when a worker is lost.

Knows nothing of Ray, nor of files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from srcli.cluster.parts import MadePart, Part
from srcli.jobs.events import Done, Event, Failed, Noted, Skipped, Started
from srcli.jobs.inspect import NamedInput
from srcli.jobs.job import Job

DEATHS = 3  # workers that a job may cost before it is given up
GROUPS_AHEAD = 4  # a worker's share of what is left is cut into so many groups
GROUP_PIXELS = 2_000_000  # most of a group: some seconds of work
GROUP_JOBS = 64  # most of a group: what a lost worker gives back
FILM_FRAMES = 1_000  # of a film, whose length may not be known: it begins early, and alone
FRAME_PIXELS = 1280 * 720  # of a film that nobody has looked at
BYTE_PIXELS = 2  # of a picture that nobody has looked at: between a photo and a drawing
WINDOW = 512  # inputs that wait; more are taken from the list when half of these are out
PICTURE_PIXELS = 4_000  # what opening and writing a picture take, as pixels of the network's work


Item = Job | NamedInput | Part


def work_pixels(item: Item) -> int:
    """What an input takes, as pixels that a network sees: of one not looked at, by its length."""
    if isinstance(item, Part):
        height, width = item.job.lr_size
        return height * width * item.span.n_frames
    if isinstance(item, NamedInput):
        if item.is_film:
            return FILM_FRAMES * FRAME_PIXELS
        try:
            return item.source.stat().st_size * BYTE_PIXELS + PICTURE_PIXELS
        except (OSError, ValueError):  # a failure, which its worker will tell
            return PICTURE_PIXELS
    n_frames = item.n_frames if item.film is None else FILM_FRAMES
    return item.lr_size[0] * item.lr_size[1] * n_frames + PICTURE_PIXELS


def _is_film(item: Item) -> bool:
    """Whether it is, or is of, a film that has been looked at."""
    return isinstance(item, Part) or (isinstance(item, Job) and item.film is not None)


@dataclass
class _Entry:
    item: Item
    pixels: int
    deaths: int = 0  # workers lost over it
    number: int = 0  # in the order of beginning; 0: not begun
    said: set[str] = field(default_factory=set)


@dataclass
class _Hand:
    """What one worker holds: its jobs in order, and those of them that it has begun."""

    held: list[int] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)


class Ledger:
    """Every job is waiting, held by one worker, or over.

    A job during which a worker was lost is a suspect: it goes out again alone, so that the next
    loss tells which job is to blame.

    Args:
        items: to be done; taken as they are needed, so that there may be a million of them. A list
            has the parts of one film.
        n_workers: among which they are shared.
        total: how many items there are; None: as many as ``items`` holds.
    """

    def __init__(
        self, items: Iterable[Item | list[Part]], n_workers: int, total: int | None = None
    ) -> None:
        if total is None:
            items = list(items)
            total = len(items)
        self._items = iter(items)
        self._total = self._left = total
        self._entries: dict[int, _Entry] = {}  # of what waits, or is held
        self._n_workers = n_workers
        self._hands: dict[int, _Hand] = {}
        self._suspects: deque[int] = deque()
        self._waiting: deque[int] = deque()
        self._pixels = 0  # of what is waiting
        self._begun = 0
        self._taken = 0  # of the items
        self._next = 0  # number of an entry
        self._begun_films: set[Path] = set()
        self._over: list[Job] = []
        self._fill()

    @property
    def left(self) -> int:
        """Jobs that are not over."""
        return self._left

    def drop(self, source: Path) -> None:
        """What waits of a film that is given up goes to nobody."""
        for k in [*self._waiting, *self._suspects]:
            item = self._entries[k].item
            if isinstance(item, Part) and item.source == source:
                self._pixels -= self._entries[k].pixels if k in self._waiting else 0
                del self._entries[k]
                self._left -= 1
        self._waiting = deque(k for k in self._waiting if k in self._entries)
        self._suspects = deque(k for k in self._suspects if k in self._entries)

    @property
    def total(self) -> int:
        """As they are shown to a person: a film is one."""
        return self._total

    def passed(self) -> list[Job]:
        """What proved to be over when it was looked at, since the last call."""
        over, self._over = self._over, []
        return over

    def _fill(self) -> None:
        """Take more of the items; what exceeds a group begins first, so that nobody waits for it
        in the end.

        Films come one at a time: to look at one may take long, and it is held meanwhile.
        """
        fresh: list[int] = []
        for item in islice(self._items, WINDOW - len(self._waiting)):
            self._taken += 1
            if isinstance(item, Job) and (item.skip or item.failure is not None):
                self._over.append(item)
                self._left -= 1
                continue
            several = item if isinstance(item, list) else [item]
            self._left += len(several) - 1
            for one in several:
                k, self._next = self._next, self._next + 1
                self._entries[k] = _Entry(one, work_pixels(one))
                self._pixels += self._entries[k].pixels
                fresh.append(k)
            if several and _is_film(several[0]):
                break
        share = self._group_pixels()
        self._waiting.extend(sorted(fresh, key=lambda k: self._entries[k].pixels <= share))

    def _is_short(self) -> bool:
        """Whether more is to be had at hand."""
        if len(self._waiting) >= WINDOW // 2:
            return False
        n_films = sum(_is_film(self._entries[k].item) for k in self._waiting)
        return n_films < self._n_workers

    def _group_pixels(self) -> float:
        unknown = self._total - self._taken
        mean = self._pixels / max(1, len(self._waiting))
        return min(GROUP_PIXELS, (self._pixels + mean * unknown) / (GROUPS_AHEAD * self._n_workers))

    def take(self, worker: int) -> list[tuple[int, Item]]:
        """The next group for a worker, with each job's index; empty: it has enough for now."""
        hand = self._hands.setdefault(worker, _Hand())
        if any(self._entries[k].deaths for k in hand.held):
            return []
        if self._suspects:
            if hand.held:
                return []
            group = [self._suspects.popleft()]
        else:
            if self._is_short():
                self._fill()
            share, pixels = self._group_pixels(), 0
            group = []
            while self._waiting and len(group) < GROUP_JOBS:
                wanted = self._entries[self._waiting[0]].pixels
                if group and pixels + wanted > share:
                    break
                group.append(self._waiting.popleft())
                pixels += wanted
        self._pixels -= sum(self._entries[k].pixels for k in group)
        hand.held += group
        return [(k, self._entries[k].item) for k in group]

    def holds(self, worker: int) -> int:
        """Jobs that a worker has."""
        hand = self._hands.get(worker)
        return 0 if hand is None else len(hand.held)

    def heard(self, worker: int, index: int, event: Event | MadePart) -> Event | MadePart | None:
        """What a worker tells of a job, as it is to be told; None: it was told before."""
        hand = self._hands.get(worker, _Hand())
        if index not in hand.held:  # taken from it, and another's now
            return None
        entry = self._entries[index]
        if isinstance(event, Started):
            hand.begun.add(index)
            if entry.number or event.source in self._begun_films:
                return None
            if isinstance(entry.item, Part):
                self._begun_films.add(event.source)
            self._begun += 1
            entry.number = self._begun
            return Started(event.source, event.lr_size, event.sr_size, entry.number, self._total)
        if isinstance(event, Noted):
            if event.text in entry.said:
                return None
            entry.said.add(event.text)
        elif isinstance(event, Done | Failed | Skipped | MadePart):
            self._end(hand, index)
        return event

    def _end(self, hand: _Hand, index: int) -> None:
        del self._entries[index]
        hand.held.remove(index)
        hand.begun.discard(index)
        self._left -= 1

    def lost(self, worker: int) -> tuple[list[Item], list[Item]]:
        """A worker is gone: its jobs wait again.

        Returns:
            The jobs that it held; and those of them that are given up.
        """
        hand = self._hands.pop(worker, _Hand())
        held = list(hand.held)
        items = [self._entries[k].item for k in held]
        # what it has begun last may not have been told any more
        to_blame = hand.begun or set(held[:1])
        given_up = []
        for k in reversed(held):
            entry = self._entries[k]
            entry.deaths += k in to_blame
            if entry.deaths >= DEATHS:
                self._end(hand, k)
                given_up.append(entry.item)
                continue
            self._pixels += entry.pixels
            (self._suspects if entry.deaths else self._waiting).appendleft(k)
        return items, given_up
