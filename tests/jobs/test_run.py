"""Doing the jobs, with a stand-in engine and real files."""

import io
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fake_engine import Nearest
from PIL import Image, ImageCms

from srcli import catalog
from srcli.engine.resampler import Resampler
from srcli.errors import MediaError, ResourceError, WeightsError
from srcli.jobs import prefetch
from srcli.jobs import run as module
from srcli.jobs.events import Done, Failed, Noted, Progressed, Skipped, Started
from srcli.jobs.films import faster
from srcli.jobs.job import Options
from srcli.jobs.plan import plan
from srcli.jobs.run import run
from srcli.media.image import inspect, read_frames

BCRN = catalog.resolve("bcrn.authors")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(inputs, engine=None, between=lambda: None, **more):
    """(events, summary) of a run at x2 unless told otherwise."""
    more.setdefault("scale", 2.0)
    options = Options(model=BCRN, **more)
    jobs = plan([str(i) for i in inputs], options)
    between()
    events = []
    summary = run(jobs, options, engine or Nearest(), tell=events.append)
    return events, summary


def only(events, kind):
    return [event for event in events if isinstance(event, kind)]


def put(name, pixels, **more):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(name, **more)


def got(name):
    with Image.open(name) as image:
        image.load()
        return np.asarray(image)


def files(folder="."):
    """Every file there is, half-written ones included."""
    return sorted(p.as_posix() for p in Path(folder).rglob("*") if p.is_file())


def twice(pixels):
    return pixels.repeat(2, 0).repeat(2, 1)


# events


def test_events_of_one_picture(here, picture):
    put("a.png", picture(13, 17))
    events, summary = upscale(["a.png"])
    started, *middle, done = events
    assert started == Started(Path("a.png"), (13, 17), (26, 34), 1, 1)
    shares = [e.share for e in only(middle, Progressed)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [e.text for e in only(middle, Noted)] == ["a note of the engine's"]
    assert isinstance(done, Done)
    assert (done.source, done.target) == (Path("a.png"), Path("a_x2.png"))
    assert (done.model, done.scale, done.tiles) == ("bcrn.authors", 2.0, 7)
    assert (done.lr_size, done.sr_size) == ((13, 17), (26, 34))
    assert 0 < done.seconds < 60
    assert (summary.done, summary.skipped, summary.failed, summary.exit_code) == (1, 0, 0, 0)
    assert np.array_equal(got("a_x2.png"), twice(picture(13, 17)))


def test_order(here, picture):
    """Done in the order typed, one after the other, though reading and writing overlap."""
    names = ["c.png", "a.png", "d.png", "b.png"]
    for seed, name in enumerate(names):
        put(name, picture(13, 17, 3, seed))
    threads = set()
    options = Options(model=BCRN, scale=2.0, output="out")
    events = []

    def tell(event):
        threads.add(threading.current_thread())
        events.append(event)

    run(plan(names, options), options, Nearest(), tell=tell)
    assert [e.source.name for e in only(events, Started)] == names
    assert [(e.number, e.total) for e in only(events, Started)] == [(k, 4) for k in range(1, 5)]
    assert [e.source.name for e in only(events, Done)] == names
    assert threads == {threading.current_thread()}
    for seed, name in enumerate(names):  # no picture got another's pixels
        expected = twice(picture(13, 17, 3, seed))
        assert np.array_equal(got(f"out/{Path(name).stem}_x2.png"), expected)
    assert len(files("out")) == 4


def test_skipped(here, picture):
    put("a.png", picture(5, 6))
    put("b.png", picture(5, 6))
    Path("a_x2.png").write_bytes(b"as it was")
    events, summary = upscale(["a.png", "b.png"], skip_existing=True)
    assert only(events, Skipped) == [Skipped(Path("a.png"), Path("a_x2.png"))]
    assert (summary.done, summary.skipped, summary.failed, summary.exit_code) == (1, 1, 0, 0)
    assert Path("a_x2.png").read_bytes() == b"as it was"


def test_overwrite(here, picture):
    put("a.png", picture(5, 6))
    Path("a_x2.png").write_bytes(b"as it was")
    upscale(["a.png"], overwrite=True)
    assert np.array_equal(got("a_x2.png"), twice(picture(5, 6)))


def test_scale_of_a_size(here, picture):
    put("a.png", picture(10, 20))
    events, _ = upscale(["a.png"], scale=None, width=50)
    [done] = only(events, Done)
    assert done.scale == 2.5
    assert done.as_json()["scale"] == 2.5
    assert got("a_50x25.png").shape == (25, 50, 3)


# failures


def truncated(name, pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    Path(name).write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])


