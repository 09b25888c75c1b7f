"""``srcli models``."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from srcli import catalog
from srcli.cli.models import app
from srcli.errors import UsageError, WeightsError
from srcli.weights import cached_path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SRCLI_OFFLINE", "1")
    monkeypatch.delenv("SRCLI_MIRROR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # a pipe has all the room it wants

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def tables(result):
    """The tables of a listing, each a list of lines, the heading first."""
    parts = result.stdout.split("\n\n")
    return [p.splitlines() for p in parts if p.startswith("name ")]


def names(result):
    return [line.split()[0] for table in tables(result) for line in table[1:]]


def listed(*, everything=False):
    """Short names by the scale that figures are of, the usual one first."""
    models = [m for m in catalog.models() if everything or m.trained]
    scale = {m.name: catalog.default_scale(m) for m in models}
    order = sorted(models, key=lambda m: (scale[m.name] != 4, scale[m.name]))
    return {catalog.short_name(m) for m in models}, {m.name: scale[m.name] for m in order}


def test_list_is_the_default_and_plain_when_piped(run):
    for arguments in ((), ("list",)):
        result = run(*arguments)
        assert result.exit_code == 0
        assert set(names(result)) == listed()[0]
        assert len(names(result)) == len(listed()[0])
        assert result.stdout.isascii()
        assert not set("│┃━─\x1b") & set(result.stdout)
        [line] = [x for x in result.stdout.splitlines() if x.startswith("bcrn.authors ")]
        for word in ("attention", "x2 x4", "289K", "download", "1.2 MB", "none stated", "32.23"):
            assert word in line
        assert any(x.startswith("bcrn ") for x in result.stdout.splitlines())
        assert "untrained" not in result.stdout
    assert set(names(run("--all"))) == listed(everything=True)[0]
    assert "bcrn" in names(run("--all"))
    assert "drrn_b1u9" in names(run("--all"))


def test_scores_of_one_scale_stand_together(run):
    found = tables(run())
    scales = [re.search(r"PSNR x(\d+)", table[0])[1] for table in found]
    assert scales[0] == "4"
    assert len(set(scales)) == len(scales) > 1
    for table, scale in zip(found, scales, strict=True):
        title = f"PSNR x{scale}"
        at = table[0].index(title)
        lines = [line for line in table[1:] if "built in" not in line]
        shown = {line.split()[0]: line[at : at + len(title)].strip() for line in lines}
        scores = [float(score or 0) for score in shown.values()]
        assert scores == sorted(scores, reverse=True)  # those without one last
        rows = [r for r in json.loads(run("--json").stdout) if r["scale"] == int(scale)]
        by_name = {r["short_name"]: r["psnr_set5"] for r in rows}
        assert shown == {n: f"{by_name[n]:.2f}" if by_name[n] else "" for n in shown}


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json")])
def test_json(run, arguments):
    rows = {row["name"]: row for row in json.loads(run(*arguments).stdout)}
    assert set(rows) == {m.name for m in catalog.models() if m.trained}
    everything = json.loads(run(*arguments, "--all", "--sort", "catalogue").stdout)
    assert {row["name"] for row in everything} == {m.name for m in catalog.models()}
    assert rows["bcrn.srcli"]["short_name"] == "bcrn"
    assert "text" in rows["bcrn.srcli"]["for"]
    assert "JPEG" in rows["bcrn.srcli"]["advice"]
    row = rows["bcrn.authors"]
    assert row["arch"] == "bcrn"
    assert row["family"] == "attention"
    assert row["scales"] == [2, 4]
    assert row["parameters"] == 289_232
    assert row["weights"] == "download"
    assert row["size_bytes"] == 1_208_606
    assert row["licence"] == "none stated"
    assert row["psnr_set5"] == 32.23
    assert [v["scale"] for v in row["variants"]] == [2, 4]
    assert rows["bicubic"]["weights"] == "built in"


def test_filters_and_order(run):
    assert names(run("--family", "resampling")) == ["bicubic", "lanczos"]
    rows = json.loads(run("list", "--scale", "3", "--sort", "psnr", "--json").stdout)
    assert "lesrcnn.authors" in [r["name"] for r in rows]
    assert "bcrn.authors" not in [r["name"] for r in rows]
    scores = [r["psnr_set5"] or 0 for r in rows]
    assert scores == sorted(scores, reverse=True)
    rows = json.loads(run("--sort", "params", "--json", "-x", "4x").stdout)
    counts = [r["parameters"] for r in rows if r["parameters"]]
    assert counts == sorted(counts)
    for family in ("convolution", "residual", "distillation", "attention"):
        found = names(run("--family", family, "-x", "4", "--sort", "catalogue"))
        wanted = [m for m in catalog.models() if m.arch.family == family and 4 in m.scales]
        assert found == [catalog.short_name(m) for m in wanted if m.trained]
        assert found
    [*first, _, _] = names(run("--sort", "name", "-x", "2"))  # the resamplers come last
    assert first == sorted(first)
    with pytest.raises(UsageError, match="magic") as caught:
        run("--family", "magic")
    assert "attention" in caught.value.hint
    with pytest.raises(UsageError, match="after show"):
        run("--json", "show", "bcrn")


@pytest.mark.long
def test_order_by_work(run):
    """Multiply-adds per output pixel, as the network itself tells; known by hand for some."""
    rows = json.loads(run("--scale", "4", "--sort", "speed", "--json", "--all").stdout)
    costs = {r["name"]: r.get("multiply_adds_per_px", 0) for r in rows}
    networks = [cost for name, cost in costs.items() if name not in ("bicubic", "lanczos")]
    assert networks == sorted(networks)
    assert costs["bicubic"] == 0
    assert costs["vdsr.untrained"] == 664_704  # every weight at every output pixel
    fsrcnn = 25 * 56 + 2 * 12 * 56 + 4 * 9 * 12 * 12 + 81 * 56  # every weight at every LR pixel
    assert costs["fsrcnn.yjn870"] == fsrcnn / 16
    assert costs["drrn_b1u9.untrained"] == 2 * 9 * 128 + 18 * 9 * 128 * 128  # U = 9 times the unit
    table = run("--family", "residual", "--sort", "speed", "--all").stdout.splitlines()
    assert "MACs/px" in table[0]
    [line] = [x for x in table if x.startswith("vdsr.untrained")]
    assert "664.7K" in line
    assert "trainable" in line


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_narrow_terminal_shows_every_row(run, monkeypatch, columns, terminal):
    """No line too long, no name folded, and what matters most is there."""
    monkeypatch.setenv("COLUMNS", str(columns))
    import io

    class Screen(io.StringIO):
        def isatty(self):
            return terminal

    from srcli.cli.models import list_models

    for options in ({}, {"everything": True}, {"purpose": "photo"}, {"scale": 3}):
        screen = Screen()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", screen)
            list_models(**options)
        lines = screen.getvalue().splitlines()
        assert max(map(len, lines)) <= columns
        if "scale" not in options:
            [row] = [x for x in lines if x.startswith("realesr_animevideov3 ")]
            for word in ["621K", "28.23", *(["BSD-3-Clause", "drawing"] if columns >= 80 else [])]:
                assert word in row
    text = screen.getvalue()
    if columns == 120:
        assert "CC-BY-NC-SA-4.0 (non-commercial)" in text
    if columns == 80:
        assert "non-commercial" in text


def test_for_a_purpose(run):
    """Each with its sentence, and what -m takes."""
    for purpose in catalog.purposes():
        result = run("--for", purpose.title.upper())
        wanted = [m for m in catalog.models() if purpose.name in m.purposes]
        text = " ".join(result.stdout.split())
        for m in wanted:
            assert m.advice in text
        found = [x.split()[0] for x in result.stdout.splitlines() if x[:1].strip()]
        assert {catalog.short_name(m) for m in wanted} <= set(found)
        taken = catalog.short_name(catalog.resolve(purpose.name))
        assert f"-m {purpose.name} takes {taken}" in text
        [marked] = re.findall(r"^(\S+) .*\n {4}Recommended: ", result.stdout, re.M)
        assert marked == taken == names(result)[0]
        by_name = run("--for", purpose.name, "--sort", "name").stdout
        assert by_name.count("Recommended: ") == 1
        rows = json.loads(run("--for", purpose.name, "--json").stdout)
        assert {r["name"] for r in rows} == {m.name for m in wanted}
    with pytest.raises(UsageError, match="no purpose 'cats'") as caught:
        run("--for", "cats")
    assert "drawing" in caught.value.hint
    text = run().stdout
    marks = re.findall(r"^(\S+) +(?:\w+ )*(\w+)\* ", text, re.M)
    assert {(p, m) for m, p in marks} == {
        (p.name, catalog.short_name(catalog.resolve(p.name))) for p in catalog.purposes()
    }
    for purpose in catalog.purposes():
        assert purpose.about in " ".join(text.split())
    of_family = run("--family", "attention").stdout
    assert catalog.purposes()[0].about not in of_family
    assert "*" not in of_family
    assert "which has x4" in run("--for", "drawing", "-x2").stdout


def test_show(run):
    for name in ("bcrn.authors", "rlfn", "bicubic"):
        text = run("show", name).stdout
        model = catalog.resolve(name, None)
        for word in (model.name, model.arch.paper, model.arch.reference, model.licence):
            assert word in text
        for variant in model.variants:
            assert f"{variant.parameters:,}" in text
            assert variant.weights.sha256 in text
    text = " ".join(run("show", "drawing").stdout.split())
    chosen = catalog.resolve("drawing")
    alone = f"{chosen.name}, or {catalog.short_name(chosen)} alone"
    for word in (alone, chosen.advice, "damaged photo"):
        assert word in text
    assert "`srcli train drrn_b1u9-x3` trains it" in run("show", "drrn_b1u9").stdout
    assert json.loads(run("show", "bcrn.authors", "--json").stdout)["name"] == "bcrn.authors"
    with pytest.raises(UsageError, match="no model 'brcn'") as caught:
        run("show", "brcn")
    assert "bcrn" in caught.value.hint


def test_path(run, tmp_path):
    assert run("path").stdout == f"{tmp_path / 'cache' / 'weights'}\n"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """bcrn.authors replaced by a file small enough to be made here, in a folder mirror."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer)
    data = buffer.getvalue()
    real = catalog.get("bcrn.authors")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    variants = []
    for v in real.variants:
        weights = replace(v.weights, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        variants.append(replace(v, weights=weights))
        (mirror / weights.file).write_bytes(data)
    model = replace(real, variants=tuple(variants))
    default = catalog.default_catalogue()
    models = {model.name: model, "bicubic": catalog.get("bicubic")}
    changed = replace(default, models=models, purposes={}, aliases={})
    monkeypatch.setattr("srcli.catalog.default_catalogue", lambda: changed)
    monkeypatch.setattr("srcli.catalog.names.default_catalogue", lambda: changed)
    monkeypatch.setattr("srcli.weights.cache.default_catalogue", lambda: changed)
    monkeypatch.setattr("srcli.weights.cache.features", dict)
    return model, mirror


def test_download_and_verify(run, tiny, monkeypatch):
    _, mirror = tiny
    monkeypatch.setenv("SRCLI_MIRROR", str(mirror))
    result = run("verify")
    assert result.stdout == ""
    assert "No weights" in result.stderr
    result = run("download", "bcrn", "bcrn.authors")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["bcrn.authors", "x2"],
        ["bcrn.authors", "x4"],
    ]
    path = result.stdout.splitlines()[1].split("  ")[1]
    assert "at hand" in run("show", "bcrn").stdout
    assert path in run("show", "bcrn").stdout
    result = run("verify")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ok", "ok"]
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(WeightsError, match=r"1 of 2 files are damaged") as caught:
        run("verify")
    assert caught.value.exit_code == 1
    assert "srcli models download bcrn.authors" in caught.value.hint
    run("download", "bcrn.authors", "-q")
    assert run("verify").exit_code == 0


