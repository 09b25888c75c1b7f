"""From what was typed to jobs."""

import os
import shutil
import string
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srcli import catalog
from srcli.errors import MediaError, ResourceError, UsageError
from srcli.jobs.inputs import STREAM
from srcli.jobs.job import Options, output_bytes, picture_bytes
from srcli.jobs.plan import plan
from srcli.media.formats import FORMATS, format_of

BCRN = catalog.resolve("bcrn.authors")
BICUBIC = catalog.resolve("bicubic")


def options(**more):
    more.setdefault("model", BCRN)
    if "width" not in more and "height" not in more:
        more.setdefault("scale", 4.0)
    return Options(**{"scale": None, **more})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names, size=(6, 4), mode="RGB"):
    """Pictures of (width, height)."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size).save(path)


def targets(inputs, **more):
    return [job.target.as_posix() for job in plan(inputs, options(**more))]


def sources(inputs, **more):
    return [job.source.as_posix() for job in plan(inputs, options(**more))]


# names


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a.png", "a_x4.png"),
        ("a.jpg", "a_x4.jpg"),
        ("sub/a.b.JPEG", "sub/a.b_x4.JPEG"),
        ("a.webp", "a_x4.webp"),
        ("a.tiff", "a_x4.tiff"),
        ("a.bmp", "a_x4.bmp"),
        ("a.gif", "a_x4.gif"),
        ("two words-ä.png", "two words-ä_x4.png"),
        ("x.bmp", "x_x4.bmp"),
    ],
)
def test_beside_the_input(here, name, target):
    put(name)
    assert targets([name]) == [target]


def test_a_name_that_says_nothing(here):
    """A file that was named is taken by its contents; the output is a PNG."""
    Image.new("RGB", (6, 4)).save("picture.dat", "PNG")
    Image.new("RGB", (6, 4)).save("bare", "JPEG")
    assert targets(["picture.dat", "bare"]) == ["picture_x4.png", "bare_x4.png"]


@pytest.mark.parametrize(
    ("scale", "suffix"), [(2, "x2"), (2.5, "x2.5"), (8, "x8"), (4.0, "x4"), (0.5, "x0.5")]
)
def test_scale_in_the_name(here, scale, suffix):
    put("a.png")
    assert targets(["a.png"], scale=float(scale)) == [f"a_{suffix}.png"]


@pytest.mark.parametrize(
    ("wanted", "name", "size"),
    [
        ({"width": 60}, "a_60x40.png", (40, 60)),
        ({"height": 10}, "a_15x10.png", (10, 15)),
        ({"width": 60, "height": 10}, "a_15x10.png", (10, 15)),
        ({"width": 9, "height": 100}, "a_9x6.png", (6, 9)),
        ({"width": 1}, "a_1x1.png", (1, 1)),
        ({"width": 7}, "a_7x5.png", (5, 7)),
    ],
)
def test_size_in_the_name(here, wanted, name, size):
    put("a.png", size=(6, 4))
    [job] = plan(["a.png"], options(**wanted))
    assert job.target == Path(name)
    assert job.sr_size == size


@given(
    stem=st.text(string.ascii_letters + string.digits + "._- ([{äß", min_size=1, max_size=12),
    extension=st.sampled_from([".png", ".jpg", ".JPG", ".webp", ".tif", ".bmp"]),
    scale=st.sampled_from([2, 3, 4, 2.5, 1.25, 8]),
    folder=st.sampled_from([None, "out/"]),
)
@settings(max_examples=30, deadline=None)
def test_any_name(tmp_path_factory, stem, extension, scale, folder):
    """The stem stays whole, the extension too, and the next run does not take the output."""
    here = tmp_path_factory.mktemp("names")
    source = here / ("s" + stem + extension)
    Image.new("RGB", (6, 4)).save(source, format_of(source).name)
    output = None if folder is None else f"{here}/{folder}"
    [job] = plan([str(source)], options(scale=float(scale), output=output, model=BICUBIC))
    assert job.target.parent == (here if folder is None else here / "out")
    assert job.target.name == f"s{stem}_x{scale:g}{extension}"
    if folder is None:
        shutil.copy(source, job.target)
        [again] = plan([str(here)], options(overwrite=True, model=BICUBIC))
        assert again.source == source
    shutil.rmtree(here)


# -o


def test_output_is_a_file(here):
    put("a.png")
    assert targets(["a.png"], output="b.webp") == ["b.webp"]
    assert targets(["a.png"], output="new/deep/b.tif") == ["new/deep/b.tif"]


@pytest.mark.parametrize("output", ["out/", "there", "there/", "./there"])
def test_output_is_a_folder(here, output):
    put("a.png")
    Path("there").mkdir()
    assert targets(["a.png"], output=output) == [f"{Path(output).as_posix()}/a_x4.png"]


@pytest.mark.parametrize("inputs", [["a.png", "b.png"], ["in"], ["?.png"], ["in/*.png"]])
def test_not_exactly_one_file_makes_it_a_folder(here, inputs):
    """A folder or a pattern too, even if only one picture comes of it."""
    put("a.png", "b.png", "in/c.png")
    assert {Path(t).parent.name for t in targets(inputs, output="o.png")} == {"o.png"}


def test_a_file_where_a_folder_is_needed(here):
    put("a.png", "b.png", "there.png")
    with pytest.raises(UsageError, match="need a folder"):
        plan(["a.png", "b.png"], options(output="there.png"))


@pytest.mark.parametrize("output", ["b", "b.xyz", "b."])
def test_output_of_no_format(here, output):
    put("a.png")
    with pytest.raises(UsageError) as caught:
        plan(["a.png"], options(output=output))
    assert ".png" in caught.value.hint


def test_a_template_names_outputs(here):
    put("sub/a.png", size=(6, 4))
    named = targets(["sub/a.png"], output="{dir}/{model}/{stem}@{scale}x-{width}x{height}.{ext}")
    assert named == ["sub/bcrn.authors/a@4x-24x16.png"]
    assert targets(["sub/a.png"], output="{stem}_{scale}.tif", scale=None, width=12) == [
        "a_12x8.tif"
    ]


def test_a_template_without_an_ending_gets_one(here):
    """That of the format asked for, else the input's, or .png where that is not written."""
    put("sub.d/a.png", "b.jpg")
    Image.new("RGB", (6, 4)).save("bare", "JPEG")
    assert targets(["sub.d/a.png", "b.jpg"], output="{dir}/{stem}@{scale}x") == [
        "sub.d/a@4x.png",
        "b@4x.jpg",
    ]
    assert targets(["b.jpg"], output="{stem}", format="webp") == ["b.webp"]
    assert targets(["bare"], output="{stem}_{ext}") == ["bare_png.png"]