def test_one_bad_file_among_good_ones(here, picture):
    """Known only when it is decoded: in the first place, in the middle and in the last."""
    for name in ("b.png", "d.png"):
        put(name, picture(40, 50))
    for name in ("a.png", "c.png", "e.png"):
        truncated(name, picture(40, 50))
    events, summary = upscale(["."], output="out")
    assert [e.source.name for e in only(events, Done)] == ["b.png", "d.png"]
    failed = only(events, Failed)
    assert [e.source.name for e in failed] == ["a.png", "c.png", "e.png"]
    assert all("cut short" in e.error or "damaged" in e.error for e in failed)
    assert (summary.done, summary.failed, summary.exit_code) == (2, 3, 1)
    assert files("out") == ["out/b_x2.png", "out/d_x2.png"]


def test_what_the_plan_refused_is_told(here, picture):
    put("a.png", picture(5, 6))
    Path("b.png").write_text("hello")
    events, summary = upscale(["a.png", "b.png"])
    [failed] = only(events, Failed)
    assert failed.source == Path("b.png")
    assert "not a picture" in failed.error
    assert failed.hint
    assert failed.as_json() == {
        "event": "failed",
        "input": "b.png",
        "error": failed.error,
        "hint": failed.hint,
    }
    assert summary.exit_code == 1


def test_a_file_that_goes_away(here, picture):
    put("a.png", picture(5, 6))
    put("b.png", picture(5, 6))
    events, summary = upscale(["a.png", "b.png"], between=Path("a.png").unlink)
    assert [e.source.name for e in only(events, Failed)] == ["a.png"]
    assert summary.done == 1


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("the device fell off"), "RuntimeError: the device fell off"),
        (MemoryError(), "memory ran out"),
        (ResourceError("no room", "make some"), "no room"),
    ],
)
def test_the_engine_fails_in_the_middle(here, picture, extension, at, error, text):
    for seed, name in enumerate(("a", "b", "c")):
        put(f"in/{name}.{extension}", picture(13, 17, 3, seed))
    engine = Nearest()

    def fail(number):
        if len(engine.pixels) == 2 and number == at:
            raise error

    engine.before = fail
    before = Path("out/b_x2." + extension)
    before.parent.mkdir()
    before.write_bytes(b"an older result")
    events, summary = upscale(["in"], engine, output="out", overwrite=True)
    [failed] = only(events, Failed)
    assert failed.source.stem == "b"
    assert text in failed.error
    assert summary.done == 2
    assert files("out") == [f"out/{n}_x2.{extension}" for n in "abc"]
    assert before.read_bytes() == b"an older result"


def test_the_writer_fails(here, picture, monkeypatch):
    """The network's work on this picture ends, and the next one is done."""
    for name in ("a", "b"):
        put(f"{name}.png", picture(200, 17))
    opened = []
    real = module.open_writer

    def open_writer(path, **more):
        writer = real(path, **more)
        opened.append(path)
        if len(opened) == 1:
            rows, count = writer.rows, []

            def full(strip):
                count.append(1)
                if len(count) == 3:
                    raise ResourceError("no space is left")
                rows(strip)

            writer.rows = full
        return writer

    monkeypatch.setattr(module, "open_writer", open_writer)
    strips = []
    events, _ = upscale(["a.png", "b.png"], Nearest(before=strips.append), output="out")
    assert [(e.source.name, e.error) for e in only(events, Failed)] == [
        ("a.png", "no space is left")
    ]
    assert [e.source.name for e in only(events, Done)] == ["b.png"]
    assert files("out") == ["out/b_x2.png"]
    assert len(strips) < 2 * 80  # not all of the first one's 80 strips were computed


