"""Networks from weights, and files of the user's own."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from catalogue_samples import at_one_scale
from safetensors.torch import save_file as write_safetensors
from tiny_network import Tiny

from srcli import catalog
from srcli.catalog import Architecture, Catalogue, Model, Preprocessing, Variant
from srcli.errors import UsageError, WeightsError
from srcli.weights import build, load_file, new_network, save_file
from srcli.weights import format as stored

TINY = Architecture("tiny", "Tiny", "residual", "p", "r", "tiny_network:Tiny")
BARE = replace(TINY, name="bare")
RESAMPLER = Architecture("nearest", "Nearest", "resampling", "p", "r", None)
EXPANDED = replace(TINY, name="wide", network="tiny_network:Expanded", expanded=True)
MODEL = Model(
    "tiny.one",
    TINY,
    "MIT",
    "s",
    Preprocessing(maximum=255.0),
    (Variant(2, None, 1), Variant(4, None, 1)),
)
CATALOGUE = Catalogue(
    {a.name: a for a in (TINY, BARE, RESAMPLER, EXPANDED)},
    {"tiny.one": MODEL, "nearest": Model("nearest", RESAMPLER, "MIT", "s")},
)


def state_of(scale=2, **config):
    torch.manual_seed(scale)
    return Tiny(scale=scale, **config).state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ----------------------------------------------------------------------------------- build


def test_build_is_ready_to_run():
    network = build(Variant(2, None, 1), TINY, state_of())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert network(torch.zeros(1, 3, 4, 5)).shape == (1, 3, 8, 10)
    assert same(network.state_dict(), state_of())


def test_build_passes_the_config_and_says_what_does_not_fit():
    config = {"channels": 1}
    variant = Variant(2, None, 1, config=config)
    assert build(variant, TINY, state_of(channels=1))
    with pytest.raises(WeightsError, match=r"up\.weight \(12, 3, 3, 3\) for \(4, 3, 3, 3\)"):
        build(variant, TINY, state_of())
    state = {f"k{n}": torch.zeros(1) for n in range(9)}
    with pytest.raises(WeightsError) as caught:
        build(variant, TINY, state)
    assert "missing: up.weight, up.bias" in caught.value.message
    assert "not in the network: k0, k1, k2 and 6 more" in caught.value.message


def test_build_merges_an_expanded_network():
    variant = Variant(2, None, 1)
    state = new_network(variant, EXPANDED).state_dict()
    assert list(build(variant, EXPANDED, state).state_dict()) == ["c"]
    assert list(build(variant, EXPANDED, state, merge=False).state_dict()) == ["a", "b"]


# --------------------------------------------------------------------------- save and load


def test_round_trip_needs_no_telling(tmp_path):
    path = tmp_path / "new" / "folder" / "mine.safetensors"
    state = state_of(3, channels=2)
    arguments = {
        "arch": "tiny",
        "scale": 3,
        "config": {"channels": 2},
        "provenance": {"steps": 5, "data": ["a"]},
    }
    save_file(path, state, **arguments, preprocessing=Preprocessing("bgr", 2.0, True))
    first = path.read_bytes()
    save_file(path, state, **arguments, preprocessing=Preprocessing("bgr", 2.0, True))
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path]
    model, variant, loaded = load_file(path, None, 4, catalogue=CATALOGUE)
    assert same(loaded, state)
    assert (variant.scale, variant.config) == (3, {"channels": 2})
    assert variant.parameters == sum(t.numel() for t in state.values())
    assert model.arch == TINY
    assert model.scales == (3,)
    assert model.preprocessing == Preprocessing("bgr", 2.0, True)
    assert "mine.safetensors" in model.name
    assert build(variant, model.arch, loaded)
    metadata = stored.check(first).metadata
    assert json.loads(metadata["srcli.provenance"])["steps"] == 5


def test_the_same_bytes_in_another_process(tmp_path):
    """safetensors orders metadata by a random hash; bundled files are known by their sha256."""
    code = (
        "import sys, torch; from pathlib import Path; from srcli.weights import save_file; "
        "save_file(Path(sys.argv[1]), {'a': torch.ones(2)}, arch='x', scale=2, "
        "config={'b': 1, 'a': 2}, provenance={'z': 1, 'y': 2})"
    )
    there, here = tmp_path / "1", tmp_path / "2"
    subprocess.run([sys.executable, "-c", code, str(there)], check=True)
    save_file(
        here,
        {"a": torch.ones(2)},
        arch="x",
        scale=2,
        config={"a": 2, "b": 1},
        provenance={"y": 2, "z": 1},
    )
    assert there.read_bytes() == here.read_bytes()


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written"):
        save_file(
            tmp_path / "file" / "x", state_of(), arch="tiny", scale=2, config={}, provenance={}
        )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"params_ema": s, "params": {"old": torch.zeros(1)}},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 7},
        lambda s: {"model": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict": {"params": s}},
    ],
)
def test_pth_in_the_usual_wrappings(tmp_path, wrap):
    path = tmp_path / "x.pth"
    torch.save(wrap(state_of(4)), path)
    for name in ("tiny", "tiny.one"):
        model, variant, state = load_file(path, name, 4, catalogue=CATALOGUE)
        assert same(state, state_of(4))
        assert variant.scale == 4
        assert model.preprocessing == MODEL.preprocessing


@pytest.mark.parametrize("asked", [None, 2, 3, 4, 2.5, 8, 100])
@pytest.mark.parametrize("native", [2, 3, 4])
def test_the_tensors_tell_the_native_scale(tmp_path, asked, native):
    path = tmp_path / "x.safetensors"
    write_safetensors(state_of(native), path)
    assert load_file(path, "tiny", asked, catalogue=CATALOGUE)[1].scale == native


def test_an_architecture_without_models_takes_a_file(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(state_of(2), path)
    model, variant, _ = load_file(path, "bare", None, catalogue=CATALOGUE)
    assert (model.arch, variant.scale, model.preprocessing) == (BARE, 2, Preprocessing())


def refused(kind, path, *words, name="tiny", scale=2):
    with pytest.raises(kind) as caught:
        load_file(path, name, scale, catalogue=CATALOGUE)
    text = f"{caught.value.message} {caught.value.hint or ''}"
    assert str(path) in text or not words
    for word in words:
        assert word in text


def test_the_file_must_exist_and_be_a_file(tmp_path):
    refused(UsageError, tmp_path / "none", "There is no file")
    refused(UsageError, tmp_path / "none" / "x", "There is no file")
    refused(UsageError, tmp_path, "is a folder")
    (tmp_path / "empty").touch()
    refused(WeightsError, tmp_path / "empty", "is empty")


def test_a_file_of_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)
    refused(WeightsError, path, "2 GiB")


def test_the_architecture_must_be_known(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(state_of(), path)
    refused(UsageError, path, "--model", name=None)
    with pytest.raises(UsageError, match="no model"):
        load_file(path, "tini", 2, catalogue=CATALOGUE)
    with pytest.raises(UsageError, match="resampler"):
        load_file(path, "nearest", 2, catalogue=CATALOGUE)
    save_file(path, state_of(), arch="newer", scale=2, config={}, provenance={})
    refused(WeightsError, path, "newer", name=None)
    assert load_file(path, "tiny", 2, catalogue=CATALOGUE)  # the user knows better
    save_file(path, state_of(), arch="bare", scale=2, config={}, provenance={})
    refused(UsageError, path, "bare", "tiny")


def test_weights_of_something_else_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    refused(WeightsError, path, "does not fit tiny", "fc.weight", "--model")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_training_is_refused(tmp_path, bad):
    state = state_of()
    state["up.bias"][1] = bad
    path = tmp_path / "x.pth"
    torch.save(state, path)
    refused(WeightsError, path, "not finite", "up.bias")


def test_damage_is_seen(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(path, state_of(), arch="tiny", scale=2, config={}, provenance={})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(WeightsError, path, "damaged")
    path.write_bytes(data[:-20])
    refused(WeightsError, path, "damaged")


@pytest.mark.parametrize(
    "metadata",
    [
        {"srcli.scale": "two"},
        {"srcli.scale": "0"},
        {"srcli.scale": "99999999"},
        {"srcli.config": "[1]"},
        {"srcli.config": "{"},
        {"srcli.config": '{"channels": 1000000000}'},
        {"srcli.config": '{"channels": {"a": 1}}'},
        {"srcli.config": '{"chanels": 3}'},
        {"srcli.config": '{"channels": "3"}'},
        {"srcli.config": '{"channels": -3}'},
        {"srcli.config": '{"scale": 2}'},
        {"srcli.config": "[" * 100_000},
        {"srcli.door": "{}"},
        {"srcli.door": '{"colour": "cmyk", "maximum": 1, "enlarged": false}'},
        {"srcli.door": '{"colour": ["rgb"], "maximum": 1, "enlarged": false}'},
        {"srcli.door": '{"colour": "rgb", "maximum": NaN, "enlarged": false}'},
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    write_safetensors(state_of(), path, {"srcli.arch": "tiny", **metadata})
    refused(WeightsError, path, name=None)


def test_a_malicious_pickle_is_refused(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    path = tmp_path / "x.pth"
    torch.save({"up.weight": Evil()}, path)
    refused(WeightsError, path, "refused", "Nothing in it was run")
    path.write_bytes(pickle.dumps(Evil()))
    refused(WeightsError, path)
    assert not (tmp_path / "canary").exists()


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setattr("srcli.weights.origin.MAX_BYTES", 1_000_000)
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1_000_001))
        archive.writestr("archive/data.pkl", b"")
    assert path.stat().st_size < 10_000
    refused(WeightsError, path, "unpacked")


@pytest.mark.parametrize("module", ["srcli.weights", "srcli.cli.models"])
def test_importing_is_light(module):
    code = (
        f"import sys, {module}; "
        "print({'torch', 'numpy', 'PIL', 'requests', 'safetensors'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# --------------------------------------------------------------------- files that say nothing


def bare_file(path, arch, scale, **config):
    """A published file: tensors alone."""
    torch.manual_seed(0)
    network = new_network(Variant(scale, None, 0, config=config), catalog.resolve(arch).arch)
    state = network.state_dict()
    if config.get("centred") is False:  # SPAN's mark of it
        state["no_norm"] = torch.zeros(1)
    torch.save({"params": state}, path)
    return path


@pytest.mark.parametrize(
    ("arch", "scale", "config"),
    [
        ("realesr_general", 4, {"n_convs": 32}),
        ("realesr_animevideov3", 2, {"n_feats": 24, "n_convs": 5}),
        ("rrdbnet", 4, {"n_feats": 8, "n_blocks": 2, "growth": 4}),
        ("span_ch28", 3, {"n_feats": 20}),
        ("abpn", 3, {}),
        ("rlfn_s", 2, dict(catalog.resolve("rlfn_s").variants[0].config)),
        ("fsrcnn", 4, {}),  # whose tensors are the same at any scale
        ("realplksr", 4, {"n_feats": 16, "n_blocks": 3, "kernel": 7}),
        ("realplksr", 2, {"n_feats": 16, "n_blocks": 1, "n_mixed": 8, "layer_norm": True}),
        ("realplksr", 3, {"n_feats": 16, "n_blocks": 1, "attention": False}),
        ("realplksr_dysample", 2, {"n_feats": 16, "n_blocks": 2, "dysample": True}),
        ("dejpg", 1, {"n_blocks": 2}),
        ("safmn", 3, {"n_feats": 20, "n_blocks": 3, "n_hidden": 30}),
        ("safmn_ntire", 2, {"challenge": True, "n_blocks": 2}),
        ("safmn_pp", 2, {"n_feats": 16, "n_blocks": 3, "n_hidden": 20}),
        ("rrdbnet", 8, {"n_feats": 8, "n_blocks": 1, "growth": 4, "n_doublings": 3}),
        ("span_ch26", 2, {"n_feats": 48, "centred": False}),
    ],
)
def test_a_file_is_recognised_by_its_tensors(tmp_path, arch, scale, config):
    model, variant, _ = load_file(bare_file(tmp_path / "a.pth", arch, scale, **config))
    assert model.arch.network == catalog.resolve(arch).arch.network
    assert variant.scale == scale
    for key, value in config.items():
        assert variant.config.get(key, value) == value
    assert model.preprocessing == catalog.resolve(arch).preprocessing


@pytest.mark.slow
@pytest.mark.parametrize(("model", "scale"), at_one_scale(), ids=str)
def test_every_network_is_recognised(tmp_path, model, scale):
    """At its full length, by the tensors alone: class, arguments and scale."""
    model = catalog.get(model.name)
    variant = model.variant(scale)
    state = new_network(variant, model.arch).state_dict()
    torch.save(state, tmp_path / "a.pth")
    said = []
    found, told, _ = load_file(tmp_path / "a.pth", announce=said.append)
    assert (found.arch.network, found.preprocessing) == (model.arch.network, model.preprocessing)
    apart = {k: v for k, v in variant.config.items() if told.config.get(k, v) != v}
    if told.scale != scale or apart:  # what tensors cannot tell is said, or makes no difference
        assert said or model.preprocessing.enlarged
    assert told.parameters == sum(
        p.numel() for p in new_network(variant, model.arch).parameters() if p.requires_grad
    )


def test_scales_that_the_tensors_cannot_tell_apart_are_named(tmp_path):
    path, said = bare_file(tmp_path / "a.pth", "fsrcnn", 2), []
    assert load_file(path, announce=said.append)[1].scale == 4
    assert len(said) == 1
    assert "at x2, x3, x4" in said[0]
    assert "-x" in said[0]
    assert load_file(path, None, 2, announce=said.append)[1].scale == 2
    assert len(said) == 1  # it was asked for


def test_forms_of_one_network_that_the_tensors_cannot_tell_apart_are_named(tmp_path):
    config = dict(catalog.resolve("drrn_b1u25").variants[0].config)
    path, said = bare_file(tmp_path / "a.pth", "drrn_b1u25", 4, **config), []
    load_file(path, announce=said.append)
    assert len(said) == 1
    assert "drrn_b1u9" in said[0]
    assert "drrn_b1u25" in said[0]


def test_sizes_that_a_form_of_the_network_wants(tmp_path):
    """Real-ESRGAN's x1 shrinks the picture to a quarter first; the catalogue has no such entry."""
    path = bare_file(tmp_path / "a.pth", "rrdbnet", 1, n_feats=8, n_blocks=1, growth=4)
    model, variant, _ = load_file(path)
    assert (variant.scale, model.arch.multiple) == (1, 4)


