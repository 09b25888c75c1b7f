"""Damaged crops made ahead, and what a teacher gives for them."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from srcli.errors import UsageError
from srcli.training import checkpoint, packing, pool, targets, teachers
from srcli.training.config import load
from srcli.training.damaged import DamagedPhotos
from srcli.training.degradations import read
from srcli.training.loop import train
from srcli.training.networks import spec_of
from srcli.training.prepare import Run, crops_of, prepare, show
from srcli.weights import save_file

SCALE, PATCH, N = 2, 24, 70


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    torch.manual_seed(1)
    spec = spec_of("fsrcnn", SCALE)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    state = spec.build().state_dict()
    config = dict(spec.config)
    save_file(
        path,
        state,
        arch=spec.arch,
        scale=SCALE,
        config=config,
        provenance={},
        preprocessing=spec.preprocessing,
    )
    return path


@pytest.fixture
def photos(folder, cache, tmp_path):
    made = packing.pack(packing.find([folder]), cache)
    packing.add_scale(made, SCALE)
    shutil.copytree(made.folder, tmp_path / "pack")
    pack = packing.Pack(tmp_path / "pack", made.photos, ())
    return DamagedPhotos(pack, SCALE, torch.device("cpu"), pipeline=read("photo"), seed=3)


def made(photos) -> packing.Pack:
    list(pool.make(photos, N, PATCH))
    return pool.read(pool.folder_of(photos, N, PATCH))


def test_the_pool_holds_the_damaged_crops_and_the_whole_ones(photos):
    pack = made(photos)
    assert len(pack.photos) == N
    where = photos.draw(1, pool.BLOCK, PATCH, photos.seed)  # the second block
    lr, hr = photos.crops(where.lr, where.hr, PATCH)
    small = list(pack.lr_pictures(SCALE))
    for k in (0, 5, pool.BLOCK - 1):
        photo = pack.photos[pool.BLOCK + k]
        assert np.array_equal(small[pool.BLOCK + k], lr[k].permute(1, 2, 0))
        whole = pack.hr()[photo.start : photo.start + (SCALE * PATCH) ** 2]
        assert np.array_equal(
            whole.reshape(SCALE * PATCH, SCALE * PATCH, 3), hr[k].permute(1, 2, 0)
        )
        assert photo.name == photos.describe(where)[k]
    assert not list(pool.make(photos, N, PATCH))  # it is there


def test_processes_make_the_same_crops(photos, monkeypatch):
    whole = made(photos)
    pixels = np.array(whole.hr()), np.array(whole.lr(SCALE))
    shutil.rmtree(whole.folder)
    monkeypatch.setattr(pool, "BLOCKS_A_PROCESS", 1)
    monkeypatch.setattr(pool, "cores", lambda: 2)
    again = made(photos)
    assert again.photos == whole.photos
    assert np.array_equal(again.hr(), pixels[0])
    assert np.array_equal(again.lr(SCALE), pixels[1])


def test_interrupted_making_goes_on(photos):
    whole = made(photos)
    pixels = np.array(whole.hr()), np.array(whole.lr(SCALE))
    shutil.rmtree(whole.folder)
    making = pool.make(photos, N, PATCH)
    assert next(making) == (pool.BLOCK, N)
    making.close()
    assert not (whole.folder / "index.json").exists()
    assert [done for done, _ in pool.make(photos, N, PATCH)] == [2 * pool.BLOCK, N]
    again = pool.read(whole.folder)
    assert again.photos == whole.photos
    assert np.array_equal(again.hr(), pixels[0])
    assert np.array_equal(again.lr(SCALE), pixels[1])


def test_other_damage_is_another_pool(photos):
    other = DamagedPhotos(photos.pack, SCALE, photos.device, pipeline=read("bsrgan"), seed=3)
    later = DamagedPhotos(photos.pack, SCALE, photos.device, pipeline=read("photo"), seed=4)
    folders = {pool.folder_of(p, N, PATCH) for p in (photos, other, later)}
    assert len(folders | {pool.folder_of(photos, N + 1, PATCH)}) == 4


@pytest.fixture
def run(recipe, folder, cache, teacher_file, tmp_path):
    def make(name, *sets, **more):
        common = ["degrade=photo", "pool=40", "pool_patch=24", f"targets={teacher_file}"]
        config = load(str(recipe), sets=[*common, *sets])
        return Run(config, (folder,), tmp_path / name, cache, device="cpu", **more)

    return make


def test_the_teacher_enlarges_the_damaged_crops(run, teacher_file):
    from srcli.engine.open import open_engine
    from srcli.engine.settings import Settings

    events = list(prepare(run("out", "hr_share=0.25")))
    assert {e["event"] for e in events} <= {"pool", "targets", "data"}
    assert events[-1]["crops"] == 40
    photos = crops_of(run("out", "hr_share=0.25"), torch.device("cpu"))
    source = teachers.find(str(teacher_file), SCALE)
    engine = open_engine(source.model, Settings(device="cpu"), state=source.state)
    lr = next(photos.pack.lr_pictures(SCALE))
    sr = np.concatenate(list(engine.strips(np.array(lr), (SCALE,), (48, 48)))).reshape(-1, 3)
    path = targets.path_of(photos.pack, SCALE, [source], 1)
    assert np.array_equal(packing.mapped(path, "r")[: 48 * 48], sr)
    where = photos.draw(2, 3, 16, 0)
    plain = crops_of(run("out"), torch.device("cpu"))
    given, wanted = photos.crops(where.lr, where.hr, 16)
    same, taught = plain.crops(where.lr, where.hr, 16)
    assert torch.equal(given, same)
    hr = crops_of(run("out", "targets=[]"), torch.device("cpu")).crops(where.lr, where.hr, 16)[1]
    mixed = torch.lerp(taught.float(), hr.float(), 0.25).round().to(torch.uint8)
    assert torch.equal(wanted, mixed)


def test_resumed_equals_uninterrupted(run):
    list(train(run("whole")))
    stop = threading.Event()
    for event in train(run("parts"), stop):
        if event["event"] == "step" and event["step"] >= 6:
            stop.set()
    list(train(run("parts", resume=True)))
    a, b = (checkpoint.load_newest(run(n).out)["vectors"] for n in ("whole", "parts"))
    assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
    lines = (run("whole").out / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "done"


def test_a_sheet_of_the_pool(run, tmp_path):
    list(show(run("out"), 4, tmp_path / "out" / "pairs.png"))
    with Image.open(tmp_path / "out" / "pairs.png") as sheet:
        assert len(sheet.convert("RGB").getcolors(10**6)) > 100


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("degrade=bicubic", "for damaged crops"),
        ("pool=0", "made ahead"),
        ("pool_patch=16", "do not fit into the pool's, of 16"),
    ],
)
def test_what_does_not_go_together(run, item, said):
    with pytest.raises(UsageError, match=said):
        next(train(run("out", item)))


def test_a_teacher_with_its_strength(tmp_path):
    half, full = (teachers.find(f"realesr_general denoise={s}", 4) for s in (0.5, 1))
    assert half.model.variant(4).denoise.strength == 0.5
    assert half.sha256 != full.sha256
    with pytest.raises(UsageError, match="does not let you choose"):
        teachers.find("bcrn.authors denoise=0.5", 4)
    with pytest.raises(UsageError, match="no denoising of strength 3"):
        teachers.find("realesr_general denoise=3", 4)
    path = tmp_path / "mine.pth"
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="models by name"):
        teachers.find(f"{path} denoise=1", 4)
