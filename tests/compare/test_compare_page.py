"""The page: what is in it, and what a browser makes of it."""

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
from chromium_pipe import Browser, find
from PIL import Image

from srcli.compare.page import page
from srcli.compare.pictures import compare
from srcli.errors import ResourceError

EVIL = "</script><img src=x onerror=alert(1)>\"'&{{DATA}}\u202e"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, picture):
    """A 40 x 30 picture, three enlarged to 160 x 120, the third of them red, and the true one."""
    folder = tmp_path_factory.mktemp("compare page")
    hr = picture(120, 160)
    Image.fromarray(hr[::4, ::4].copy()).save(folder / "lr.png", dpi=(72, 72))
    Image.fromarray(hr).save(folder / "hr.png")
    rng = np.random.default_rng(0)
    for name, noise in (("a", 5), ("b", 20)):
        worse = np.clip(hr + rng.normal(0, noise, hr.shape), 0, 255).astype(np.uint8)
        Image.fromarray(worse).save(folder / f"{name}.png")
    Image.new("RGB", (160, 120), (200, 10, 10)).save(folder / "red.png")
    return folder


@pytest.fixture(scope="module")
def comparison(folder):
    afters = [folder / f"{name}.png" for name in ("a", "b", "red")]
    return compare(
        folder / "lr.png", afters, labels=["bcrn x4", EVIL, "red"], reference=folder / "hr.png"
    )


@pytest.fixture(scope="module")
def text(comparison):
    data, notes = page(comparison)
    assert notes == []
    return data.decode()


# ------------------------------------------------------------------------------ what is in it


