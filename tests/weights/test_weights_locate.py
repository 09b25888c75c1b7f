"""Where weights are looked for, in which order, and what is said about it."""

import hashlib
import pickle
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file as read_safetensors

from srcli.catalog import Catalogue, Denoise, WeightsFile, denoised
from srcli.errors import UsageError, WeightsError
from srcli.weights import (
    WeightsOptions,
    bundled_path,
    cached_path,
    is_cached,
    load,
    locate,
    state_dict,
    verify,
)
from srcli.weights import format as stored
from srcli.weights.cache import _scratch as scratch


@pytest.fixture
def mirror(tmp_path, origin):
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / origin.weights.file).write_bytes(origin.data)
    return folder


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ------------------------------------------------------------------------- the environment


def test_environment():
    read = WeightsOptions.from_environment
    options = read({"SRCLI_CACHE_DIR": "~/c", "SRCLI_MIRROR": " /m ", "SRCLI_OFFLINE": "1"})
    assert options == WeightsOptions(Path.home() / "c", "/m", True)
    assert options.weights_dir == Path.home() / "c" / "weights"
    assert read({"SRCLI_CACHE_DIR": "c"}).cache_dir == Path.cwd() / "c"
    default = read({})
    assert default.cache_dir.name == "srcli"
    assert default.mirror is None
    assert not default.offline
    for off in ("", "0", "false", "No", "off"):
        assert not read({"SRCLI_OFFLINE": off}).offline
    for on in ("1", "true", "yes", "please"):  # what is not understood is on: that is harmless
        assert read({"SRCLI_OFFLINE": on}).offline


# ----------------------------------------------------------------------------- the sources


def test_downloaded_once_and_announced_in_one_line(origin, options, server):
    model = origin.at(server.url).model
    lines, seen = [], []
    path = locate(
        model.variants[0].weights,
        options,
        model=model.name,
        licence=model.licence,
        announce=lines.append,
        progress=lambda *a: seen.append(a),
    )
    assert path == cached_path(model.variants[0].weights, options)
    assert same(read_safetensors(path), origin.state)
    [line] = lines
    for word in (server.url, "0.1 MB", "MIT", "tiny.one-x2.pth"):
        assert word in line
    assert "\n" not in line
    assert seen[-1] == (len(origin.data), len(origin.data))
    assert [p for p in options.weights_dir.iterdir() if p.is_file()] == [path]  # no .pth stays
    for again in range(2):
        assert same(state_dict(model, 2, options, announce=lines.append), origin.state), again
    assert len(lines) == len(server.requests) == 1


