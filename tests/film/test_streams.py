"""Which streams a film has, and in what form they come out."""

import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srcli.film import upscale as upscaling
from srcli.film.description import Stream
from srcli.film.ffmpeg import find_ffmpeg
from srcli.film.probe import probe
from srcli.film.tracks import Track, alternatives, converted_alternatives, lossless_alternatives
from tests.film.films import header, make, packets, run, times

X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")
SINE = ("-f", "lavfi", "-i", "sine=d=0.4:r=48000")
BICUBIC = ("-x2", "-m", "bicubic")


def streams(path):
    """(kind, codec) by index."""
    found = re.findall(r"Stream #0:(\d+).*?: (Video|Audio|Subtitle): (\w+)", header(path))
    return [(kind, codec) for _, kind, codec in sorted(set(found), key=lambda f: int(f[0]))]


def sound(path, stream="a:0"):
    """Decoded samples."""
    out = run("-v", "error", "-i", path, "-map", f"0:{stream}", "-f", "s32le", "-")
    return np.frombuffer(out, "<i4")


def test_sound_that_a_mov_would_lose_is_refused_with_what_helps(here, upscale):
    """ffmpeg writes WMA into MOV without a complaint, and nothing can read it there."""
    make("old.wmv", *SINE, "-c:v", "wmv2", "-c:a", "wmav2", seconds=0.4)
    done = upscale("old.wmv", *BICUBIC, "-o", "o.mov")
    assert done.code == 1
    assert "cannot hold stream 1 (wmav2 audio)" in done.err
    assert "--container mkv keeps it" in done.err
    assert "--audio convert makes it aac" in done.err
    assert "--audio drop leaves it out" in done.err
    assert sorted(p.name for p in here.iterdir() if p.name != "cache") == ["old.wmv"]
    assert upscale("old.wmv", *BICUBIC, "--container", "mkv").code == 0
    assert streams("old_x2.mkv")[1] == ("Audio", "wmav2")
    done = upscale("old.wmv", *BICUBIC, "-o", "o.mov", "--audio", "convert")
    assert done.code == 0, done.err
    assert "stream 1 (wmav2 audio) becomes aac" in done.err
    before, after = sound("old.wmv"), sound("o.mov")
    assert abs(len(after) - len(before)) < 4096
    assert np.abs(after[8192:12288].astype(float)).max() > 0.5 * np.abs(before.astype(float)).max()
    assert upscale("old.wmv", *BICUBIC, "-o", "silent.mov", "--audio", "drop").code == 0
    assert streams("silent.mov") == [("Video", "h264")]


@pytest.mark.parametrize(
    ("name", "codec", "target", "becomes"),
    [
        ("a.m2ts", "pcm_bluray", "o.mov", "pcm_s16le"),
        ("a.vob", "pcm_dvd", "o.mkv", "pcm_s16le"),
        ("a.avi", "pcm_u8", "o.mp4", "pcm_s16le"),
    ],
)
def test_samples_are_repacked_without_loss(name, codec, target, becomes, here, upscale):
    video = {"vob": "mpeg2video", "avi": "mpeg4"}.get(name[2:], "libx264")
    more = ("-mpegts_m2ts_mode", "1") if name == "a.m2ts" else ()
    make(name, *SINE, "-c:v", video, "-pix_fmt", "yuv420p", "-c:a", codec, *more, seconds=0.4)
    done = upscale(name, *BICUBIC, "-o", target)
    assert done.code == 0, done.err
    assert f"({codec} audio) becomes {becomes}, sample for sample" in done.err
    assert streams(target)[1] == ("Audio", becomes)
    np.testing.assert_array_equal(sound(target), sound(name))
    picture = times(target)[0] - times(name)[0]
    heard = packets(target, "a:0")[0][0] - packets(name, "a:0")[0][0]
    assert abs(picture - heard) <= Fraction(1, 500)


def test_alternatives_of_sound():
    surround = Stream(1, "audio", "truehd", samples="s24", channels=8)
    assert [t.encoder for t in converted_alternatives(surround, ".mp4")] == ["alac", "aac"]
    assert converted_alternatives(surround, ".webm")[0].options == (("b", "448k"),)
    assert alternatives(surround, ".mp4", "copy") == []
    deep = Stream(1, "audio", "pcm_s24be", samples="s24")
    assert [t.encoder for t in lossless_alternatives(deep, ".mkv")] == ["pcm_s24le"]
    assert Track(deep).encoder is None


