"""Where picture-sized maps lie: in memory, or in a file when memory does not suffice.

Both hold (height, width, channels) row by row, so that a tile is a few contiguous runs, and hand
out tiles as (1, channels, h, w) tensors in channels_last order.
"""

from __future__ import annotations

import shutil
import tempfile
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from srcli.engine.pytorch.regions import Region
from srcli.errors import ResourceError
from srcli.sizes import sizes_apart


class BufferPool:
    """Memory of maps that are gone, for the next ones of the same size.

    A map on fresh pages costs ten times as much to write: a fault at every page's first touch.
    """

    def __init__(self) -> None:
        self.n_bytes = 0
        self._buffers: dict[int, list[Tensor]] = {}

    def take(self, n_bytes: int) -> Tensor | None:
        """So many bytes (n_bytes,), uint8; None if there are none."""
        found = self._buffers.get(n_bytes)
        if not found:
            return None
        self.n_bytes -= n_bytes
        return found.pop()

    def give(self, buffer: Tensor) -> None:
        self.n_bytes += len(buffer)
        self._buffers.setdefault(len(buffer), []).append(buffer)

    def clear(self) -> None:
        self.n_bytes = 0
        self._buffers.clear()


class Budget:
    """Bytes that stored maps may take in memory; beyond, they go to a file in ``folder``.

    Args:
        pool: where freed maps' memory goes and new ones' comes from.
    """

    def __init__(
        self, memory_bytes: int, folder: Path | None = None, pool: BufferPool | None = None
    ) -> None:
        self._files: dict[int, list[FileIO]] = {}  # of maps that are gone, by size
        self.memory_bytes = memory_bytes
        self.pool = pool or BufferPool()
        self.stored_bytes = self.peak_bytes = 0  # in memory: now, and at most so far
        self.folder = Path(folder or tempfile.gettempdir())
        self.spilled_bytes = 0

    def expect(self, n_bytes: int) -> bool:
        """Whether some of so many bytes of maps to come will go to the file.

        Raises:
            ResourceError: there is no room for that part.
        """
        over = n_bytes + self.stored_bytes - self.memory_bytes
        if over > 0:
            self.check_disk(over)
        return over > 0

    def check_disk(self, n_bytes: int) -> None:
        """Raises ResourceError if the folder has no room for so many bytes."""
        free = shutil.disk_usage(self.folder).free
        if n_bytes > free and self._files:
            self._close()
            free = shutil.disk_usage(self.folder).free
        if n_bytes > free:
            needed, there = sizes_apart(n_bytes, free)
            raise ResourceError(
                f"feature maps need {needed} in {self.folder}, which has {there} free",
                "allow more with --memory, or set SRCLI_TMP_DIR to a folder with more room",
            )

    def storage(
        self, size: tuple[int, int], channels: int, dtype: torch.dtype, device: torch.device
    ) -> Storage:
        n_bytes = size[0] * size[1] * channels * dtype.itemsize
        if self.stored_bytes + n_bytes <= self.memory_bytes:
            return MemoryStorage(self, size, channels, dtype, device)
        return FileStorage(self, size, channels, dtype, device)

    def buffer(self, n_bytes: int) -> Tensor:
        """Host memory (n_bytes,), uint8, for a map that fits."""
        spare = self.pool.take(n_bytes)
        if spare is not None:
            return spare
        if self.stored_bytes + self.pool.n_bytes + n_bytes > self.memory_bytes:
            self.pool.clear()
        return torch.empty(n_bytes, dtype=torch.uint8)

    def file(self, n_bytes: int) -> FileIO:
        """A temporary file of so many bytes without a name, for a map that does not fit: that of a
        map that is gone if there is one, for what was written before is overwritten faster.

        Raises:
            ResourceError: there is no room for it, or none can be made.
        """
        spare = self._files.get(n_bytes)
        if spare:
            return spare.pop()
        self.check_disk(n_bytes)
        try:
            file = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the budget
                dir=self.folder, buffering=0, prefix="srcli-"
            )
            file.truncate(n_bytes)
        except OSError as exc:
            raise ResourceError(
                f"cannot make a temporary file in {self.folder}: {exc.strerror}",
                "set SRCLI_TMP_DIR to another folder",
            ) from exc
        return file

    def give_back(self, file: FileIO, n_bytes: int) -> None:
        self._files.setdefault(n_bytes, []).append(file)

    def _close(self) -> None:
        for files in self._files.values():
            for file in files:
                file.close()
        self._files.clear()

    def __del__(self) -> None:
        self._close()


