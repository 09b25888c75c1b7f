"""Raw frames with exact times into an ffmpeg child that encodes them.

The frames go in wrapped in IVF, whose every frame has a time of 64 bits. The ``rawvideo`` decoder
is forced, and knows the layout by its fourcc.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

from srcli.film.description import Colour
from srcli.film.encoding import Encoding
from srcli.film.ffmpeg import Child, FFmpeg, script_path

_LEAST_LEAD_S = 60


def lead(tick: Fraction) -> tuple[int, int]:
    """A whole number of ticks that is a whole number of seconds, of at least a minute.

    Segments are kept that much later: the first of their packets may be decoded before time 0,
    and files move what is negative.

    Returns:
        The ticks, and the seconds.
    """
    times = -(-_LEAST_LEAD_S // tick.numerator)
    return tick.denominator * times, tick.numerator * times


class Encoder:
    """An ffmpeg child that encodes a segment into a file, to be used in a ``with`` statement.

    Args:
        path: a NUT file, which keeps times in any unit; of VP9 with transparency a Matroska file,
            which rounds them to milliseconds.
        size: (height, width).
        tick: seconds that a tick of the frames' times takes.
        colour, sar: written into the stream.
    """

    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        size: tuple[int, int],
        tick: Fraction,
        colour: Colour,
        sar: Fraction | None,
        ffmpeg: FFmpeg,
    ) -> None:
        self.path, self.encoding, self.size, self.tick = path, encoding, size, tick
        self.n_frames = 0
        self._lead = lead(tick)[0]
        self._failure = f"the encoder {encoding.encoder} failed"
        arguments = ["-copyts", "-c:v", "rawvideo", "-f", "ivf", "-i", "pipe:0"]
        arguments += ["-vf", _tags(colour, sar), "-fps_mode", "passthrough"]
        arguments += ["-enc_time_base", "demux", *encoding.arguments]
        # what lies beside packets is lost in NUT, and goes into Matroska in the end anyway
        kind = "matroska" if encoding.keeps_alpha_beside else "nut"
        self._child = Child(ffmpeg, [*arguments, "-f", kind, "-y", script_path(path)], feed=True)

    def __enter__(self) -> Encoder:
        self._put(
            struct.pack(
                "<4sHH4sHHIIII",
                b"DKIF",
                0,
                32,
                self.encoding.layout.fourcc,
                self.size[1],
                self.size[0],
                self.tick.denominator,
                self.tick.numerator,
                0,
                0,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__(None, None, None)

    def write(self, time: int, raw: bytes) -> None:
        """Encode a frame.

        Args:
            time: in ticks.
            raw: its samples, see Encoding.layout.

        Raises:
            MediaError, ResourceError: the encoder died.
        """
        assert len(raw) == self.encoding.layout.frame_bytes(self.size), len(raw)
        self._put(struct.pack("<Iq", len(raw), time + self._lead))
        self._put(raw)
        self.n_frames += 1

    def finish(self) -> None:
        """Wait until the file is complete.

        Raises:
            MediaError, ResourceError: the encoder failed.
        """
        self._child.finish(self._failure)

    def _put(self, data: bytes) -> None:
        try:
            self._child.stdin.write(data)
        except OSError as exc:
            raise self._child.failed(self._failure) from exc


def _tags(colour: Colour, sar: Fraction | None) -> str:
    """Filters that change no sample and say what they mean."""
    named = {
        "range": None if colour.full_range is None else "pc" if colour.full_range else "tv",
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
        "colorspace": colour.matrix,
        "chroma_location": colour.location,
    }
    said = ":".join(f"{key}={value}" for key, value in named.items() if value is not None)
    filters = [f"setparams={said}"] if said else []
    if sar is not None:
        filters.append(f"setsar={sar.numerator}/{sar.denominator}")
    return ",".join(filters) or "null"
