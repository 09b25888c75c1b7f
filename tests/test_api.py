"""The Python API: what it gives back, what it refuses, what it imports."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import srcli
from srcli.media.image import read
from srcli.quality.resize import resize

KINDS = [(), (1,), (2,), (3,), (4,)]


def fresh(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True
    )
    return done.stdout.split()


def test_importing_is_light(tmp_path):
    modules = set(fresh("import sys, srcli; srcli.SrcliError; print(*sys.modules)", tmp_path))
    assert not {"torch", "numpy", "PIL", "typer", "srcli.api"} & modules
    code = "import sys, srcli; srcli.upscale, srcli.load_model; print(*sys.modules)"
    assert not {"torch", "numpy", "PIL", "typer"} & set(fresh(code, tmp_path))


def test_refusing_a_name_imports_no_torch(tmp_path):
    code = (
        "import sys, srcli\n"
        "try: srcli.load_model('no-such')\n"
        "except srcli.UsageError: print(*sys.modules)"
    )
    modules = set(fresh(code, tmp_path))
    assert "srcli" in modules
    assert "torch" not in modules


def test_names():
    assert {"upscale", "load_model", "models", "LoadedModel", "SrcliError"} <= set(dir(srcli))
    assert all(hasattr(srcli, name) for name in srcli.__all__)
    with pytest.raises(AttributeError, match="no_such"):
        srcli.no_such  # noqa: B018


@pytest.mark.parametrize("shape", KINDS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32", "float64", "float16"])
def test_arrays_keep_dtype_and_channels(picture, shape, dtype):
    samples = np.asarray(picture(9, 7, shape[0] if shape else 1))
    samples = samples if shape else samples[:, :, 0]
    white = {"u": {1: 255, 2: 65_535}, "f": {2: 1, 4: 1, 8: 1}}
    kind = np.dtype(dtype)
    array = (samples / 255 * white[kind.kind][kind.itemsize]).astype(kind)
    large = srcli.upscale(array, 2.5, "bicubic")
    assert large.dtype == kind
    assert large.shape == (22, 18, *shape)
    colours = 1 if shape in ((), (1,), (2,)) else 3
    expected = resize(array.astype(np.float64).reshape(9, 7, -1)[:, :, :colours], (22, 18))
    full = white[kind.kind][kind.itemsize]
    got = large.astype(np.float64).reshape(22, 18, -1)[:, :, :colours]
    if shape and shape[0] in (2, 4):
        got = got[4:-4, 4:-4]
        expected = expected[4:-4, 4:-4]
        if (array[..., -1] == 0).any():
            return  # what lies under alpha is filled
    tolerance = {1: 0.51, 2: 0.51}[kind.itemsize] if kind.kind == "u" else 2e-3
    assert np.abs(got - expected.clip(0, full)).max() <= tolerance


def test_a_view_and_a_read_only_array(picture):
    whole = picture(20, 24)
    view = whole[::2, ::-2]
    assert np.array_equal(
        srcli.upscale(view, 2, "bicubic"), srcli.upscale(view.copy(), 2, "bicubic")
    )


def test_hidden_colours_do_not_bleed_in():
    icon = np.zeros((16, 16, 4), np.uint8)
    icon[4:12, 4:12] = (200, 100, 50, 255)
    for array in (icon, icon.astype(np.float32) / 255):
        large = srcli.upscale(array, 4, "bicubic")
        seen = large[large[:, :, 3] > 0][:, :3]
        expected = np.array([200, 100, 50]) if array.dtype == np.uint8 else icon[5, 5, :3] / 255
        assert np.abs(seen - expected).max() <= (1 if array.dtype == np.uint8 else 1 / 255)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((4, 4, 3), np.int64), "int64 has no known range"),
        (np.zeros((4, 4, 3), bool), "bool has no known range"),
        (np.full((4, 4, 3), 200.0), r"lie in 200\.\.200"),
        (np.full((4, 4, 3), np.nan), "not finite"),
        (np.zeros((4, 4, 5), np.uint8), "is not a picture"),
        (np.zeros((4,), np.uint8), "is not a picture"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        ([[1, 2], [3, 4]], "list is not"),
        ("none.png", r"none\.png does not exist"),
    ],
)
def test_what_is_no_picture(array, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(srcli.UsageError, match=text):
        srcli.upscale(array, 2, "bicubic")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale": 0}, "scale"),
        ({"scale": 1000}, "scale"),
        ({"model": "no-such"}, "no-such"),
        ({"weights": "none.pth"}, r"none\.pth does not exist"),
        ({"precision": "fp64"}, "fp64"),
        ({"tile": 3}, "tile 3"),
        ({"memory_bytes": 0}, "memory_bytes 0"),
        ({"device": "abacus", "model": "bcrn.authors"}, "abacus"),
        ({"max_pixels": 10}, "over the limit"),
    ],
)
def test_options_that_cannot_be_meant(options, text, picture, alone):
    with pytest.raises(srcli.SrcliError, match=text):
        srcli.upscale(picture(8, 8), **{"scale": 2, "model": "bicubic"} | options)


@pytest.fixture
def photo(tmp_path, picture):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[0x0112] = 6  # turned
    Image.fromarray(picture(12, 20)).save(path, exif=exif, dpi=(123, 123))
    return path


def test_file_to_array(photo, tmp_path):
    large = srcli.upscale(photo, 2, "bicubic")
    assert large.shape == (40, 24, 3)  # upright
    assert large.dtype == np.uint8
    pixels = read(photo).pixels
    assert np.array_equal(large, srcli.upscale(pixels, 2, "bicubic"))
    Image.open(photo).convert("L").save(tmp_path / "grey.png")
    assert srcli.upscale(str(tmp_path / "grey.png"), 2, "bicubic").shape == (24, 40)
    deep = np.arange(12 * 20, dtype=np.uint16).reshape(12, 20) * 256
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert srcli.upscale(tmp_path / "deep.png", 1, "bicubic").dtype == np.uint16


def test_file_to_file(photo, tmp_path):
    shares = []
    out = srcli.upscale(
        photo, 2, "bicubic", output=tmp_path / "large.jpg", on_progress=shares.append
    )
    assert out == tmp_path / "large.jpg"
    with Image.open(out) as large:
        assert large.size == (24, 40)
        assert large.getexif()[0x010F] == "a maker"
        assert large.getexif().get(0x0112, 1) == 1
    assert shares[-1] == pytest.approx(1)
    with pytest.raises(srcli.UsageError, match=r"large\.jpg exists") as refused:
        srcli.upscale(photo, 2, "bicubic", output=out)
    assert "overwrite=True" in refused.value.hint
    srcli.upscale(photo, 2, "bicubic", output=out, overwrite=True)
    (tmp_path / "sub").mkdir()
    inside = srcli.upscale(photo, 3, "bicubic", output=tmp_path / "sub")
    assert inside == tmp_path / "sub" / "photo_x3.jpg"
    with pytest.raises(srcli.UsageError, match="extension"):
        srcli.upscale(photo, 3, "bicubic", output="-")  # no stream: a file named "-"
    with pytest.raises(srcli.UsageError, match="also an input"):
        srcli.upscale(photo, 2, "bicubic", output=photo, overwrite=True)


def test_a_damaged_file(tmp_path, photo):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(photo.read_bytes()[:-300])
    for output in (None, tmp_path / "out.png"):
        with pytest.raises(srcli.SrcliError, match="bad"):
            srcli.upscale(bad, 2, "bicubic", output=output)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("dtype", "name", "bits"),
    [
        ("uint8", "a.png", 8),
        ("uint16", "a.png", 16),
        ("uint16", "a.webp", 8),
        ("float32", "a.tif", 16),
        ("float64", "a.jpg", 8),
    ],
)
def test_array_to_file(tmp_path, picture, dtype, name, bits):
    white = {"uint8": 255, "uint16": 65_535}.get(dtype, 1)
    array = (picture(8, 8) / 255 * white).astype(dtype)
    path = srcli.upscale(array, 2, "bicubic", output=tmp_path / name)
    written = read(path, depth=16)
    assert (written.bits, written.pixels.shape) == (bits, (16, 16, 3))
    with pytest.raises(srcli.UsageError, match="exists"):
        srcli.upscale(array, 2, "bicubic", output=path)


def test_array_to_a_file_that_cannot_hold_it(tmp_path):
    clear = np.zeros((8, 8, 4), np.uint8)
    with pytest.raises(srcli.UsageError, match="transparency"):
        srcli.upscale(clear, 2, "bicubic", output=tmp_path / "a.jpg")
    opaque = clear.copy()
    opaque[:, :, 3] = np.iinfo(opaque.dtype).max
    out = srcli.upscale(opaque, 2, "bicubic", output=tmp_path / "a.jpg")
    assert read(out).alpha is None
    out.unlink()
    with pytest.raises(srcli.UsageError, match="the folder"):
        srcli.upscale(clear, 2, "bicubic", output=tmp_path / "no" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_own_weights_loaded_once_and_called_often(tmp_path, lively, picture):
    """A network of random weights, saved as a user's file: whole, by tiles, and file to file."""
    from srcli import catalog
    from srcli.weights import save_file

    model = catalog.resolve("rlfn_s", 4)
    network = lively(model, 4)
    path = tmp_path / "mine.safetensors"
    save_file(
        path,
        network.module.state_dict(),
        arch=model.arch.name,
        scale=4,
        config=dict(model.variant(4).config),
        provenance={"data": "none"},
    )
    loaded = srcli.load_model(scale=4, weights=path, device="cpu")
    assert isinstance(loaded, srcli.LoadedModel)
    assert (loaded.scale, loaded.passes) == (4, (4,))
    assert loaded.name.startswith("rlfn_s")
    pixels = picture(20, 24)
    first, second = loaded(pixels), loaded(pixels)
    assert first.shape == (80, 96, 3)
    assert np.array_equal(first, second)
    tiled = srcli.upscale(pixels, 4, weights=path, tile=16, device="cpu")
    assert np.abs(first.astype(int) - tiled).max() <= 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    out = loaded.to_file(tmp_path / "a.png", tmp_path / "b.png")
    assert np.array_equal(read(out).pixels, first)
    assert np.array_equal(loaded(tmp_path / "a.png"), first)


