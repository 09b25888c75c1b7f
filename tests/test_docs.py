"""Every srcli command in the documentation runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from srcli import catalog

ROOT = Path(__file__).parents[1]
LONG = {
    "adding-a-model.md",
    "bench.md",
    "compare.md",
    "export.md",
    "faq.md",
    "films.md",
    "install.md",
    "models.md",
    "performance.md",
    "photographs.md",
    "pipelines.md",
    "research.md",
    "training.md",
}  # a minute or more each
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md"))


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, backslash continuations joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the documentation's examples work on."""
    rng = np.random.default_rng(0)

    def picture(path: Path, size: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(path)

    picture(tmp_path / "photo.png", (120, 90))
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=40)
    for k in range(3):
        picture(tmp_path / "photos" / f"{k}.png", (60, 40))
        picture(tmp_path / "photos" / "more" / f"{k}.jpg", (40, 60))
        picture(tmp_path / "benchmark" / "HR" / f"{k}.png", (96, 72))
        picture(tmp_path / "training" / f"{k}.png", (400, 320))
    pictures = "testsrc2=s=96x64:d=1"
    made = ["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", "sine=d=1", "-pix_fmt", "yuv420p"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *made, tmp_path / "film.mp4"], check=True
    )
    return tmp_path


def files(page: Path) -> dict[str, str]:
    """What a page writes into the package: its blocks that begin with the name of a file there."""
    blocks = re.findall(r"^```\w+\n# (srcli/\S+)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return dict(blocks)


def extended(page: Path, folder: Path) -> None:
    """A copy of the project in which the page's files are; what is there already grows."""
    for name in ("srcli", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, text in files(page).items():
        with (folder / name).open("a") as file:
            file.write(f"\n{text}" if file.tell() else text)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.name, marks=[pytest.mark.long] if p.name in LONG else []) for p in PAGES],
)
def test_commands_of_a_page_run(
    page: Path, folder: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if files(page):
        extended(page, folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("SRCLI_SHARED", str(shared))
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv("SRCLI_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for line in commands(page):
        done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_pages_have_commands() -> None:
    """The test above would pass on pages without any."""
    assert len(commands(ROOT / "docs" / "photographs.md")) > 10


def test_scores_in_the_readme_are_those_of_srcli_models() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (`.*?`) \|.*?\|.*?\| *([\d.]*) \| *([\d.]*) \| *([\d.]*) \|", text, re.M
    )
    assert len(rows) > 15
    for names, *scores in rows:
        model = catalog.resolve(re.findall("`(.+?)`", names)[0])
        for scale, score in zip((2, 3, 4), scores, strict=True):
            if score and not model.is_resampler:  # whose scores the catalogue does not hold
                assert score == f"{model.variant(scale).psnr_set5:.2f}", (model.name, scale)


def test_readme_has_its_two_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    assert "srcli upscale docs/sample.png -x4" in blocks[0]
    assert ".venv/bin/pytest" in blocks[1]
