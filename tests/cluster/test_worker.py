"""A worker, without the cluster around it."""

import pickle
import time
from pathlib import Path

import pytest
from PIL import Image

from srcli import catalog
from srcli.cluster import worker as module
from srcli.cluster.worker import Work, Worker
from srcli.engine.settings import Settings
from srcli.errors import SrcliError, WeightsError
from srcli.jobs.events import Done, Failed, Started
from srcli.jobs.job import Options
from srcli.jobs.plan import plan
from srcli.weights import WeightsOptions


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(options, **more):
    weights = WeightsOptions(Path("cache").absolute(), offline=True)
    return Worker(pickle.dumps(Work(options, options.model, Settings(), weights, **more)))


def heard(worker, until):
    """Events, and their jobs' indices, until one is of that kind."""
    events = []
    end = time.monotonic() + 60
    while not any(isinstance(event, until) for _, event in events):
        assert time.monotonic() < end
        events += Worker.unpacked(worker.take_events())
    return events


def put(picture, *names):
    for name in names:
        Image.fromarray(picture(12, 16)).save(name)


def test_a_group_is_done_and_told_with_its_jobs_indices(here, picture):
    put(picture, "a.png", "b.png")
    Path("b.png").write_bytes(Path("b.png").read_bytes()[:60])
    options = Options(catalog.resolve("bicubic"), 2.0)
    jobs = plan(["a.png", "b.png"], options)
    worker = begin(options)
    assert Worker.unpacked(worker.take_events()) == []  # it is there
    worker.work(pickle.dumps([(5, jobs[0])]))
    events = heard(worker, Done)
    assert [(k, type(event)) for k, event in events] == [(5, Started), (5, Done)]
    assert Path("a_x2.png").is_file()
    worker.work(pickle.dumps([(6, jobs[1])]))
    assert heard(worker, Failed)[-1][0] == 6
    worker.stop()


def test_weights_that_cannot_be_had_end_the_run(here, picture):
    put(picture, "a.png")
    options = Options(catalog.resolve("bcrn.authors"), 2.0)
    jobs = plan(["a.png"], options)
    worker = begin(options)
    worker.work(pickle.dumps([(0, jobs[0])]))
    with pytest.raises(WeightsError, match=r"bcrn\.authors"):
        heard(worker, Done)


def test_a_folder_that_only_the_command_has(here):
    worker = begin(Options(catalog.resolve("bicubic"), 2.0), folder=here / "not there")
    with pytest.raises(SrcliError, match="not there"):
        heard(worker, Done)


def test_a_machine_with_another_version(here):
    worker = begin(Options(catalog.resolve("bicubic"), 2.0), version="0.0.1")
    with pytest.raises(SrcliError, match=r"0\.0\.1"):
        heard(worker, Done)


@pytest.mark.slow
def test_stopping_leaves_nothing_half_written(here, picture, monkeypatch):
    Image.fromarray(picture(64, 64)).resize((4000, 4000)).save("a.png")
    options = Options(catalog.resolve("bicubic"), 4.0)
    jobs = plan(["a.png"], options)
    worker = begin(options)
    worker.work(pickle.dumps([(0, jobs[0])]))
    end = time.monotonic() + 60
    while not list(here.glob(".*.part")):
        assert time.monotonic() < end
        time.sleep(0.01)
    worker.stop()
    assert sorted(p.name for p in here.iterdir()) == ["a.png"]


def test_a_worker_waits_a_while_for_something_to_tell(here, monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    worker = begin(Options(catalog.resolve("bicubic"), 2.0))
    worker.take_events()
    assert Worker.unpacked(worker.take_events()) == []
    worker.stop()
