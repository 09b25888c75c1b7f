"""Who does which job: shares, losses and blame, without workers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from srcli.cluster.ledger import DEATHS, GROUP_JOBS, Ledger, work_pixels
from srcli.cluster.parts import MadePart, Part
from srcli.jobs.events import Done, Failed, Noted, Started
from srcli.jobs.job import Job


def job(name, size=(50, 50)):
    return Job(Path(name), Path(f"out/{name}"), lr_size=size, sr_size=(size[0] * 2, size[1] * 2))


def jobs(n, size=(50, 50)):
    return [job(f"{k}.png", size) for k in range(n)]


def started(one):
    return Started(one.source, one.lr_size, one.sr_size, 1, 1)


def done(one):
    return Done(
        one.source, one.target, "m", 2.0, one.lr_size, one.sr_size, 0.1, 1, "cpu", "fp32", 0
    )


def do_all(ledger, group, worker):
    for k, one in group:
        ledger.heard(worker, k, started(one))
        ledger.heard(worker, k, done(one))


def test_every_job_goes_out_once():
    every = jobs(1000)
    ledger = Ledger(every, 3)
    seen = []
    for worker in [0, 1, 2] * 1000:
        group = ledger.take(worker)
        seen += [k for k, _ in group]
        do_all(ledger, group, worker)
    assert sorted(seen) == list(range(1000))
    assert ledger.left == 0


def test_films_are_looked_at_when_their_turn_comes():
    """To look at one may mean to fetch it; it is held until it is done."""
    looked = []

    def films():
        for k in range(50):
            looked.append(k)
            span = SimpleNamespace(n_frames=300)
            yield [Part(job(f"{k}.mkv"), span, None) for _ in range(4)]

    ledger = Ledger(films(), 2, total=50)
    assert looked == [0]
    seen = []
    while group := ledger.take(0):
        for k, one in group:
            ledger.heard(0, k, MadePart(one.source, None))
        seen += [one.source for _, one in group]
        assert len(looked) <= len(set(seen)) + 2
    assert len(seen) == 200
    assert len(looked) == 50


def test_groups_are_of_about_equal_pixels():
    small, large = jobs(300, (30, 30)), [job(f"large{k}.png", (700, 700)) for k in range(12)]
    ledger = Ledger([*small, *large], 2)
    groups = []
    while group := ledger.take(len(groups)):
        groups.append([one for _, one in group])
    sums = [sum(work_pixels(one) for one in group) for group in groups]
    # none is more than a group's share, but by one picture that exceeds it alone
    assert all(
        pixels <= sum(sums) / 8 or len(g) == 1 for pixels, g in zip(sums, groups, strict=True)
    )
    assert max(map(len, groups)) > 10
    assert max(map(len, groups)) <= GROUP_JOBS


def test_a_panorama_begins_first():
    every = [*jobs(40), job("panorama.png", (4000, 20_000))]
    assert Ledger(every, 2).take(0) == [(40, every[40])]


def test_a_lost_workers_jobs_go_to_others_and_what_was_done_stays_done():
    every = jobs(6)
    ledger = Ledger(every, 1)
    (first,) = ledger.take(0)[:1]
    do_all(ledger, [first], 0)
    while ledger.take(0):
        pass
    ledger.heard(0, 1, started(every[1]))
    held, given_up = ledger.lost(0)
    assert [one.source.name for one in held] == [f"{k}.png" for k in range(1, 6)]
    assert given_up == []
    again = []
    while group := ledger.take(1):
        again += [k for k, _ in group]
        do_all(ledger, group, 1)
    assert sorted(again) == [1, 2, 3, 4, 5]
    assert ledger.left == 0


def test_nothing_is_told_twice():
    every = jobs(1)
    ledger = Ledger(every, 2)
    note = Noted(every[0].source, "a note")
    ledger.take(0)
    assert ledger.heard(0, 0, started(every[0])) == started(every[0])
    assert ledger.heard(0, 0, note) == note
    ledger.lost(0)
    ledger.take(1)
    assert ledger.heard(0, 0, done(every[0])) is None  # it is another's now
    assert ledger.heard(1, 0, started(every[0])) is None
    assert ledger.heard(1, 0, note) is None
    assert ledger.heard(1, 0, done(every[0])) == done(every[0])
    assert ledger.heard(1, 0, done(every[0])) is None
    assert ledger.left == 0


def test_pictures_are_numbered_as_they_begin():
    every = jobs(3)
    ledger = Ledger(every, 3)
    for worker in range(3):
        ledger.take(worker)
    told = [ledger.heard(k, k, started(every[k])) for k in (2, 0, 1)]
    assert [(event.number, event.total) for event in told] == [(1, 3), (2, 3), (3, 3)]


def test_a_job_that_costs_three_workers_is_given_up_and_no_other():
    every = jobs(20)
    ledger = Ledger(every, 1)
    lost, given_up = 0, []
    for worker in range(100):
        while ledger.left:
            group = ledger.take(worker)
            bad = [(k, one) for k, one in group if k == 7]
            do_all(ledger, [(k, one) for k, one in group if k < 7 or not bad], worker)
            if bad:
                ledger.heard(worker, 7, started(every[7]))
                lost += 1
                given_up += ledger.lost(worker)[1]
                break
    assert lost == DEATHS
    assert given_up == [every[7]]
    assert ledger.left == 0


@pytest.mark.parametrize("told", [True, False])
def test_who_is_to_blame_goes_out_alone(told):
    every = jobs(9)
    ledger = Ledger(every, 1)
    n_held = len(ledger.take(0))
    n_held += len(ledger.take(0))
    assert n_held > 1
    if told:  # else it was lost before it could tell
        ledger.heard(0, 0, started(every[0]))
    ledger.lost(0)
    assert ledger.take(1) == [(0, every[0])]
    assert ledger.take(1) == []  # as long as it has that
    assert len(ledger.take(2)) >= 1
    ledger.heard(1, 0, done(every[0]))
    assert len(ledger.take(1)) >= 1


def test_a_failure_is_over_too():
    every = jobs(1)
    ledger = Ledger(every, 1)
    ledger.take(0)
    ledger.heard(0, 0, Failed(every[0].source, "unreadable", None))
    assert ledger.left == 0
