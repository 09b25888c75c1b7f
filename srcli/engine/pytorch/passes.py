"""One network over one picture: what it reads, how large its tiles are, where its maps lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from srcli.archs.stages import Map
from srcli.engine.memory import too_much
from srcli.engine.pytorch.device import free_device_bytes, to_device
from srcli.engine.pytorch.maps import Source, Stored
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.profile import Profile
from srcli.engine.pytorch.recorded import Recorded
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.storage import Budget
from srcli.engine.pytorch.tiling import Statistics, TileRun, is_out_of_memory
from srcli.engine.result import Pixels, peak
from srcli.sizes import size_text

# The widest tensor of a tile should stay in the CPU's caches: measured on 32 MiB of L3, the best
# tiles are 96 (LESRCNN, SwiftSRGAN), 160 to 180 (BCRN) and 180 or more (RLFN) pixels a side;
# docs/tiling.md.
CACHE_BYTES = 7 * 2**20
LEAST_AUTO_TILE, LARGEST_AUTO_TILE = 96, 256
LARGEST_DEVICE_TILE = 1024
DEVICE_SHARE = 1 / 3  # of a device's free memory for a tile, or for a whole picture
WORKSPACE = 5  # a tile takes about this many times its widest tensor, halos included


def estimate_bytes(needs: Profile, size: tuple[int, int], scale: int) -> int:
    """About what maps, a tile and a band of the result take in fp32, if memory is no limit."""
    height, width = size
    side = min(height, auto_tile(needs)), min(width, auto_tile(needs))
    return (
        needs.map_bytes * height * width
        + needs.widest_bytes * WORKSPACE * side[0] * side[1]
        + band_bytes(side[0], width, scale)
    )


def auto_tile(needs: Profile) -> int:
    """The side of the tiles on a CPU."""
    side = int((CACHE_BYTES / max(1, needs.widest_bytes)) ** 0.5)
    return min(LARGEST_AUTO_TILE, max(LEAST_AUTO_TILE, side))


def band_bytes(height: int, width: int, scale: int) -> int:
    """A row of tiles of the result, in float, and the copies made of it."""
    return height * width * scale**2 * 3 * 4 * 3


class Picture:
    """What one pass reads: an array, or the result of the pass before."""

    def __init__(self, size: tuple[int, int], read: Callable[[Region], Tensor]) -> None:
        self.size, self.read = size, read

    @classmethod
    def of_array(cls, pixels: Pixels, device: torch.device) -> Picture:
        """Samples go to the device as they are, and become floats there."""
        white = peak(pixels.dtype)

        def read(region: Region) -> Tensor:
            part = to_device(pixels[region.index], device).to(torch.float32, copy=True)
            if white != 1:
                part *= float(np.float32(1 / white))
            return part.permute(2, 0, 1)[None].expand(-1, 3, -1, -1)

        return cls((pixels.shape[0], pixels.shape[1]), read)

    @classmethod
    def of_map(cls, stored: Stored, size: tuple[int, int]) -> Picture:
        """The top left part of a stored map."""
        return cls(size, stored.storage.read)

    def read_padded(self, region: Region) -> Tensor:
        """Like ``read``; beyond the bottom and the right the last pixels are repeated."""
        h, w = self.size
        if region.bottom <= h and region.right <= w:
            return self.read(region)
        y, x = min(region.y, h - 1), min(region.x, w - 1)
        inside = self.read(Region(y, x, min(region.bottom, h) - y, min(region.right, w) - x))
        rows = torch.arange(region.y, region.bottom).clamp_(max=h - 1) - y
        columns = torch.arange(region.x, region.right).clamp_(max=w - 1) - x
        rows, columns = rows.to(inside.device), columns.to(inside.device)
        return inside.index_select(2, rows).index_select(3, columns)

    def mirrored(self, margin: int) -> Picture:
        """The picture and ``margin`` pixels of its mirror image on every side."""
        h, w = self.size

        def read(region: Region) -> Tensor:
            rows = _mirrored(region.y - margin, region.h, h)
            columns = _mirrored(region.x - margin, region.w, w)
            y, x = int(rows.min()), int(columns.min())
            inside = self.read(Region(y, x, int(rows.max()) + 1 - y, int(columns.max()) + 1 - x))
            rows, columns = (rows - y).to(inside.device), (columns - x).to(inside.device)
            return inside.index_select(2, rows).index_select(3, columns)

        return Picture((h + 2 * margin, w + 2 * margin), read)

    def without(self, margin: int) -> Picture:
        """The picture without ``margin`` pixels on every side."""
        size = self.size[0] - 2 * margin, self.size[1] - 2 * margin
        return Picture(size, lambda r: self.read(Region(r.y + margin, r.x + margin, r.h, r.w)))


def _mirrored(start: int, length: int, n: int) -> Tensor:
    """Indices start .. start + length of a line of n samples that is mirrored at its ends."""
    at = torch.arange(start, start + length) % (2 * n)
    return torch.minimum(at, 2 * n - 1 - at)


class Pass:
    """One network over one picture."""

    def __init__(
        self,
        network: Network,
        whole: Recorded,
        needs: Profile,
        picture: Picture,
        *,
        device: torch.device,
        dtype: torch.dtype,
        tile: int | None,
        budget: Budget,
        limit_bytes: int,
        on_progress: Callable[[float], None],
        note: Callable[[str], None],
    ) -> None:
        self.network, self.source, self.dtype = network, picture, dtype
        self.whole, self.adapted = whole, network.adapted()
        self.device, self.budget = device, budget
        self.note = note
        self.tiles = 0
        multiple, least = network.arch.multiple, network.arch.min_size
        h, w = (max(least, -(-n // multiple) * multiple) for n in picture.size)
        self.padded = (h, w)
        self.sweeps = needs.sweeps
        self.on_progress = on_progress
        self.tile = self._plan(tile, needs, limit_bytes)

    def _plan(self, wanted: int | None, needs: Profile, limit: int) -> tuple[int, int] | None:
        """The tile (height, width), None for the whole picture; sets the maps' budget."""
        itemsize = self.dtype.itemsize
        on_host = self.device.type == "cpu"
        free = free_device_bytes(self.device)
        room = limit if free is None else min(limit, free)
        workspace = needs.widest_bytes * itemsize // 4 * WORKSPACE  # per LR pixel
        exact = self.network.arch.tiling == "exact"
        whole = workspace * self.padded[0] * self.padded[1]
        if not on_host and wanted in (None, 0) and self.whole.has(self.padded):
            return None
        if not on_host and wanted is None and whole <= room * DEVICE_SHARE:
            return None
        if wanted == 0 or not exact:
            if whole <= room:
                return None
            self.note(
                f"the whole picture at once takes {too_much(whole, room)}: tiled" + self._inexact()
            )
            wanted = wanted or None
        if wanted is None:
            if on_host and exact:
                side = auto_tile(needs)
            else:
                side = int((max(room, 1) * DEVICE_SHARE / max(1, workspace)) ** 0.5)
                side = min(LARGEST_DEVICE_TILE, max(LEAST_AUTO_TILE, side))
        else:
            side = wanted
        height, width = min(side, self.padded[0]), min(side, self.padded[1])
        taken = workspace * height * width
        taken += band_bytes(height, self.padded[1], self.network.scale)
        self.budget.memory_bytes = max(0, (limit if on_host else room) - taken)
        maps = needs.map_bytes * itemsize // 4 * self.padded[0] * self.padded[1]
        if self.budget.expect(maps):
            self.note(
                f"feature maps take {size_text(maps)}; what does not fit in memory goes to a "
                f"temporary file in {self.budget.folder}"
            )
        return height, width

    def _inexact(self) -> str:
        """What is to be said of tiles where they change the result."""
        if self.network.arch.tiling == "exact":
            return ""
        title = self.network.arch.title
        return f", and {title}'s result differs from that of the whole picture"

    def bands(self) -> Iterator[Tensor]:
        """The result from top to bottom: (rows, width, 3) float32, on the device."""
        height, width = (n * self.network.scale for n in self.source.size)
        done = 0
        for band in self._bands():
            rows = band[0].permute(1, 2, 0)[: height - done, :width]
            done += band.shape[2]
            if len(rows):
                yield rows

    def _bands(self) -> Iterator[Tensor]:
        whole = self._whole()
        if whole is not None:
            yield whole
            return
        run, result = self._start()
        yield from run.rows(result, 3, torch.float32)
        self._count(run.statistics)

    def picture(self) -> Picture:
        """The whole result, stored, as the next pass's input."""
        height, width = (n * self.network.scale for n in self.source.size)
        whole = self._whole()
        if whole is not None:
            kept = whole[:, :, :height, :width].float()
            return Picture((height, width), lambda region: kept[:, :, *region.index])
        run, result = self._start()
        run.dtype = torch.float32  # float between two networks
        with torch.inference_mode():
            stored = run.keep(result)
        self._count(run.statistics)
        return Picture.of_map(stored, (height, width))

    def _start(self) -> tuple[TileRun, Map]:
        """The network's stages up to the last sweep."""
        assert self.tile is not None
        shares = 0.0

        def on_tile(share: float) -> None:
            nonlocal shares
            shares += share
            self.on_progress(shares / self.sweeps)

        run = TileRun(
            self.padded,
            self.tile,
            self.budget,
            device=self.device,
            dtype=self.dtype,
            on_tile=on_tile,
        )
        with torch.inference_mode():
            return run, self.adapted.stages(run, Source(self._read))

    def _whole(self) -> Tensor | None:
        """The result in one go; None if tiles are wanted, or memory leaves no other way."""
        if self.tile is not None:
            return None
        try:
            with torch.inference_mode():
                sr = self.whole(self._read(Region(0, 0, *self.padded)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.tiles = 1
            self.on_progress(1.0)
            return sr
        self.whole.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.note("the whole picture at once did not fit in memory: tiled" + self._inexact())
        self.tile = (LEAST_AUTO_TILE, LEAST_AUTO_TILE)
        return None

    def _read(self, region: Region) -> Tensor:
        """A tile of the picture, RGB in 0..1, fp32, on the device."""
        return self.source.read_padded(region).to(self.device)

    def _count(self, statistics: Statistics) -> None:
        self.tiles = statistics.tiles
        if statistics.smaller:
            self.note(f"memory ran out {statistics.smaller} times; smaller tiles were used")
