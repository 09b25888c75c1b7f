import json

import numpy as np
import pytest
import torch
from PIL import Image

from srcli.errors import MediaError, UsageError
from srcli.quality.resize import resize
from srcli.training import packing
from srcli.training.data import Photos, gather


def flipped(x: np.ndarray, flip: int) -> np.ndarray:
    """The eight, by numpy: turned first, then mirrored."""
    x = x[::-1] if flip & 1 else x
    x = x[:, ::-1] if flip & 2 else x
    return x.transpose(1, 0, 2) if flip & 4 else x


def test_crops_are_those_of_the_photos_under_all_eight_flips(photos, folder):
    files = [path for _, path in packing.find([folder])]
    where = photos.draw(3, 200, 16)
    lr, hr = photos.crops(where.lr, where.hr, 16)
    assert set(where.flip.tolist()) == set(range(8))
    assert set(where.photo.tolist()) == {0, 1, 2}
    assert lr.shape == (200, 3, 16, 16)
    assert hr.shape == (200, 3, 32, 32)
    assert lr.is_contiguous(memory_format=torch.channels_last)
    places = zip(where.photo, where.y, where.x, where.flip, strict=True)
    for k, (photo, y, x, flip) in enumerate(t for t in places):
        whole = packing.read_rgb(files[photo])
        h, w = whole.shape[0] // 2, whole.shape[1] // 2
        small = resize(whole[: 2 * h, : 2 * w], (h, w))
        want = flipped(small[y : y + 16, x : x + 16], int(flip))
        np.testing.assert_array_equal(lr[k].permute(1, 2, 0).numpy(), want)
        want = flipped(whole[2 * y : 2 * y + 32, 2 * x : 2 * x + 32], int(flip))
        np.testing.assert_array_equal(hr[k].permute(1, 2, 0).numpy(), want)


def test_every_photo_is_equally_likely_and_every_place_in_it(photos):
    where = photos.draw(0, 20_000, 16)
    seen = np.bincount(where.photo, minlength=3) / 20_000
    np.testing.assert_allclose(seen, 1 / 3, atol=0.015)  # 4 sigma
    rows = where.y[where.photo == 0]
    assert (int(rows.min()), int(rows.max())) == (0, 70 // 2 - 16)
    counts = np.bincount(rows, minlength=70 // 2 - 15) / len(rows)
    np.testing.assert_allclose(counts, 1 / len(counts), atol=0.012)  # 4 sigma


def test_a_photo_smaller_than_the_patch_is_never_drawn(photos):
    smallest = min(min(p.height, p.width) for p in photos.pack.photos)
    patch = smallest // 2 + 1
    fit = {k for k, p in enumerate(photos.pack.photos) if min(p.height, p.width) // 2 >= patch}
    assert 0 < len(fit) < 3
    assert set(photos.draw(0, 500, patch).photo.tolist()) == fit


def test_draw_is_a_function_of_step_and_seed(photos):
    a, b, c, d = (
        photos.draw(*args) for args in [(5, 4, 8, 0), (5, 4, 8, 0), (6, 4, 8), (5, 4, 8, 1)]
    )
    assert torch.equal(a.lr, b.lr)
    assert not torch.equal(a.lr, c.lr)
    assert not torch.equal(a.lr, d.lr)


def test_gather_one():
    pixels = torch.arange(12, dtype=torch.uint8).view(12, 1).expand(12, 3)  # 3 rows of 4
    got = gather(pixels, torch.tensor([[5], [4], [1]]), 2)
    assert got[0, 0].tolist() == [[5, 6], [9, 10]]


def test_pack_is_made_once_and_names_what_it_skips(tmp_path, folder):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "c.png"):
        (tmp_path / "in" / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nonsense")
    whole = (folder / "a.png").read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
    pack = packing.pack(packing.find([tmp_path / "in"]), tmp_path / "cache")
    assert [p.name for p in pack.photos] == ["a.png", "c.png"]
    assert sorted(name for name, _ in pack.skipped) == ["broken.png", "cut.png"]
    before = (pack.folder / "index.json").stat().st_mtime_ns
    again = packing.pack(packing.find([tmp_path / "in"]), tmp_path / "cache")
    assert again == pack
    assert (pack.folder / "index.json").stat().st_mtime_ns == before
    assert [p.name for p in pack.folder.iterdir() if p.name.count(".") > 1] == []
    assert json.loads((pack.folder / "index.json").read_text())["photos"][0]["height"] == 70


def test_pack_in_processes(tmp_path):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for k in range(9):
        Image.fromarray(rng.integers(0, 255, (20, 30 + k, 3), np.uint8)).save(
            tmp_path / "in" / f"{k}.png"
        )
    pack = packing.pack(packing.find([tmp_path / "in"]), tmp_path / "cache", workers=2)
    packing.add_scale(pack, 3, workers=2)
    last = pack.photos[-1]
    whole = packing.read_rgb(tmp_path / "in" / "8.png")
    np.testing.assert_array_equal(pack.hr()[last.start :].reshape(whole.shape), whole)
    lr = pack.lr(3)[packing.lr_starts(pack.photos, 3)[-2] :]
    np.testing.assert_array_equal(lr.reshape(6, 12, 3), resize(whole[:18, :36], (6, 12)))


def test_only(tmp_path, folder):
    chosen = tmp_path / "only.txt"
    chosen.write_text("# two\nsub/b.png\nc.png\n")
    assert [n for n, _ in packing.find([folder], chosen)] == ["c.png", "sub/b.png"]
    chosen.write_text("nowhere.png\n")
    with pytest.raises(UsageError, match=r"nowhere\.png"):
        packing.find([folder], chosen)


def test_errors(tmp_path, photos):
    with pytest.raises(UsageError, match="no folder"):
        packing.find([tmp_path / "none"])
    with pytest.raises(UsageError, match="no photos"):
        packing.find([tmp_path])
    with pytest.raises(MediaError, match="smaller than the patch, 200x200"):
        photos.check(100)
    assert photos.check(30) == ["c.png"]


def test_rotated_by_exif(tmp_path):
    image = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "a.png", exif=exif)
    pack = packing.pack(packing.find([tmp_path / "in"]), tmp_path / "cache")
    assert (pack.photos[0].height, pack.photos[0].width) == (5, 4)
    assert pack.skipped == ()


def test_photos_larger_than_the_device_stay_on_the_disk(photos):
    assert photos.resident  # the CPU reads the mapped file itself
    assert Photos(photos.pack, 2, torch.device("cpu"), resident=True).bytes == photos.bytes
