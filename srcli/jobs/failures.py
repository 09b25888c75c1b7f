"""One bad input never stops a batch: whatever stops it, in finding, planning, reading, enlarging or
writing, becomes the failure of that input alone."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from srcli.errors import MediaError, ResourceError, SrcliError


def failure_of(error: Exception, source: Path) -> SrcliError:
    """Any exception as a sentence about an input.

    Args:
        source: the input, which the system's errors may not name.
    """
    if isinstance(error, SrcliError):
        return error
    if isinstance(error, OSError):
        name = error.filename or source
        if error.errno == errno.ENAMETOOLONG:
            return MediaError(
                f"{name}: the name is too long for the file system",
                "shorten it, or give the output a shorter name with -o",
            )
        return MediaError(f"{name} cannot be used: {error.strerror or error}")
    if _is_out_of_memory(error):
        return ResourceError("memory ran out", "allow less with --memory, or a smaller --tile")
    return SrcliError(f"unexpected {type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:  # then none of its errors is there either
        return isinstance(error, MemoryError)
    from srcli.engine.pytorch.tiling import is_out_of_memory

    return is_out_of_memory(error)