def test_the_input_s_ending_tells_outputs_apart(here):
    put("a.jpg", "a.png", "b.JPEG")
    named = targets(["a.jpg", "a.png", "b.JPEG"], output="out/{stem}_{ext}.webp")
    assert named == ["out/a_jpg.webp", "out/a_png.webp", "out/b_JPEG.webp"]


@pytest.mark.parametrize("output", ["{stam}.png", "{}.png", "{stem.png", "{stem}}.png", "{a{b}}"])
def test_a_template_with_a_mistake(here, output):
    put("a.png")
    with pytest.raises(UsageError) as caught:
        plan(["a.png"], options(output=output))
    assert "{stem}" in caught.value.hint


def test_a_template_that_puts_two_in_one_place(here):
    put("a.png", "sub/a.png", "b.png")
    jobs = plan(["a.png", "sub/a.png", "b.png"], options(output="{stem}_big.png"))
    assert [job.failure is None for job in jobs] == [False, False, True]
    assert all("both" in job.failure.message for job in jobs[:2])


@pytest.mark.parametrize("form", [f.name for f in FORMATS.values() if f.writable])
def test_a_format_of_ones_choice(here, form):
    put("a.png", "b.gif")
    usual = FORMATS[form].extensions[0]
    assert targets(["a.png", "b.gif"], format=form) == [f"a_x4{usual}", f"b_x4{usual}"]
    [job] = plan(["a.png"], options(format=form, output="a_name"))
    assert (job.format, job.target) == (form, Path("a_name"))


@pytest.mark.parametrize(
    ("wish", "form", "bits"),
    [("same", "png", 8), ("16", "png", 16), ("16", "tiff", 16), ("8", "png", 8)],
)
def test_a_depth_of_ones_choice(here, wish, form, bits):
    put("a.png")
    [job] = plan(["a.png"], options(depth=wish, format=form))
    assert (job.depth, job.failure) == (bits, None)