def test_a_folder_that_cannot_be_made(here, picture):
    put("a.png", picture(5, 6))
    Path("file").write_text("")
    events, summary = upscale(["a.png"], output="file/out/")
    [failed] = only(events, Failed)
    assert "file/out" in failed.error
    assert summary.exit_code == 1


def test_a_format_that_does_not_fit_in_memory(here, picture):
    """JPEG is encoded in one piece; PNG goes to disk by strips."""
    put("a.png", picture(50, 60))
    engine = Nearest()
    engine.memory_bytes = 10_000
    events, _ = upscale(["a.png"], engine, output="a.jpg")
    [failed] = only(events, Failed)
    assert "JPEG" in failed.error
    assert "takes 46.9 KiB of memory, more than the 9.8 KiB allowed" in failed.error
    assert "--memory" in failed.hint
    assert files() == ["a.png"]
    upscale(["a.png"], engine)
    assert got("a_x2.png").shape == (100, 120, 3)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_interrupted(here, picture, interruption, extension):
    """The finished stay, the half-written goes, and nothing waits for anything."""
    for name in ("a", "b", "c"):
        put(f"in/{name}.{extension}", picture(40, 30))
    engine = Nearest()

    def interrupt(number):
        if len(engine.pixels) == 2 and number == 5:
            raise interruption

    engine.before = interrupt
    with pytest.raises(interruption):
        upscale(["in"], engine, output="out")
    assert files("out") == [f"out/a_x2.{extension}"]
    assert got(f"out/a_x2.{extension}").shape == (80, 60, 3)
    assert not [t for t in threading.enumerate() if t.name.startswith(("read", "write"))]


@pytest.mark.parametrize("kind", [Started, Progressed, Done])
def test_interrupted_while_telling(here, picture, kind):
    for name in ("a", "b"):
        put(f"in/{name}.png", picture(40, 30))
    options = Options(model=BCRN, scale=2.0, output="out")

    def tell(event):
        if isinstance(event, kind):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan(["in"], options), options, Nearest(), tell=tell)
    for name in files("out"):
        assert not Path(name).name.startswith(".")
        assert got(name).shape == (80, 60, 3)


def test_interrupted_just_as_writing_begins(here, picture, monkeypatch):
    """The interruption comes when the writer has been set going and nobody has it in hand yet."""
    put("a.png", picture(40, 30))
    outputs, ended = [], threading.Event()
    real = module.ThreadPoolExecutor.submit

    def submit(pool, fn, *arguments):
        future = real(pool, fn, *arguments)
        if getattr(fn, "__name__", "") == "_write":
            outputs.append((fn.__self__, future))
            raise KeyboardInterrupt
        return future

    monkeypatch.setattr(module.ThreadPoolExecutor, "submit", submit)

    def work():
        try:
            upscale(["a.png"])
        except KeyboardInterrupt:
            ended.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    in_time = ended.wait(5)
    for output, future in outputs:
        if not future.done():  # let it go, or pytest would never end
            output._strips.put(module._End(whole=False))
    thread.join(5)
    assert in_time, "waits for ever"
    assert files() == ["a.png"]


# pixels and what comes with them


def test_grey_stays_grey(here, picture):
    put("a.png", picture(13, 17, 1)[:, :, 0])
    put("b.jpg", picture(13, 17, 1)[:, :, 0])
    upscale(["a.png", "b.jpg"])
    assert Image.open("a_x2.png").mode == "L"
    assert Image.open("b_x2.jpg").mode == "L"
    assert np.array_equal(got("a_x2.png"), twice(picture(13, 17, 1)[:, :, 0]))


def test_palette_becomes_rgb(here, picture):
    Image.fromarray(picture(13, 17)).quantize(16).save("a.png")
    expected = np.asarray(Image.open("a.png").convert("RGB"))
    upscale(["a.png"])
    assert np.array_equal(got("a_x2.png"), twice(expected))