def test_a_named_architecture_may_have_another_depth(tmp_path):
    path = bare_file(tmp_path / "a.pth", "realesr_general", 2, n_feats=16, n_convs=3)
    _, variant, _ = load_file(path, "realesr_general")
    assert (variant.scale, variant.config["n_convs"]) == (2, 3)


def test_what_fits_no_network_is_said(tmp_path):
    torch.save({"a": torch.zeros(400_000)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="fits none of the networks"):
        load_file(tmp_path / "a.pth", catalogue=CATALOGUE)


def test_a_file_that_fits_two_networks_says_which_is_taken(tmp_path):
    torch.save(state_of(2), tmp_path / "a.pth")
    n = sum(t.numel() for t in state_of(2).values())
    variants = (Variant(2, None, n),)
    one, other = (
        replace(
            MODEL,
            name=f"{arch.name}.one",
            arch=arch,
            preprocessing=preprocessing,
            variants=variants,
        )
        for arch, preprocessing in ((TINY, Preprocessing()), (BARE, Preprocessing("bgr")))
    )
    catalogue = Catalogue({"tiny": TINY, "bare": BARE}, {m.name: m for m in (one, other)})
    said = []
    model, _, _ = load_file(tmp_path / "a.pth", catalogue=catalogue, announce=said.append)
    assert model.arch == TINY
    assert len(said) == 1
    assert "fits tiny x2 and also bare" in said[0]
    same = Catalogue(
        catalogue.architectures,
        {"tiny.one": one, "bare.one": replace(other, preprocessing=Preprocessing())},
    )
    assert load_file(tmp_path / "a.pth", catalogue=same, announce=said.append)
    assert len(said) == 1  # which of the two it is makes no difference