def test_a_depth_that_the_format_cannot_hold(here):
    put("a.jpg")
    [job] = plan(["a.jpg"], options(depth="16"))
    assert "16 bits" in job.failure.message


# pipes


@pytest.mark.parametrize("name", ["b.jpg", "b.avif", "b.gif", "b.webp", "b.png", "b.tif"])
def test_without_loss(here, name):
    """Formats that always lose something are refused where that is not wanted."""
    put("a.png")
    [job] = plan(["a.png"], options(output=name, lossless=True))
    refused = name in ("b.jpg", "b.avif", "b.gif")
    assert (job.failure is not None) == refused
    if job.failure:
        assert "without loss" in job.failure.message


def test_standard_input_and_output(here):
    put("a.png", size=(6, 4))
    data = Path("a.png").read_bytes()
    [job] = plan(["-"], options(), stdin=lambda: data)
    assert (job.source, job.target, job.sr_size) == (STREAM, STREAM, (16, 24))
    assert (job.data, job.format) == (data, "png")
    [job] = plan(["-"], options(output="out/"), stdin=lambda: data)
    assert job.target == Path("out/stdin_x4.png")
    [job] = plan(["a.png"], options(output="-", format="webp"))
    assert (job.target, job.format) == (STREAM, "webp")


def test_standard_output_takes_one_picture(here):
    put("a.png", "b.png")
    with pytest.raises(UsageError, match="one picture"):
        plan(["a.png", "b.png"], options(output="-"))


# folders


def test_a_folder_lies_flat_unless_recursive(here):
    put("in/b.png", "in/a.jpg", "in/sub/c.png", "in/.hidden.png", "in/.git/d.png")
    Path("in/notes.txt").write_text("no picture")
    assert sources(["in"]) == ["in/a.jpg", "in/b.png"]
    assert sources(["in"], recursive=True) == ["in/a.jpg", "in/b.png", "in/sub/c.png"]
    assert targets(["in"]) == ["in/a_x4.jpg", "in/b_x4.png"]


def test_the_tree_is_mirrored(here):
    put("in/a.png", "in/sub/a.png", "in/sub/deep/b.png")
    assert targets(["in"], recursive=True, output="out") == [
        "out/a_x4.png",
        "out/sub/a_x4.png",
        "out/sub/deep/b_x4.png",
    ]


def test_an_output_folder_inside_the_input_is_not_read(here):
    put("in/a.png", "in/out/a_x4.png", "in/out/other.png", "in/outside/c.png")
    expected = ["in/a.png", "in/outside/c.png"]
    assert sources(["in"], recursive=True, output="in/out", overwrite=True) == expected
    # unless it is the input itself, or was named
    assert "in/a.png" in sources(["in"], recursive=True, output="in", overwrite=True)
    assert sources(["in/out/other.png"], output="in/out") == ["in/out/other.png"]


@pytest.mark.parametrize("own", ["a_x4.png", "a_x2.5.jpg", "a_x8.webp", "a_1920x1080.png"])
def test_own_outputs_are_not_inputs(here, own):
    put("in/a.png", f"in/{own}", "in/b_x4.png")
    expected = ["in/a.png", "in/b_x4.png"]  # there is no b that it could be the output of
    assert sources(["in"], overwrite=True) == expected
    assert sources(["in/*"], overwrite=True) == expected
    # a name that was typed counts
    assert sources([f"in/{own}"]) == [f"in/{own}"]


@pytest.mark.parametrize("name", ["a_x4b.png", "a_4.png", "ax4.png", "a_x.png", "a_12x.png"])
def test_names_that_only_look_similar(here, name):
    put("in/a.png", f"in/{name}")
    assert f"in/{name}" in sources(["in"])


def test_an_empty_folder(here):
    Path("in/sub").mkdir(parents=True)
    with pytest.raises(UsageError, match="no pictures or films in in") as caught:
        plan(["in"], options())
    assert "--recursive" in caught.value.hint
    with pytest.raises(UsageError, match="no pictures"):
        plan(["in"], options(recursive=True))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_listed(here):
    Path("in").mkdir(mode=0o300)
    [job] = plan(["in"], options())
    assert isinstance(job.failure, MediaError) and "cannot list" in job.failure.message