def test_16_bits_stay_16_bits(here):
    deep = np.arange(12 * 10, dtype=np.uint16).reshape(12, 10) * 517 + 3
    put("a.png", deep)
    events, _ = upscale(["a.png"])
    assert Image.open("a_x2.png").mode == "I;16"
    assert np.array_equal(got("a_x2.png"), twice(deep))
    assert not [n for n in only(events, Noted) if "8" in n.text]


def test_16_bits_to_8_are_said(here):
    put("a.png", np.full((12, 10), 257 * 99, np.uint16))
    events, _ = upscale(["a.png"], output="b.jpg")
    assert [n.text for n in only(events, Noted) if "16" in n.text]
    assert np.abs(got("b.jpg").astype(int) - 99).max() <= 1


@pytest.fixture
def disc(here):
    """A red disc on transparent green."""
    y, x = np.mgrid[:24, :24]
    inside = (y - 11.5) ** 2 + (x - 11.5) ** 2 < 70
    rgba = np.zeros((24, 24, 4), np.uint8)
    rgba[inside] = (255, 0, 0, 255)
    rgba[~inside] = (0, 255, 0, 0)
    put("a.png", rgba)
    return rgba


@pytest.mark.parametrize("how", ["network", "lanczos"])
def test_alpha_is_kept_without_a_fringe(disc, how):
    """No green comes in from under the transparent pixels, whatever enlarges the alpha."""
    engine = Nearest()
    upscale(["a.png"], engine, scale=4.0, alpha=how)
    assert set(map(tuple, engine.pixels[-1].reshape(-1, 3))) == {(255, 0, 0)}
    result = got("a_x4.png")
    assert result.shape == (96, 96, 4)
    assert not result[:, :, 1].any()
    alpha = result[:, :, 3]
    assert (alpha[48, 48], alpha[0, 0]) == (255, 0)
    if how == "network":  # the engine enlarged the plane, here by repeating
        assert len(engine.pixels) == 2
        assert np.array_equal(alpha, np.kron(disc[:, :, 3], np.ones((4, 4), np.uint8)))
    else:
        assert len(engine.pixels) == 1
        assert ((alpha > 0) & (alpha < 255)).any()


def test_alpha_that_the_network_leaves_a_level_off_stays_opaque(disc):
    class Rough(Nearest):
        def strips(self, pixels, *args, **more):
            for strip in super().strips(pixels, *args, **more):
                yield np.clip(strip.astype(int), 2, 253).astype(np.uint8)

    upscale(["a.png"], Rough(), scale=4.0)
    alpha = got("a_x4.png")[:, :, 3]
    assert (alpha[48, 48], alpha[0, 0]) == (255, 0)


def test_alpha_discarded(disc):
    engine = Nearest()
    upscale(["a.png"], engine, output="b.jpg", alpha="discard")
    assert Image.open("b.jpg").mode == "RGB"
    assert np.array_equal(engine.pixels[0], disc[:, :, :3])  # nothing bleeds where all is shown


def test_alpha_of_grey_and_of_16_bits(here, picture):
    grey = np.dstack((picture(12, 14, 1), np.full((12, 14, 1), 128, np.uint8)))
    Image.fromarray(grey, "LA").save("a.png")
    upscale(["a.png"])
    assert Image.open("a_x2.png").mode == "LA"
    assert set(got("a_x2.png")[:, :, 1].reshape(-1)) == {128}
    assert np.array_equal(got("a_x2.png")[:, :, 0], twice(grey[:, :, 0]))


@pytest.mark.parametrize("strip", [1, 7, 1000])
def test_alpha_and_strips_of_any_height(here, picture, strip):
    rgba = np.dstack((picture(150, 14), picture(150, 14, 1, 5)))
    put("a.png", rgba)
    upscale(["a.png"], Nearest(strip), output="whole.png")
    upscale(["a.png"], Nearest(), output="other.png")
    assert np.array_equal(got("whole.png"), got("other.png"))


