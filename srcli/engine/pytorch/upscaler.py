"""PyTorch's engine: pixels in, larger pixels out, strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srcli.archs.inference import derive
from srcli.engine import memory
from srcli.engine.pytorch.color_fix import ColorFix
from srcli.engine.pytorch.device import (
    DTYPES,
    choose_device,
    choose_precision,
    make_exact,
    to_host,
)
from srcli.engine.pytorch.network import Network
from srcli.engine.pytorch.passes import Pass, Picture, estimate_bytes
from srcli.engine.pytorch.profile import Profile, profile
from srcli.engine.pytorch.recorded import Recorded
from srcli.engine.pytorch.regions import Region
from srcli.engine.pytorch.storage import Budget, BufferPool
from srcli.engine.result import GREY, Pixels, Report, native_size, pass_shares, peak
from srcli.engine.settings import MARGIN, Settings
from srcli.errors import UsageError
from srcli.quality.resize import RowResizer

BAND_PIXELS = 2**20  # of an ensemble's result at a time


class OverflowedError(Exception):
    """Half precision overflowed."""


class Upscaler:
    """Enlarges pictures with one model; its networks are loaded once, when first needed.

    Args:
        load: the network of a native scale.
        settings: device, precision, tiles and memory.
    """

    def __init__(self, load: Callable[[int], Network], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.device = choose_device(self.settings.device)
        self.precision = choose_precision(self.settings.precision)
        self._load = load
        self._networks: dict[int, Network] = {}
        self._derived: dict[tuple[int, torch.dtype], Network] = {}
        self._whole: dict[tuple[int, torch.dtype], Recorded] = {}
        self._profiles: dict[int, Profile] = {}
        self._pool = BufferPool()
        self._pool_is_for: object = None
        make_exact()
        if self.device.type == "cpu":
            memory.reuse_freed()

    @property
    def identity(self) -> str:
        settings = self.settings
        how = f"{self.device} {self.precision} tile {settings.tile} ensemble {settings.ensemble}"
        return f"{how} border {settings.border} color_fix {settings.color_fix}"

    @property
    def memory_bytes(self) -> int:
        if self.settings.memory_bytes is not None:
            return self.settings.memory_bytes
        return memory.default_limit_bytes()

    def _free_bytes(self, reserve_bytes: int) -> int:
        """What may still be taken; memory of maps that are gone can be had."""
        return self.memory_bytes - memory.taken_bytes() + self._pool.n_bytes - reserve_bytes

    def prepare(self, scales: Iterable[int]) -> None:
        """Load the networks of these native scales; raises what srcli.weights.load raises."""
        for scale in scales:
            self.profile(scale)

    def estimate_bytes(self, lr_size: tuple[int, int], passes: Sequence[int]) -> int:
        """About what maps and tiles of one picture take, if memory is no limit."""
        height, width = lr_size
        most = 0
        for scale in passes:
            most = max(most, estimate_bytes(self.profile(scale), (height, width), scale))
            height, width = height * scale, width * scale
        return most

    def __call__(self, pixels: Pixels, passes: Sequence[int]) -> Pixels:
        """Enlarge by the product of ``passes``: (h, w, c) to (h s, w s, c), the same dtype."""
        size = native_size(pixels, passes)
        return np.concatenate(list(self.strips(pixels, passes, size)))

    def strips(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        size: tuple[int, int],
        *,
        reserve_bytes: int = 0,
        on_progress: Callable[[float], None] = lambda _: None,
        report: Report | None = None,
    ) -> Iterator[Pixels]:
        """Enlarge a picture and hand it out from top to bottom.

        Args:
            pixels: (h, w, c), c = 1 or 3, RGB; uint8, uint16, or float32 in 0..1.
            passes: native scales to run one after the other; none: only resample.
            size: (height, width) of the result; resampled with Lanczos if the passes give another.
            reserve_bytes: memory that the caller will need meanwhile.
            on_progress: called with the share done, 0..1.
            report: filled in as the work goes.

        Yields:
            Strips (rows, width, c) of the same dtype.
        """
        report = report or Report()
        report.device, report.precision = str(self.device), self.precision
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        native = native_size(pixels, passes)
        color_fix = ColorFix(pixels, native) if self.settings.color_fix and passes else None
        finish = _Finish(pixels, native, size, color_fix)
        if color_fix is not None:
            reserve_bytes += color_fix.n_bytes
        if not passes:
            scale = np.float32(1 / peak(pixels.dtype))
            yield from finish.rows(torch.from_numpy(pixels.astype(np.float32) * scale))
            on_progress(1.0)
            return
        done = 0  # rows of the native result handed on
        work: dict[str, Any] = {
            "reserve_bytes": reserve_bytes,
            "on_progress": on_progress,
            "report": report,
        }
        bands = self._bands if self.settings.ensemble == 1 else self._ensembled
        try:
            for band in bands(pixels, passes, self.precision, **work):
                yield from finish.rows(band)
                done += len(band)
        except OverflowedError:
            report.note(f"{self.precision} overflowed on this picture; computed again in fp32")
            report.precision = "fp32"
            for band in bands(pixels, passes, "fp32", **work):
                skip = min(done, len(band))
                done -= skip
                if skip < len(band):
                    yield from finish.rows(band[skip:])

    def _bands(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        precision: str,
        *,
        reserve_bytes: int,
        on_progress: Callable[[float], None],
        report: Report,
    ) -> Iterator[Tensor]:
        """Bands (rows, width, 3) of the native result, fp32 in about 0..1, on the device."""
        if self._pool_is_for != (pixels.shape, tuple(passes)):
            self._pool_is_for = pixels.shape, tuple(passes)
            self._pool.clear()
        limit = self._free_bytes(reserve_bytes)
        budget = Budget(0, self.settings.spill_folder, self._pool)
        picture = Picture.of_array(pixels, self.device)
        margin = MARGIN if self.settings.border == "reflect" else 0
        before = 0.0
        for scale, share in zip(passes, pass_shares(passes), strict=True):
            start, before = before, before + share
            needs = self.profile(scale)
            run = Pass(
                self.network(scale, DTYPES[precision]),
                self.whole(scale, DTYPES[precision]),
                needs,
                picture.mirrored(margin) if margin else picture,
                device=self.device,
                dtype=DTYPES[precision],
                tile=self.settings.tile,
                budget=budget,
                limit_bytes=limit,
                note=report.note,
                on_progress=lambda part, start=start, share=share: on_progress(  # type: ignore[misc]
                    min(1.0, start + share * part)
                ),
            )
            if before < 1 - 1e-9:
                picture = run.picture().without(margin * scale)
            else:
                for band in _cut(run.bands(), margin * scale):
                    if precision != "fp32" and not bool(torch.isfinite(band).all()):
                        raise OverflowedError
                    yield band
            report.tiles += run.tiles
        report.spilled_bytes = budget.spilled_bytes

    def _ensembled(
        self,
        pixels: Pixels,
        passes: Sequence[int],
        precision: str,
        *,
        reserve_bytes: int,
        on_progress: Callable[[float], None],
        report: Report,
    ) -> Iterator[Tensor]:
        """Like ``_bands``: the mean of the results for all eight flips and turns, in float."""
        size = native_size(pixels, passes)
        room = self._free_bytes(reserve_bytes)
        budget = Budget(max(0, room // 2), self.settings.spill_folder)
        total = budget.storage(size, 3, torch.float32, torch.device("cpu"))
        held = reserve_bytes + budget.stored_bytes
        for k in range(8):
            turned = np.rot90(pixels[:, ::-1] if k >= 4 else pixels, k % 4)
            done = 0
            for band in self._bands(
                np.ascontiguousarray(turned),
                passes,
                precision,
                reserve_bytes=held,
                on_progress=lambda share, k=k: on_progress((k + share) / 8),  # type: ignore[misc]
                report=report,
            ):
                region, back = turned_back(band.cpu(), done, size, k)
                tile = back.permute(2, 0, 1)[None]
                total.write(region, tile + total.read(region) if k else tile)
                done += len(band)
        report.spilled_bytes += budget.spilled_bytes
        step = max(1, BAND_PIXELS // size[1])
        for top in range(0, size[0], step):
            region = Region(top, 0, min(step, size[0] - top), size[1])
            yield total.read(region)[0].permute(1, 2, 0) / 8

    def network(self, scale: int, dtype: torch.dtype = torch.float32) -> Network:
        """The network of a native scale in its form for inference, on the device."""
        key = scale, dtype
        if key not in self._derived:
            if scale not in self._networks:
                self._networks[scale] = self._load(scale)
            plain = self._networks[scale]
            if dtype != torch.float32 and not getattr(plain.module, "halvable", True):
                raise UsageError(f"{plain.arch.title} runs in fp32 only", "use --precision fp32")
            module = derive(plain.module, dtype, 1 if plain.preprocessing.colour == "y" else 3)
            module.to(self.device)
            # On CUDA the maps' layout decides: channels_last as far as the first PixelShuffle, and
            # not behind it, where SwiftSRGAN would take four times as long (H200, fp32).
            if self.device.type != "cuda":
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._derived[key] = replace(plain, module=module)
        return self._derived[key]

    def whole(self, scale: int, dtype: torch.dtype) -> Recorded:
        """What runs that network on whole pictures."""
        key = scale, dtype
        if key not in self._whole:
            adapted = self.network(scale, dtype).adapted()
            self._whole[key] = Recorded(adapted, records=self.device.type == "cuda")
        return self._whole[key]

    def profile(self, scale: int) -> Profile:
        """What the network of a native scale asks of memory."""
        if scale not in self._profiles:
            self._profiles[scale] = profile(self.network(scale).adapted())
        return self._profiles[scale]


def _cut(bands: Iterable[Tensor], margin: int) -> Iterator[Tensor]:
    """Bands (rows, width, c) of a picture without ``margin`` pixels on every side."""
    if not margin:
        yield from bands
        return
    held: Tensor | None = None  # the last margin rows so far: they may be the last of all
    skip = margin
    for band in bands:
        inside = band[skip:, margin:-margin]
        skip = max(0, skip - len(band))
        held = inside if held is None else torch.cat((held, inside))
        if len(held) > margin:
            yield held[:-margin]
            held = held[-margin:]


def turned_back(band: Tensor, top: int, size: tuple[int, int], turn: int) -> tuple[Region, Tensor]:
    """Undo one of the eight flips and turns for a band of the result.

    Args:
        band: (rows, width, c), rows from ``top`` on of the turned picture's result.
        size: (height, width) of the result of the picture as it was.
        turn: 0..7: turned by 90 degrees ``turn % 4`` times, flipped before that from 4 on.

    Returns:
        Where the band lies in the picture as it was, and its pixels there.
    """
    n, width = band.shape[:2]
    height = size[0] if turn % 2 == 0 else size[1]  # of the turned result
    region = (
        Region(top, 0, n, width),
        Region(0, height - top - n, width, n),
        Region(height - top - n, 0, n, width),
        Region(0, top, width, n),
    )[turn % 4]
    back = torch.rot90(band, -(turn % 4))
    if turn >= 4:
        region = Region(region.y, size[1] - region.right, region.h, region.w)
        back = back.flip(1)
    return region, back


class _Finish:
    """Float bands of the native result to strips of the result that was asked for."""

    def __init__(
        self,
        pixels: Pixels,
        native: tuple[int, int],
        size: tuple[int, int],
        color_fix: ColorFix | None = None,
    ) -> None:
        self.color_fix = color_fix
        self.dtype, self.grey = pixels.dtype, pixels.shape[2] == 1
        self.resizer = (
            None
            if native == size
            else RowResizer(
                native, size, dtype=np.float32, channels=1 if self.grey else 3, kernel="lanczos"
            )
        )

    def rows(self, band: Tensor) -> Iterator[Pixels]:
        """Take a band (rows, width, 1 or 3); hand out what is finished."""
        if self.grey and band.shape[2] == 3:
            band = (band @ band.new_tensor(GREY))[:, :, None]
        if self.color_fix is not None:
            band = self.color_fix.push(band)
        if self.resizer is not None:
            band = torch.from_numpy(self.resizer.push(band.cpu().numpy()))
        if len(band):
            yield self._quantised(band)

    def _quantised(self, band: Tensor) -> Pixels:
        band = band.clamp(0, 1)
        if self.dtype == np.float32:
            return to_host(band)
        band = band.mul_(peak(self.dtype)).round_()
        # PyTorch has no arithmetic on uint16, but it converts
        return to_host(band.to(torch.uint8 if self.dtype == np.uint8 else torch.uint16))
