"""A subtitle of pictures, as Blu-rays have them, made by hand: ffmpeg makes none of text."""

import struct


def _segment(kind, seconds, data):
    return struct.pack(">2sIIBH", b"PG", round(seconds * 90_000), 0, kind, len(data)) + data


def pgs(start_s=0.1, end_s=0.3, size=(48, 64)):
    """A .sup file that shows a white box of 8 x 4 pixels."""
    height, width = size
    rows = b"\x01" * 8 + b"\x00\x00"  # eight pixels of colour 1, the end of the row
    pixels = struct.pack(">HH", 8, 4) + rows * 4

    def composition(seconds, number, objects):
        shown = struct.pack(">HBBHH", 0, 0, 0, 8, 4) if objects else b""
        head = struct.pack(">HHBHBBBB", width, height, 16, number, 0x80, 0, 0, objects)
        return _segment(0x16, seconds, head + shown)

    window = b"\x01\x00" + struct.pack(">HHHH", 8, 4, 8, 4)
    palette = bytes([0, 0, 1, 235, 128, 128, 255])
    length = len(pixels).to_bytes(3, "big")
    return b"".join(
        [
            composition(start_s, 0, 1),
            _segment(0x17, start_s, window),
            _segment(0x14, start_s, palette),
            _segment(0x15, start_s, b"\x00\x00\x00\xc0" + length + pixels),
            _segment(0x80, start_s, b""),
            composition(end_s, 1, 0),
            _segment(0x17, end_s, window),
            _segment(0x80, end_s, b""),
        ]
    )