@pytest.mark.parametrize(
    ("name", "codec", "target", "becomes"),
    [
        ("a.mp4", "mov_text", "o.mkv", "subrip"),
        ("a.mkv", "srt", "o.mp4", "mov_text"),
        ("a.mkv", "ass", "o.webm", "webvtt"),
    ],
)
def test_text_is_converted(name, codec, target, becomes, here, upscale):
    Path("w.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n\n")
    make(name, "-i", "w.srt", "-map", "0", "-map", "1", *X264, "-c:s", codec,
         "-metadata:s:s", "language=fra", seconds=0.4)  # fmt: skip
    done = upscale(name, *BICUBIC, "-o", target)
    assert done.code == 0, done.err
    assert f"becomes {becomes}" in done.err
    assert streams(target)[1] == ("Subtitle", becomes)
    assert "(fra): Subtitle" in header(target)
    said = run("-v", "error", "-i", target, "-map", "0:s", "-f", "srt", "-").decode()
    assert "00:00:00,100 --> 00:00:00,300\nHello" in said
    done = upscale(name, *BICUBIC, "-o", target, "--overwrite", "--subtitles", "drop")
    assert done.code == 0, done.err
    assert len(streams(target)) == 1


@pytest.mark.parametrize("target", ["o.mp4", "o.mkv"])
@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ("0.2", "0.4", "00:00:00,000 --> 00:00:00,100\nHello"),  # it is shown already
        ("0.1", "0.6", "00:00:00,000 --> 00:00:00,200\nHello"),
        ("0.4", "0.6", ""),  # no line at all
    ],
)
def test_text_in_a_part(start, end, wanted, target, here, upscale):
    Path("w.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n\n")
    codec = {"o.mp4": "mov_text", "o.mkv": "ass"}[target]
    name = "film" + Path(target).suffix
    make(name, "-i", "w.srt", "-map", "0", "-map", "1", *X264, "-c:s", codec, seconds=0.8)
    done = upscale(name, *BICUBIC, "-o", target, "--start", start, "--end", end)
    assert done.code == 0, done.err
    assert len(streams(target)) == 2
    said = run("-v", "error", "-i", target, "-map", "0:s", "-f", "srt", "-").decode()
    assert wanted in said if wanted else not said


def test_a_part_with_converted_streams(here, upscale):
    Path("w.srt").write_text("1\n00:00:01,100 --> 00:00:01,400\nHello\n\n")
    make("film.mkv", "-f", "lavfi", "-i", "sine=d=2:r=48000", "-i", "w.srt", "-map", "0",
         "-map", "1", "-map", "2", *X264, "-c:a", "wavpack", "-c:s", "srt", seconds=2)  # fmt: skip
    part = ("--start", "1", "--end", "1.6", "-o", "o.mp4", "--audio", "convert")
    done = upscale("film.mkv", *BICUBIC, *part)
    assert done.code == 0, done.err
    assert streams("o.mp4") == [("Video", "h264"), ("Audio", "alac"), ("Subtitle", "mov_text")]
    said = run("-v", "error", "-i", "o.mp4", "-map", "0:s", "-f", "srt", "-").decode()
    assert "00:00:00,100 --> 00:00:00,400\nHello" in said
    assert len(times("o.mp4")) == 15
    assert times("o.mp4")[0] == 0
    made, whole = sound("o.mp4"), sound("film.mkv")
    start = round(packets("o.mp4", "a:0")[0][0] * 48000)
    assert abs(len(made) - 28800) < 4096
    np.testing.assert_array_equal(made[4096:20480], whole[48000 + start :][4096:20480])