def test_patterns(here):
    put("a1.png", "a2.png", "b.png", "in/a3.png", "in/deep/a4.png")
    Path("a5.txt").write_text("")
    assert sources(["a?.*"]) == ["a1.png", "a2.png"]
    assert sources(["**/a*.png"]) == ["a1.png", "a2.png", "in/a3.png", "in/deep/a4.png"]
    with pytest.raises(UsageError, match=r"nothing matches z\*"):
        plan(["z*"], options())


def test_a_file_named_like_a_pattern(here):
    put("a[1].png", "a1.png")
    assert sources(["a[1].png"]) == ["a[1].png"]


def test_missing(here):
    with pytest.raises(UsageError, match=r"nothing\.png does not exist"):
        plan(["nothing.png"], options())


def test_a_picture_named_twice_is_done_once(here):
    put("in/a.png")
    assert sources(["in/a.png", "in", "./in/a.png", "in/*.png"]) == ["in/a.png"]


def test_order_is_as_typed(here):
    put("c.png", "a.png", "b.png")
    assert sources(["c.png", "a.png", "b.png"]) == ["c.png", "a.png", "b.png"]


# what is refused before work begins


def test_two_inputs_with_one_output(here):
    """Neither is done, for nobody knows which is meant; the others are."""
    put("in/a.png", "in/a.gif", "in/b.png")
    jobs = plan(["in"], options(format="png"))
    assert [job.source.name for job in jobs] == ["a.gif", "a.png", "b.png"]
    assert [job.failure is None for job in jobs] == [False, False, True]
    for job in jobs[:2]:
        assert "in/a.png" in job.failure.message and "in/a.gif" in job.failure.message
        # what the hint says is true
        template = job.failure.hint.partition('"')[2].rstrip('"')
        apart = plan(["in"], options(format="png", output=template))
        assert all(job.failure is None for job in apart)
    put("one/a.png", "two/a.png")
    for more in ({}, {"overwrite": True}, {"skip_existing": True}):
        jobs = plan(["one", "two", "in/b.png"], options(output="out", **more))
        assert [job.failure is None for job in jobs] == [False, False, True]
    template = jobs[0].failure.hint.partition('"')[2].rstrip('"')
    assert targets(["one", "two"], output=template) == [
        "out/one/a_large.png",
        "out/two/a_large.png",
    ]


@pytest.mark.parametrize("more", [{}, {"overwrite": True}, {"skip_existing": True}])
def test_an_output_that_is_an_input(here, more):
    """Only this one fails."""
    put("a.png", "a_x4.png")
    first, other = plan(["a.png", "a_x4.png"], options(**more))
    assert "also an input" in first.failure.message
    assert (other.failure, other.target) == (None, Path("a_x4_x4.png"))


def test_an_input_is_not_overwritten(here):
    put("a.png")
    with pytest.raises(UsageError, match="also an input"):
        plan(["a.png"], options(output="./a.png", overwrite=True))
    if os.name == "posix":
        Path("link.png").symlink_to("a.png")
        with pytest.raises(UsageError, match="also an input"):
            plan(["a.png"], options(output="link.png", overwrite=True))


def test_existing_outputs(here):
    put("a.png", "b.png", "a_x4.png")
    with pytest.raises(UsageError, match=r"a_x4\.png exists") as caught:
        plan(["a.png", "b.png"], options())
    assert "--overwrite" in caught.value.hint
    hint = "add --overwrite or --skip-existing, or choose another name with -o"
    assert caught.value.hint == hint
    assert [j.skip for j in plan(["a.png", "b.png"], options(overwrite=True))] == [False, False]
    assert [j.skip for j in plan(["a.png", "b.png"], options(skip_existing=True))] == [True, False]


def test_existing_outputs_of_a_size(here):
    put("a.png", "a_60x40.png")
    with pytest.raises(UsageError, match="exists"):
        plan(["a.png"], options(width=60))
    assert [j.skip for j in plan(["a.png"], options(width=60, skip_existing=True))] == [True]
    assert [j.skip for j in plan(["a.png"], options(width=30, skip_existing=True))] == [False]


def test_a_skipped_picture_is_not_even_opened(here):
    Path("a.png").write_bytes(b"no picture at all")
    put("a_x4.png")
    [job] = plan(["a.png"], options(skip_existing=True))
    assert job.skip
    assert job.failure is None


