"""Names of many files as strings: what pathlib makes of each, and links among them."""

from pathlib import Path

import pytest

from srcli import catalog
from srcli.jobs.job import Options
from srcli.jobs.names import ending, in_folder, in_order, split, stem_and_ending
from srcli.jobs.plan import Plan

NAMES = ["a.png", "d/a.PNG", "./d//a.b.png", "/a.png", "d/.png", "..png", "d.mp4/a", ".", "d/..",
         "d/", "a.png/", "d/n\nl.png", "../ж.tar.gz", "//host/a.png", "d/.a.png", "a"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_as_pathlib_has_them(name):
    path = Path(name)
    plain = in_order(name)
    assert plain == str(path)
    assert ending(plain) == path.suffix.lower()
    if path.name:
        before, leaf = split(plain)
        assert (before, leaf) == (in_folder(path.parent), path.name)
        assert stem_and_ending(leaf) == (path.stem, path.suffix)


def test_urls_are_shown_as_their_paths():
    assert in_order("memory://b//d/a.png") == "memory://b/d/a.png"
    assert in_order("file:///d/a.png") == "/d/a.png"


@pytest.mark.parametrize("inputs", ["folder", "names"])
def test_links_among_many(tmp_path, monkeypatch, inputs):
    monkeypatch.chdir(tmp_path)
    names = [f"in/{k:03d}.png" for k in range(300)]
    Path("in").mkdir()
    for name in names:
        Path(name).touch()
    Path("in/280.png").unlink()
    Path("in/280.png").symlink_to("007.png")  # which is meant already
    Path("out").mkdir()
    Path("out/290_x2.png").symlink_to("../in/005.png")
    options = Options(model=catalog.get("bicubic"), scale=2, output="out/", overwrite=True)
    plan = Plan(["in"] if inputs == "folder" else names, options, first=0)
    assert len(plan) == 299
    [refused] = plan.over()
    assert refused.source == Path("in/290.png")
    assert refused.failure.message == "the output out/290_x2.png is also an input"