class Storage:
    """A map of ``size`` (height, width) and ``channels``."""

    def __init__(
        self,
        budget: Budget,
        size: tuple[int, int],
        channels: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.budget, self.size, self.channels = budget, size, channels
        self.dtype, self.device = dtype, device
        self.n_bytes = size[0] * size[1] * channels * dtype.itemsize
        self._allocate()

    def _allocate(self) -> None:
        raise AssertionError("a kind of storage has its own place")

    def read(self, region: Region) -> Tensor:
        """(1, channels, region.h, region.w); may be a view of what is stored."""
        raise AssertionError("a kind of storage has its own read")

    def write(self, region: Region, tile: Tensor) -> None:
        raise AssertionError("a kind of storage has its own write")


class MemoryStorage(Storage):
    """On the computing device; freed with the last reference."""

    def _allocate(self) -> None:
        budget, shape = self.budget, (*self.size, self.channels)
        self._buffer = budget.buffer(self.n_bytes) if self.device.type == "cpu" else None
        if self._buffer is None:
            self._map = torch.empty(shape, dtype=self.dtype, device=self.device)
        else:
            self._map = self._buffer.view(self.dtype).view(*shape)
        budget.stored_bytes += self.n_bytes
        budget.peak_bytes = max(budget.peak_bytes, budget.stored_bytes)

    def read(self, region: Region) -> Tensor:
        return self._map[region.index].permute(2, 0, 1)[None]

    def write(self, region: Region, tile: Tensor) -> None:
        self._map[region.index].copy_(tile[0].permute(1, 2, 0))

    def __del__(self) -> None:
        if hasattr(self, "_map"):
            self.budget.stored_bytes -= self.n_bytes
            if self._buffer is not None:
                self.budget.pool.give(self._buffer)


class FileStorage(Storage):
    """In an unlinked temporary file, by plain reads and writes: mapped pages would be resident."""

    def _allocate(self) -> None:
        self._file = self.budget.file(self.n_bytes)
        self.budget.spilled_bytes += self.n_bytes

    def read(self, region: Region) -> Tensor:
        tile = torch.empty((region.h, region.w, self.channels), dtype=self.dtype)
        for offset, run in self._runs(region, tile):
            self._file.seek(offset)
            filled = 0
            while filled < len(run):
                n = self._file.readinto(run[filled:])
                assert n, "the spill file is as long as the map"
                filled += n
        return tile.to(self.device).permute(2, 0, 1)[None]

    def write(self, region: Region, tile: Tensor) -> None:
        host = tile[0].permute(1, 2, 0).to("cpu", self.dtype).contiguous()
        try:
            for offset, run in self._runs(region, host):
                self._file.seek(offset)
                written = 0
                while written < len(run):
                    written += self._file.write(run[written:])
        except OSError as exc:
            raise ResourceError(
                f"cannot write feature maps to {self.budget.folder}: {exc.strerror}",
                "allow more with --memory, or set SRCLI_TMP_DIR to a folder with more room",
            ) from exc

    def _runs(self, region: Region, tile: Tensor) -> list[tuple[int, memoryview]]:
        """(offset in the file, bytes of the tile) of each contiguous run of a region."""
        pixel = self.channels * self.dtype.itemsize
        width = self.size[1]
        raw = memoryview(tile.reshape(-1).view(torch.uint8).numpy().data)
        start = (region.y * width + region.x) * pixel
        if region.w == width:
            return [(start, raw)]
        run = region.w * pixel
        return [
            (start + row * width * pixel, raw[row * run : (row + 1) * run])
            for row in range(region.h)
        ]

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.budget.give_back(self._file, self.n_bytes)