def test_what_forbids_commercial_use_says_so(run, tiny, monkeypatch, tmp_path):
    """In the list, and before a download."""
    model, _ = tiny
    free = replace(model, licence="CC-BY-NC-SA-4.0")
    default = catalog.names.default_catalogue()
    changed = replace(default, models={**default.models, free.name: free})
    monkeypatch.setattr("srcli.catalog.default_catalogue", lambda: changed)
    monkeypatch.setattr("srcli.catalog.names.default_catalogue", lambda: changed)
    assert "CC-BY-NC-SA-4.0 (non-commercial)" in run().stdout
    assert "CC-BY-NC-SA-4.0 (non-commercial)" in run("show", "bcrn").stdout
    (row,) = (r for r in json.loads(run("--json").stdout) if r["name"] == free.name)
    assert (row["licence"], row["non_commercial"]) == ("CC-BY-NC-SA-4.0", True)
    said = []

    def fetch(url, *_, **__):
        raise WeightsError(f"{url} is not to be had")

    monkeypatch.setattr(sys.modules["srcli.weights.locate"], "download", fetch)
    monkeypatch.setattr("srcli.cli.screen.say", said.append)
    monkeypatch.delenv("SRCLI_OFFLINE")
    with pytest.raises(WeightsError):
        run("download", "bcrn", "-x", "4")
    assert said[0].endswith("licence: CC-BY-NC-SA-4.0 (non-commercial).")


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "none stated", "CC0-1.0", "BSD-3-Clause"])
def test_what_does_not_forbid_it_does_not(licence):
    model = replace(catalog.get("bcrn.authors"), licence=licence)
    assert not model.non_commercial
    assert model.terms == licence


