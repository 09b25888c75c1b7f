"""Where maps lie: memory and file hold the same, and give back what they took."""

import errno
import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srcli.engine.pytorch import storage as module
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.storage import Budget, BufferPool, FileStorage, MemoryStorage
from srcli.errors import ResourceError

CPU = torch.device("cpu")
H, W = 11, 13

areas = st.builds(
    lambda y, x, h, w: Region(y, x, min(h, H - y), min(w, W - x)),
    st.integers(0, H - 1),
    st.integers(0, W - 1),
    st.integers(1, H),
    st.integers(1, W),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(areas, min_size=1, max_size=6),
    read=areas,
    channels=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    planar=st.booleans(),
)
def test_file_equals_memory(tmp_path, steps, read, channels, dtype, planar):
    """Whatever regions are written, in whatever layout, and whatever is read."""
    in_memory = Budget(2**30).storage((H, W), channels, dtype, CPU)
    in_file = Budget(0, tmp_path).storage((H, W), channels, dtype, CPU)
    assert isinstance(in_memory, MemoryStorage)
    assert isinstance(in_file, FileStorage)
    for k, region in enumerate([Region(0, 0, H, W), *steps]):
        generator = torch.Generator().manual_seed(k)
        tile = torch.randn((1, channels, region.h, region.w), generator=generator).to(dtype)
        if not planar:
            tile = tile.contiguous(memory_format=torch.channels_last)
        in_memory.write(region, tile)
        in_file.write(region, tile)
        assert torch.equal(in_file.read(region), tile)
    for region in (read, Region(0, 0, H, W)):
        got = in_file.read(region)
        assert got.shape == (1, channels, region.h, region.w)
        assert got.dtype == dtype
        assert torch.equal(got, in_memory.read(region))


def test_budget(tmp_path):
    """Maps go to memory while there is room, then to the file; what is let go gives room again."""
    size, n_bytes = (4, 5), 4 * 5 * 6 * 4
    budget = Budget(2 * n_bytes, tmp_path)
    maps = [budget.storage(size, 6, torch.float32, CPU) for _ in range(3)]
    assert [type(m) for m in maps] == [MemoryStorage, MemoryStorage, FileStorage]
    assert budget.stored_bytes == budget.peak_bytes == 2 * n_bytes
    assert budget.spilled_bytes == n_bytes
    del maps[0]
    assert budget.stored_bytes == n_bytes
    assert isinstance(budget.storage(size, 6, torch.float32, CPU), MemoryStorage)
    maps.clear()
    assert budget.stored_bytes == 0
    assert budget.peak_bytes == 2 * n_bytes


def test_memory_is_used_again():
    """A map of the same size lies where one lay that is gone; what is held so is never too much."""
    size, n_bytes = (4, 5), 4 * 5 * 6 * 4
    pool = BufferPool()
    budget = Budget(2 * n_bytes, pool=pool)
    first = budget.storage(size, 6, torch.float32, CPU)
    place = first.read(Region(0, 0, *size)).data_ptr()
    del first
    assert pool.n_bytes == n_bytes
    again = Budget(2 * n_bytes, pool=pool).storage(size, 12, torch.bfloat16, CPU)
    assert again.read(Region(0, 0, *size)).data_ptr() == place
    assert pool.n_bytes == 0
    del again
    larger = budget.storage(size, 9, torch.float32, CPU)  # for which there is no room beside it
    assert pool.n_bytes == 0
    assert isinstance(larger, MemoryStorage)
    del larger
    pool.clear()
    assert pool.n_bytes == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_the_file_leaves_nothing_behind(tmp_path):
    """It has no name even while in use, so that a crash leaves nothing; and it is closed."""

    def open_files():
        gc.collect()
        return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = open_files()
    stored = Budget(0, tmp_path).storage((4, 5), 6, torch.float32, CPU)
    stored.write(Region(0, 0, 4, 5), torch.ones(1, 6, 4, 5))
    assert list(tmp_path.iterdir()) == []
    assert len(open_files()) == len(before) + 1
    del stored
    assert open_files() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_files_are_used_again(tmp_path, monkeypatch):
    """By maps of the same size; given up for the room of others, and with the budget."""

    def n_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    def stored(channels):
        tile = torch.full((1, channels, 4, 5), float(channels))
        made = budget.storage((4, 5), channels, torch.float32, CPU)
        made.write(Region(0, 0, 4, 5), tile)
        assert torch.equal(made.read(Region(0, 0, 4, 5)), tile)
        return made

    gc.collect()
    before = n_open()
    budget = Budget(0, tmp_path)
    maps = [stored(6), stored(6), stored(3)]
    assert n_open() == before + 3
    for channels in (6, 3, 6):
        maps = maps[:2]
        maps.append(stored(channels))
        assert n_open() <= before + 4
    assert budget.spilled_bytes == (4 * 6 + 2 * 3) * 4 * 5 * 4
    maps.clear()
    free = iter([0, 1000])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    maps.append(stored(8))
    assert n_open() == before + 1
    maps.clear()
    budget = None
    assert n_open() == before


def test_no_room_is_said_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=479))
    with pytest.raises(ResourceError, match=r"need 480 bytes .* has 479 bytes free") as caught:
        Budget(0, tmp_path).storage((4, 5), 6, torch.float32, CPU)
    assert str(tmp_path) in caught.value.message
    assert "SRCLI_TMP_DIR" in caught.value.hint
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=480))
    Budget(0, tmp_path).storage((4, 5), 2, torch.float32, CPU)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_meanwhile(tmp_path):
    stored = Budget(0, tmp_path).storage((4, 5), 6, torch.float32, CPU)
    stored._file.close()
    stored._file = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115
    with pytest.raises(ResourceError, match=os.strerror(errno.ENOSPC)) as caught:
        stored.write(Region(0, 0, 4, 5), torch.ones(1, 6, 4, 5))
    assert "--memory" in caught.value.hint


def test_what_will_spill_is_known_before_work(tmp_path, monkeypatch):
    budget = Budget(1000, tmp_path)
    assert not budget.expect(1000)
    assert budget.expect(1001)
    kept = budget.storage((5, 5), 4, torch.float32, CPU)
    assert budget.expect(601)
    assert not budget.expect(600)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=99))
    assert budget.expect(699)
    with pytest.raises(ResourceError, match="free") as caught:
        budget.expect(700)
    assert "SRCLI_TMP_DIR" in caught.value.hint
    del kept
    assert not budget.expect(700)
