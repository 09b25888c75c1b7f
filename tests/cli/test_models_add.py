"""``srcli models add`` and ``remove``: models of the user's own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from srcli import catalog
from srcli.catalog import Preprocessing
from srcli.catalog.user_models import read_entries, to_toml
from srcli.cli import application
from srcli.cli import own as own_module
from srcli.errors import SrcliError, UsageError, WeightsError
from srcli.weights import load_file, new_network, save_file
from srcli.weights.metadata import file_metadata
from srcli.weights.user_models import data_dir

CONFIG = {"n_feats": 8}


@pytest.fixture
def home(tmp_path, monkeypatch, alone):
    monkeypatch.setenv("SRCLI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(own_module, "_warned", set())
    return tmp_path / "data"


@pytest.fixture
def run(home):
    def run(*arguments):
        result = CliRunner().invoke(application(), [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def lesrcnn(scale, seed=0, **config):
    torch.manual_seed(seed)
    arch = catalog.built_in().architectures["lesrcnn"]
    return new_network(catalog.Variant(scale, None, 0, config={**CONFIG, **config}), arch)


@pytest.fixture
def trained(tmp_path):
    """Function (scale, seed) -> what `srcli train` leaves behind."""

    def make(scale=2, seed=0, preprocessing=None, **config):
        path = tmp_path / f"trained-x{scale}-{seed}.safetensors"
        state = lesrcnn(scale, seed, **config).state_dict()
        provenance = {"trained_by": "srcli train", "step": seed}
        save_file(
            path,
            state,
            arch="lesrcnn",
            scale=scale,
            config={**CONFIG, **config},
            provenance=provenance,
            preprocessing=preprocessing,
        )
        return path

    return make


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (12, 15, 3), dtype=np.uint8)).save(path)
    return path


def row(run, name):
    return {r["name"]: r for r in json.loads(run("models", "--json").stdout)}[name]


def test_a_trained_file_becomes_a_model(run, trained, photo, home, tmp_path):
    file = trained(2, 1)
    result = run("models", "add", file, "--name", "lesrcnn.mine", "--licence", "MIT")
    kept = next((home / "models").glob("*.safetensors"))
    assert result.stdout == f"lesrcnn.mine x2  {kept}\n"
    assert row(run, "lesrcnn.mine")["weights"] == "own"
    assert row(run, "lesrcnn.mine")["licence"] == "MIT"
    assert row(run, "lesrcnn.mine")["variants"][0]["at_hand"]
    assert str(kept) in run("models", "show", "lesrcnn.mine").stdout
    assert "ok      " + kept.name in run("models", "verify").stdout
    assert str(kept) in run("models", "download", "lesrcnn.mine").stdout

    # the user's file and the cache may go
    wanted = tmp_path / "wanted.png"
    run("upscale", photo, "-x2", "--weights", file, "-o", wanted)
    file.unlink()
    run("upscale", photo, "-x2", "-m", "lesrcnn.mine", "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == wanted.read_bytes()
    benchmark = tmp_path / "set" / "HR"
    benchmark.mkdir(parents=True)
    Image.open(wanted).save(benchmark / "a.png")
    result = run("eval", "-m", "lesrcnn.mine", "-x2", "--data", benchmark.parent, "--json")
    assert '"lesrcnn.mine"' in result.stdout

    # the copy says where it is from, as the file did
    metadata = file_metadata(kept)
    assert json.loads(metadata["srcli.provenance"])["step"] == 1


def test_scales_are_added_one_by_one(run, trained, home):
    for scale in (4, 2):
        run("models", "add", trained(scale), "--name", "lesrcnn.mine", "--note", f"x{scale}")
    assert row(run, "lesrcnn.mine")["scales"] == [2, 4]
    assert row(run, "lesrcnn.mine")["note"] == "x2"
    assert len(list((home / "models").glob("*.safetensors"))) == 2
    with pytest.raises(UsageError, match="has x2 already") as caught:
        run("models", "add", trained(2, 5), "--name", "lesrcnn.mine")
    assert "--overwrite" in caught.value.hint
    before = row(run, "lesrcnn.mine")["variants"]
    run("models", "add", trained(2, 5), "--name", "lesrcnn.mine", "--overwrite")
    after = row(run, "lesrcnn.mine")["variants"]
    assert before[0]["sha256"] != after[0]["sha256"]
    assert before[1] == after[1]
    assert len(list((home / "models").glob("*.safetensors"))) == 2  # the old one is gone
    assert run("models", "remove", "lesrcnn.mine", "-x4").stdout == "lesrcnn.mine x4 removed\n"
    assert row(run, "lesrcnn.mine")["scales"] == [2]
    with pytest.raises(UsageError, match="no x4"):
        run("models", "remove", "lesrcnn.mine", "-x4")
    assert run("models", "remove", "lesrcnn.mine").stdout == "lesrcnn.mine x2 removed\n"
    assert list((home / "models").glob("*.safetensors")) == []
    assert read_entries(home / "models.toml") == []
    with pytest.raises(UsageError, match="no model"):
        run("models", "show", "lesrcnn.mine")


def test_a_pth_file_of_tensors(run, tmp_path):
    torch.manual_seed(0)
    model = catalog.get("rlfn_ntire.authors")
    path = tmp_path / "best.pth"
    torch.save({"params": new_network(model.variant(4), model.arch).state_dict()}, path)
    run("models", "add", path, "--name", "rlfn_ntire.mine")
    added = catalog.get("rlfn_ntire.mine")
    assert added.preprocessing == model.preprocessing == Preprocessing("rgb", 255.0)
    assert added.variant(4).parameters == model.variant(4).parameters
    assert dict(added.variant(4).config) == dict(model.variant(4).config)
    found, _, _ = load_file(added.variant(4).weights.folder / added.variant(4).weights.file)
    assert found.preprocessing == model.preprocessing


def test_half_precision_weights(run, tmp_path, photo):
    state = {k: v.half() for k, v in lesrcnn(2).state_dict().items()}
    path = tmp_path / "half.safetensors"
    save_file(path, state, arch="lesrcnn", scale=2, config=CONFIG, provenance={})
    run("models", "add", path, "--name", "lesrcnn.half")
    run("upscale", photo, "-x2", "-m", "lesrcnn.half", "-o", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (30, 24)


def test_an_architecture_s_name_keeps_its_meaning(run, trained):
    run("models", "add", trained(2), "--name", "lesrcnn.aaa")
    assert catalog.resolve("lesrcnn", 2).name == "lesrcnn.authors"
    assert catalog.resolve("lesrcnn", None).name == "lesrcnn.authors"
    assert catalog.resolve("lesrcnn", 16).name == "lesrcnn.authors"
    names = [m.name for m in catalog.models()]
    assert names[-1] == "lesrcnn.aaa"
    assert names[:-1] == list(catalog.built_in().models)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("lesrcnn.authors", "built-in"),
        ("lesrcnn", "not a name"),
        ("lesrcnn.", "not a name"),
        ("lesrcnn.Mine", "not a name"),
        ("lesrcnn.../../x", "not a name"),
        ("nonsense.mine", "no architecture"),
        ("bicubic", "built-in"),
        ("bicubic.mine", "resampler"),
        ("rlfn.mine", "lesrcnn, not for rlfn"),
    ],
)
def test_names_that_cannot_be_had(run, trained, home, name, error):
    with pytest.raises(UsageError, match=error):
        run("models", "add", trained(2), "--name", name)
    assert not home.exists()


def test_files_that_cannot_be_had(run, trained, home, tmp_path):
    def refused(file, error, *more):
        with pytest.raises(SrcliError, match=error):
            run("models", "add", file, "--name", "lesrcnn.mine", *more)
        assert not home.exists()

    refused(tmp_path / "missing.pth", "no file")
    refused(trained(2), "x2, not for x4", "-x4")
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nonsense")
    refused(path, "is refused")
    state = lesrcnn(2).state_dict()
    save_file(path, state, arch="lesrcnn", scale=2, config={"n_feats": 9}, provenance={})
    refused(path, "of another shape")
    with pytest.raises(WeightsError) as caught:
        run("models", "add", path, "--name", "lesrcnn.mine")
    assert "--name" in caught.value.hint
    state["conv1.0.weight"][0] = torch.nan
    save_file(path, state, arch="lesrcnn", scale=2, config=CONFIG, provenance={})
    refused(path, "not finite")
    state = {name: torch.full_like(tensor, 1e30) for name, tensor in state.items()}
    save_file(path, state, arch="lesrcnn", scale=2, config=CONFIG, provenance={})
    refused(path, "not finite")
    # SwiftSRGAN takes any scale, and enlarges by a power of two
    arch = catalog.built_in().architectures["swift_srgan"]
    variant = catalog.Variant(3, None, 0, config={"n_feats": 4, "n_blocks": 1})
    state = new_network(variant, arch).state_dict()
    save_file(path, state, arch=arch.name, scale=3, config=variant.config, provenance={})
    with pytest.raises(WeightsError, match="does not enlarge by 3"):
        run("models", "add", path, "--name", "swift_srgan.mine")
    assert not home.exists()


def test_scales_of_a_name_share_a_door(run, trained):
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    with pytest.raises(WeightsError, match=r"takes rgb in 0\.\.255, unlike"):
        run(
            "models",
            "add",
            trained(4, preprocessing=Preprocessing("rgb", 255.0)),
            "--name",
            "lesrcnn.mine",
        )
    # the only scale may be replaced by anything
    other = trained(2, 3, preprocessing=Preprocessing("rgb", 255.0))
    run("models", "add", other, "--name", "lesrcnn.mine", "--overwrite")
    assert catalog.get("lesrcnn.mine").preprocessing.maximum == 255


def test_what_is_not_one_s_own_is_not_removed(run, home):
    for name in ("bcrn.authors", "bcrn", "bicubic"):
        with pytest.raises(UsageError, match="built in"):
            run("models", "remove", name)
    with pytest.raises(UsageError, match=r"added no model 'bcrn\.x'"):
        run("models", "remove", "bcrn.x")
    assert not home.exists()


def test_a_broken_table_breaks_nothing_built_in(run, trained, home):
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    table = home / "models.toml"
    whole = table.read_text()
    table.write_text(whole[: len(whole) // 2])
    result = run("models")
    assert "bcrn.authors" in result.stdout
    assert "lesrcnn.mine" not in result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert str(table) in result.stderr
    assert run("models", "show", "bcrn").stderr == ""  # said once a process
    for command in (["add", trained(4), "--name", "lesrcnn.b"], ["remove", "lesrcnn.mine"]):
        with pytest.raises(SrcliError, match="cannot be read"):
            run("models", *command)
    assert table.read_text() == whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale = 2", "scale = -2"),
        ("lesrcnn.mine", "lesrcnn.authors"),
        ("lesrcnn.mine", "gone.mine"),
        ('licence = "unknown"', "licence = 3"),
        ('file = "', 'file = "../'),
        ("[[model.variant]]", "[[model.variante]]"),
    ],
)
def test_a_broken_entry_breaks_no_other(run, trained, home, old, new):
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    table = home / "models.toml"
    broken = table.read_text().replace(old, new)
    assert broken != table.read_text()
    table.write_text(broken)
    run("models", "add", trained(2, 2), "--name", "lesrcnn.good")
    result = run("models")
    assert "lesrcnn.good" in result.stdout
    assert "lesrcnn.mine" not in result.stdout
    assert len(catalog.models()) == len(catalog.built_in().models) + 1
    entries = read_entries(table)
    assert len(entries) == 2  # what is broken stays for its owner to mend
    name = entries[0]["name"]
    if not name.endswith(".authors"):
        run("models", "remove", name)
        assert [e["name"] for e in read_entries(table)] == ["lesrcnn.good"]


def test_missing_and_damaged_files(run, trained, home, photo):
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    kept = next((home / "models").glob("*.safetensors"))
    data = kept.read_bytes()
    for change, word in (
        (kept.unlink, "missing"),
        (lambda: kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1])), "damaged"),
    ):
        change()
        assert "lesrcnn.mine" in run("models").stdout
        with pytest.raises(WeightsError, match="are damaged") as caught:
            run("models", "verify")
        assert "models remove lesrcnn.mine" in caught.value.hint
        with pytest.raises(WeightsError, match=f"that you added are {word}") as caught:
            run("upscale", photo, "-x2", "-m", "lesrcnn.mine", "-o", photo.parent / "x.png")
        assert "srcli models add FILE --name lesrcnn.mine --overwrite" in caught.value.hint
    assert f"your own: {kept}" in run("models", "show", "lesrcnn.mine").stdout
    kept.unlink()
    assert f"it is missing: {kept}" in run("models", "show", "lesrcnn.mine").stdout
    run("models", "remove", "lesrcnn.mine")
    assert run("models", "verify").exit_code == 0


def test_an_unwritable_folder(run, trained, home):
    home.write_text("a file")
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        run("models", "add", trained(2), "--name", "lesrcnn.mine")
    assert "SRCLI_DATA_DIR" in caught.value.hint
    assert run("models").exit_code == 0


def test_the_table_keeps_any_text(tmp_path):
    entries = [
        {
            "name": "lesrcnn.mine",
            "note": 'a "quoted"\nline\t\\ \x7f \U0001f600 é',
            "odd key": [1, 2.5, True, "x"],
            "preprocessing": {"maximum": 255.0},
            "variant": [{"scale": 2, "config": {}, "weights": {"file": "a", "bytes": 1}}],
        },
        {"name": "b", "variant": 3},
        {},
    ]
    path = tmp_path / "t.toml"
    path.write_text(to_toml(entries), encoding="utf-8")
    assert read_entries(path) == entries
    # as earlier versions have written it
    path.write_text(path.read_text("utf-8").replace("preprocessing", "door"), encoding="utf-8")
    assert read_entries(path) == entries


def test_where_it_lies(tmp_path):
    assert data_dir({"SRCLI_DATA_DIR": str(tmp_path)}) == tmp_path
    assert data_dir({}).name == "srcli"
    assert "cache" not in str(data_dir({})).lower()


@pytest.mark.long
def test_two_processes_add_at_once(trained, home):
    """Neither's entry is lost."""
    files = {scale: trained(scale) for scale in (2, 3, 4)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "srcli", "models", "add", file, "--name", "lesrcnn.mine"],
            env=os.environ,
        )
        for file in files.values()
    ]
    assert [p.wait() for p in running] == [0, 0, 0]
    assert catalog.get("lesrcnn.mine").scales == (2, 3, 4)


def test_every_command_knows_the_name(run, trained, photo, tmp_path):
    """In a process of its own, where only the command that was asked for is built."""
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    command = [sys.executable, "-m", "srcli", "upscale", str(photo), "-x2", "-m", "lesrcnn.mine"]
    subprocess.run([*command, "-o", str(tmp_path / "a.png")], check=True)
    assert (tmp_path / "a.png").is_file()


def test_listing_is_light(run, trained):
    run("models", "add", trained(2), "--name", "lesrcnn.mine")
    code = (
        "import sys; from srcli.cli import application\n"
        "application(['models'])(['models'], standalone_mode=False)\n"
        "print({'torch', 'numpy', 'PIL', 'requests'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "lesrcnn.mine" in done.stdout