def test_weights_that_are_not_at_hand(alone, picture):
    with pytest.raises(srcli.WeightsError, match="SRCLI_OFFLINE"):
        srcli.upscale(picture(8, 8), 4, "bcrn.authors")


@pytest.mark.shared
def test_as_the_command_line(tmp_path, shared, monkeypatch, picture):
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    Image.fromarray(picture(24, 32, 4)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "srcli", "upscale", "a.png", "-m", "rlfn_s", "-o", "b.png"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    large = srcli.upscale(tmp_path / "a.png", model="rlfn_s")
    assert large.shape == (96, 128, 4)
    assert np.array_equal(large, np.asarray(Image.open(tmp_path / "b.png")))


def test_the_package_says_that_it_is_typed():
    assert (Path(srcli.__file__).parent / "py.typed").is_file()


@pytest.mark.long
def test_types(tmp_path):
    """What a user's type checker makes of it."""
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(
        "from pathlib import Path\n"
        "import numpy as np\nfrom numpy.typing import NDArray\nimport srcli\n"
        "pixels = np.zeros((4, 4, 3), np.uint8)\n"
        "a: NDArray[np.uint8] = srcli.upscale(pixels, scale=4, model='bcrn')\n"
        "b: Path = srcli.upscale('a.png', output='b.png')\n"
        "m: srcli.LoadedModel = srcli.load_model('bcrn', 2)\n"
        "c: NDArray[np.uint8] = m(pixels)\n"
        "d: Path = m.to_file(pixels, Path('c.png'))\n"
        "srcli.no_such\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "use.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"MYPYPATH": str(Path(srcli.__file__).parents[1]), "PATH": ""},
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("use.py")]
    assert len(errors) == 1, done.stdout + done.stderr
    assert "no_such" in errors[0]


