"""Targets made by finished networks, and crops drawn by their detail."""

import shutil

import numpy as np
import pytest
import torch

from srcli.errors import UsageError
from srcli.training import packing, targets, teachers
from srcli.training.config import load
from srcli.training.data import Photos
from srcli.training.detail import CELL, Detail, choose
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.prepare import Run, prepare
from srcli.weights import save_file

SCALE = 2


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """A network of random weights, small steps away from its start."""
    torch.manual_seed(1)
    spec = spec_of("fsrcnn", SCALE)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(
        path,
        spec.build().state_dict(),
        arch=spec.arch,
        scale=SCALE,
        config=dict(spec.config),
        provenance={},
        preprocessing=spec.preprocessing,
    )
    return path


@pytest.fixture
def pack(folder, cache, tmp_path):
    pack = packing.pack(packing.find([folder]), cache)
    packing.add_scale(pack, SCALE)
    copy = tmp_path / "pack"
    shutil.copytree(pack.folder, copy)
    return packing.Pack(copy, pack.photos, ())


def made(pack, sources, ensemble=1) -> np.ndarray:
    for _ in targets.make(pack, SCALE, sources, ensemble, "cpu", None):
        pass
    return np.array(packing.mapped(targets.path_of(pack, SCALE, sources, ensemble), "r"))


def test_the_networks_pictures_in_the_photos_places(pack, teacher_file):
    from srcli.engine.open import open_engine
    from srcli.engine.settings import Settings

    source = teachers.find(str(teacher_file), SCALE)
    pixels = made(pack, [source])
    engine = open_engine(source.model, Settings(device="cpu"), state=source.state)
    for photo, lr in zip(pack.photos, pack.lr_pictures(SCALE), strict=True):
        size = lr.shape[0] * SCALE, lr.shape[1] * SCALE
        sr = np.concatenate(list(engine.strips(np.array(lr), (SCALE,), size)))
        there = pixels[photo.start : photo.start + photo.height * photo.width]
        there = there.reshape(photo.height, photo.width, 3)
        assert np.array_equal(there[: size[0], : size[1]], sr)
        # what is left over at the edge, where the size is no multiple of the scale, is the photo's
        hr = pack.hr()[photo.start : photo.start + photo.height * photo.width]
        assert np.array_equal(there[size[0] :], hr.reshape(there.shape)[size[0] :])


def test_interrupted_making_goes_on(pack, teacher_file, monkeypatch):
    source = teachers.find(str(teacher_file), SCALE)
    whole = made(pack, [source])
    path = targets.path_of(pack, SCALE, [source], 1)
    path.unlink()
    making = targets.make(pack, SCALE, [source], 1, "cpu", None)
    assert next(making) == (1, len(pack.photos))
    making.close()
    assert not path.exists()
    seen = [done for done, _ in targets.make(pack, SCALE, [source], 1, "cpu", None)]
    assert seen == list(range(2, len(pack.photos) + 1))  # the first is not made again
    assert np.array_equal(packing.mapped(path, "r"), whole)
    assert not list(targets.make(pack, SCALE, [source], 1, "cpu", None))


def test_a_torn_journal_line_counts_for_nothing(pack, teacher_file):
    source = teachers.find(str(teacher_file), SCALE)
    making = targets.make(pack, SCALE, [source], 1, "cpu", None)
    next(making)
    making.close()
    journal = targets.path_of(pack, SCALE, [source], 1).with_suffix(".done")
    journal.write_text(journal.read_text() + "2")
    seen = [done for done, _ in targets.make(pack, SCALE, [source], 1, "cpu", None)]
    assert seen == list(range(2, len(pack.photos) + 1))


def test_other_networks_and_ensembles_have_other_files(pack, teacher_file):
    source = teachers.find(str(teacher_file), SCALE)
    paths = {
        targets.path_of(pack, SCALE, [source], 1),
        targets.path_of(pack, SCALE, [source], 8),
        targets.path_of(pack, SCALE, [source, source], 1),
    }
    assert len(paths) == 3