def test_the_stored_bytes_do_not_depend_on_the_run(origin, tmp_path, mirror):
    paths = [
        locate(origin.weights, WeightsOptions(tmp_path / name, str(mirror))) for name in ("a", "b")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    header = stored.check(paths[0].read_bytes())
    assert header.metadata["srcli.source_file"] == origin.weights.file
    assert header.metadata["srcli.source_sha256"] == origin.weights.sha256


@pytest.mark.parametrize("form", [str, lambda p: p.as_uri()])
def test_a_mirror_folder_comes_first_and_works_offline(origin, tmp_path, mirror, server, form):
    options = WeightsOptions(tmp_path / "c", form(mirror), offline=True)
    lines = []
    path = locate(origin.at(server.url).weights, options, announce=lines.append)
    assert same(read_safetensors(path), origin.state)
    assert (mirror / origin.weights.file).read_bytes() == origin.data  # left alone
    assert server.requests == []
    assert lines == []


def test_a_mirror_url_comes_first(origin, tmp_path, server):
    base = server.url.replace("/origin/tiny.pth", "/mirror/")
    lines = []
    options = WeightsOptions(tmp_path / "c", base)
    locate(origin.at(server.url).weights, options, announce=lines.append)
    assert [path for path, _ in server.requests] == ["/mirror/tiny.one-x2.pth"]
    assert "/mirror/" in lines[0]


@pytest.mark.parametrize("status", [404, 400])
def test_a_mirror_without_it_gives_way_to_the_origin(origin, tmp_path, server, status):
    base = server.url.replace("/origin/tiny.pth", "/mirror")
    server.script = [status]
    locate(origin.at(server.url).weights, WeightsOptions(tmp_path / "c", base))
    assert [path for path, _ in server.requests] == ["/mirror/tiny.one-x2.pth", "/origin/tiny.pth"]


def test_an_empty_mirror_folder_gives_way_to_the_origin(origin, tmp_path, server):
    options = WeightsOptions(tmp_path / "c", str(tmp_path / "nowhere"))
    locate(origin.at(server.url).weights, options)
    assert len(server.requests) == 1


def test_the_sha256_rules_over_the_mirror(origin, tmp_path, mirror, server):
    wrong = bytearray(origin.data)
    wrong[len(wrong) // 2] ^= 1
    (mirror / origin.weights.file).write_bytes(wrong)
    lines = []
    options = WeightsOptions(tmp_path / "c", str(mirror))
    path = locate(origin.at(server.url).weights, options, announce=lines.append)
    assert same(read_safetensors(path), origin.state)
    file = f"{mirror / origin.weights.file} is not the file that the catalogue describes"
    got, expected = hashlib.sha256(wrong).hexdigest()[:12], origin.weights.sha256[:12]
    differs = f"{file}: its sha256 begins with {got} instead of {expected}."
    assert lines[0] == f"The mirror could not be used: {differs}"
    with pytest.raises(WeightsError) as caught:
        locate(origin.weights, WeightsOptions(tmp_path / "d", str(mirror), offline=True))
    assert caught.value.message == differs
    for change, words in ((wrong + b"1", "more than"), (wrong[:-1], "bytes instead of")):
        (mirror / origin.weights.file).write_bytes(change)
        with pytest.raises(WeightsError, match=f": it has .*{words}"):
            locate(origin.weights, WeightsOptions(tmp_path / "d", str(mirror), offline=True))
    assert not list((tmp_path / "d" / "weights").glob("[!.]*"))


def test_offline_names_the_command_that_helps(origin, tmp_path, server):
    for mirror in (None, str(tmp_path / "empty"), server.url):
        options = WeightsOptions(tmp_path / "c", mirror, offline=True)
        with pytest.raises(WeightsError, match="SRCLI_OFFLINE") as caught:
            locate(origin.at(server.url).weights, options, model="tiny.one")
        assert "srcli models download tiny.one" in caught.value.hint
        assert "tiny.one-x2.pth" in caught.value.hint
    assert server.requests == []


def test_a_mirror_of_an_unknown_kind_is_refused(origin, tmp_path):
    with pytest.raises(WeightsError, match="SRCLI_MIRROR"):
        locate(origin.weights, WeightsOptions(tmp_path / "c", "s3://user:secret@bucket/x"))


# ------------------------------------------------------------------------------- the cache


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(p.read_bytes()[:100]),
        lambda p: p.write_bytes(p.read_bytes() + b"x"),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"\xff" * 1000),
        lambda p: p.write_bytes((9).to_bytes(8, "little") + b'{"a": 1} '),
    ],
)
def test_damage_is_seen_reported_and_mended(origin, options, mirror, damage):
    options = replace(options, mirror=str(mirror))
    path = locate(origin.weights, options)
    catalogue = Catalogue({"tiny": origin.model.arch}, {"tiny.one": origin.model})
    assert [(v.ok, v.models) for v in verify(options, catalogue)] == [(True, ("tiny.one",))]
    damage(path)
    [found] = verify(options, catalogue)
    assert not found.ok
    assert found.detail
    assert found.path == path
    lines = []
    assert same(state_dict(origin.model, 2, options, announce=lines.append), origin.state)
    assert len(lines) == 1
    assert "damaged" in lines[0]
    assert verify(options, catalogue)[0].ok


def test_another_files_weights_under_this_name_are_not_taken(origin, options, mirror):
    options = replace(options, mirror=str(mirror))
    path = cached_path(origin.weights, options)
    path.parent.mkdir(parents=True)
    path.write_bytes(stored.pack(origin.state, {"srcli.source_sha256": "0" * 64}))
    lines = []
    locate(origin.weights, options, announce=lines.append)
    assert "another file" in lines[0]


def test_files_of_another_version_are_sound_but_strangers(origin, options):
    options.weights_dir.mkdir(parents=True)
    data = stored.pack(origin.state, {"srcli.source_file": "old-x2.pth"})
    (options.weights_dir / "old-x2-0123.safetensors").write_bytes(data)
    [found] = verify(options, Catalogue({}, {}))
    assert found.ok
    assert found.models == ()
    assert "old-x2.pth" in found.detail


