"""Colours: what nobody changed comes back, in every depth, range and matrix; tags are kept."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srcli.catalog import Architecture, Preprocessing
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.upscaler import Settings, Upscaler
from srcli.film.colour import MATRICES, Conversion, halved, interpolated
from srcli.film.description import Colour
from srcli.film.formats import LAYOUTS
from srcli.film.frames import FrameUpscaler, conversions
from tests.film.films import header, make, raw, run, slow

TAGS = {
    "bt601": "smpte170m:color_primaries=smpte170m:color_trc=smpte170m",
    "bt709": "bt709:color_primaries=bt709:color_trc=bt709",
    "bt2020": "bt2020nc:color_primaries=bt2020:color_trc=bt2020-10",
}


@st.composite
def frames(draw):
    layout = draw(st.sampled_from(list(LAYOUTS.values())))
    size = 2 * draw(st.integers(1, 9)), 2 * draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = "u1" if layout.bits == 8 else "<u2"
    planes = [rng.integers(0, 1 << layout.bits, s).astype(dtype) for s in layout.shapes(size)]
    colour = Colour(
        matrix=draw(st.sampled_from(list(MATRICES))),
        full_range=draw(st.booleans()),
        location=draw(st.sampled_from(["left", "center", "topleft", "top"])),
    )
    return layout, size, planes, colour


@given(frames())
@settings(deadline=None, max_examples=60)
def test_any_samples_come_back(frame):
    """Even those that stand for no colour at all, and whatever the place of chroma."""
    layout, size, planes, colour = frame
    conversion = Conversion.of(layout, colour, size)
    alpha = torch.from_numpy(planes[-1] / layout.maximum) if layout.alpha else None
    data = conversion.raw(conversion.to_rgb(planes), alpha)
    assert data == b"".join(p.tobytes() for p in planes)


@given(
    st.integers(1, 20), st.booleans(), st.booleans(), st.sampled_from([0, 1]), st.integers(0, 99)
)
@settings(deadline=None)
def test_halving_undoes_interpolation(n, on, odd, axis, seed):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.rand((n, 3) if axis == 0 else (3, n), generator=generator)
    fine = interpolated(samples, axis, 2 * n - (odd and on), on)
    torch.testing.assert_close(halved(fine, axis, on), samples)


def test_chroma_lies_where_the_file_says():
    """A linear ramp is interpolated to itself, shifted as the samples lie."""
    ramp = torch.arange(8.0)[None]
    on = interpolated(ramp, 1, 16, True)[0, :15]
    between = interpolated(ramp, 1, 16, False)[0, 1:15]
    torch.testing.assert_close(on, torch.arange(15) / 2)
    torch.testing.assert_close(between, (torch.arange(1, 15) - 0.5) / 2)


@pytest.mark.parametrize("matrix", ["bt709", "bt470bg", "bt2020nc"])
@pytest.mark.parametrize("full", [False, True])
def test_rgb_is_ffmpegs(matrix, full, here):
    """Against zscale, in 4:4:4, where there is nothing to interpolate."""
    names = {"bt709": "709", "bt470bg": "470bg", "bt2020nc": "2020_ncl"}
    span = "full" if full else "limited"
    lavfi = "testsrc2=s=96x64:r=1:d=1,format=yuv444p16le"
    run("-v", "error", "-f", "lavfi", "-i", lavfi, "-f", "rawvideo", "a.yuv")
    convert = (
        f"zscale=min={names[matrix]}:rin={span}:m=gbr:r=full:pin=709:tin=709:p=709:t=709,"
        "format=gbrpf32le"
    )
    run(
        *("-v", "error", "-f", "rawvideo", "-s", "96x64", "-pix_fmt", "yuv444p16le"),
        *("-i", "a.yuv", "-vf", convert, "-f", "rawvideo", "a.rgb"),
    )
    planes = np.fromfile("a.yuv", "<u2").reshape(3, 64, 96)
    g, b, r = np.fromfile("a.rgb", "<f4").reshape(3, 64, 96)
    conversion = Conversion.of(LAYOUTS["yuv444p16le"], Colour(matrix, full), (64, 96))
    ours = conversion.to_rgb(tuple(planes)).numpy()
    np.testing.assert_allclose(ours, np.stack([r, g, b], 2), atol=2e-5)


KINDS = list(itertools.product(["yuv420p", "yuv420p10le"], [False, True], TAGS))
QUICK_KINDS = [
    ("yuv420p", False, "bt601"),
    ("yuv420p", True, "bt709"),
    ("yuv420p10le", False, "bt2020"),
]


@pytest.mark.parametrize(
    ("pix_fmt", "full", "matrix"),
    [*QUICK_KINDS, *slow(*(k for k in KINDS if k not in QUICK_KINDS))],
)
def test_an_identity_gives_every_sample_back(pix_fmt, full, matrix, here, upscale):
    """x1 resamples nothing; ffv1 loses nothing."""
    span = "pc" if full else "tv"
    convert = f"scale=out_range={span},format={pix_fmt},setparams=range={span}:colorspace="
    make("film.mkv", "-vf", convert + TAGS[matrix], "-c:v", "ffv1", seconds=0.4)
    done = upscale("film.mkv", "-x1", "-m", "bicubic", "--codec", "ffv1", "-o", "out.mkv")
    assert done.code == 0, done.err
    before, after = raw("film.mkv", pix_fmt), raw("out.mkv", pix_fmt)
    np.testing.assert_array_equal(after, before)
    assert len(before) == 10 * 64 * 96 * 3 // 2
    said = re.compile(r"Video: (ffv1.*), 96x64,")
    assert said.search(header("out.mkv"))[1] == said.search(header("film.mkv"))[1]


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv422p", "gray10le", "gbrp", *slow("yuv444p", "yuv444p12le", "gray", "gbrp16le")],
)
def test_an_identity_in_other_layouts(pix_fmt, here, upscale):
    make("film.mkv", "-pix_fmt", pix_fmt, "-c:v", "ffv1", seconds=0.2)
    done = upscale("film.mkv", "-x1", "-m", "bicubic", "--codec", "ffv1", "-o", "out.mkv")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(raw("out.mkv", pix_fmt), raw("film.mkv", pix_fmt))
    said = re.compile(r"Video: (ffv1, \w+)")  # 8-bit RGB is called bgr0
    assert said.search(header("out.mkv"))[1] == said.search(header("film.mkv"))[1]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_a_lossless_codec_in_its_own_words(codec, here, upscale):
    words = {
        "h264": ("--crf", "0"),
        "hevc": ("--encoder-args", "-x265-params lossless=1"),
        "vp9": ("--crf", "0", "--encoder-args", "-lossless 1"),
    }
    make("film.mkv", "-pix_fmt", "yuv420p", "-c:v", "ffv1", seconds=0.4)
    done = upscale(
        "film.mkv", "-x1", "-m", "bicubic", "--codec", codec, *words[codec], "-o", "out.mkv"
    )
    assert done.code == 0, done.err
    np.testing.assert_array_equal(raw("out.mkv", "yuv420p"), raw("film.mkv", "yuv420p"))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_bars_stay_within_a_level(pix_fmt, here, upscale):
    bars = f"smptehdbars=s=320x180:r=5:d=0.4,format={pix_fmt}"
    run("-v", "error", "-f", "lavfi", "-i", bars, "-c:v", "ffv1", "film.mkv")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "--codec", "ffv1", "-o", "out.mkv")
    assert done.code == 0, done.err
    small = raw("film.mkv", pix_fmt).reshape(2, -1)[0].astype(int)
    large = raw("out.mkv", pix_fmt).reshape(2, -1)[0].astype(int)
    checked = 0
    for plane, (h, w) in enumerate(((180, 320), (90, 160), (90, 160))):
        at = (0, 180 * 320, 180 * 320 + 90 * 160)[plane]
        lr = small[at : at + h * w].reshape(h, w)
        sr = large[4 * at : 4 * (at + h * w)].reshape(2 * h, 2 * w)
        m = 6  # samples around that must be equal for one to lie in the interior of a bar
        windows = np.lib.stride_tricks.sliding_window_view(lr, (2 * m + 1, 2 * m + 1))
        flat = windows.min(axis=(2, 3)) == windows.max(axis=(2, 3))
        y, x = np.nonzero(flat)
        for dy, dx in itertools.product((0, 1), (0, 1)):
            got = sr[2 * (y + m) + dy, 2 * (x + m) + dx]
            assert np.abs(got - lr[y + m, x + m]).max() <= 1
        checked += len(y)
    assert checked > 10_000


def test_whiter_than_white_survives(here, upscale):
    """Limited range has room above white, and cameras use it; a network sees 0..1 only."""
    white = "color=white:s=64x64:r=5:d=0.4,format=yuv420p,lutyuv=y=250"
    run("-v", "error", "-f", "lavfi", "-i", white, "-c:v", "ffv1", "film.mkv")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "--codec", "ffv1", "-o", "out.mkv")
    assert done.code == 0, done.err
    luma = raw("out.mkv", "yuv420p").reshape(2, -1)[:, : 128 * 128]
    assert (luma == 250).all()


PQ = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_hdr10_is_kept(codec, here, upscale):
    make(
        *("film.mp4", "-vf", PQ + ",format=yuv420p10le", "-c:v", "libx265", "-x265-params"),
        f"log-level=error:master-display={DISPLAY}:max-cll=1000,400",
    )
    done = upscale("film.mp4", "-x2", "-m", "bicubic", "--codec", codec, "-o", "out.mp4")
    assert done.code == 0, done.err
    assert "yuv420p10le(tv, bt2020nc/bt2020/smpte2084" in header("out.mp4")

    def light(path):
        shown = run("-i", path, "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-", text=True)
        display = re.search(r"Mastering display metadata: \S+ \S+ (.*)", shown)[1]
        light = re.search(r"Content light level metadata: (.*)", shown)[1]
        return [float(n) for n in re.findall(r"[\d.]+", display + " " + light)]

    assert len(light("film.mp4")) == 12
    # AV1 counts luminance in 1/16384 cd/m2
    assert light("out.mp4") == pytest.approx(light("film.mp4"), abs=1e-5)


def test_hlg_and_ten_bits_by_default(here, upscale):
    hlg = PQ.replace("smpte2084", "arib-std-b67")
    make("film.mkv", "-vf", hlg + ",format=yuv420p10le", "-c:v", "ffv1")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "--preset", "ultrafast", "-o", "out.mkv")
    assert done.code == 0, done.err
    assert "hevc" in header("out.mkv")
    assert "yuv420p10le(tv, bt2020nc/bt2020/arib-std-b67" in header("out.mkv")


class Identity(torch.nn.Module):
    scale = 1

    def __init__(self):
        super().__init__()
        self.same = torch.nn.Conv2d(3, 3, 1, bias=False)
        self.same.weight.data = torch.eye(3)[:, :, None, None].clone()

    def forward(self, lr):
        return self.same(lr)

    def stages(self, run, lr):
        return run.local(self.forward, lr)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize(
    ("pix_fmt", "full", "matrix"),
    list(
        itertools.product(
            ["yuv420p", "yuv420p10le"], [False, True], ["smpte170m", "bt709", "bt2020nc"]
        )
    ),
)
def test_an_identity_network_gives_every_sample_back(pix_fmt, full, matrix, tile):
    """Through the engine; samples that stand for no colour are among them."""
    entry = Architecture("identity", "Identity", "residual", "p", "r", "here:Identity")
    engine = Upscaler(
        lambda scale: Network(Identity(), entry, Preprocessing(), scale),
        Settings(device="cpu", tile=tile),
    )
    layout, size = LAYOUTS[pix_fmt], (64, 96)
    colour = Colour(matrix=matrix, full_range=full)
    before, after, _ = conversions(layout, layout, colour, size, size)
    frames = FrameUpscaler(engine, (1,), size, before, after)
    rng = np.random.default_rng(0)
    dtype = "u1" if layout.bits == 8 else "<u2"
    planes = tuple(
        rng.integers(0, 1 << layout.bits, shape).astype(dtype) for shape in layout.shapes(size)
    )
    assert frames.raw(frames.enlarged(frames.prepared(planes))) == b"".join(
        p.tobytes() for p in planes
    )
    whole = before.to_rgb(planes)
    assert float(whole.min()) < -0.1
    assert float(whole.max()) > 1.1
