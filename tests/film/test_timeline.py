"""Every frame once, at its own time; and everything else as it was."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from tests.film.films import header, make, packets, run, slow, times

IRREGULAR = r"select=not(mod(n\,3))+eq(mod(n\,7)\,1)"
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")

FILMS = {
    "film.mkv": ("24000/1001", X264),
    "pal.mp4": ("25", X264),
    "ntsc.mp4": ("24000/1001", X264),
    "vfr.mkv": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", *X264, "-bf", "0")),
    "vfr.mp4": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", *X264, "-bf", "0")),
    "b.mp4": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", *X264, "-bf", "3")),
    "b.mov": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", *X264, "-bf", "3")),
    "b.mkv": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", *X264, "-bf", "3")),
    "offset.mkv": ("25", (*X264, "-output_ts_offset", "1.5")),
    "offset.mp4": ("25", (*X264, "-output_ts_offset", "1.5")),
    "web.webm": ("30", ("-vf", IRREGULAR, "-fps_mode", "passthrough", "-c:v", "libvpx-vp9")),
    "mpeg4.avi": ("25", ("-c:v", "mpeg4", "-bf", "0")),
    "broadcast.ts": ("25", ("-c:v", "mpeg2video", "-bf", "2")),
}


QUICK = ["film.mkv", "pal.mp4", "b.mp4", "offset.mkv", "broadcast.ts"]


@pytest.mark.parametrize("name", [*QUICK, *slow(*(name for name in FILMS if name not in QUICK))])
def test_frames_keep_their_times(name, here, upscale):
    rate, arguments = FILMS[name]
    make(name, *arguments, rate=rate)
    done = upscale(
        name, "-x2", "-m", "bicubic", "--json", "--preset", "5" if "web" in name else "ultrafast"
    )
    assert done.code == 0, done.err
    [event] = [e for e in done.events if e["event"] == "done"]
    before, after = times(name), times(event["output"])
    assert len(before) > 10
    # Matroska counts milliseconds, which may be coarser than the source's ticks
    tick = Fraction(1, 1000) if event["output"].endswith(("mkv", "webm")) else 0
    assert len(after) == len(before)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) <= tick / 2
    assert event["sr_size"] == [128, 192]
    assert "192x128" in header(event["output"])
    check = event["check"]
    assert check["frames"] == len(before) == event["frames"]
    assert check["first_s"] == pytest.approx(float(after[0]), abs=1e-6)
    assert check["last_s"] == pytest.approx(float(after[-1]), abs=1e-6)


@pytest.mark.parametrize(
    ("preset", "name"),  # without B-frames, and with them
    [
        ("ultrafast", "film.mkv"),
        ("medium", "film.mp4"),
        *slow(("ultrafast", "film.mp4"), ("medium", "film.mkv")),
    ],
)
def test_a_last_frame_that_stays_long(preset, name, here, upscale):
    """As in recordings of a screen: the film lasts until its end, not until that frame begins."""
    make(
        *(name, "-vf", r"setpts=if(eq(N\,4)\,2/TB\,PTS)", "-fps_mode", "passthrough"),
        *("-enc_time_base", "1/1000", *X264, "-bf", "0"),
        *("-bsf:v", r"setts=pts=PTS:dts=DTS:duration=if(eq(N\,4)\,4/TB\,DURATION)"),
        rate="10",
        seconds=0.5,
    )
    assert "Duration: 00:00:06.00" in header(name)
    done = upscale(name, "-x2", "-m", "bicubic", "-o", f"out_{name}", "--preset", preset, "--json")
    assert done.code == 0, done.err
    assert times(f"out_{name}") == times(name)
    assert "Duration: 00:00:06.00" in header(f"out_{name}")
    [event] = [e for e in done.events if e["event"] == "done"]
    assert event["check"]["duration_s"] == event["check"]["source_duration_s"] == 6
    done = upscale(name, "-x2", "-m", "bicubic", "-o", f"cut_{name}", "--end", "4")
    assert done.code == 0, done.err
    assert "Duration: 00:00:04.00" in header(f"cut_{name}")


def test_what_phones_say_of_themselves(here, upscale):
    make(
        *("film.mov", *X264, "-movflags", "use_metadata_tags", "-metadata", "title=Beach"),
        *("-metadata", "com.apple.quicktime.make=Apple"),
        seconds=0.4,
    )
    done = upscale("film.mov", "-x2", "-m", "bicubic", "--preset", "ultrafast")
    assert done.code == 0, done.err

    def tags(path):
        return sorted(re.findall(r"^    (\S+) *: (.*?) *$", header(path), re.M))

    assert ("com.apple.quicktime.make", "Apple") in tags("film_x2.mov")
    assert tags("film_x2.mov") == tags("film.mov")


def full_film(name, tmp, text):
    """Two tracks of sound, subtitles, chapters, titles, languages, flags."""
    (tmp / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n\n")
    (tmp / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=A film\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Two\n"
    )
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "sine=f=880:d=1")
    return make(
        *(tmp / name, *sound, "-i", tmp / "words.srt", "-i", tmp / "chapters.txt"),
        *("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map_metadata", "4"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-c:s", text),
        *("-metadata:s:v:0", "language=fra", "-metadata:s:a:0", "language=deu"),
        *("-metadata:s:a:1", "language=eng", "-metadata:s:a:1", "title=Comments"),
        *("-metadata:s:s:0", "language=jpn"),
        *("-disposition:a:0", "default", "-disposition:a:1", "comment"),
        *("-disposition:s:0", "forced"),
    )


@pytest.mark.parametrize(("name", "text"), [("full.mkv", "srt"), ("full.mp4", "mov_text")])
def test_everything_else_is_copied(name, text, here, upscale):
    source = full_film(name, here, text)
    done = upscale(source, "-x2", "-m", "bicubic", "--preset", "ultrafast", "-o", f"out_{name}")
    assert done.code == 0, done.err
    for stream in ("a:0", "a:1", "s:0"):
        assert packets(f"out_{name}", stream) == packets(source, stream)
    before, after = header(source), header(f"out_{name}")
    flags = r"((?: \((?:default|forced|comment)\))*)$"
    said = re.compile(r"Stream #0:(\d+)\S*?\((\w+)\): (\w+): (\w+).*?" + flags, re.M)
    kept = [m for m in said.findall(before) if m[2] != "Data"]
    assert [m for m in said.findall(after) if m[2] != "Data"] == kept
    assert len(kept) == 4
    for text in ("A film", "One", "Two"):
        assert after.count(text) >= 1
    assert after.count("Chapter #0:") == 2
    if name.endswith("mkv"):
        assert "Comments" in after


def cover_of(path):
    run("-v", "error", "-i", path, "-map", "0:v:1", "-c", "copy", "-update", "1", "found.png")
    return Path("found.png").read_bytes()


def test_attachments_and_covers(here, upscale):
    run("-v", "error", "-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", "front.png")
    (here / "font.ttf").write_bytes(b"\0\1\0\0 no real font, but bytes are bytes")
    make(
        *("film.mkv", *X264, "-attach", "front.png", "-metadata:s:t", "mimetype=image/png"),
        *("-attach", "font.ttf", "-metadata:s:t:1", "mimetype=application/x-truetype-font"),
    )
    assert "(attached pic)" in header("film.mkv")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "-o", "out.mkv", "--preset", "ultrafast")
    assert done.code == 0, done.err
    assert times("out.mkv") == times("film.mkv")
    run("-v", "error", "-dump_attachment:t:0", "out.ttf", "-i", "out.mkv", "-f", "null", "-")
    assert (here / "out.ttf").read_bytes() == (here / "font.ttf").read_bytes()
    assert cover_of("out.mkv") == (here / "front.png").read_bytes()
    assert "(attached pic)" in header("out.mkv")
    assert re.findall("filename +: (.*)", header("out.mkv")) == ["font.ttf", "front.png"]


@pytest.mark.parametrize("name", ["out.mkv", *slow("out.mp4")])
def test_the_cover_of_an_mp4(name, here, upscale):
    run("-v", "error", "-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", "front.png")
    make("plain.mp4", *X264)
    marked = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
    run("-v", "error", "-i", "plain.mp4", "-i", "front.png", *marked, "film.mp4")
    done = upscale("film.mp4", "-x2", "-m", "bicubic", "-o", name, "--preset", "ultrafast")
    assert done.code == 0, done.err
    assert "(attached pic)" in header(name)
    assert cover_of(name) == (here / "front.png").read_bytes()
    assert times(name) == times("film.mp4")


@pytest.mark.parametrize(
    ("degrees", "name"),
    [
        (90, "film.mp4"),
        (-90, "film.mkv"),
        *slow((-90, "film.mp4"), (90, "film.mkv"), (180, "film.mp4"), (180, "film.mkv")),
    ],
)
def test_rotation_and_pixel_aspect(name, degrees, here, upscale):
    make("plain.mp4", "-vf", "setsar=4/3", *X264)
    run("-v", "error", "-display_rotation:v:0", degrees, "-i", "plain.mp4", "-c", "copy", name)
    done = upscale(name, "-x2", "-m", "bicubic", "-o", f"out_{name}", "--preset", "ultrafast")
    assert done.code == 0, done.err
    rotation = re.compile(r"rotation of (\S+) degrees")
    assert rotation.findall(header(f"out_{name}")) == rotation.findall(header(name))
    assert abs(float(rotation.findall(header(name))[0])) == abs(degrees)
    assert "192x128 [SAR 4:3" in header(f"out_{name}")


def test_what_a_container_cannot_hold_is_said_before_work(here, upscale):
    (here / "words.ass").write_text(
        "[Script Info]\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
        "Dialogue: 0,0:00:00.10,0:00:00.90,Default,Hello\n"
    )
    make("film.mkv", "-i", "words.ass", "-map", "0", "-map", "1", *X264, "-c:s", "ass")
    done = upscale("film.mkv", "-x2", "-m", "bicubic", "-o", "out.mp4")
    assert done.code == 1
    assert "cannot hold stream 1 (ass subtitle)" in done.err
    assert "--container mkv" in done.err
    assert not list(here.glob("*out*"))
    assert upscale("film.mkv", "-x2", "-m", "bicubic", "--container", "mkv").code == 0
    assert (here / "film_x2.mkv").exists()


def test_sound_that_begins_before_the_picture(here, upscale):
    """AAC's first packet lies before 0 in MP4; sound and picture stay together."""
    make("film.mp4", "-f", "lavfi", "-i", "sine=d=1", *X264, "-c:a", "aac")
    assert packets("film.mp4", "a:0")[0][0] < 0
    for name in ("out.mp4", "out.mkv"):
        done = upscale("film.mp4", "-x2", "-m", "bicubic", "-o", name, "--preset", "ultrafast")
        assert done.code == 0, done.err
        picture = [a - b for a, b in zip(times(name), times("film.mp4"), strict=True)]
        sound = packets(name, "a:0")[5][0] - packets("film.mp4", "a:0")[5][0]
        assert all(abs(p - sound) <= Fraction(1, 1000) for p in picture)
