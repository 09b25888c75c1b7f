"""The catalogue that is in the package."""

import csv
import importlib
import inspect
import re
import subprocess
import sys

import pytest

from srcli import catalog
from srcli.weights.networks import CHANGES

OURS = {"bcrn", "rlfn", "rlfn_s", "rlfn_ntire", "lesrcnn", "swift_srgan"}


@pytest.mark.parametrize("name", [*sorted(OURS), "bicubic", "lanczos"])
def test_every_headline_network_is_there(name):
    assert catalog.resolve(name, None).arch.name == name


@pytest.mark.parametrize("model", catalog.models(), ids=lambda m: m.name)
def test_the_network_takes_the_config(model):
    if model.is_resampler:
        return
    module, _, name = model.arch.network.partition(":")
    network = getattr(importlib.import_module(module), name)
    for variant in model.variants:
        config = {k: v for k, v in variant.config.items() if k not in CHANGES}
        inspect.signature(network).bind(scale=variant.scale, **config)


@pytest.mark.parametrize("model", catalog.models(), ids=lambda m: m.name)
def test_file_names_follow_the_mirrors_pattern(model):
    for variant in model.variants:
        several = r"(-[a-z0-9]+)?" if variant.denoise else ""
        for file in variant.files:
            pattern = re.escape(model.name) + rf"-x\d+{several}\.(pth|bin|safetensors)"
            assert re.fullmatch(pattern, file.file)


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, srcli.catalog as c; c.models(); "
        "sys.exit(bool({'torch', 'numpy', 'PIL', 'rich', 'requests'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _rows(shared):
    with (shared / "weights" / "INDEX.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    known = {a.name for a in catalog.architectures()}
    return [r for r in rows if r["model"].split(".")[0] in known]


@pytest.mark.shared
def test_every_published_file_is_in_the_catalogue(shared):
    rows = _rows(shared)
    assert {r["model"].split(".")[0] for r in rows} >= OURS
    for row in rows:
        model = catalog.get(row["model"])
        weights = model.variant(int(row["scale"])).weights
        assert weights is not None
        assert weights.url == row["url"]
        assert weights.bytes == int(row["bytes"])
        assert weights.sha256 == row["sha256"]
        if row["file"] != "(download only)":
            assert weights.file == row["file"]
        assert model.preprocessing.maximum == (255 if row["input_range"] == "0..255" else 1)
        licence = row["licence_of_origin"]
        assert licence == "as above" or licence.startswith(model.licence)


@pytest.mark.shared
def test_the_scores_are_the_protocols(shared):
    text = (shared / "PROTOCOL.md").read_text()
    found = re.findall(r"^\| (\S+) \| x(\d) \| (\S+) / \S+ \| (\S+) / \S+ \|$", text, re.M)
    scores = {
        (name if "." in name else f"{name}.authors", int(x)): (float(a), float(b))
        for name, x, a, b in found
    }
    checked = 0
    for model in catalog.models():
        for v in model.variants:
            if (model.name, v.scale) in scores:
                assert (v.psnr_set5, v.psnr_set14) == scores[model.name, v.scale], model.name
                checked += 1
    assert checked >= 12