def test_transparency_as_wished(picture):
    rgba = np.dstack([picture(20, 24), np.where(picture(20, 24, 1, 2) > 128, 255, 0)]).astype("u1")
    rgba.flags.writeable = False
    large = {how: srcli.upscale(rgba, 2, "bicubic", alpha=how) for how in ("network", "lanczos")}
    assert all(a.shape == (40, 48, 4) for a in large.values())
    assert not np.array_equal(large["network"][..., 3], large["lanczos"][..., 3])
    alone = srcli.upscale(rgba, 2, "bicubic", alpha="discard")
    assert np.array_equal(alone, srcli.upscale(rgba[..., :3].copy(), 2, "bicubic"))
    grey = rgba[..., [0, 3]]
    assert srcli.upscale(grey, 2, "bicubic", alpha="discard").shape == (40, 48)


def test_a_file_without_its_transparency(tmp_path, picture):
    rgba = np.dstack([picture(8, 9), picture(8, 9, 1, 1)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with pytest.raises(srcli.SrcliError, match="transparency"):
        srcli.upscale(tmp_path / "a.png", 2, "bicubic", output=tmp_path / "b.jpg")
    for source in (tmp_path / "a.png", rgba):
        out = srcli.upscale(
            source, 2, "bicubic", output=tmp_path / "b.jpg", alpha="discard", overwrite=True
        )
        assert read(out).alpha is None


def test_an_animation_to_a_file(tmp_path):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=70)
    shares = []
    out = srcli.upscale(
        tmp_path / "a.gif", 2, "bicubic", output=tmp_path / "b.webp", on_progress=shares.append
    )
    with Image.open(out) as image:
        assert (image.n_frames, image.size) == (3, (12, 10))
    assert shares == sorted(shares) and shares[-1] == 1
    assert srcli.upscale(tmp_path / "a.gif", 2, "bicubic").shape == (10, 12, 3)


@pytest.mark.parametrize(
    "wrong", [{"alpha": "no"}, {"ensemble": 4}, {"border": "zero"}], ids=lambda w: next(iter(w))
)
def test_wishes_that_cannot_be_meant(wrong, picture):
    with pytest.raises(srcli.UsageError, match=next(iter(wrong))):
        srcli.upscale(picture(4, 4), 2, "bicubic", **wrong)


@pytest.mark.shared
def test_ensemble_border_and_colours_reach_the_engine(shared, monkeypatch, tmp_path, picture):
    monkeypatch.setenv("SRCLI_MIRROR", str(shared / "weights"))
    monkeypatch.setenv("SRCLI_CACHE_DIR", str(tmp_path / "cache"))
    pixels = picture(20, 22)
    plain, eight, mirrored = (
        srcli.upscale(pixels, 2, "lesrcnn.authors", **wish)
        for wish in ({}, {"ensemble": 8}, {"border": "reflect"})
    )
    assert not np.array_equal(plain, eight) and not np.array_equal(plain, mirrored)
    assert np.abs(plain[12:-12, 12:-12].astype(int) - mirrored[12:-12, 12:-12]).max() <= 4


# Pillow images, bytes, sizes


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "La"]
)
def test_a_pillow_image_to_a_pillow_image(mode, picture):
    base = Image.fromarray(picture(10, 14))
    if mode == "I;16":
        image = Image.fromarray(picture(10, 14, 1)[:, :, 0].astype(np.uint16) * 257)
    elif mode == "La":
        image = base.convert("LA").convert("La")
    else:
        image = base.convert(mode)
    before = image.tobytes()
    large = srcli.upscale(image, 2, "bicubic")
    assert isinstance(large, Image.Image)
    assert large.size == (28, 20)
    kept = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16"}
    assert large.mode == kept.get(mode, large.mode)
    assert image.tobytes() == before
    if mode in ("L", "RGB", "I;16"):
        assert np.array_equal(np.asarray(large), srcli.upscale(np.asarray(image), 2, "bicubic"))