def test_verify_of_nothing(options):
    assert verify(options, Catalogue({}, {})) == []


def test_a_cache_that_cannot_be_written_still_serves(origin, tmp_path, mirror, server):
    """Root writes everywhere, so a file stands where the folder should."""
    (tmp_path / "file").touch()
    model = origin.at(server.url).model
    for requests, options in enumerate(
        (
            WeightsOptions(tmp_path / "file", str(mirror), offline=True),
            WeightsOptions(tmp_path / "file" / "below"),
        )
    ):
        scratch.cache_clear()
        lines = []
        for _ in range(2):
            assert same(state_dict(model, 2, options, announce=lines.append), origin.state)
        assert ["cannot be written" in line for line in lines] == [True] + [False] * requests
        assert verify(options, Catalogue({}, {})) == []
        assert len(server.requests) == requests


def test_a_read_only_cache_that_has_it_is_only_read(origin, options, mirror, monkeypatch):
    options = replace(options, mirror=str(mirror))
    locate(origin.weights, options)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    lines = []
    assert load(origin.model, 2, replace(options, mirror=None, offline=True), announce=lines.append)
    assert lines == []


def test_is_cached(origin, options, mirror):
    assert not is_cached(origin.weights, options)
    locate(origin.weights, replace(options, mirror=str(mirror)))
    assert is_cached(origin.weights, options)


# --------------------------------------------------------------------------------- bundled


def test_bundled_files_are_checked(origin, options, tmp_path, monkeypatch):
    monkeypatch.setattr("srcli.weights.cache.BUNDLED", tmp_path)
    data = stored.pack(origin.state, {})
    weights = WeightsFile("t-x2.safetensors", len(data), hashlib.sha256(data).hexdigest(), None)
    variant = replace(origin.model.variants[0], weights=weights)
    model = replace(origin.model, variants=(variant,))
    catalogue = Catalogue({"tiny": model.arch}, {model.name: model})
    options = replace(options, offline=True)
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        locate(weights, options)
    assert "reinstall" in caught.value.hint
    path = bundled_path(weights)
    path.write_bytes(data)
    assert locate(weights, options) == path
    assert same(state_dict(model, 2, options), origin.state)
    assert [v.ok for v in verify(options, catalogue)] == [True]
    flip(path)
    with pytest.raises(WeightsError, match="damaged"):
        state_dict(model, 2, options)
    assert [v.ok for v in verify(options, catalogue)] == [False]
    assert not options.cache_dir.exists()  # nothing was written anywhere


# ------------------------------------------------------------------------- origins' formats


