"""Unfinished files: those of dead processes go, those of living ones and of others stay."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from srcli.media.atomic import give_name, open_part, part_of, sweep

HOLD = """
import sys, time
from pathlib import Path
from srcli.media.atomic import open_part
part, file = open_part(Path(sys.argv[1]))
file.write(b"half")
file.flush()
print(part, flush=True)
time.sleep(600)
"""


def start(path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing a file, and its part."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def stop(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_what_a_dead_process_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead, left = start(tmp_path / "a.png")
    living, held = start(tmp_path / "b.png")
    try:
        assert left.read_bytes() == b"half" == held.read_bytes()
        assert sweep(tmp_path) == []
        stop(dead)
        assert sweep(tmp_path) == [left]
        assert not left.exists() and held.exists()
    finally:
        stop(living)
    part, file = open_part(tmp_path / "c.png")  # as the next run does
    with file:
        assert not held.exists()
        assert [p.name for p in tmp_path.iterdir()] == [part.name]
        assert sweep(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="files that are not open go on Windows")
def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    own = part_of(tmp_path / "a.png")
    host, tail = own.name[-21:-13], own.name[-13:]
    other = f"{int(host, 16) ^ 1:08x}"
    names = [
        f".a.png.{other}{tail}",  # of another machine
        ".a.png.0123abcd.part",  # as srcli had them before
        f"a.png.{host}{tail}",
        f".a.png.{host}{tail}.jpg",
        f".a.png.{host}{tail[1:]}",
        ".a.png.part",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"theirs")
    (tmp_path / f".folder.{host}{tail}").mkdir()
    target = tmp_path / "target"
    target.write_bytes(b"theirs")
    (tmp_path / f".link.{host}{tail}").symlink_to(target)
    linked = tmp_path / f".hard.{host}{tail}"
    linked.hardlink_to(target)
    before = sorted(tmp_path.iterdir())
    assert sweep(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == before
    own.write_bytes(b"ours")
    assert sweep(tmp_path) == [own]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to be root")
def test_another_users_stays(tmp_path: Path) -> None:
    own = part_of(tmp_path / "a.png")
    own.write_bytes(b"theirs")
    os.chown(own, 12_345, -1)
    assert sweep(tmp_path) == [] and own.exists()


def test_a_part_that_was_taken_for_dead_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making and locking a file another process may sweep."""
    import srcli.media.atomic as atomic

    plain, taken = atomic._lock, []

    def late(file, *, wait):
        if wait and not taken:
            taken.append(next(tmp_path.glob(".*.part")))
            taken[0].unlink()
        return plain(file, wait=wait)

    monkeypatch.setattr(atomic, "_lock", late)
    part, file = open_part(tmp_path / "a.png")
    if taken and os.name == "posix":
        assert part != taken[0]
    file.write(b"whole")
    file.flush()
    give_name(file, part, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_long_names(tmp_path: Path) -> None:
    part, file = open_part(tmp_path / ("é" * 125 + ".png"))
    with file:
        assert len(os.fsencode(part.name)) <= 255 and part.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert sweep(tmp_path / "none") == []
    with pytest.raises(FileNotFoundError):
        open_part(tmp_path / "none" / "a.png")