def test_a_pillow_image_to_a_file_keeps_what_it_brings(photo, tmp_path):
    with Image.open(photo) as image:
        srcli.upscale(image, 2, "bicubic", output=tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as large:
        assert large.size == (24, 40)  # upright
        assert large.getexif()[0x010F] == "a maker"


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_pillow_image_without_a_known_range(mode):
    with pytest.raises(srcli.UsageError, match=f"mode {mode} has no known range") as caught:
        srcli.upscale(Image.new(mode, (8, 8)), 2, "bicubic")
    assert "give an array" in caught.value.hint


def test_a_pillow_image_of_a_palette_with_transparency():
    image = Image.new("PA", (8, 6))
    assert srcli.upscale(image, 2, "bicubic").size == (16, 12)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_a_file(photo, tmp_path, kind):
    data = kind(photo.read_bytes())
    wanted = srcli.upscale(photo, 2, "bicubic")
    assert np.array_equal(srcli.upscale(data, 2, "bicubic"), wanted)
    path = srcli.upscale(data, 2, "bicubic", output=tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(path)), wanted)
    assert Image.open(path).getexif()[0x010F] == "a maker"
    with pytest.raises(srcli.UsageError, match="exists"):
        srcli.upscale(data, 2, "bicubic", output=path)


def test_bytes_of_an_animation_keep_their_frames(tmp_path, picture):
    frames = [Image.fromarray(picture(8, 9, seed=k)) for k in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=40)
    data = (tmp_path / "a.png").read_bytes()
    path = srcli.upscale(data, 2, "bicubic", output=tmp_path / "b.png")
    assert Image.open(path).n_frames == 3


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_bytes_that_are_no_picture(data, tmp_path):
    for output in (None, tmp_path / "a.png"):
        with pytest.raises(srcli.SrcliError, match=r"the (picture|bytes) given"):
            srcli.upscale(data, 2, "bicubic", output=output)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        ({"width": 28}, (24, 28)),
        ({"height": 24}, (24, 28)),
        ({"width": 28, "height": 100}, (24, 28)),
        ({"width": 100, "height": 30}, (30, 35)),
        ({"width": 7}, (6, 7)),
    ],
)
def test_width_and_height(wish, size, tmp_path, picture):
    pixels = picture(12, 14)
    assert srcli.upscale(pixels, model="bicubic", **wish).shape[:2] == size
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes()):
        assert srcli.upscale(source, model="bicubic", **wish).shape[:2] == size
        path = srcli.upscale(
            source, model="bicubic", output=tmp_path / "b.png", overwrite=True, **wish
        )
        assert Image.open(path).size == size[::-1]
    image = Image.fromarray(pixels)
    assert srcli.upscale(image, model="bicubic", **wish).size == size[::-1]
    with pytest.raises(srcli.UsageError, match="not both"):
        srcli.upscale(pixels, 2, "bicubic", **wish)


