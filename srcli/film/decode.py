"""A film's frames in order, each with its own time, from an ffmpeg child."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.errors import MediaError
from srcli.film.description import Film
from srcli.film.ffmpeg import Child, FFmpeg, plain
from srcli.film.formats import Layout, layout_of, raw_name
from srcli.film.packets import Packet, read_packet, read_tick

Planes = tuple[NDArray[Any], ...]

LEAD_S = 20  # a key frame is looked for this long before the wanted place
_LINES_AHEAD = 4096


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    Attributes:
        time: when it is shown, in ticks.
        tick: seconds a tick takes, the same for all frames of a film.
        checksum: of its samples.
        data: its samples as ffmpeg wrote them, see Layout.
    """

    time: int
    tick: Fraction
    checksum: str
    data: bytes

    @property
    def seconds(self) -> Fraction:
        """When it is shown."""
        return self.tick * self.time

    def planes(self, layout: Layout, size: tuple[int, int]) -> Planes:
        """The samples as arrays (h, w) of uint8 or uint16; they share memory with the frame."""
        return split(self.data, layout, size)


def split(data: bytes, layout: Layout, size: tuple[int, int]) -> Planes:
    """A raw frame as arrays, one a plane."""
    dtype = np.dtype("u1" if layout.bits == 8 else "<u2")
    planes, at = [], 0
    for shape in layout.shapes(size):
        n = shape[0] * shape[1]
        planes.append(np.frombuffer(data, dtype, n, at).reshape(shape))
        at += n * dtype.itemsize
    return tuple(planes)


class Decoder:
    """An ffmpeg child that decodes a film from some place to its end.

    To be used in a ``with`` statement, and iterated once.

    Args:
        start_s: frames before this need not come; some will.
        deinterlace: make one frame of each frame's two fields.
    """

    def __init__(
        self,
        film: Film,
        ffmpeg: FFmpeg,
        *,
        start_s: float | None = None,
        deinterlace: bool = False,
    ) -> None:
        self.film, self.layout = film, layout_of(film.pix_fmt)
        self.repaired = 0  # frames whose time did not come after the one before
        self._stopped = False
        self._tick: queue.Queue[Fraction | None] = queue.Queue()
        self._packets: queue.Queue[Packet | None] = queue.Queue(_LINES_AHEAD)
        self._known: Fraction | None = None
        seek: tuple[str, ...] = ()
        if start_s is not None:  # in the frames' own time, whatever time the file begins at
            seek = ("-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{start_s:.6f}")
        arguments = ["-copyts", "-noautorotate", *seek, *film.input, "-map", f"0:{film.video}"]
        if deinterlace:
            arguments += ["-vf", "bwdif=mode=send_frame:deint=interlaced"]
        # frames that change their size in the middle are an error, not to be scaled
        arguments += ["-fps_mode", "passthrough", "-enc_time_base", "filter", "-noautoscale"]
        arguments += ["-pix_fmt", raw_name(film.pix_fmt), "-c:v", "rawvideo"]
        arguments += ["-f", "tee", r"[f=framecrc]pipe\:2|[f=rawvideo]pipe\:1"]
        self._child = Child(ffmpeg, arguments, on_line=self._line, on_end=self._end)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._child.__exit__(None, None, None)

    def _line(self, line: str) -> bool:
        if tick := read_tick(line):
            self._tick.put(tick)
            return True
        if line.startswith("#"):
            return True
        packet = read_packet(line)
        if packet is None:
            return False
        while not self._stopped:
            try:
                self._packets.put(packet, timeout=0.2)
                break
            except queue.Full:
                continue
        return True

    def _end(self) -> None:
        self._tick.put(None)
        while not self._stopped:
            try:
                self._packets.put(None, timeout=0.2)
                break
            except queue.Full:
                continue

    @property
    def tick(self) -> Fraction:
        """Seconds a tick of the frames' times takes.

        Raises:
            MediaError: nothing could be decoded.
        """
        if self._known is None:
            self._known = self._tick.get()
            if self._known is None:
                raise self._child.failed(f"{self.film.path} cannot be decoded")
        return self._known

    @property
    def complaints(self) -> list[str]:
        """What ffmpeg said about damage, the first of it and the last."""
        return [plain(line) for line in self._child.log]

    def __iter__(self) -> Iterator[Frame]:
        """The frames; each comes after the one before.

        Raises:
            MediaError: ffmpeg failed, a frame is short, or frames change their size.
        """
        path, expected = self.film.path, self.layout.frame_bytes(self.film.size)
        last: int | None = None
        tick = self.tick
        while True:
            packet = self._packets.get()
            if packet is None:
                break
            if packet.size != expected:
                at = float(tick * (packet.time or 0))
                raise MediaError(
                    f"the picture's size changes at {at:.3f} s of {path}",
                    "cut the film there (--start, --end) and upscale the parts",
                )
            data = self._child.stdout.read(expected)
            if len(data) != expected:
                self._child.finish(f"{path} cannot be decoded")
                raise MediaError(f"ffmpeg gave only {len(data)} of {expected} bytes of a frame")
            time = packet.time
            if time is None or (last is not None and time <= last):
                time = 0 if last is None else last + 1
                self.repaired += 1
            last = time
            yield Frame(time, tick, packet.checksum, data)
        more = self._child.stdout.read(1)
        self._child.finish(f"{path} cannot be decoded")
        if more:
            raise MediaError(f"ffmpeg gave more frames of {path} than it gave times for")