def test_orientation_is_applied(here, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: the first row is the right side
    exif[0x010F] = "Camera"
    put("a.png", picture(13, 17), exif=exif)
    upscale(["a.png"])
    upright = np.rot90(picture(13, 17), -1)
    assert np.array_equal(got("a_x2.png"), twice(upright))
    kept = Image.open("a_x2.png").getexif()
    assert kept[0x010F] == "Camera"
    assert kept.get(0x0112, 1) == 1  # not applied a second time


@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_profile_and_density_are_carried_over(here, picture, extension):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    put(f"a.{extension}", picture(13, 17), icc_profile=profile, dpi=(300, 300))
    upscale([f"a.{extension}"])
    with Image.open(f"a_x2.{extension}") as result:
        assert result.info["icc_profile"] == profile
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_what_a_format_cannot_take_is_said(here, picture):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    put("a.png", picture(5, 6), icc_profile=profile)
    events, _ = upscale(["a.png"], output="b.bmp")
    assert any("profile" in n.text for n in only(events, Noted))


def test_quality(here, picture):
    put("a.jpg", picture(60, 70))
    sizes = []
    for quality in (30, 95, None):
        upscale(["a.jpg"], quality=quality, overwrite=True)
        sizes.append(Path("a_x2.jpg").stat().st_size)
    assert sizes[0] < sizes[1] == sizes[2]


@pytest.mark.parametrize(("memory", "early"), [(2**30, True), (40 * 50 * 3 * 2 * 8 - 1, False)])
def test_read_ahead_only_what_is_small(here, picture, monkeypatch, memory, early):
    """The next picture is read early if it takes little of the memory allowed."""
    for name in ("a.png", "b.png"):
        put(name, picture(40, 50))
    order, was_read = [], threading.Event()
    real = prefetch.open_source

    def read(job, options):
        if job.source.name == "b.png":
            order.append("read")
            was_read.set()
        return real(job, options)

    def tell(event):
        if isinstance(event, Started):
            order.append(f"started {event.source.name}")

    monkeypatch.setattr(prefetch, "open_source", read)
    engine = Nearest(before=lambda number: was_read.wait(1) if early else None)
    engine.memory_bytes = memory
    options = Options(model=BCRN, scale=2.0, output="out")
    run(plan(["a.png", "b.png"], options), options, engine, tell=tell)
    if early:
        assert order == ["started a.png", "read", "started b.png"]
    else:
        assert order.index("read") > 0
        assert order[0] == "started a.png"
        assert [o for o in order if o != "started b.png"] == ["started a.png", "read"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_are_how_many_are_read_at_a_time(here, picture, monkeypatch, jobs):
    """Decoders wait for each other: that ends only if so many run at once."""
    names = [f"{k}.png" for k in range(7)]
    for k, name in enumerate(names):
        put(name, picture(6 + k, 8))
    most, now, lock = 0, 0, threading.Lock()
    together = threading.Barrier(jobs)
    real = prefetch.open_source

    def read(job, options):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        if job.source.name in names[1 : 1 + jobs]:
            together.wait(20)
        opened = real(job, options)
        with lock:
            now -= 1
        return opened

    monkeypatch.setattr(prefetch, "open_source", read)
    events, summary = upscale(names, jobs=jobs)
    assert (summary.done, most) == (7, jobs)
    assert [e.source.name for e in only(events, Done)] == names
    for k, name in enumerate(names):
        assert np.array_equal(got(name.replace(".png", "_x2.png")), twice(picture(6 + k, 8)))


def test_several_jobs_and_one_that_fails(here, picture):
    for k in range(6):
        put(f"{k}.png", picture(9, 8 + k))
    Path("3.png").write_bytes(Path("3.png").read_bytes()[:-40])
    events, summary = upscale([f"{k}.png" for k in range(6)], jobs=4)
    assert (summary.done, summary.failed) == (5, 1)
    assert [e.source.name for e in only(events, Failed)] == ["3.png"]
    assert files() == sorted(
        [f"{k}.png" for k in range(6)] + [f"{k}_x2.png" for k in range(6) if k != 3]
    )


def test_networks_are_prepared_once(here, picture):
    for name in ("a.png", "b.png"):
        put(name, picture(10, 12))
    engine = Nearest()
    upscale(["a.png", "b.png"], engine, scale=8.0)
    assert engine.prepared == [[2, 4]]


def test_weights_that_cannot_be_had_end_the_run(here, picture):
    """One failure, not one a picture; nothing is written."""
    for name in ("a.png", "b.png"):
        put(name, picture(10, 12))
    engine = Nearest()

    def prepare(scales):
        raise WeightsError("The weights are not at hand.")

    engine.prepare = prepare
    with pytest.raises(WeightsError, match="not at hand"):
        upscale(["a.png", "b.png"], engine, output="out")
    assert files() == ["a.png", "b.png"]


# several pictures in a file


def animation(name, n=3, **more):
    """Squares of one colour on another: few colours, which a palette keeps exactly."""
    frames = []
    for k in range(n):
        frame = np.full((10, 12, 3), (10, 200, 30), np.uint8)
        frame[2 + k : 5 + k, 3:6] = (240, 20, 90)
        frames.append(frame)
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(name, save_all=True, append_images=images[1:], **more)
    return frames


@pytest.mark.parametrize("ext", ["gif", "png", "webp"])
def test_an_animation(here, ext):
    more = {"lossless": True} if ext == "webp" else {}
    frames = animation(f"a.{ext}", duration=[30, 70, 500], loop=2, **more)
    events, summary = upscale([f"a.{ext}"], lossless=ext == "webp")
    assert summary.done == 1 and files() == [f"a.{ext}", f"a_x2.{ext}"]
    shares = [e.share for e in only(events, Progressed)]
    assert shares == sorted(shares) and shares[-1] == 1 and 0 < shares[0] < 0.34
    before, after = (list(read_frames(Path(f"a{end}.{ext}"))) for end in ("", "_x2"))
    assert [f.seconds for f in after] == [f.seconds for f in before]
    for frame, got in zip(frames, after, strict=True):
        assert np.array_equal(got.picture.pixels, twice(frame))
    assert inspect(Path(f"a_x2.{ext}")).plays == inspect(Path(f"a.{ext}")).plays


@pytest.mark.parametrize("to", ["gif", "png", "webp"])
def test_an_animation_in_another_format(here, to):
    frames = animation("a.gif", duration=40, loop=0)
    upscale(["a.gif"], output=f"b.{to}", lossless=to == "webp")
    got = list(read_frames(Path(f"b.{to}")))
    assert [float(f.seconds) for f in got] == [0.04] * 3
    assert all(np.array_equal(g.picture.pixels, twice(f)) for g, f in zip(got, frames, strict=True))


@pytest.mark.parametrize("to", ["jpg", "tif", "bmp", "avif"])
def test_what_cannot_hold_an_animation_is_refused_or_told_to_take_the_first(here, to):
    animation("a.gif")
    events, summary = upscale(["a.gif"], output=f"b.{to}")
    [failed] = only(events, Failed)
    assert summary.failed == 1 and "3 frames" in failed.error and "--frames first" in failed.hint
    assert files() == ["a.gif"]
    events, summary = upscale(["a.gif"], output=f"b.{to}", frames="first")
    assert summary.done == 1
    assert any("first of 3 frames" in e.text for e in only(events, Noted))


def test_a_still_stays_a_still(here):
    for ext in ("gif", "webp", "png", "tif"):
        put(f"a.{ext}", np.full((6, 5, 3), (10, 200, 30), np.uint8))
        upscale([f"a.{ext}"])
        with Image.open(f"a_x2.{ext}") as image:
            assert getattr(image, "n_frames", 1) == 1
            assert not getattr(image, "is_animated", False)
        assert np.abs(got_rgb(f"a_x2.{ext}").astype(int) - (10, 200, 30)).max() <= 4


def got_rgb(name):
    with Image.open(name) as image:
        return np.asarray(image.convert("RGB"))


def test_cut_out_frames_have_no_fringe(here):
    """What is hidden under alpha 0 (black here) does not come in at the edge."""
    frames = []
    for k in range(3):
        image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
        image.paste((250, 240, 30, 255), (3 + k, 3, 11 + k, 11))
        frames.append(image)
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], disposal=2, duration=50)
    options = Options(model=catalog.resolve("bicubic"), scale=3.0)
    run(plan(["a.gif"], options), options, Resampler("bicubic"), tell=lambda event: None)
    for frame in read_frames(Path("a_x3.gif")):
        seen = frame.picture.pixels[frame.picture.alpha > 0]
        assert len(seen) > 400 and set(np.unique(frame.picture.alpha)) == {0, 255}
        assert np.abs(seen.astype(int) - (250, 240, 30)).max() <= 2


