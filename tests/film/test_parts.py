"""Where a film is cut into parts that are made apart from each other, and making them."""

from fractions import Fraction

import pytest

from srcli.engine.resampler import Resampler
from srcli.errors import MediaError
from srcli.film.mux import Cut
from srcli.film.options import FilmOptions
from srcli.film.packets import Timeline, scan
from srcli.film.parts import check_joint, make, spans, within
from srcli.film.plan import open_film, plan_film
from srcli.film.segments import LEAST_FRAMES, MOST_FRAMES, Segment, work_folder
from tests.film.films import make as make_film

TICK = Fraction(1, 25)


def timeline(n, keys=()):
    return Timeline(TICK, tuple(range(n)), frozenset(TICK * k for k in keys))


def lengths(found):
    return [span.n_frames for span in found]


def test_parts_end_at_key_frames_that_come_late_enough():
    found = spans(timeline(400, keys=range(0, 400, 50)), Cut())
    assert lengths(found) == [100, 100, 100, 100]
    assert [span.start_s for span in found] == [None, 4, 8, 12]
    assert [span.end_s for span in found] == [4, 8, 12, None]
    assert [span.number for span in found] == [0, 1, 2, 3]
    assert LEAST_FRAMES <= 100


def test_parts_without_key_frames():
    assert lengths(spans(timeline(700), Cut())) == [MOST_FRAMES, MOST_FRAMES, 100]


def test_only_what_is_wanted_and_not_finished():
    whole = timeline(1000)
    cut = Cut(Fraction(4), Fraction(20))
    assert lengths(spans(whole, cut)) == [300, 100]
    done = Segment("000000.nut", "", str(TICK), tuple(range(100, 400)), "")
    [rest] = spans(whole, cut, [done])
    assert (rest.number, rest.start_s, rest.end_s, rest.n_frames) == (1, 16, None, 100)
    assert spans(timeline(400), Cut(), [done]) == []


def test_what_a_part_needs_to_know():
    whole = timeline(700)
    second = spans(whole, Cut())[1]
    assert within(whole, second).times == (0, *range(300, 600))


@pytest.mark.ffmpeg
def test_parts_hold_every_frame_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_film("a.mkv", "-g", "40", seconds=7, size="32x24", rate="25")
    source, ffmpeg = open_film(tmp_path / "a.mkv", FilmOptions(), 10**6)
    plan = plan_film(source, tmp_path / "b.mkv", (48, 64), FilmOptions(), ffmpeg)
    work_folder(plan.target).mkdir()
    whole = scan(source, ffmpeg)
    found = spans(whole, Cut())
    assert len(found) == 3
    made = [
        make(plan, within(whole, span), span, Resampler("bicubic"), ()) for span in reversed(found)
    ][::-1]
    times = [one.tick * t for one in made for t in one.times]
    assert times == list(whole.seconds())
    before = [Segment("", "", str(one.tick), one.times, one.checksum) for one in made]
    check_joint(plan, before[0], made[1])
    check_joint(plan, before[1], made[2])
    with pytest.raises(MediaError, match="does not decode the same"):
        check_joint(plan, before[0], made[2])
