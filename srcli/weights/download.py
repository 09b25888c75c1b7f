"""One file over HTTP, into one file beside its destination, whole and verified or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import srcli
from srcli.errors import WeightsError
from srcli.weights.cache import no_room, no_room_error

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

pause = time.sleep

TRIES = 4
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
MAX_DELAY_S = 30.0
_CHUNK_BYTES = 1 << 14
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class NotThereError(WeightsError):
    """The server answers, and has no such file."""


class _TryAgainError(Exception):
    """This try failed in a way that the next may not."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def download(
    url: str,
    part: Path,
    *,
    size_bytes: int,
    sha256: str,
    progress: Progress | None = None,
    tries: int = TRIES,
    sleep: Callable[[float], None] | None = None,
) -> None:
    """Fetch a URL into ``part``; on return the file is whole and its sha256 is right.

    What ``part`` already holds is continued. It is kept when the connection fails, for the next
    call to continue, and removed when its content is wrong or the disk is full.

    Args:
        url: http or https; proxies are taken from the usual environment variables.
        part: the file to write, in the folder it will stay in.
        size_bytes, sha256: what the catalogue says; a server that sends more is cut off.
        progress: called with (bytes done, bytes in all).
        tries: how often in all, when the connection or the server fails.
        sleep: waits between tries (seconds); None: `pause`.

    Raises:
        NotThereError: the server has no such file (403, 404, 410).
        WeightsError: it could not be fetched, or is not the catalogue's file.
        ResourceError: no room in the folder.
    """
    import requests

    held = part.stat().st_size if part.exists() else 0
    needed = max(size_bytes - held, 0) + size_bytes + (1 << 20)  # and its converted copy
    if shutil.disk_usage(part.parent).free < needed:
        raise no_room_error(part.parent, needed_bytes=needed)

    shown = public_url(url)
    state = _State(part, size_bytes)
    failures = 0
    with requests.Session() as session:
        # identity: the sizes and ranges are those of the file itself
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = f"srcli/{srcli.__version__}"
        while True:
            try:
                got = _attempt(session, url, state, progress)
            except _TryAgainError as exc:
                failures += 1
                if failures >= tries:
                    raise WeightsError(
                        f"{shown} could not be fetched in {tries} tries: {exc}.",
                        "Check the connection and try again; what has arrived is kept.",
                    ) from exc
                delay = max(min(0.5 * 2 ** (failures - 1), MAX_DELAY_S), exc.retry_after_s)
                delay *= 1 + random.random() / 4  # so that many machines do not return at once
                log.info("%s: %s; trying again in %.1f s", shown, exc, delay)
                (sleep or pause)(delay)
                continue
            if got == sha256:
                return
            state.drop()
            if not state.continued:
                raise WeightsError(
                    f"{shown} is not the file that the catalogue describes: "
                    f"expected sha256 {sha256}, got {got}; what was fetched has been removed.",
                    "The file may have been replaced at its source, or altered on the way.",
                )
            # the part from an earlier run may have been at fault: once more, from the start
            log.info("%s: wrong after continuing a partial file; starting over", shown)


