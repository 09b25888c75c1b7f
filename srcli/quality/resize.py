"""MATLAB's ``imresize``, bit for bit, for whole pictures and for pictures fed row by row.

Bicubic is Keys' kernel with a = -0.5 (doi:10.1109/TASSP.1981.1163711), Lanczos is Lanczos3. When
reducing, the kernel is widened by the ratio (antialiasing). Weights are normalised, the border is
symmetric, rows are resampled before columns, and integers are rounded (halves up) and clipped after
each of the two passes, which is what makes the result equal MATLAB's in every sample.

Each sample is one float64 sum taken in the order of its taps, never a matrix product, whose order
would change with the shape: so the result does not depend on how a picture is cut into bands.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

Kernel = Literal["bicubic", "lanczos"]
Image = NDArray[Any]

_DTYPE_NAMES = "uint8, uint16, float32 and float64"
_DTYPES = tuple(np.dtype(kind) for kind in (np.uint8, np.uint16, np.float32, np.float64))

# Samples per step: the step's float64 temporaries stay in the first- or second-level cache.
_STEP_SAMPLES = 8_192
# Samples of a block of output rows: as many float64 as a second-level cache holds. In a very wide
# picture a block is still this many rows, as neighbouring rows share most of their input.
_BLOCK_SAMPLES = 131_072
_BLOCK_ROWS = 8


def imresize(image: Image, scale: float, kernel: Kernel = "bicubic") -> Image:
    """Resize by a factor, as MATLAB's ``imresize(image, scale, kernel)`` does.

    Args:
        image: (h, w) or (h, w, c), any c; uint8, uint16, float32 or float64 of any range.
        scale: above 0; below 1 reduces, with antialiasing. The geometry is the scale's, not that
            of the rounded sizes.
        kernel: ``bicubic`` or ``lanczos``.

    Returns:
        (ceil(h * scale), ceil(w * scale)[, c]) in the image's dtype. Integers are rounded and
        clipped to their range, floats neither: to enlarge with one rounding in place of two, pass
        floats and round the result.

    Raises:
        ValueError: the scale is not a positive number, the picture is empty, or its shape or dtype
            or the kernel is not one of those above.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a positive number, not {scale}")
    height, width = _checked(image).shape[:2]
    # The float product as it comes: MATLAB's own rule, a stray last bit (1.1 * 10) included.
    out_size = math.ceil(scale * height), math.ceil(scale * width)
    return _whole(image, out_size, kernel, (scale, scale))


def resize(image: Image, size: tuple[int, int], kernel: Kernel = "bicubic") -> Image:
    """Resize to a size, as MATLAB's ``imresize(image, size, kernel)`` does, rows first.

    (MATLAB itself begins with the axis that shrinks more; the two differ by a rounding, and only
    where the two ratios differ.)

    Args:
        image: (h, w) or (h, w, c), any c; uint8, uint16, float32 or float64 of any range.
        size: (height, width) of the result, px; the geometry is their ratio to the picture's.
        kernel: ``bicubic`` or ``lanczos``.

    Returns:
        (height, width[, c]) in the image's dtype. Integers are rounded and clipped to their range,
        floats neither.

    Raises:
        ValueError: the picture or the size is empty, or the shape, dtype or kernel is not one of
            those above.
    """
    _checked(image)
    return _whole(image, size, kernel, None)