def test_who_cannot_make_targets(teacher_file):
    with pytest.raises(UsageError, match="does not enlarge by 3"):
        teachers.find(str(teacher_file), 3)
    with pytest.raises(UsageError):
        teachers.find("no_such_model", 2)


def test_the_photo_is_mixed_in(pack):
    device = torch.device("cpu")
    grey = np.full_like(pack.hr(), 100)
    mixed = Photos(pack, SCALE, device, targets=grey, hr_share=0.25)
    plain = Photos(pack, SCALE, device)
    where = plain.draw(3, 4, 16)
    lr, target = mixed.crops(where.lr, where.hr, 16)
    same_lr, hr = plain.crops(where.lr, where.hr, 16)
    assert torch.equal(lr, same_lr)
    assert torch.equal(target, (75 + 0.25 * hr.float()).round().to(torch.uint8))


def test_a_run_on_targets_resumes_bit_for_bit(recipe, folder, cache, teacher_file, tmp_path):
    import threading

    from srcli.training import checkpoint

    sets = [f"targets={teacher_file}", "hr_share=0.5", "crops=detail", "muon_rate=1e-3"]

    def run(name: str, **more) -> Run:
        return Run(
            config=load(str(recipe), sets=sets), data=(folder,), out=tmp_path / name, cache=cache,
            device="cpu", **more,
        )  # fmt: skip

    assert "targets" in {e["event"] for e in prepare(run("x"))}
    list(train(run("whole")))
    stop = threading.Event()
    for event in train(run("parts"), stop):
        if event["event"] == "step" and event["step"] >= 6:
            stop.set()
    list(train(run("parts", resume=True)))
    a, b = (checkpoint.load_newest(tmp_path / n)["vectors"] for n in ("whole", "parts"))
    assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def test_detail_is_the_mean_difference_of_neighbours():
    rng = np.random.default_rng(0)
    photos = [
        rng.integers(0, 256, (40, 56, 3), np.uint8),
        rng.integers(0, 9, (33, 20, 3), np.uint8),
    ]
    detail = Detail(photos)
    at = torch.tensor([[0, 8, 16], [1, 0, 0]])
    for photo, y, x in at.tolist():
        patch = 16
        level = photos[photo].astype(int).sum(2)
        down = np.pad(np.abs(np.diff(level, axis=0)), ((1, 0), (0, 0)))
        right = np.pad(np.abs(np.diff(level, axis=1)), ((0, 0), (1, 0)))
        wanted = (down + right)[y : y + patch, x : x + patch].mean() / 3
        got = detail.of(*(torch.tensor([v]) for v in (photo, y, x)), patch)
        assert float(got) == pytest.approx(wanted)
    assert CELL == 8  # the places above are whole cells


def test_crops_with_detail_are_drawn_more_often():
    picked = choose(torch.tensor([[1.0, 3.0]]).repeat(4000, 1), torch.rand(4000))
    assert 0.70 < picked.float().mean() < 0.80


def test_drawn_by_detail(pack):
    """Half of each photo made flat: crops there become rare; the same step gives the same crops."""
    lr = packing.mapped(pack.folder / "lr2.u8", "r+")
    for photo, picture in zip(pack.photos, pack.lr_pictures(SCALE), strict=True):
        flat = np.array(picture)
        flat[:, : flat.shape[1] // 2] = 128
        start = packing.lr_starts(pack.photos, SCALE)[pack.photos.index(photo)]
        lr[start : start + flat.shape[0] * flat.shape[1]] = flat.reshape(-1, 3)
    del lr
    device = torch.device("cpu")
    by_detail = Photos(pack, SCALE, device, by_detail=True)
    even = Photos(pack, SCALE, device)

    def flat_share(photos: Photos) -> float:
        lr, _ = photos.crops((where := photos.draw(0, 400, 8)).lr, where.hr, 8)
        return float((lr.float().flatten(1).std(1) < 1).float().mean())

    assert flat_share(by_detail) < flat_share(even) / 2
    a, b = by_detail.draw(5, 8, 16), by_detail.draw(5, 8, 16)
    assert all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("lr", "hr", "photo", "y", "x"))
    assert a.lr.shape == (3, 8)
