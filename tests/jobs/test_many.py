"""A plan of many inputs: names first, headers as work goes on."""

import os
from pathlib import Path

import pytest
from fake_engine import Nearest
from PIL import Image

from srcli import catalog
from srcli.errors import UsageError
from srcli.jobs import plan as planning
from srcli.jobs.events import Done, Failed, Skipped, Started
from srcli.jobs.inspect import NamedInput
from srcli.jobs.job import Options
from srcli.jobs.plan import Plan
from srcli.jobs.run import run
from srcli.media import image

BCRN = catalog.resolve("bcrn.authors")
N = 40


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "FIRST", 4)
    Path("in").mkdir()
    Image.new("RGB", (6, 4), "teal").save("in/00.png")
    for k in range(1, N):
        Path(f"in/{k:02d}.png").write_bytes(Path("in/00.png").read_bytes())
    return tmp_path


@pytest.fixture
def looked(monkeypatch):
    """Names of the headers that have been read."""
    names = []
    real = image.inspect

    def inspect(source, *more):
        names.append(Path(source).name)
        return real(source, *more)

    monkeypatch.setattr(image, "inspect", inspect)
    return names


def options(**more):
    return Options(model=BCRN, **{"scale": 2.0, "output": "out/", **more})


def planned(**more):
    return Plan(["in"], options(**more), first=planning.FIRST)


def done_by(plan, options):
    events = []
    summary = run(
        plan.todo(),
        options,
        Nearest(),
        tell=events.append,
        inspect=plan.inspect,
        total=plan.total,
        scales=plan.scales,
    )
    return events, summary


def test_headers_are_read_as_work_goes_on(here, looked):
    plan = planned()
    assert len(looked) == 4
    assert (len(plan), plan.total, plan.inspected) == (N, N, None)
    before = []
    events = []

    def tell(event):
        if isinstance(event, Started) and not before:
            before.extend(looked)
        events.append(event)

    wanted = options()
    run(
        plan.todo(), wanted, Nearest(), tell=tell, inspect=plan.inspect, total=N, scales=plan.scales
    )
    assert len(before) < 10
    assert sorted(looked) == [f"{k:02d}.png" for k in range(N)]  # each once
    started = [event for event in events if isinstance(event, Started)]
    assert [event.number for event in started] == list(range(1, N + 1))
    assert {event.total for event in started} == {N}
    assert len(list(Path("out").iterdir())) == N


def test_what_is_found_out_later_is_that_ones_failure(here):
    Path("in/30.png").write_bytes(b"no picture")
    plan = planned()
    events, summary = done_by(plan, options())
    assert (summary.done, summary.failed) == (N - 1, 1)
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert "30.png is not a picture" in failed.error


def test_two_inputs_with_one_output_are_found_by_name(here, looked):
    Path("in/35.gif").write_bytes(b"never looked at")
    plan = planned(format="png")
    assert "35.gif" not in looked
    failed = [job.source.name for job in plan.over()]
    assert failed == ["35.gif", "35.png"]
    assert plan.total == N - 1


def test_an_output_that_exists_is_found_by_name(here):
    Path("out").mkdir()
    Path("out/37_x2.png").write_bytes(b"there")
    with pytest.raises(UsageError, match=r"37_x2\.png exists"):
        planned()


def test_the_folder_of_the_outputs_is_listed_once(here, monkeypatch):
    Path("out").mkdir()
    for k in range(0, N, 2):
        Path(f"out/{k:02d}_x2.png").write_bytes(b"there")
    listed, asked = [], []
    scandir, stat = os.scandir, Path.stat

    def counted(path):
        listed.append(str(path))
        return scandir(path)

    def stats(path, **more):
        asked.append(str(path))
        return stat(path, **more)

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(Path, "stat", stats)
    plan = planned(skip_existing=True)
    assert listed.count("out") == 1
    assert sum(name.startswith("out/") for name in asked) <= 20
    skipped = list(plan.over())
    assert [job.source.name for job in skipped] == [f"{k:02d}.png" for k in range(0, N, 2)]
    assert all(job.skip for job in skipped)
    assert plan.total == N // 2


def test_outputs_named_by_their_size(here):
    """Whether these are taken is told one after the other."""
    Path("in/20.png").rename("in/clash.png")
    Image.new("RGB", (6, 4)).save("in/clash.gif")
    Path("out").mkdir()
    Path("out/25_12x8.png").write_bytes(b"there")
    wanted = options(scale=None, width=12, format="png")
    plan = Plan(["in"], wanted, first=4)
    events, summary = done_by(plan, wanted)
    failed = {e.source.name: e.error for e in events if isinstance(e, Failed)}
    assert set(failed) == {"25.png", "clash.png"}
    assert "exists" in failed["25.png"]
    assert "clash_12x8.png" in failed["clash.png"]
    assert summary.done == N - 1
    kept = options(scale=None, width=12, format="png", skip_existing=True)
    plan = Plan(["in"], kept, first=4)
    events, summary = done_by(plan, kept)
    assert not [e for e in events if isinstance(e, Done)]
    assert len([e for e in events if isinstance(e, Skipped)]) + 4 >= N


def test_what_workers_look_at(here):
    plan = planned()
    items = list(plan.todo())
    assert sum(isinstance(item, NamedInput) for item in items) == N - 4
    assert not any(plan.is_for_us(item) for item in items)
    sized = Plan(["in"], options(scale=None, width=12), first=4)
    assert sum(sized.is_for_us(item) for item in sized.todo()) == N - 4


def test_a_few_are_all_known_before(here):
    plan = Plan(["in"], options(), first=N)
    assert len(plan.inspected) == N
    assert plan.scales == [2]
