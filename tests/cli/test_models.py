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
from srcli.catalog import Catalogue
from srcli.cli.models import app
from srcli.errors import UsageError, WeightsError
from srcli.weights import cached_path


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SRCLI_OFFLINE", "1")
    monkeypatch.delenv("SRCLI_MIRROR", raising=False)

    def run(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def names(result):
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


def test_list_is_the_default_and_plain_when_piped(run):
    for arguments in ((), ("list",)):
        result = run(*arguments)
        assert result.exit_code == 0
        assert names(result) == [m.name for m in catalog.models()]
        assert result.stdout.isascii()
        assert not set("│┃━─\x1b") & set(result.stdout)
        [line] = [x for x in result.stdout.splitlines() if x.startswith("bcrn.authors ")]
        for word in ("attention", "x2 x4", "289K", "download", "1.2 MB", "none stated", "32.23 x4"):
            assert word in line


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json")])
def test_json(run, arguments):
    rows = {row["name"]: row for row in json.loads(run(*arguments).stdout)}
    assert list(rows) == [m.name for m in catalog.models()]
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
    rows = json.loads(run("--sort", "params", "--json").stdout)
    counts = [r["parameters"] for r in rows]
    assert counts == sorted(counts)
    for family in ("convolution", "residual", "distillation", "attention"):
        found = names(run("--family", family, "-x", "4"))
        wanted = [m for m in catalog.models() if m.arch.family == family and 4 in m.scales]
        assert found == [m.name for m in wanted]
        assert found
    assert names(run("--sort", "name")) == sorted(m.name for m in catalog.models())
    with pytest.raises(UsageError, match="magic") as caught:
        run("--family", "magic")
    assert "attention" in caught.value.hint
    with pytest.raises(UsageError, match="after show"):
        run("--json", "show", "bcrn")


def test_order_by_work(run):
    """Multiply-adds per output pixel, as the network itself tells; known by hand for some."""
    rows = json.loads(run("--scale", "4", "--sort", "speed", "--json").stdout)
    costs = {r["name"]: r.get("multiply_adds_per_px", 0) for r in rows}
    assert list(costs.values()) == sorted(costs.values())
    assert costs["bicubic"] == 0
    assert costs["vdsr.untrained"] == 664_704  # every weight at every output pixel
    fsrcnn = 25 * 56 + 2 * 12 * 56 + 4 * 9 * 12 * 12 + 81 * 56  # every weight at every LR pixel
    assert costs["fsrcnn.yjn870"] == fsrcnn / 16
    assert costs["drrn_b1u9.untrained"] == 2 * 9 * 128 + 18 * 9 * 128 * 128  # U = 9 times the unit
    table = run("--family", "residual", "--sort", "speed").stdout.splitlines()
    assert table[0].endswith("MACs/px")
    [line] = [x for x in table if x.startswith("vdsr.untrained")]
    assert line.endswith("664.7K")
    assert "trainable" in line


@pytest.mark.parametrize("columns", [80, 120])
def test_a_narrow_terminal_shows_every_row(run, monkeypatch, columns):
    """rich's layout, without a terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")

    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    from srcli.cli.models import list_models

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    list_models()
    text = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    assert max(map(len, text.splitlines())) <= columns
    for word in ("lesrcnn.authors", "x2 x3 x4", "download", "Apache-2.0", "32.23 x4", "3.1"):
        assert word in text
    if columns == 120:
        for word in ("span_ch28.amazingren", "CC-BY-NC-SA-4.0 (non-commercial)"):
            assert word in text


def test_show(run):
    for name in ("bcrn.authors", "rlfn", "bicubic"):
        text = run("show", name).stdout
        model = catalog.resolve(name, None)
        for word in (model.name, model.arch.paper, model.arch.reference, model.licence):
            assert word in text
        for variant in model.variants:
            assert f"{variant.parameters:,}" in text
            assert variant.weights.sha256 in text
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
    changed = Catalogue(
        default.architectures, {model.name: model, "bicubic": catalog.get("bicubic")}
    )
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
    changed = Catalogue(default.architectures, {**default.models, free.name: free})
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
