"""Which TIFFs are camera raw files (TIFF/EP, ISO 12234-2; DNG 1.7)."""

import struct
from typing import BinaryIO

_HEAD_BYTES = 8
_MAX_DIRECTORIES = 32
_BYTE, _SHORT = 1, 3
_DNG_VERSION, _PHOTOMETRIC, _SUB_DIRECTORIES = 50706, 262, 330
_SENSOR = (32803, 34892)  # colour filter array, and linear raw


def is_raw_tiff(stream: BinaryIO) -> bool:
    """Whether a file that begins as a TIFF holds a sensor's samples: DNG, NEF, CR2, ARW, PEF."""
    stream.seek(0)
    head = stream.read(16)
    if head[8:10] == b"CR":
        return True
    order = "<" if head[:2] == b"II" else ">"
    if head[2:4] not in (b"*\0", b"\0*"):
        return False
    left: list[int] = [struct.unpack_from(f"{order}I", head, 4)[0]]
    seen: set[int] = set()
    while left and len(seen) < _MAX_DIRECTORIES:
        at = left.pop()
        if at in seen or at < _HEAD_BYTES:  # 0: there is none
            continue
        seen.add(at)
        stream.seek(at)
        count = stream.read(2)
        if len(count) < 2:
            continue
        number = struct.unpack(f"{order}H", count)[0]
        entries = stream.read(12 * number + 4)
        for k in range(min(number, len(entries) // 12)):
            tag, kind, values, value = struct.unpack_from(f"{order}HHII", entries, 12 * k)
            if (tag, kind, values) == (_DNG_VERSION, _BYTE, 4):
                return True
            meaning = value >> 16 if order == ">" else value & 0xFFFF
            if (tag, kind, values) == (_PHOTOMETRIC, _SHORT, 1) and meaning in _SENSOR:
                return True
            if tag == _SUB_DIRECTORIES and values <= _MAX_DIRECTORIES:
                if values == 1:
                    left.append(value)
                else:
                    stream.seek(value)
                    places = stream.read(4 * values)
                    left += struct.unpack_from(f"{order}{len(places) // 4}I", places)
        if len(entries) == 12 * number + 4:
            left.append(struct.unpack_from(f"{order}I", entries, 12 * number)[0])
    return False