def test_pictures_are_there_without_loss(text, comparison):
    uris = re.findall(r'src="data:image/(\w+);base64,([^"]+)"', text)
    assert len(uris) == len(comparison.pictures)
    for (kind, data), shown in zip(uris, comparison.pictures, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.format.lower() == kind
            assert np.array_equal(np.asarray(image), shown.picture.pixels)
            assert not {"exif", "dpi", "xmp"} & set(image.info)


def test_nothing_leads_out_of_it(text):
    """No address but the pictures', and a policy under which a browser would load none."""
    bare = re.sub(r'"data:[^"]*"', '""', text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|WebSocket", bare, re.I)
    assert re.findall(r"\bsrc=\"([^\"]*)\"", bare) == [""] * 5
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_names_cannot_break_out(text):
    assert "<img src=x" not in text
    assert text.count("</script>") == 2
    assert not re.search(r"\{\{(?!DATA\}\})", text)  # the one that is left is in a name
    data = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    about = json.loads(data)
    assert about["pictures"][2]["label"] == EVIL.replace("\u202e", "\ufffd")
    assert about["pictures"][1]["best"]
    assert re.fullmatch(r"\d\d\.\d\d dB \u00b7 0\.\d{4}", about["pictures"][1]["score"])


def test_a_large_picture_is_embedded_with_loss_and_a_word(comparison):
    sizes = [
        len(data) * 3 // 4 for data in re.findall(r"base64,([^\"]+)", page(comparison)[0].decode())
    ]
    data, notes = page(comparison, max_picture_bytes=max(sizes) - 500)
    assert [note.split()[0] for note in notes] == ["b.png"]
    assert "with loss" in notes[0]
    assert "embedded with loss" in data.decode()


def test_too_large_is_refused(comparison):
    with pytest.raises(ResourceError, match=r"a\.png takes|lr\.png takes"):
        page(comparison, max_picture_bytes=100)
    with pytest.raises(ResourceError, match="the most that a page may have"):
        page(comparison, max_page_bytes=30_000)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_every_kind_of_picture(tmp_path, picture, mode):
    image = Image.fromarray(picture(24, 32)).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize((32, 24)))
    image.save(tmp_path / "a.png")
    found = compare(tmp_path / "a.png", [tmp_path / "a.png"], labels=["a"])
    uri = re.search(r'base64,([^"]+)"', page(found)[0].decode())[1]
    with Image.open(io.BytesIO(base64.b64decode(uri))) as embedded:
        expected = np.asarray(image.convert("RGBA"))
        assert np.array_equal(np.asarray(embedded.convert("RGBA")), expected)


# ------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find()
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium, or SRCLI_CHROMIUM)")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def url(folder, text):
    path = folder / "it's a page #1 100%.html"
    path.write_text(text, "utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser, url):
    """Function (hash, ...) -> the browser with the page; what it complained of fails the test."""
    yield lambda fragment="", **window: browser.open(url + fragment, **window) or browser
    seen = [event["method"] for event in browser.events]
    assert "Runtime.exceptionThrown" not in seen
    assert "Log.entryAdded" not in seen, [e for e in browser.events if e["method"][:3] == "Log"]


STATE = """(() => {
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; };
  return {
    ...document.getElementById("stage").dataset,
    stage: box(document.getElementById("stage")),
    line: box(document.getElementById("divider")),
    figures: [...document.querySelectorAll("figure")].map((f) => f.hidden ? null : {
      box: box(f), image: box(f.querySelector("img")), cut: f.style.clipPath,
      sharp: f.querySelector("img").classList.contains("sharp"),
    }),
    focus: document.activeElement.id,
  };
})()"""


def state(browser):
    browser.settle()
    return browser.run(STATE)


def offsets(found):
    """Where each visible picture lies in its pane: (x, y, width, height)."""
    return [
        [f["image"][0] - f["box"][0], f["image"][1] - f["box"][1], *f["image"][2:]]
        for f in found["figures"]
        if f
    ]


def middle(found):
    x, y, width, height = found["stage"]
    return x + width / 2, y + height / 2


def assert_aligned(found):
    first, *others = offsets(found)
    assert others
    for other in others:
        assert other == pytest.approx(first, abs=0.01)


def colour_at(browser, x, y):
    with Image.open(io.BytesIO(browser.screenshot())) as shot:
        return shot.convert("RGB").getpixel((round(x), round(y)))


def test_it_opens_from_a_file_and_asks_the_network_for_nothing(opened):
    browser = opened()
    found = state(browser)
    assert browser.run("document.title") == "lr.png: before and after"
    assert (found["mode"], found["left"], found["right"], found["divider"]) == (
        "divider",
        "1",
        "2",
        "50",
    )
    assert_aligned(found)
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked[0].startswith("file://")
    assert all(address.startswith("data:") for address in asked[1:])
    assert browser.run("document.querySelectorAll('.card')[2].title") == "b.png"
    label = browser.run("document.querySelectorAll('figcaption')[2].firstChild.textContent")
    assert label.strip() == EVIL.replace("\u202e", "\ufffd")


def test_the_divider_moves(opened):
    browser = opened("#right=4&divider=30")
    found = state(browser)
    x, y, width, height = found["stage"]
    at = x + 0.3 * width
    assert found["line"][0] + found["line"][2] / 2 == pytest.approx(at, abs=1)
    # by mouse, off its handle: what was left of it becomes red, what it left behind not
    assert colour_at(browser, at + 40, y + height / 3) == (200, 10, 10)
    browser.drag((at, y + height / 4), (at + 0.4 * width, y + height / 3))
    found = state(browser)
    assert found["divider"] == "70"
    assert colour_at(browser, at + 40, y + height / 3) != (200, 10, 10)
    assert colour_at(browser, x + 0.72 * width, y + height / 3) == (200, 10, 10)
    assert found["focus"] == "divider"
    browser.key("ArrowLeft")
    assert state(browser)["divider"] == "69"
    browser.key("Home")
    assert state(browser)["divider"] == "0"
    browser.key("End")
    assert state(browser)["divider"] == "100"
    browser.key("[", text="[")
    assert state(browser)["divider"] == "98"
    said = browser.run("document.getElementById('divider').getAttribute('aria-valuenow')")
    assert said == "98"


@pytest.mark.parametrize("mode", ["divider", "pair", "grid"])
def test_zoom_and_pan_keep_the_pictures_aligned(opened, mode):
    browser = opened(f"#mode={mode}")
    found = state(browser)
    assert_aligned(found)
    before = offsets(found)[0]
    x, y = found["figures"][0]["box"][0] + 100, found["figures"][0]["box"][1] + 90
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    found = state(browser)
    assert_aligned(found)
    after = offsets(found)[0]
    assert after[2] > 1.2 * before[2]
    # the point under the mouse stays, to the screen's pixel
    for k in (0, 1):
        at = (100, 90)[k]
        share = (at - before[k]) / before[2 + k]
        assert after[k] + share * after[2 + k] == pytest.approx(at, abs=1)
    browser.drag((x, y), (x + 50, y - 30))
    found = state(browser)
    assert_aligned(found)
    moved = offsets(found)[0]
    assert moved[0] - after[0] == pytest.approx(50, abs=1)
    assert moved[1] - after[1] == pytest.approx(-30, abs=1)
    browser.key("ArrowRight")
    browser.key("+", text="+")
    found = state(browser)
    assert_aligned(found)
    assert offsets(found)[0][2] == pytest.approx(1.25 * moved[2])
    browser.key("-", text="-")
    browser.key("0", text="0")
    found = state(browser)
    assert offsets(found)[0] == pytest.approx(before, abs=0.01)


def test_one_to_one_is_one_to_one(opened):
    browser = opened(pixel_ratio=2)
    browser.key("z", text="z")
    assert offsets(state(browser))[0][2:] == [80, 60]


def test_pictures_are_switched(opened):
    browser = opened()
    browser.key("4", text="4")
    assert state(browser)["right"] == "4"
    browser.key("@", code="Digit3", shift=True)
    assert state(browser)["left"] == "3"
    browser.key("3", text="3")  # the one on the left: they change places
    found = state(browser)
    assert (found["left"], found["right"]) == ("4", "3")
    browser.key("s", text="s")
    found = state(browser)
    assert (found["left"], found["right"]) == ("3", "4")
    browser.key("9", text="9")  # there is none
    assert state(browser)["right"] == "4"
    browser.run("document.querySelectorAll('.card')[1].querySelectorAll('button')[1].click()")
    assert state(browser)["right"] == "2"


def test_tab_goes_through_the_pictures_and_then_on(opened):
    browser = opened()
    browser.run("document.getElementById('stage').focus()")
    seen = []
    for _ in range(4):
        browser.key("Tab")
        found = state(browser)
        seen.append((found["right"], found["focus"]))
    assert seen == [("3", "stage"), ("4", "stage"), ("5", "stage"), ("5", "divider")]
    browser.key("Tab", shift=True)
    browser.key("Tab", shift=True)
    found = state(browser)
    assert (found["right"], found["focus"]) == ("4", "stage")


def test_the_small_picture_is_pixels_or_smooth(opened):
    browser = opened()
    assert [f["sharp"] for f in state(browser)["figures"] if f] == [True, True]
    browser.key("b", text="b")
    assert state(browser)["figures"][0]["sharp"] is False
    assert "smooth" in browser.run("document.getElementById('enlarge').textContent")


def test_every_picture_has_its_place_in_the_grid(opened):
    browser = opened("#mode=grid&zoom=3")
    found = state(browser)
    boxes = [f["box"] for f in found["figures"]]
    assert len(boxes) == 5
    assert len({tuple(box[2:]) for box in boxes}) == 1
    assert len({tuple(box[:2]) for box in boxes}) == 5
    assert all(value == int(value) for box in boxes for value in box[2:])


@pytest.mark.parametrize(
    ("width", "height", "mobile", "mode"),
    [(1280, 800, False, "divider"), (390, 844, True, "grid")],
)
def test_it_fits_its_window(opened, width, height, mobile, mode):
    browser = opened(f"#mode={mode}", width=width, height=height, mobile=mobile)
    found = state(browser)
    assert browser.run("[document.scrollingElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.run("document.scrollingElement.scrollHeight") == height
    assert found["stage"][3] > 0.7 * height
    outside = browser.run(
        "[...document.querySelectorAll('header button')].filter((b) => {"
        " const r = b.getBoundingClientRect();"
        " return r.left < 0 || r.right > innerWidth || r.height < 24; }).length"
    )
    assert outside == 0
    rows = browser.run(
        "new Set([...document.querySelectorAll('.tools .group')]"
        ".map((g) => g.getBoundingClientRect().top)).size"
    )
    assert rows == 1
    with Image.open(io.BytesIO(browser.screenshot())) as shot:
        assert shot.size == (width, height)
        assert len(shot.convert("RGB").getcolors(1 << 24)) > 500


def test_two_fingers_zoom(opened):
    browser = opened(width=390, height=844, mobile=True)
    found = state(browser)
    x, y = middle(found)
    y += 120
    before = offsets(found)[0]
    browser.touch("touchStart", (x - 100, y), (x - 50, y))
    for k in range(1, 6):
        browser.touch("touchMove", (x - 100 - 8 * k, y), (x - 50 + 2 * k, y))
    browser.touch("touchEnd")
    found = state(browser)
    assert_aligned(found)
    assert offsets(found)[0][2] == pytest.approx(2 * before[2], rel=0.02)


def test_what_is_shown_is_in_the_address(opened):
    browser = opened("#mode=pair&left=2&right=5&zoom=4&x=0.25&y=0.75")
    before = state(browser)
    browser.key("s", text="s")
    browser.run("new Promise((done) => setTimeout(done, 400))")
    address = browser.run("location.href")
    assert "left=5&right=2" in address and "zoom=4" in address
    browser.open(address)
    after = state(browser)
    assert (after["left"], after["right"], after["mode"]) == ("5", "2", "pair")
    assert offsets(after)[0] == offsets(before)[0]


@pytest.mark.parametrize(
    "fragment", ["#zoom=nan&left=99&right=-4&mode=x&divider=1e9", "#%%%", "#left=2&right=2"]
)
def test_any_address_is_survived(opened, fragment):
    found = state(opened(fragment))
    assert found["left"] != found["right"]
    assert_aligned(found)


def test_help_lists_the_keys_and_escape_closes_it(opened):
    browser = opened()
    browser.key("?", text="?")
    assert browser.run("document.getElementById('help').open")
    assert "PSNR" in browser.run("document.getElementById('notes').textContent")
    browser.key("4", text="4")
    assert state(browser)["right"] == "2"
    browser.key("Escape", code="Escape")
    assert not browser.run("document.getElementById('help').open")


def test_dark_and_light(opened):
    dark = colour_at(opened(dark=True), 5, 5)
    light = colour_at(opened(dark=False), 5, 5)
    assert max(dark) < 60
    assert min(light) > 200
