"""Benchmark sets: the catalogue's, fetched and verified, and folders."""

import csv
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srcli.catalog import CatalogueError
from srcli.catalog.datasets import (
    Dataset,
    DatasetFile,
    DatasetPicture,
    datasets,
    find_dataset,
    load_datasets,
)
from srcli.errors import SrcliError, UsageError
from srcli.quality.benchmarks import DatasetError, fetch, read_folder
from srcli.weights import WeightsOptions

# ------------------------------------------------------------------------------- the catalogue


def test_the_papers_sets_are_there():
    counts = {d.name: {s: len(p) for s, p in d.pictures.items()} for d in datasets().values()}
    assert counts == {
        "Set5": {2: 5, 3: 5, 4: 5},
        "Set14": {2: 14, 3: 14, 4: 14},
        "BSD100": {2: 100, 3: 100, 4: 100},
        "Urban100": {2: 100, 4: 100},
    }
    file = datasets()["Set5"].pictures[4][0].lr
    assert file.path == "Set5/x4/LRx4/img_001.png"
    assert file.url.endswith("/data/Set5/image_SRF_4/img_001_SRF_4_LR.png")
    assert find_dataset("set14") is datasets()["Set14"]
    assert find_dataset("Set6") is None


def test_every_file_has_a_path_and_a_url_of_its_own():
    files = [f for d in datasets().values() for s in d.scales for f in d.files(s)]
    assert len({f.path for f in files}) == len({f.url for f in files}) == len(files) == 1114


@pytest.mark.shared
def test_every_file_is_the_one_that_was_measured(shared):
    with (shared / "datasets.tsv").open() as file:
        told = {
            (row["url"], int(row["bytes"]), row["sha256"])
            for row in csv.DictReader(file, delimiter="\t")
        }
    found = {
        (f.url, f.bytes, f.sha256)
        for d in datasets().values()
        for s in d.scales
        for f in d.files(s)
    }
    assert found == told


GOOD = """
[[dataset]]
name = "A"
paper = "p"
reference = "r"
licence = "l"
url = "https://h/{name}_{kind}_{scale}.png"
[[dataset.scale]]
scale = 2
pictures = "one 10 SHA 5 SHA"
""".replace("SHA", "0" * 64)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one 10", "../one 10", "a picture is name"),
        ("one 10", "one ten", "size in bytes"),
        (" 5 " + "0" * 64, " 5 00", "not a sha256"),
        (" 5 " + "0" * 64, "", "a picture is name"),
        ('name = "A"', 'name = "../A"', "name must be"),
        ("https://", "ftp://", "http or https"),
        ("scale = 2", "scale = 1", "scale must lie"),
        ('paper = "p"', 'paper = "p"\ncolour = 1', "unknown key colour"),
        ("[[dataset.scale]]", GOOD + "[[dataset.scale]]\nscale = 2\n[[dataset.scale]]", "dataset"),
        ("[[dataset]]", "[[dataset", "cannot be read"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path, old, new, said):
    path = tmp_path / "sets.toml"
    path.write_text(GOOD)
    assert load_datasets(path)["A"].pictures[2][0].hr.url == "https://h/one_HR_2.png"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(CatalogueError, match=said):
        load_datasets(path)


# ------------------------------------------------------------------------------------- folders


