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