def test_pages(here, picture):
    pages = [picture(8, 9), picture(5, 14), picture(7, 7, 1)]
    with tifffile.TiffWriter("a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.shape[2] == 3 else "minisblack")
    upscale(["a.tif"])
    with tifffile.TiffFile("a_x2.tif") as file:
        for page, want in zip(file.pages, pages, strict=True):
            assert np.array_equal(page.asarray().reshape(*page.shape[:2], -1), twice(want))
    events, summary = upscale(["a.tif"], output="b.png")
    assert summary.failed == 1 and "3 pages" in only(events, Failed)[0].error


PAGES = {
    "rgb": (3, np.uint8, {"photometric": "rgb"}),
    "rgba": (4, np.uint8, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "deep": (3, np.uint16, {"photometric": "rgb"}),
    "grey": (1, np.uint16, {"photometric": "minisblack"}),
}


@pytest.mark.parametrize("kinds", list(itertools.permutations(PAGES, 2)), ids="-".join)
def test_pages_of_different_kinds(here, kinds):
    """Neither depth nor transparency is the first page's alone."""
    rng = np.random.default_rng(5)
    pages = []
    with tifffile.TiffWriter("a.tif") as file:
        for kind in kinds:
            channels, dtype, how = PAGES[kind]
            page = rng.integers(1, np.iinfo(dtype).max, (6, 7, channels), endpoint=True)
            pages.append(page.astype(dtype))
            file.write(pages[-1], **how)
    _, summary = upscale(["a.tif"])
    assert summary.done == 1
    with tifffile.TiffFile("a_x2.tif") as file:
        assert len(file.pages) == 2
        for page, want, kind in zip(file.pages, pages, kinds, strict=True):
            made = page.asarray().reshape(12, 14, -1)
            assert made.dtype == want.dtype and made.shape[2] == want.shape[2]
            # transparency is resampled where it is not the network's
            n = 3 if kind == "rgba" else made.shape[2]
            assert np.array_equal(made[..., :n], twice(want)[..., :n])


def test_what_becomes_of_a_later_page_is_said(here, picture):
    with tifffile.TiffWriter("a.tif") as file:
        file.write(picture(6, 7), photometric="rgb")
        file.write(picture(6, 7), photometric="cielab")
        file.write(picture(6, 7).astype(np.uint16) * 257, photometric="rgb")
    events, _ = upscale(["a.tif"])
    (lab,) = [note.text for note in only(events, Noted) if "Lab" in note.text]
    assert lab.startswith("page 2: ")
    events, _ = upscale(["a.tif"], depth="8", output="flat.tif")
    assert any("page 3: 16-bit" in note.text for note in only(events, Noted))


@pytest.mark.parametrize("ext", ["gif", "png", "webp", "tif"])
def test_a_frame_that_fails_costs_the_file_and_not_the_batch(here, ext):
    animation(f"a.{ext}")
    put("b.png", np.zeros((4, 4, 3), np.uint8))
    calls = []

    def before(number):
        calls.append(number)
        if calls.count(0) == 2 and number == 1:
            raise MediaError("the second frame")

    _, summary = upscale([f"a.{ext}", "b.png"], Nearest(before=before))
    assert (summary.done, summary.failed) == (1, 1)
    assert files() == sorted([f"a.{ext}", "b.png", "b_x2.png"])


@pytest.mark.parametrize(
    ("name", "left_s", "said"),
    [
        ("bcrn.srcli", 7300, "about 2 hours; -m fast ("),
        ("bcrn.srcli", 3700, "about an hour"),
        ("bcrn.srcli", 3500, None),
        ("plainusr_u.authors", 7300, None),
        ("bicubic", 7300, None),
    ],
)
def test_a_long_film_is_told_of_the_fast_network(name, left_s, said):
    got = faster(catalog.resolve(name, 2), (2,), left_s)
    assert (got is None) if said is None else said in (got or "")
