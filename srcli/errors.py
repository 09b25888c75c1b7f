"""Every error that srcli raises on purpose: what a user can understand and fix."""


class SrcliError(Exception):
    """Something failed that the user can understand and perhaps fix.

    Args:
        message: one plain sentence: what failed, and which path or name.
        hint: what to do about it, if there is something to do.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SrcliError):
    """The command asks for something that does not exist or contradicts itself (exit code 2)."""

    exit_code = 2


class WeightsError(SrcliError):
    """Weights are missing, damaged, refused, or could not be fetched."""


class MediaError(SrcliError):
    """A picture or film could not be read or written."""


class ResourceError(SrcliError):
    """Not enough memory, disk space or room in the format for what was asked."""