def test_disk_space(here, monkeypatch):
    put("a.png", "b.png", size=(100, 100))
    jobs = plan(["a.png", "b.png"], options(output="out"))
    both = sum(output_bytes(job) for job in jobs)
    assert 0 < both <= 2 * 400 * 400 * 3
    usage = namedtuple("usage", "free total", defaults=[10**12])
    asked = []

    def free(n):
        def disk_usage(path):
            asked.append(path)
            return usage(n)

        monkeypatch.setattr("srcli.jobs.plan.shutil.disk_usage", disk_usage)

    free(int(both) + 1)
    plan(["a.png", "b.png"], options(output="out"))
    free(int(both) - 1)
    with pytest.raises(ResourceError, match="free"):
        plan(["a.png", "b.png"], options(output="out/not/yet/there"))
    assert all(Path(p).exists() for p in asked)
    # what is left alone needs no room
    put("a_x4.png", "b_x4.png")
    assert len(plan(["a.png", "b.png"], options(skip_existing=True))) == 2


# jobs


def test_a_job(here):
    put("a.png", size=(6, 4))
    [job] = plan(["a.png"], options(scale=8.0))
    assert (job.lr_size, job.sr_size, job.passes, job.depth) == ((4, 6), (32, 48), (4, 2), 8)
    assert job.scale == 8
    assert not job.skip
    assert job.failure is None
    assert picture_bytes(job) > 32 * 48 * 3 // 100


@pytest.mark.parametrize(
    ("model", "more", "passes", "size"),
    [
        (BCRN, {"scale": 2.5}, (4,), (10, 15)),
        (BCRN, {"scale": 1.5}, (2,), (6, 9)),
        (BCRN, {"scale": 1.0}, (), (4, 6)),
        (BCRN, {"scale": 0.5}, (), (2, 3)),
        (BCRN, {"width": 13}, (4,), (9, 13)),
        (BCRN, {"width": 24}, (4,), (16, 24)),
        (BCRN, {"width": 12}, (2,), (8, 12)),
        (BICUBIC, {"scale": 8.0}, (), (32, 48)),
    ],
)
def test_passes(here, model, more, passes, size):
    put("a.png", size=(6, 4))
    [job] = plan(["a.png"], options(model=model, **more))
    assert (job.passes, job.sr_size) == (passes, size)


def test_upright_size(here):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save("a.jpg", exif=exif)
    [job] = plan(["a.jpg"], options())
    assert (job.lr_size, job.sr_size) == ((6, 4), (24, 16))


def test_what_cannot_be_done_fails_alone(here):
    put("good.png", "b.png")
    put("alpha.png", mode="RGBA")
    Path("text.png").write_text("hello")
    Path("empty.jpg").write_bytes(b"")
    put("large.png", size=(30, 30))
    jobs = plan(
        ["good.png", "text.png", "empty.jpg", "large.png", "b.png"], options(max_pixels=899)
    )
    reasons = [job.failure.message if job.failure else None for job in jobs]
    assert reasons[0] is None
    assert reasons[4] is None
    for reason, name, word in zip(
        reasons[1:4],
        ("text.png", "empty.jpg", "large.png"),
        ("not a picture", "empty", "900 pixels"),
        strict=True,
    ):
        assert name in reason
        assert word in reason


def test_jpeg_holds_no_alpha(here):
    put("a.png", mode="RGBA")
    [job] = plan(["a.png"], options(output="a.jpg"))
    assert "transparency" in job.failure.message
    assert ".png" in job.failure.hint


@pytest.mark.parametrize(
    ("name", "size", "scale"), [("a.webp", (4096, 1), 4), ("a.jpg", (1, 8200), 8)]
)
def test_sizes_that_a_format_cannot_hold(here, name, size, scale):
    put(name, "b.png", size=size)
    job, other = plan([name, "b.png"], options(scale=float(scale), model=BICUBIC))
    assert isinstance(job.failure, ResourceError)
    assert "at most" in job.failure.message
    assert other.failure is None


def test_a_failed_job_is_in_nobody_s_way(here):
    """Two unreadable files, of which nobody knows what they would have become."""
    Path("a.png").write_text("no")
    Path("a.gif").write_text("no")
    put("a_x4.png")
    assert [bool(j.failure) for j in plan(["a.png", "a.gif"], options())] == [True, True]


def test_depth(here):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save("deep.png")
    [job] = plan(["deep.png"], options())
    assert job.depth == 16
    [job] = plan(["deep.png"], options(output="flat.jpg"))
    assert job.depth == 8
    assert job.failure is None
