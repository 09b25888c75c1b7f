"""Rows in, compressed blocks out, in order, on several threads: what PNG and TIFF writing share.

zlib and numpy let go of the interpreter lock, so blocks are compressed beside each other and beside
the network that computes the next rows.
"""

import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 20
_ADLER_BASE = 65_521

Rows = NDArray[np.uint8]
T = TypeVar("T")


def workers() -> int:
    """How many threads compress: the processors this process may use, at most 8."""
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        available = os.cpu_count() or 1
    return max(1, min(8, available))


def pipeline_bytes(row_bytes: int) -> int:
    """About how much memory a RowBlocks and its threads hold, for rows of this many bytes."""
    return 3 * (2 * workers() + 1) * max(BLOCK_BYTES, row_bytes)


def rows_per_block(row_bytes: int, height: int) -> int:
    """Rows in one block: about BLOCK_BYTES, at least one."""
    return max(1, min(height, BLOCK_BYTES // max(1, row_bytes)))


def deflate(data: memoryview, strategy: int, level: int) -> bytes:
    """A raw deflate stream of `data` that ends on a byte and leaves the stream open."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def adler32_combine(first: int, second: int, second_length: int) -> int:
    """The Adler-32 of two pieces put together, from theirs (as zlib's adler32_combine)."""
    rest = second_length % _ADLER_BASE
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = rest * (first & 0xFFFF) + (first >> 16) + (second >> 16) - rest
    return (high % _ADLER_BASE) << 16 | (low % _ADLER_BASE)


class RowBlocks(Generic[T]):
    """Gathers rows into blocks, encodes the blocks on threads, hands the results on in order.

    Args:
        height: rows in all; the last block is shorter.
        row_bytes: bytes in one row.
        encode: called on a thread with (block, row before it or zeros); the block is its to keep.
        sink: called on the caller's thread with each result, top to bottom.
    """

    def __init__(
        self,
        *,
        height: int,
        row_bytes: int,
        encode: Callable[[Rows, Rows], T],
        sink: Callable[[T], None],
    ) -> None:
        self._encode = encode
        self._sink = sink
        self._row_bytes = row_bytes
        self._left = height
        self._per_block = rows_per_block(row_bytes, height)
        self._above: Rows = np.zeros(row_bytes, np.uint8)
        self._block: Rows | None = None
        self._filled = 0
        self._limit = 2 * workers()
        self._waiting: deque[Future[T]] = deque()
        self._is_small = self._per_block == height
        # threads begin with the first block that they are given
        self._pool = ThreadPoolExecutor(workers(), thread_name_prefix="srcli-encode")

    def add(self, rows: Rows) -> None:
        """Take rows (n, row_bytes); they are copied, so the caller may reuse the array."""
        start = 0
        while start < len(rows):
            if self._block is None:
                self._block = np.empty((min(self._per_block, self._left), self._row_bytes), "u1")
                self._filled = 0
            taken = min(len(self._block) - self._filled, len(rows) - start)
            self._block[self._filled : self._filled + taken] = rows[start : start + taken]
            self._filled += taken
            start += taken
            if self._filled == len(self._block):
                block, self._block = self._block, None
                self._left -= len(block)
                if self._is_small:  # beside which there is no other
                    self._sink(self._encode(block, self._above))
                    continue
                self._waiting.append(self._pool.submit(self._encode, block, self._above))
                self._above = block[-1]
                self._drain(self._limit)

    def finish(self) -> None:
        """Hand on everything that is still under way, and stop the threads."""
        assert self._left == 0 and self._block is None, "rows are missing"
        self._drain(0)
        self._pool.shutdown()

    def abort(self) -> None:
        """Stop the threads and drop what they made."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()

    def _drain(self, keep: int) -> None:
        while self._waiting and (len(self._waiting) > keep or self._waiting[0].done()):
            self._sink(self._waiting.popleft().result())