def test_a_turned_files_width_is_the_one_that_is_seen(photo):
    assert srcli.upscale(photo, model="bicubic", width=24).shape[:2] == (40, 24)


def test_no_scale_is_the_models_own(alone):
    assert srcli.load_model("bicubic").scale == 4
    assert srcli.upscale(np.zeros((4, 4, 3), np.uint8), model="bicubic").shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"scale": 10**400}, "limit is x64"),
        ({"output": "a\0.png"}, "name that no file can have"),
        ({"source": ""}, "is empty"),
        ({"source": "http://127.0.0.1:1/x.png"}, "is a URL"),
        ({"weights": "/tmp", "model": None}, "/tmp is a folder"),
    ],
)
def test_what_cannot_be_is_told(wish, said, alone):
    wishes = {"source": np.zeros((4, 4, 3), np.uint8), "scale": 2, "model": "bicubic", **wish}
    with pytest.raises(srcli.SrcliError, match=said):
        srcli.upscale(wishes.pop("source"), **wishes)


# errors in the API's words


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": "4"},
        {"scale": True},
        {"model": 3},
        {"model": ["bcrn"]},
        {"output": 3},
        {"output": b"a.png"},
        {"output": ""},
        {"weights": 3},
        {"device": None},
        {"device": 0},
        {"precision": 16},
        {"precision": ["fp32"]},
        {"backend": "tensorflow"},
        {"tile": "auto"},
        {"tile": 64.5},
        {"memory_bytes": "2G"},
        {"ensemble": "8"},
        {"ensemble": [8]},
        {"border": 1},
        {"color_fix": "yes"},
        {"alpha": None},
        {"overwrite": "yes"},
        {"quality": "high"},
        {"quality": 101},
        {"max_pixels": None},
        {"max_pixels": -1},
        {"on_progress": 3},
        {"width": 10.5, "scale": None},
        {"height": 0, "scale": None},
    ],
    ids=str,
)
def test_wrong_types_are_said(wrong, picture, tmp_path, alone):
    with pytest.raises(srcli.SrcliError) as caught:
        srcli.upscale(picture(8, 8), **{"scale": 2, "model": "bicubic"} | wrong)
    name, value = next(iter(wrong.items()))
    assert caught.value.message.startswith(f"{name} is {value!r}, and must be ")


