"""A converted network as one file of named parts, which knows its checksums. No torch.

Of the weights in the package the converted networks are there too, small: `without` their tensors,
which most of their constants are, and which `together` puts back.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

GRAPH, CONSTANTS, FACTS, COMPILED = "graph.xml", "graph.bin", "facts.json", "compiled"
REFUSED = "refused"  # the fact that says why a network could not be converted
PLACES, OTHERS = "places.json", "others.bin"  # of a network in the package, instead of constants
LEAST_BYTES = 64  # of a tensor that is worth looking for

Parts = Mapping[str, bytes]


class DamagedError(Exception):
    """A file in the cache is not what was written."""


def pack(parts: Parts, *, small: bool = False) -> bytes:
    """Named bytes as one file that knows its checksums; the same bytes give the same file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED) as file:
        for name, data in parts.items():
            file.writestr(zipfile.ZipInfo(name), data, file.compression)
    return out.getvalue()


def refused(reason: str) -> Parts:
    """Remembers that there is no graph, so that it is not tried again."""
    return {FACTS: json.dumps({REFUSED: reason}).encode()}


def unpack(path: Path, *names: str) -> list[bytes]:
    """These parts of a packed file.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it is no such file, or its bytes have changed.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return [file.read(name) for name in names]
    except FileNotFoundError:
        raise
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, OSError) as exc:
        raise DamagedError(str(exc)) from exc


def without(parts: Parts, tensors: Mapping[str, bytes]) -> Parts:
    """A converted network whose constants are named after equal tensors where there are any."""
    constants = parts[CONSTANTS]
    found = []
    for name, data in tensors.items():
        start = constants.find(data) if len(data) >= LEAST_BYTES else -1
        while start >= 0:
            found.append((start, len(data), name))
            start = constants.find(data, start + len(data))
    places, others, end = [], bytearray(), 0
    for start, size, name in sorted(found, key=lambda f: (f[0], -f[1])):
        if start >= end:
            others += constants[end:start]
            places.append((start, name))
            end = start + size
    others += constants[end:]
    kept = {name: data for name, data in parts.items() if name != CONSTANTS}
    return kept | {PLACES: json.dumps(places).encode(), OTHERS: bytes(others)}


def together(parts: Parts, tensors: Mapping[str, bytes]) -> Parts:
    """What `without` was given."""
    constants, others = bytearray(), memoryview(parts[OTHERS])
    for start, name in json.loads(parts[PLACES]):
        literal = start - len(constants)
        constants += others[:literal]
        others = others[literal:]
        constants += tensors[name]
    constants += others
    kept = {name: data for name, data in parts.items() if name not in (PLACES, OTHERS)}
    return kept | {CONSTANTS: bytes(constants)}