def public_url(url: str) -> str:
    """A URL for messages: without user name, password and query."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    return "the URL"


@dataclass
class _State:
    """What is known of the partial file from try to try."""

    part: Path
    size_bytes: int
    etag: str | None = None
    continued: bool = False  # holds bytes from an earlier response

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)


def _attempt(session: requests.Session, url: str, state: _State, progress: Progress | None) -> str:
    """One request. The sha256 of the file, once it has its full size."""
    import requests

    shown = public_url(url)
    digest = hashlib.sha256()
    held = 0
    if state.part.exists():
        data = state.part.read_bytes()
        if len(data) <= state.size_bytes:
            held = len(data)
            digest.update(data)
        else:
            state.drop()
    state.continued = held > 0
    if held == state.size_bytes:
        return digest.hexdigest()
    headers = {}
    if held:
        headers["Range"] = f"bytes={held}-"
        if state.etag is not None:
            headers["If-Range"] = state.etag
    try:
        with session.get(
            url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        ) as response:
            _check_status(response, shown)
            if response.status_code == 416 or (
                response.status_code == 206 and not _continues(response, held, state.size_bytes)
            ):
                state.drop()
                raise _TryAgainError("the server cannot continue where it stopped")
            etag = response.headers.get("ETag", "")
            state.etag = etag if etag.startswith('"') else None  # a weak one proves nothing
            if response.status_code == 200:
                _check_length(response, shown, state.size_bytes)
                held, digest, state.continued = 0, hashlib.sha256(), False
            if progress is not None:
                progress(held, state.size_bytes)
            _receive(response, state, held, digest, progress)
    except requests.exceptions.SSLError as exc:  # a certificate will not mend itself
        raise WeightsError(f"{shown} could not be fetched: {_reason(exc)}.") from exc
    except (
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as exc:
        raise _TryAgainError(_reason(exc)) from exc
    except requests.exceptions.RequestException as exc:
        raise WeightsError(f"{shown} could not be fetched: {_reason(exc)}.") from exc
    return digest.hexdigest()


def _receive(
    response: requests.Response,
    state: _State,
    held: int,
    digest: Any,
    progress: Progress | None,
) -> None:
    """Stream the body behind the ``held`` bytes of the partial file."""
    done = held
    shown = public_url(response.url)
    try:
        # unbuffered: a failing write is seen here and not when the file is closed
        file = state.part.open("ab" if held else "wb", buffering=0)
    except OSError as exc:
        raise _write_error(state, exc) from exc
    with file:
        for chunk in response.iter_content(_CHUNK_BYTES):
            if done + len(chunk) > state.size_bytes:
                state.drop()
                raise WeightsError(
                    f"{shown} sends more than the {state.size_bytes} bytes that the catalogue "
                    "names; it was cut off and what had arrived has been removed."
                )
            view = memoryview(chunk)
            try:
                while view:
                    view = view[file.write(view) or 0 :]
            except OSError as exc:
                raise _write_error(state, exc) from exc
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, state.size_bytes)
    if done < state.size_bytes:
        raise _TryAgainError(f"the connection ended after {done} of {state.size_bytes} bytes")


def _write_error(state: _State, exc: OSError) -> Exception:
    if no_room(exc):
        with contextlib.suppress(OSError):
            state.drop()  # a full disk is no place to keep a part
        return no_room_error(state.part.parent, exc)
    return WeightsError(f"{state.part} cannot be written: {exc.strerror or exc}.")


def _check_status(response: requests.Response, shown: str) -> None:
    status = response.status_code
    if status in {200, 206, 416}:
        return
    said = f"the server answered {status} {response.reason or ''}".rstrip()
    if status in _AGAIN:
        after = response.headers.get("Retry-After", "").strip()
        seconds = min(float(after), MAX_DELAY_S) if after.isascii() and after.isdigit() else 0.0
        raise _TryAgainError(said, seconds)
    kind = NotThereError if status in {403, 404, 410} else WeightsError
    raise kind(f"{shown} could not be fetched: {said}.")


def _check_length(response: requests.Response, shown: str, size_bytes: int) -> None:
    """Refuse a wrong file before its first byte is written."""
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    if length.isdigit() and not encoded and int(length) != size_bytes:
        raise WeightsError(
            f"{shown} is not the file that the catalogue describes: "
            f"it has {length} bytes instead of "
            f"{size_bytes}; nothing of it was kept."
        )


def _continues(response: requests.Response, held: int, size_bytes: int) -> bool:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return (
        match is not None
        and int(match[1]) == held
        and int(match[2]) < size_bytes
        and match[3] in {"*", str(size_bytes)}
    )


def _reason(exc: Exception) -> str:
    """The innermost cause in a few words; requests wraps three deep."""
    inner: BaseException = exc
    while True:
        below = getattr(inner, "reason", None) or next(
            (a for a in reversed(inner.args) if isinstance(a, BaseException)), None
        )
        if not isinstance(below, BaseException):
            break
        inner = below
    text = str(inner).strip().rstrip(".")
    text = re.sub(r"^<[^>]*>: |^\w+\(.*?\): ", "", text)
    return text or type(inner).__name__