def test_choices_are_said_as_they_are_written(picture):
    with pytest.raises(srcli.UsageError, match="model is 5") as caught:
        srcli.upscale(picture(8, 8), 2, model=5)
    with pytest.raises(srcli.UsageError, match="name is 5"):
        srcli.load_model(5)
    with pytest.raises(srcli.UsageError) as caught:
        srcli.load_model("bicubic", precision="fp8", border="network")
    assert caught.value.message.endswith("must be 'auto', 'fp32', 'bf16', 'fp16' or 'int8'")
    with pytest.raises(srcli.UsageError) as caught:
        srcli.load_model("bicubic", border="zero")
    assert caught.value.message == "border is 'zero', and must be None, 'network' or 'reflect'"
    with pytest.raises(srcli.UsageError, match='device="x"') as caught:
        srcli.load_model("bicubic", device="x")
    assert caught.value.hint.startswith('"auto", "cpu"')
    with pytest.raises(srcli.UsageError, match="x4 was not trained for precision int8"):
        srcli.load_model("bcrn.srcli", precision="int8")
    with pytest.raises(srcli.MediaError, match="the array has 64 pixels, over the limit of 10"):
        srcli.upscale(picture(8, 8), 2, "bicubic", max_pixels=10)


@pytest.mark.parametrize("folder", ["there", "there/", "to_come/"])
def test_a_folder_as_output_of_what_has_no_name(photo, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    model = srcli.load_model("bicubic", 2)
    with Image.open(photo) as image:
        for source in (np.asarray(image), image, photo.read_bytes()):
            for make in (lambda s: srcli.upscale(s, 2, "bicubic", output=folder),
                         lambda s: model.to_file(s, folder)):  # fmt: skip
                with pytest.raises(srcli.UsageError, match=f"output is a folder, {folder}") as no:
                    make(source)
                assert f"output='{folder.strip('/')}/large.png'" in no.value.hint
    assert srcli.upscale(photo, 2, "bicubic", output=folder).name == "photo_x2.jpg"


KINDS = [None, 3, 2.5, [[1]], (), {}, object(), open]


@pytest.mark.parametrize("source", KINDS, ids=lambda source: type(source).__name__)
def test_what_holds_no_picture(source):
    with pytest.raises(srcli.UsageError, match="not an array, a Pillow image"):
        srcli.upscale(source, 2, "bicubic")
    with pytest.raises(srcli.UsageError, match="is not"):
        srcli.load_model("bicubic")(source)


def test_hints_name_keywords(alone, picture, tmp_path):
    Image.fromarray(picture(20, 20)).save(tmp_path / "a.png")
    calls = {
        "max_pixels": lambda: srcli.upscale(tmp_path / "a.png", 2, "bicubic", max_pixels=10),
        'device="cpu"': lambda: srcli.upscale(picture(8, 8), device="mps", model="bcrn"),
        "scale=4": lambda: srcli.load_model("bcrn", 0),
        "`srcli.models()`": lambda: srcli.load_model("zzzzzzzz"),
    }
    for words, call in calls.items():
        with pytest.raises(srcli.SrcliError) as caught:
            call()
        assert words in caught.value.hint
        assert "--" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (
            "add --overwrite or --skip-existing, or choose another name with -o",
            "add overwrite=True, or choose another name with output",
        ),
        ("more with --memory, or a smaller --tile", "more with memory_bytes, or a smaller tile"),
        ("use --backend torch", 'use backend="torch"'),
        ("name one with -o or --container", "name one with output or container"),
        ("`srcli train bcrn-x4 --data D --out F` does", "the command `srcli train bcrn-x4` does"),
        ("`--weights FILE --model bcrn`", '`weights=FILE, model="bcrn"`'),
        ('pip install "srcli[openvino]"', 'pip install "srcli[openvino]"'),
        ("`srcli models download a.b`", "`srcli models download a.b`"),
    ],
)
def test_words(said, meant):
    from srcli.api.words import translated

    assert translated(said) == meant


def test_models(alone):
    found = srcli.models()
    by = {m.name: m for m in found}
    assert by["bcrn.srcli"].at_hand == by["bcrn.srcli"].scales == (2, 3, 4)
    assert by["bicubic"].scales == ()
    assert set(by["bcrn.srcli"].parameters) == {2, 3, 4}
    every = srcli.models(untrained=True)
    assert {m.name for m in found} < {m.name for m in every}
    assert len(set(every)) == len(every)
    assert all(m.scales == () or 3 in m.scales for m in srcli.models(3))
    with pytest.raises(srcli.UsageError, match="scale is 'x4'"):
        srcli.models("x4")


def test_listing_models_is_light(tmp_path):
    code = "import sys, srcli; srcli.models(); print(*sys.modules)"
    assert not {"torch", "numpy", "PIL"} & set(fresh(code, tmp_path))