def test_streams_are_found_by_index(here, upscale):
    """ffmpeg prints a video with a timecode before two sounds that stand first in the file."""
    make("film.mp4", *SINE, *SINE, "-map", "1", "-map", "2", "-map", "0", *X264, "-c:a", "aac",
         "-timecode", "01:00:00:00", seconds=0.4)  # fmt: skip
    assert [s.index for s in probe(Path("film.mp4"), find_ffmpeg()).streams] == [0, 1, 2, 3]
    done = upscale("film.mp4", *BICUBIC, "-o", "o.mp4")
    assert done.code == 0, done.err
    assert [kind for kind, _ in streams("o.mp4")] == ["Audio", "Audio", "Video"]
    assert header("o.mp4").count("01:00:00:00") == 2
    assert packets("o.mp4", "a:1") == packets("film.mp4", "a:1")
    done = upscale("film.mp4", *BICUBIC, "-o", "part.mp4", "--start", "0.2")
    assert done.code == 0, done.err
    assert "the timecode 01:00:00:00 of the film's beginning is left out" in done.err
    assert "timecode" not in header("part.mp4")


@pytest.mark.parametrize(("rate", "code"), [("30000/1001", "00:00:10;00"), ("25", "10:00:00:05")])
def test_timecodes_of_other_rates(rate, code, here, upscale):
    make("film.mov", *X264, "-timecode", code, rate=rate, seconds=0.4)
    done = upscale("film.mov", *BICUBIC, "-o", "o.mov")
    assert done.code == 0, done.err
    assert code in header("o.mov")
    assert times("o.mov") == times("film.mov")


def test_a_stream_of_two_programs_comes_once(here, upscale):
    make("film.ts", *SINE, *X264, "-c:a", "mp2", "-map", "0", "-map", "1", "-map", "1",
         "-program", "title=A:st=0:st=1", "-program", "title=B:st=0:st=2", seconds=0.4)  # fmt: skip
    done = upscale("film.ts", *BICUBIC, "-o", "o.mkv")
    assert done.code == 0, done.err
    assert [kind for kind, _ in streams("o.mkv")] == ["Video", "Audio", "Audio"]
    assert "the programs A, B become one" in done.err
    assert "other videos" not in done.err


def test_which_video_is_enlarged(here, upscale):
    """The default one, or the largest; never a cover, however large."""
    run("-v", "error", "-f", "lavfi", "-i", "color=red:s=320x320", "-frames:v", "1", "c.png")
    small = ("-f", "lavfi", "-i", "testsrc=s=32x32:r=25:d=0.4")
    both = ("-map", "1", "-map", "0", *X264)
    make("large.mkv", *small, *both, "-disposition:v", "0", seconds=0.4)
    make("default.mkv", *small, *both, "-disposition:v:0", "default", "-disposition:v:1", "0",
         seconds=0.4)  # fmt: skip
    make("cover.mp4", "-i", "c.png", "-map", "1", "-map", "0", *X264, "-c:v:0", "copy",
         "-disposition:v:0", "attached_pic", seconds=0.4)  # fmt: skip
    sizes = {
        name: probe(Path(name), find_ffmpeg()).size
        for name in ("large.mkv", "default.mkv", "cover.mp4")
    }
    assert sizes == {"large.mkv": (64, 96), "default.mkv": (32, 32), "cover.mp4": (64, 96)}
    done = upscale("large.mkv", *BICUBIC, "-o", "o.mkv")
    assert done.code == 0, done.err
    assert "stream 1 is enlarged, 96x64; other videos (1) are copied" in done.err
    assert "32x32" in header("o.mkv")
    assert "192x128" in header("o.mkv")


