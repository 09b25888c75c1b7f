"""The table of formats, and what it promises about the libraries under it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from srcli.errors import ResourceError, UsageError
from srcli.media.formats import FORMATS, check_output, format_of, is_picture


def test_by_extension() -> None:
    assert format_of(Path("a/b.JPeG")).name == "jpeg" and format_of(Path("b.tif")).name == "tiff"
    assert is_picture(Path("x.PNG")) and not is_picture(Path("x.txt"))
    with pytest.raises(UsageError, match=r"\.xyz") as caught:
        format_of(Path("a.xyz"))
    assert caught.value.hint and ".png" in caught.value.hint
    with pytest.raises(UsageError, match="without an extension"):
        format_of(Path("png"))


def test_the_import_is_light() -> None:
    code = "import sys, srcli.media.formats; print({'PIL', 'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "side"), [("webp", 16_383), ("jpeg", 65_500), ("avif", 32_768), ("bmp", 200_000)]
)
def test_the_longest_side(name: str, side: int) -> None:
    check_output(name, side, 8, False)  # type: ignore[arg-type]
    out = io.BytesIO()
    Image.new("RGB", (side, 8)).save(out, name.upper())
    with Image.open(out) as image:
        image.load()
    if name != "bmp":
        for width, height in ((side + 1, 8), (8, side + 1)):
            with pytest.raises(ResourceError, match="at most") as caught:
                check_output(name, width, height, False)  # type: ignore[arg-type]
            assert caught.value.hint and "png" in caught.value.hint


def test_what_formats_cannot_hold() -> None:
    with pytest.raises(UsageError, match="JPEG cannot hold transparency") as caught:
        check_output("jpeg", 10, 10, True)
    assert caught.value.hint and ".webp" in caught.value.hint
    with pytest.raises(UsageError, match="transparency") as caught:
        check_output("bmp", 20_000, 10, True)
    assert caught.value.hint and ".webp" not in caught.value.hint
    with pytest.raises(UsageError, match="16 bits"):
        check_output("webp", 10, 10, False, 16)
    with pytest.raises(ResourceError, match="megapixels"):
        check_output("bmp", 40_000, 40_000, False)
    for entry in FORMATS.values():
        if entry.writable:
            check_output(entry, 10, 10, entry.alpha, 16 if entry.deep else 8)
