"""The manual as a site: built without a warning, its references made from the program."""

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def commands():
    return runpy.run_path(str(ROOT / "docs" / "commands_page.py"))["commands"]()


def test_every_command_is_in_the_reference(commands):
    from srcli.cli import COMMANDS

    for name in COMMANDS:
        assert f"`srcli {name}" in commands
    assert "`srcli models download`" in commands


def test_an_option_stands_with_its_help(commands):
    (row,) = re.findall(r"^\| `[^`]*--skip-existing[^`]*` \| (.+) \|$", commands, re.M)
    assert len(row) > 10


def test_multiply_adds_are_those_that_the_program_counts():
    """What the page of networks shows is kept in a file, as counting all takes half a minute."""
    from srcli.engine.pytorch.cost import per_pixel

    page = runpy.run_path(str(ROOT / "docs" / "models_page.py"))
    kept, networks = page["multiply_adds"](), page["counted"]()
    again = "`python docs/models_page.py` counts anew"
    assert kept.keys() == networks.keys(), again
    # attention, one that is merged to run, the picture enlarged before, another scale than x4
    for key in ("bcrn.srcli x4", "ecbsr_m8c24.srcli x4", "vdsr.untrained x4", "rt4ksr.authors x3"):
        model, variant = networks[key]
        assert kept[key] == per_pixel(model, variant.scale), again
    assert "| 664.7 K |" in page["families"]()  # VDSR's, known by hand: tests/cli/test_models.py


def test_links_of_the_readme_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text("utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{page}: {target}"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_is_built_without_a_warning(tmp_path, monkeypatch):
    """Links and anchors that lead nowhere are warnings, and warnings are errors (mkdocs.yml)."""
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", site],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {p.relative_to(site).as_posix(): p.read_text("utf-8") for p in site.rglob("*.html")}
    assert "bcrn.photo" in pages["models.html"]
    assert "--skip-existing" in pages["reference/commands.html"]
    assert "on_progress" in pages["reference/python.html"]
    loaded = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?://""")
    for name, text in pages.items():
        assert not loaded.search(text), f"{name} loads something from elsewhere"
