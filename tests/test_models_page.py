"""docs/models.md and its plot say what the catalogue says."""

import json
import runpy
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
REMEDY = "run `python docs/make_models.py`"


@pytest.fixture(scope="module")
def make():
    return runpy.run_path(str(DOCS / "make_models.py"))


@pytest.mark.slow
def test_the_page_is_up_to_date(make):
    assert make["page"]() == (DOCS / "models.md").read_text(encoding="utf-8"), REMEDY


def test_the_plot_is_up_to_date(make):
    """By the figures that it holds: pixels of letters change with Pillow."""
    with Image.open(DOCS / "models.png") as image:
        drawn = json.loads(image.text["data"])
        assert drawn == [list(point) for point in make["points"]()], REMEDY
        assert len(drawn) > 15
        assert image.size == make["SIZE"]