class RowResizer:
    """Resizes a picture that comes in bands of rows, top to bottom, holding only the rows it needs.

    All that ``push`` returns, joined, equals ``resize`` of the whole picture bit for bit, whatever
    the heights of the bands; after the last input row the last output row is out. Besides the band
    in hand it keeps the input rows under one output row's kernel (4 rows enlarging; 4 times the
    ratio reducing; half as many again for lanczos), and, while it works, float64 copies of the rows
    under a block of output rows (8 rows, more if they are narrow).

    Args:
        in_size: (height, width) of the whole picture.
        out_size: (height, width) of the result.
        dtype: uint8, uint16, float32 or float64.
        channels: c of (rows, width, c) bands; None for grey bands (rows, width).
        kernel: ``bicubic`` or ``lanczos``.
        scale: (vertical, horizontal) factor that sets the geometry instead of the sizes' ratio.

    Raises:
        ValueError: a size is empty, or the dtype, kernel or scale is not one of those above.
    """

    def __init__(
        self,
        in_size: tuple[int, int],
        out_size: tuple[int, int],
        *,
        dtype: DTypeLike = np.uint8,
        channels: int | None = 3,
        kernel: Kernel = "bicubic",
        scale: tuple[float, float] | None = None,
    ) -> None:
        for what, size in (("input", in_size), ("output", out_size)):
            if min(size) < 1:
                raise ValueError(f"the {what} size must be at least 1x1, not {size[0]}x{size[1]}")
        if channels is not None and channels < 1:
            raise ValueError(f"a picture needs at least one channel, not {channels}")
        if scale is None:
            scale = out_size[0] / in_size[0], out_size[1] / in_size[1]
        if not all(math.isfinite(s) and s > 0 for s in scale):
            raise ValueError(f"scale must be positive numbers, not {scale}")
        self.in_size = in_size
        self.out_size = out_size
        self.dtype = np.dtype(dtype)
        if self.dtype not in _DTYPES:
            raise ValueError(f"cannot resize {self.dtype} samples, only {_DTYPE_NAMES}")
        self.channels = channels
        self._trailing = () if channels is None else (channels,)
        self._rows = _Axis.plan(in_size[0], out_size[0], scale[0], kernel)
        self._columns = _Axis.plan(in_size[1], out_size[1], scale[1], kernel)
        self._held: deque[tuple[int, Image]] = deque()  # (index of the band's first row, band)
        self._received = 0
        self._finished = 0

    @property
    def rows_received(self) -> int:
        """Input rows pushed so far."""
        return self._received

    @property
    def rows_finished(self) -> int:
        """Output rows returned so far."""
        return self._finished

    def push(self, rows: Image) -> Image:
        """Take the next input rows, return the output rows that they finish.

        Args:
            rows: (n, width[, c]), n >= 0, of the dtype promised. Not kept: the caller may reuse it.

        Returns:
            (m, out_width[, c]), m >= 0, in the same dtype.

        Raises:
            ValueError: another width, channel count or dtype than promised, or too many rows.
        """
        wanted = (self.in_size[1], *self._trailing)
        if rows.shape[1:] != wanted or rows.ndim != len(wanted) + 1 or rows.dtype != self.dtype:
            raise ValueError(
                f"expected {self.dtype} rows of shape (n, {', '.join(map(str, wanted))}), "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        if self._received + len(rows) > self.in_size[0]:
            raise ValueError(
                f"{self._received + len(rows)} rows pushed into a picture of {self.in_size[0]}"
            )
        if len(rows):
            self._held.append((self._received, rows))
            self._received += len(rows)
        start, stop = self._finished, self._rows.ready(self._received)
        result = np.empty((stop - start, self.out_size[1], *self._trailing), self.dtype)
        for first in range(start, stop, self._block_rows):
            last = min(first + self._block_rows, stop)
            self._resample(first, last, result[first - start : last - start])
        self._finished = stop
        self._forget()
        return result

    @property
    def _block_rows(self) -> int:
        """Output rows per block, so that either pass works on about _BLOCK_SAMPLES samples."""
        widest = max(self.in_size[1], self.out_size[1]) * (self.channels or 1)
        return max(_BLOCK_ROWS, _BLOCK_SAMPLES // widest)

    def _resample(self, first: int, last: int, out: Image) -> None:
        """Write output rows first..last-1 to out, from the rows held."""
        n, c = last - first, self.channels or 1
        in_width, out_width = self.in_size[1], self.out_size[1]
        low, high = self._rows.span(first, last)
        tall = self._rows.apply(self._window(low, high), low, first, last)  # (n, in_width * c)
        tall = _settled(tall, self.dtype)
        # Columns are the rows of the block turned over, whose samples of one column lie together.
        turned = np.empty((in_width * c, n))
        turned[...] = tall.T
        wide = self._columns.apply(turned.reshape(in_width, c * n), 0, 0, out_width)
        wide = _settled(wide, self.dtype).reshape(out_width * c, n)
        out.reshape(n, out_width * c)[...] = wide.T

    def _window(self, low: int, high: int) -> NDArray[np.float64]:
        """Input rows low..high-1, taken from the bands held: (high - low, width * channels)."""
        window = np.empty((high - low, self.in_size[1] * (self.channels or 1)))
        for start, band in self._held:
            begin, end = max(start, low), min(start + len(band), high)
            if begin < end:
                part = band[begin - start : end - start]
                window[begin - low : end - low] = part.reshape(len(part), -1)
        return window

    def _forget(self) -> None:
        """Drop the rows that no later output row reads, and copy the last band's rest."""
        if self._finished == self.out_size[0]:
            self._held.clear()
            return
        needed = int(self._rows.needed[self._finished])
        while self._held and self._held[0][0] + len(self._held[0][1]) <= needed:
            self._held.popleft()
        if self._held:
            start, band = self._held.pop()
            rest = max(0, needed - start)
            self._held.append((start + rest, band[rest:].copy()))


def phase_weights(scale: int) -> NDArray[np.float64]:
    """(scale, 5): what output sample q * scale + r takes of input samples q - 2 .. q + 2, bicubic,
    away from the border; at the border those are mirrored, the edge sample included."""
    axis = _Axis.plan(9, 9 * scale, scale, "bicubic")
    return axis.apply(np.eye(9), 0, 4 * scale, 5 * scale)[:, 2:7]


@dataclass(frozen=True, eq=False)
class _Axis:
    """How one axis is resampled: output sample o is the sum over taps of weights * in[indices]."""

    indices: NDArray[np.intp]  # (out_len, taps)
    weights: NDArray[np.float64]  # (out_len, taps), each row's sum is 1
    reach: NDArray[np.intp]  # (out_len,) input samples that outputs 0..o need, not decreasing
    needed: NDArray[np.intp]  # (out_len,) first input sample that outputs o.. need, likewise

    @classmethod
    @lru_cache(maxsize=4)  # many pictures of one size, and the frames of a film
    def plan(cls, in_len: int, out_len: int, scale: float, kernel: Kernel) -> _Axis:
        """MATLAB's ``contributions``; see ``imresize.m``."""
        if kernel not in get_args(Kernel):
            raise ValueError(f"kernel must be bicubic or lanczos, not {kernel!r}")
        shape, support = (_cubic, 4.0) if kernel == "bicubic" else (_lanczos3, 6.0)
        shrink = min(scale, 1.0)
        support /= shrink
        # Positions count from 1, as in MATLAB, lest u differ in its last bit.
        u = np.arange(1, out_len + 1) / scale + 0.5 * (1 - 1 / scale)
        taps = math.ceil(support) + 2
        positions = np.floor(u - support / 2)[:, None] + np.arange(taps)
        weights = shrink * shape(shrink * (u[:, None] - positions))
        weights /= weights.sum(axis=1, keepdims=True)
        indices = np.mod(positions.astype(np.intp) - 1, 2 * in_len)
        indices = np.minimum(indices, 2 * in_len - 1 - indices)
        # Each row's weightless taps go to its end, where those that all rows have are cut off, and
        # point at a sample that is read anyway.
        order = np.argsort(weights == 0, axis=1, kind="stable")
        weights = np.take_along_axis(weights, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
        used = int(np.count_nonzero(weights, axis=1).max())
        weights, indices = weights[:, :used], indices[:, :used]
        indices = np.where(weights == 0, indices[:, :1], indices)
        return cls(
            indices=indices,
            weights=weights,
            reach=np.maximum.accumulate(indices.max(axis=1)) + 1,
            needed=np.minimum.accumulate(indices.min(axis=1)[::-1])[::-1],
        )

    def ready(self, received: int) -> int:
        """How many output samples the first ``received`` input samples suffice for."""
        return int(np.searchsorted(self.reach, received, side="right"))

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The input samples [low, high) that output samples first..last-1 read."""
        read = self.indices[first:last]
        return int(read.min()), int(read.max()) + 1

    def apply(self, x: NDArray[np.float64], low: int, first: int, last: int) -> NDArray[np.float64]:
        """Output samples first..last-1, (last - first, m), from input samples low.., (n, m).

        Each step does as many outputs as make it worth its calls; the order of a sample's taps is
        the same either way.
        """
        m = x.shape[1]
        indices, weights = self.indices[first:last] - low, self.weights[first:last]
        result = np.empty((last - first, m))
        step = min(max(1, _STEP_SAMPLES // m), last - first)
        product = np.empty((step, m))
        if step == 1:
            at_by = list(zip(indices.tolist(), weights.tolist(), strict=True))
            for left in range(0, m, 2 * _STEP_SAMPLES):
                part = slice(left, left + 2 * _STEP_SAMPLES)
                rows, term = list(x[:, part]), product[0, part]
                for row, (at, by) in enumerate(at_by):
                    total = result[row, part]
                    np.multiply(rows[at[0]], by[0], out=total)
                    for i, weight in zip(at[1:], by[1:], strict=True):
                        np.multiply(rows[i], weight, out=term)
                        total += term
            return result
        for begin in range(0, last - first, step):
            chosen, factors = indices[begin : begin + step], weights[begin : begin + step, :, None]
            total = result[begin : begin + step]
            np.take(x, chosen[:, 0], axis=0, out=total, mode="clip")  # "raise" would buffer
            total *= factors[:, 0]
            term = product[: len(chosen)]
            for tap in range(1, chosen.shape[1]):
                np.take(x, chosen[:, tap], axis=0, out=term, mode="clip")
                term *= factors[:, tap]
                total += term
        return result


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -0.5, nonzero within 2."""
    x = np.abs(x)
    x2 = x * x
    x3 = x2 * x
    near = (1.5 * x3 - 2.5 * x2 + 1) * (x <= 1)
    far = (-0.5 * x3 + 2.5 * x2 - 4 * x + 2) * ((x > 1) & (x <= 2))
    return near + far


def _lanczos3(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """sinc(x) sinc(x / 3), nonzero within 3; MATLAB's guard against 0 / 0."""
    eps = np.finfo(np.float64).eps
    window = (np.sin(np.pi * x) * np.sin(np.pi * x / 3) + eps) / (np.pi**2 * x * x / 3 + eps)
    return window * (np.abs(x) < 3)


def _settled(x: NDArray[np.float64], dtype: np.dtype[Any]) -> Image:
    """x in the dtype asked; integers clipped, then rounded with halves up. Overwrites x."""
    if dtype.kind == "u":
        np.clip(x, 0, np.iinfo(dtype).max, out=x)
        x += 0.5  # and the conversion cuts off the fraction
    return x.astype(dtype, copy=False)


def _checked(image: Image) -> Image:
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"expected a picture (h, w) or (h, w, c), got shape {image.shape}")
    return image


def _whole(
    image: Image, size: tuple[int, int], kernel: Kernel, scale: tuple[float, float] | None
) -> Image:
    height, width, *rest = image.shape
    resizer = RowResizer(
        (height, width),
        size,
        dtype=image.dtype,
        channels=rest[0] if rest else None,
        kernel=kernel,
        scale=scale,
    )
    return resizer.push(image)