def test_sizes_are_those_of_the_picture_as_shown(here, upscale):
    make("plain.mp4", *X264, size="64x48", seconds=0.2)
    run("-v", "error", "-display_rotation:v:0", "90", "-i", "plain.mp4", "-c", "copy", "film.mp4")

    def shown(path):
        run("-v", "error", "-i", path, "-frames:v", "1", "-update", "1", "shown.png")
        return Image.open("shown.png").size

    assert upscale("film.mp4", "-m", "bicubic", "--width", "96", "-o", "a.mp4").code == 0
    assert shown("a.mp4") == (96, 128)
    done = upscale("film.mp4", "-m", "bicubic", "--height", "128", "-o", "{width}_{height}.mp4",
                   "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert shown("96_128.mp4") == (96, 128)
    [event] = [e for e in done.events if e["event"] == "done"]
    assert (event["lr_size"], event["sr_size"]) == ([64, 48], [128, 96])
    assert upscale("film.mp4", "-m", "bicubic", "--width", "96", "--preview", "1").code == 0
    assert Image.open("film_96x128_preview_001.png").size == (96, 128)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_transparency(codec, here, upscale):
    source = (
        "color=red:s=64x48:r=25:d=0.2,format=yuva420p,"
        "geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='if(gt(X,31),255,128)'"
    )
    run("-v", "error", "-f", "lavfi", "-i", source, "-c:v", codec, "-auto-alt-ref", "0",
        "-pix_fmt", "yuva420p", "film.webm")  # fmt: skip
    assert upscale("film.webm", *BICUBIC, "-o", "%d.png").code == 0
    alpha = np.asarray(Image.open("1.png"))[:, :, 3].astype(int)
    assert alpha.shape == (96, 128)
    assert np.abs(alpha[:, :56] - 128).max() < 12
    assert np.abs(alpha[:, 72:] - 255).max() < 12
    done = upscale("film.webm", *BICUBIC)
    assert done.code == 0, done.err
    run("-v", "error", "-c:v", "libvpx-vp9", "-i", "film_x2.webm", "-frames:v", "1", "-pix_fmt",
        "rgba", "out.png")  # fmt: skip
    again = np.asarray(Image.open("out.png"))[:, :, 3].astype(int)
    assert np.abs(again - alpha).mean() < 4
    assert times("film_x2.webm") == times("film.webm")
    done = upscale("film.webm", *BICUBIC, "-o", "o.mp4")
    assert "transparency is left out" in done.err
    assert "alpha_mode" not in header("o.mp4")
    done = upscale("film.webm", *BICUBIC, "-o", "plain.webm", "--alpha", "discard")
    assert done.code == 0, done.err
    assert "alpha_mode" not in header("plain.webm").lower()


def test_a_tag_without_transparency(here, upscale):
    make("film.webm", "-c:v", "libvpx-vp9", "-metadata:s:v", "alpha_mode=1", seconds=0.2)
    done = upscale("film.webm", *BICUBIC)
    assert done.code == 0, done.err
    assert "claims to have transparency, and has none" in done.err
    assert "alpha_mode" not in header("film_x2.webm").lower()


def test_percents_in_a_folder_and_a_name(here, upscale):
    Path("p100%").mkdir()
    make("f%03d.png", seconds=0.2)
    for path in sorted(Path().glob("f*.png")):
        path.rename(f"p100%/50%_{path.name}")
    done = upscale("p100%/50%_f%03d.png", *BICUBIC, "-o", "o.mp4")
    assert done.code == 0, done.err
    assert len(times("o.mp4")) == 5


def test_slow_work_is_cut_by_the_clock(here, upscale, monkeypatch):
    """However few frames come in it, a segment takes no longer than a minute."""
    monkeypatch.setattr(upscaling, "MOST_S", 0.2)
    made = []
    add = upscaling.Work.add
    monkeypatch.setattr(
        upscaling.Work, "add", lambda self, *a: (made.append(len(a[2])), add(self, *a))[1]
    )
    enlarged = upscaling.FrameUpscaler.enlarged

    def slowly(self, *arguments):
        time.sleep(0.05)
        return enlarged(self, *arguments)

    monkeypatch.setattr(upscaling.FrameUpscaler, "enlarged", slowly)
    make("film.mkv", *X264, "-g", "250")
    done = upscale("film.mkv", *BICUBIC, "-o", "o.mkv")
    assert done.code == 0, done.err
    assert sum(made) == 25
    assert len(made) >= 4
    assert times("o.mkv") == times("film.mkv")


def test_a_film_stopped_before_the_first_segment_says_so(here, upscale, monkeypatch):
    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(upscaling.FrameUpscaler, "enlarged", interrupted)
    make("film.mkv", *X264)
    done = upscale("film.mkv", *BICUBIC, "-o", "o.mkv")
    assert done.code == 130
    assert "stopped before its first segment was finished, so that nothing" in done.err
    hint = "hint: the same command starts again from the beginning"
    assert done.err.splitlines()[-2:] == ["srcli: interrupted", hint]
    assert sorted(p.name for p in here.iterdir() if p.name != "cache") == ["film.mkv"]