def test_download_only_what_a_scale_needs(run, tiny, monkeypatch):
    _, mirror = tiny
    monkeypatch.setenv("SRCLI_MIRROR", str(mirror))
    assert "x4" in run("download", "bcrn", "-x4").stdout
    assert "x2" not in run("download", "bcrn", "--scale", "3").stdout
    assert len(run("download", "bcrn", "--scale", "8").stdout.splitlines()) == 2


def test_download_goes_on_after_a_failure(run, tiny, monkeypatch, tmp_path):
    model, mirror = tiny
    monkeypatch.setenv("SRCLI_MIRROR", str(mirror))
    (mirror / model.variants[0].weights.file).unlink()
    with pytest.raises(WeightsError, match="SRCLI_OFFLINE"):
        run("download", "bcrn")
    from srcli.weights import WeightsOptions

    options = WeightsOptions(tmp_path / "cache")
    assert cached_path(model.variants[1].weights, options).is_file()


def test_names_are_checked_before_anything_is_fetched(run, tiny):
    with pytest.raises(UsageError, match="nonsense"):
        run("download", "bcrn", "nonsense")
    with pytest.raises(UsageError, match="resampler"):
        run("download", "bicubic")
    with pytest.raises(UsageError, match="too large"):
        run("download", "bcrn", "-x", "1000")


@pytest.mark.parametrize("arguments", [[], ["list", "--json"], ["show", "bcrn"], ["path"]])
def test_looking_imports_nothing_heavy(arguments):
    code = (
        "import sys; from srcli.cli.models import app\n"
        f"app({arguments}, standalone_mode=False)\n"
        "print({'torch', 'numpy', 'PIL', 'requests'} & set(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "set()"
    assert "bcrn" in run.stdout or arguments == ["path"]