class Canary:
    """Pickled, it would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def through_mirror(tmp_path):
    def through(origin):
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        (folder / origin.weights.file).write_bytes(origin.data)
        return WeightsOptions(tmp_path / f"cache-{time.monotonic_ns()}", str(folder), offline=True)

    return through


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_nothing_runs(publish, tmp_path, through_mirror, zipped):
    canary = tmp_path / "canary"
    content = {"up.weight": torch.zeros(2), "x": Canary(canary)}
    evil = publish(content if zipped else pickle.dumps(content), {})
    options = through_mirror(evil)
    with pytest.raises(WeightsError, match="refused"):
        state_dict(evil.model, 2, options)
    assert not canary.exists()
    assert not list(options.weights_dir.glob("[!.]*"))
    pickle.loads(pickle.dumps(Canary(canary)))  # the canary does sing
    assert canary.exists()


def test_nesting_and_prefix(publish, origin, through_mirror):
    prefixed = {f"module.{k}": v for k, v in origin.state.items()}
    nested = publish(
        {"net": prefixed, "epoch": 3}, origin.state, state_key="net", strip_prefix="module."
    )
    assert same(state_dict(nested.model, 2, through_mirror(nested)), origin.state)


def test_the_usual_nesting_needs_no_key(publish, origin, through_mirror):
    nested = publish({"params_ema": origin.state, "params": {}}, origin.state)
    assert same(state_dict(nested.model, 2, through_mirror(nested)), origin.state)


def test_the_old_format_and_shared_memory(tmp_path, publish, origin, through_mirror):
    storage = torch.arange(10.0)
    state = {"a": storage[:4], "b": storage[2:8].reshape(2, 3).T, "n": torch.tensor(3)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = publish((tmp_path / "old.pth").read_bytes(), state)
    assert same(state_dict(old.model, 2, through_mirror(old)), state)


def test_published_safetensors(publish, origin, through_mirror):
    plain = publish(stored.pack(origin.state, {}), origin.state)
    assert same(state_dict(plain.model, 2, through_mirror(plain)), origin.state)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 not a zip after all",
        b"<html></html>",
        {},
        [torch.zeros(1)],
        torch.zeros(1),
        {"a": 1},
        {1: torch.zeros(1)},
        {"a": torch.zeros(1).expand(1 << 40)},  # claims terabytes
        {"a": torch.eye(3).to_sparse()},
    ],
)
def test_what_is_no_state_dict_is_a_weights_error(publish, through_mirror, content):
    wrong = publish(content, {})
    wrong = replace(wrong, weights=replace(wrong.weights, bytes=len(wrong.data)))
    with pytest.raises(WeightsError):
        state_dict(wrong.model, 2, through_mirror(wrong))


def test_a_missing_nest_is_named(publish, origin, through_mirror):
    wrong = publish(origin.state, {}, state_key="params")
    with pytest.raises(WeightsError, match="'params'"):
        state_dict(wrong.model, 2, through_mirror(wrong))


def test_no_weights_at_all(origin, options):
    variant = replace(origin.model.variants[0], weights=None)
    model = replace(origin.model, variants=(variant,))
    with pytest.raises(WeightsError, match="no weights for tiny at x2") as caught:
        state_dict(model, 2, options)
    assert "--weights" in caught.value.hint
    assert not issubclass(UsageError, WeightsError)


@pytest.mark.shared
@pytest.mark.long
def test_every_mirrored_file_of_the_catalogue_loads(shared, tmp_path):
    from srcli import catalog

    options = WeightsOptions(tmp_path, str(shared / "weights"), offline=True)
    loaded = 0
    for model in catalog.models():
        for variant in model.variants:
            weights = variant.weights
            if weights and (weights.bundled or (shared / "weights" / weights.file).is_file()):
                load(model, variant.scale, options)
                loaded += 1
    assert loaded >= 10
    assert all(v.ok for v in verify(options))


# ---------------------------------------------------------------------------------- mixtures


@pytest.fixture
def two(origin, publish, tmp_path):
    """A model with two strengths, its files in a mirror, and their tensors."""
    folder = tmp_path / "two"
    folder.mkdir()
    states, files = [], []
    for n in range(2):
        state = {k: (n + 1) * v.clone() for k, v in origin.state.items()}
        state["count"] = torch.tensor(7 + n)
        made = publish({"params": state}, state, state_key="params")
        files.append(replace(made.weights, file=f"tiny.one-x2-{n}.pth"))
        (folder / files[-1].file).write_bytes(made.data)
        states.append(state)
    denoise = Denoise(((0.0, files[0]), (1.0, files[1])), 0.5, between=True)
    variant = replace(origin.model.variants[0], denoise=denoise).denoised(0.5)
    return replace(origin.model, variants=(variant,)), states, folder


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 1.0])
def test_a_strength_between_two_files_is_the_mean_of_their_tensors(two, tmp_path, strength):
    model, (weak, strong), folder = two
    model = denoised(model, strength)
    options = WeightsOptions(tmp_path / "c", str(folder), offline=True)
    state = state_dict(model, 2, options)
    assert state.keys() == weak.keys()
    for key in weak.keys() - {"count"}:
        want = strength * strong[key] + (1 - strength) * weak[key]
        torch.testing.assert_close(state[key], want)
    needed = {file.file for file, _ in model.variant(2).parts}
    kept = {p.name[: len("tiny.one-x2-0")] + ".pth" for p in options.weights_dir.glob("*.safet*")}
    assert kept == needed  # only what this strength is made of was fetched


def test_files_of_two_networks_are_not_mixed(two, publish, tmp_path):
    model, (_, strong), folder = two
    other = publish({"params": {**strong, "more": torch.zeros(1)}}, {}, state_key="params")
    denoise = model.variant(2).denoise
    weights = replace(other.weights, file=denoise.files[1][1].file)
    (folder / weights.file).write_bytes(other.data)
    denoise = replace(denoise, files=(denoise.files[0], (1.0, weights)))
    model = replace(model, variants=(replace(model.variants[0], denoise=denoise),))
    with pytest.raises(WeightsError, match=r"tiny\.one are not of one network"):
        state_dict(model, 2, WeightsOptions(tmp_path / "c", str(folder), offline=True))