def png(path: Path, size=(8, 12), seed=0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_hr_and_lr_go_together_by_name(tmp_path):
    for path in ("HR/b.png", "HR/a.png", "HR/c.PNG", "LRx4/a.jpg", "LRx4/b.png", "LRx4/cx4.png"):
        png(tmp_path / "Some" / path)
    (tmp_path / "Some/HR/notes.txt").write_text("no picture")
    png(tmp_path / "Some/HR/.hidden.png")
    found = read_folder(tmp_path / "Some", 4)
    assert (found.name, found.scale, found.source) == ("Some", 4, str(tmp_path / "Some"))
    root = tmp_path / "Some"
    assert [(p.name, p.hr, p.lr) for p in found.pairs] == [
        ("a", root / "HR/a.png", root / "LRx4/a.jpg"),
        ("b", root / "HR/b.png", root / "LRx4/b.png"),
        ("c", root / "HR/c.PNG", root / "LRx4/cx4.png"),
    ]
    assert all(p.lr is None for p in read_folder(root, 2).pairs)


def test_a_folder_of_pictures_will_do(tmp_path):
    path = png(tmp_path / "a.png")
    [pair] = read_folder(tmp_path, 3).pairs
    assert (pair.name, pair.hr, pair.lr) == ("a", path, None)


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        read_folder(tmp_path / "none", 4)
    with pytest.raises(UsageError, match="holds no pictures"):
        read_folder(tmp_path, 4)
    (tmp_path / "HR").mkdir()
    png(tmp_path / "a.png")
    with pytest.raises(UsageError, match="HR holds no pictures"):
        read_folder(tmp_path, 4)
    for name in "abcde":
        png(tmp_path / f"HR/{name}.png")
    png(tmp_path / "LRx4/a.png")
    with pytest.raises(UsageError, match=r"LRx4 has no LR pictures of b, c, d and 1 more"):
        read_folder(tmp_path, 4)
    png(tmp_path / "HR/a.bmp")
    with pytest.raises(UsageError, match=r"two pictures called a: a\.bmp and a\.png"):
        read_folder(tmp_path, 2)


# ------------------------------------------------------------------------------------ fetching


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A set of two pictures, published in a folder on a server on 127.0.0.1."""
    monkeypatch.setattr("srcli.weights.download.pause", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "published"
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{httpd.server_port}"

    def file(path, size, seed):
        data = png(root / path, size, seed).read_bytes()
        return DatasetFile(path, len(data), hashlib.sha256(data).hexdigest(), f"{base}/{path}")

    pictures = tuple(
        DatasetPicture(
            name,
            file(f"Two/x2/HR/{name}.png", (8, 12), i),
            file(f"Two/x2/LRx2/{name}.png", (4, 6), 10 + i),
        )
        for i, name in enumerate(("one", "two"))
    )
    dataset = Dataset("Two", "p", "r", "none stated", {2: pictures})
    yield dataset, root, base, asked
    httpd.shutdown()
    httpd.server_close()


def sound(benchmark, dataset):
    files = [path for pair in benchmark.pairs for path in (pair.hr, pair.lr)]
    for path, file in zip(files, dataset.files(2), strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    return True


def test_a_set_is_fetched_once(made, tmp_path):
    dataset, _, base, asked = made
    options = WeightsOptions(tmp_path / "cache")
    said, seen = [], []
    found = fetch(dataset, 2, options, announce=said.append, progress=lambda *a: seen.append(a))
    assert sound(found, dataset)
    assert (found.name, found.scale, found.source) == ("Two", 2, "benchmark")
    assert [p.name for p in found.pairs] == ["one", "two"]
    assert found.pairs[0].hr == tmp_path / "cache/datasets/Two/x2/HR/one.png"
    assert sorted(asked) == sorted(f"/{f.path}" for f in dataset.files(2))
    total = sum(f.bytes for f in dataset.files(2))
    assert len(said) == 1
    assert "Downloading Two x2 (4 files" in said[0]
    assert base in said[0]
    assert "licence: none stated" in said[0]
    assert seen[-1] == (total, total)
    assert not list((tmp_path / "cache").rglob("*.part"))
    again = fetch(dataset, 2, WeightsOptions(tmp_path / "cache", offline=True))
    assert sound(again, dataset)
    assert len(asked) == 4
    # what is cached is itself a folder that --data takes
    assert len(read_folder(tmp_path / "cache/datasets/Two/x2", 2).pairs) == 2


def test_what_is_damaged_or_missing_is_fetched_again(made, tmp_path):
    dataset, _, _, asked = made
    options = WeightsOptions(tmp_path / "cache")
    found = fetch(dataset, 2, options, announce=lambda _: None)
    data = found.pairs[0].hr.read_bytes()
    found.pairs[0].hr.write_bytes(data[:-1] + b"?")
    found.pairs[1].lr.unlink()
    asked.clear()
    assert sound(fetch(dataset, 2, options, announce=lambda _: None), dataset)
    assert sorted(asked) == ["/Two/x2/HR/one.png", "/Two/x2/LRx2/two.png"]


def test_a_wrong_file_is_refused(made, tmp_path):
    dataset, root, _, _ = made
    path = root / "Two/x2/LRx2/two.png"
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(SrcliError, match="not the file that the catalogue describes"):
        fetch(dataset, 2, WeightsOptions(tmp_path / "cache"), announce=lambda _: None)
    assert not (tmp_path / "cache/datasets/Two/x2/LRx2/two.png").exists()


def test_offline_without_the_set(made, tmp_path):
    dataset, _, _, asked = made
    with pytest.raises(DatasetError, match="SRCLI_OFFLINE") as caught:
        fetch(dataset, 2, WeightsOptions(tmp_path / "cache", offline=True))
    assert "Two/x2/HR/one.png" in caught.value.hint
    assert asked == []


def test_a_mirror_that_is_a_folder_serves_offline(made, tmp_path):
    dataset, root, _, asked = made
    options = WeightsOptions(tmp_path / "cache", str(root), offline=True)
    assert sound(fetch(dataset, 2, options), dataset)
    assert asked == []


def test_a_mirror_with_a_wrong_file_is_said_and_passed_over(made, tmp_path):
    dataset, _, _, asked = made
    mirror = tmp_path / "mirror/Two/x2/HR/one.png"
    png(mirror, seed=99)
    said = []
    options = WeightsOptions(tmp_path / "cache", str(tmp_path / "mirror"))
    assert sound(fetch(dataset, 2, options, announce=said.append), dataset)
    assert any("mirror could not be used" in line and str(mirror) in line for line in said)
    assert len(asked) == 4
    options = WeightsOptions(tmp_path / "other", str(tmp_path / "mirror"), offline=True)
    with pytest.raises(DatasetError, match="is not the file"):
        fetch(dataset, 2, options)


def test_a_mirror_that_is_a_url(made, tmp_path):
    dataset, _, base, asked = made
    nowhere = tuple(
        DatasetPicture(
            p.name,
            *(
                DatasetFile(f.path, f.bytes, f.sha256, "http://127.0.0.1:9/nobody-listens")
                for f in (p.hr, p.lr)
            ),
        )
        for p in dataset.pictures[2]
    )
    moved = Dataset("Two", "p", "r", "none stated", {2: nowhere})
    options = WeightsOptions(tmp_path / "cache", base)
    assert sound(fetch(moved, 2, options, announce=lambda _: None), dataset)
    assert len(asked) == 4


def test_a_mirror_of_weights_only_is_passed_over(made, tmp_path):
    """A URL without the sets: the origin serves."""
    dataset, _, base, asked = made
    options = WeightsOptions(tmp_path / "cache", f"{base}/elsewhere")
    assert sound(fetch(dataset, 2, options, announce=lambda _: None), dataset)
    assert any(path.startswith("/elsewhere") for path in asked)


def test_a_cache_that_cannot_be_written_serves_this_run(made, tmp_path):
    dataset, _, _, _ = made
    (tmp_path / "cache").write_text("a file where the folder should be")
    said = []
    found = fetch(dataset, 2, WeightsOptions(tmp_path / "cache"), announce=said.append)
    assert sound(found, dataset)
    assert any("cannot be written" in line for line in said)


def test_a_scale_that_the_set_lacks(made, tmp_path):
    with pytest.raises(UsageError, match="at x2, not at x3"):
        fetch(made[0], 3, WeightsOptions(tmp_path / "cache"))
