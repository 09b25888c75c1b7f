"""Which job is whose: handed out in groups of about equal work, given back when a worker is lost.

Knows nothing of Ray, nor of files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from srcli.jobs.events import Done, Event, Failed, Noted, Started
from srcli.jobs.plan import Job

DEATHS = 3  # workers that a job may cost before it is given up
GROUPS_AHEAD = 4  # a worker's share of what is left is cut into so many groups
GROUP_PIXELS = 2_000_000  # most of a group: some seconds of work
GROUP_JOBS = 64  # most of a group: what a lost worker gives back
FILM_FRAMES = 1_000  # of a film, whose length may not be known: it begins early, and alone
PICTURE_PIXELS = 4_000  # what opening and writing a picture take, as pixels of the network's work


def work_pixels(job: Job) -> int:
    """What a job takes, as pixels that a network sees."""
    n_frames = job.n_frames if job.film is None else FILM_FRAMES
    return job.lr_size[0] * job.lr_size[1] * n_frames + PICTURE_PIXELS


@dataclass
class _Entry:
    job: Job
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
        jobs: to be done.
        n_workers: among which they are shared.
    """

    def __init__(self, jobs: Sequence[Job], n_workers: int) -> None:
        self._entries = [_Entry(job, work_pixels(job)) for job in jobs]
        self._n_workers = n_workers
        self._hands: dict[int, _Hand] = {}
        self._suspects: deque[int] = deque()
        self._left = len(self._entries)
        self._pixels = sum(entry.pixels for entry in self._entries)  # of what is waiting
        self._begun = 0
        # what exceeds a group begins first, so that nobody waits for it in the end
        share = self._group_pixels()
        order = sorted(range(len(jobs)), key=lambda k: self._entries[k].pixels <= share)
        self._waiting = deque(order)

    @property
    def left(self) -> int:
        """Jobs that are not over."""
        return self._left

    def _group_pixels(self) -> float:
        return min(GROUP_PIXELS, self._pixels / (GROUPS_AHEAD * self._n_workers))

    def take(self, worker: int) -> list[tuple[int, Job]]:
        """The next group for a worker, with each job's index; empty: it has enough for now."""
        hand = self._hands.setdefault(worker, _Hand())
        if any(self._entries[k].deaths for k in hand.held):
            return []
        if self._suspects:
            if hand.held:
                return []
            group = [self._suspects.popleft()]
        else:
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
        return [(k, self._entries[k].job) for k in group]

    def holds(self, worker: int) -> int:
        """Jobs that a worker has."""
        hand = self._hands.get(worker)
        return 0 if hand is None else len(hand.held)

    def heard(self, worker: int, index: int, event: Event) -> Event | None:
        """What a worker tells of a job, as it is to be told; None: it was told before."""
        hand = self._hands.get(worker, _Hand())
        if index not in hand.held:  # taken from it, and another's now
            return None
        entry = self._entries[index]
        if isinstance(event, Started):
            hand.begun.add(index)
            if entry.number:
                return None
            self._begun += 1
            entry.number = self._begun
            return Started(
                event.source, event.lr_size, event.sr_size, entry.number, len(self._entries)
            )
        if isinstance(event, Noted):
            if event.text in entry.said:
                return None
            entry.said.add(event.text)
        elif isinstance(event, Done | Failed):
            self._over(hand, index)
        return event

    def _over(self, hand: _Hand, index: int) -> None:
        hand.held.remove(index)
        hand.begun.discard(index)
        self._left -= 1

    def lost(self, worker: int) -> tuple[list[Job], list[Job]]:
        """A worker is gone: its jobs wait again.

        Returns:
            The jobs that it held; and those of them that are given up.
        """
        hand = self._hands.pop(worker, _Hand())
        held = list(hand.held)
        # what it has begun last may not have been told any more
        to_blame = hand.begun or set(held[:1])
        given_up = []
        for k in reversed(held):
            entry = self._entries[k]
            entry.deaths += k in to_blame
            if entry.deaths >= DEATHS:
                self._over(hand, k)
                given_up.append(entry.job)
                continue
            self._pixels += entry.pixels
            (self._suspects if entry.deaths else self._waiting).appendleft(k)
        return [self._entries[k].job for k in held], given_up
