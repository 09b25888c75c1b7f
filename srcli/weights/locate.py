"""A catalogue entry -> a verified safetensors file: bundled, cached, mirrored or downloaded."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from srcli.catalog import WeightsFile
from srcli.errors import WeightsError
from srcli.weights import format as stored
from srcli.weights.cache import (
    SOURCE_FILE_KEY,
    SOURCE_SHA256_KEY,
    Announce,
    WeightsOptions,
    bundled_path,
    cached_path,
    locked,
    read_bundled,
    read_cached,
    read_own,
    scratch_dir,
    why_not_writable,
    write_atomic,
)
from srcli.weights.download import NotThereError, Progress, download, public_url
from srcli.weights.ncnn import read_flat
from srcli.weights.origin import read_origin

log = logging.getLogger(__name__)


def locate(
    weights: WeightsFile,
    options: WeightsOptions,
    *,
    model: str = "",
    licence: str = "",
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> Path:
    """The path of a file's weights as verified safetensors, fetched first if need be.

    A file that the user added is read where it lies. Others are tried in this order: inside the
    package; the cache; the mirror; the URL. What is fetched must have the catalogue's sha256, is
    converted once, and only the converted file is kept. A damaged file in the cache is fetched
    again. If the cache cannot be written, a temporary folder that lasts as long as this process
    serves.

    Args:
        weights: what to find.
        options: cache, mirror, offline.
        model: the model's name, for hints.
        licence: named in the line before a download.
        progress: called with (bytes done, bytes in all) while downloading.
        announce: called with one line before a download, and with one line per warning.

    Raises:
        WeightsError: not to be had, or refused.
        ResourceError: no room.
    """
    return locate_and_read(
        weights, options, model=model, licence=licence, progress=progress, announce=announce
    )[0]


def locate_and_read(
    weights: WeightsFile,
    options: WeightsOptions,
    *,
    model: str = "",
    licence: str = "",
    progress: Progress | None = None,
    announce: Announce | None = None,
    otherwise: str = "",
) -> tuple[Path, bytes]:
    """As `locate`; also the very bytes that were verified. ``otherwise``: how else to come by the
    file where downloads are forbidden; left out: by `srcli models download`."""
    if weights.bundled:
        return bundled_path(weights), read_bundled(weights)
    if weights.folder is not None:
        return weights.folder / weights.file, read_own(weights, model)
    say = announce or log.warning
    target = cached_path(weights, options)
    data = _cached(target, weights, say)
    if data is not None:
        return target, data
    unwritable = why_not_writable(target.parent)
    if unwritable is not None:
        target = scratch_dir() / target.name
    with locked(target, say):
        data = _cached(target, weights, log.info)  # another process may have been faster
        if data is not None:
            return target, data
        if unwritable is not None:
            say(
                f"The cache {options.weights_dir} cannot be written ({unwritable}): "
                f"the weights of {model or weights.file} are kept for this run only."
            )
        data = _fetch(
            weights,
            options,
            target,
            model=model,
            licence=licence,
            progress=progress,
            say=say,
            otherwise=otherwise,
        )
        try:
            write_atomic(target, data)
        except OSError as exc:
            raise WeightsError(f"{target} cannot be written: {exc.strerror or exc}.") from exc
    return target, data


def _cached(path: Path, weights: WeightsFile, say: Announce) -> bytes | None:
    try:
        return read_cached(path, weights)
    except stored.DamagedError as exc:
        say(f"The cached {path} is damaged ({exc}); it is fetched again.")
        return None


Source = Callable[[], bytes]


def _fetch(
    weights: WeightsFile,
    options: WeightsOptions,
    target: Path,
    *,
    model: str,
    licence: str,
    progress: Progress | None,
    say: Announce,
    otherwise: str,
) -> bytes:
    """From the first source that has the right file: its weights as safetensors bytes."""

    def from_url(url: str) -> bytes:
        say(
            f"Downloading {weights.file} ({weights.bytes / 1e6:.1f} MB) from {public_url(url)}; "
            f"licence: {licence or 'unknown'}."
        )
        part = target.with_name(f"{weights.file}.{weights.sha256[:12]}.part")
        try:
            download(
                url,
                part,
                size_bytes=weights.bytes,
                sha256=weights.sha256,
                progress=progress,
            )
            data = part.read_bytes()
            part.unlink()
        except OSError as exc:
            raise WeightsError(f"{part} cannot be used: {exc.strerror or exc}.") from exc
        return data

    def sources() -> Iterator[tuple[bool, Source]]:
        folder, base = split_mirror(options.mirror)
        if folder is not None:
            yield True, lambda: _from_folder(folder / weights.file, weights)
        if base is not None and not options.offline:
            yield True, lambda: from_url(f"{base.rstrip('/')}/{quote(weights.file)}")
        if not options.offline:
            assert weights.url is not None, "a bundled file is never fetched"
            url = weights.url
            yield False, lambda: from_url(url)

    name = model or weights.file
    failure: WeightsError | None = None
    for is_mirror, source in sources():
        try:
            data = source()
        except NotThereError as exc:
            failure = exc
        except WeightsError as exc:
            failure = exc
            if is_mirror and not options.offline:
                say(f"The mirror could not be used: {exc.message}")
        else:
            return _convert(data, weights)
    if failure is not None and not (options.offline and isinstance(failure, NotThereError)):
        raise failure
    raise WeightsError(
        f"The weights of {name} are not on this computer, and "
        "SRCLI_OFFLINE forbids downloading them.",
        f"{otherwise or f'Run `srcli models download {name}` once without SRCLI_OFFLINE'}, "
        f"or set SRCLI_MIRROR to a folder that holds {weights.file}.",
    ) from failure


def split_mirror(mirror: str | None) -> tuple[Path | None, str | None]:
    """The mirror as (folder, None) or (None, base URL)."""
    if mirror is None:
        return None, None
    if mirror.lower().startswith(("http://", "https://")):
        return None, mirror
    if mirror.lower().startswith("file://"):
        return Path(unquote(urlsplit(mirror).path)), None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", mirror):
        raise WeightsError(
            f"SRCLI_MIRROR is neither a folder nor an http(s) URL: {public_url(mirror)}",
            "Name a folder, or a URL that begins with https:// or http://.",
        )
    return Path(mirror).expanduser(), None


def _from_folder(path: Path, weights: WeightsFile) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(weights.bytes + 1)  # a wrong file may be of any size
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotThereError(f"The mirror has no {path}.") from exc
    except OSError as exc:
        raise WeightsError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    if (wrong := _difference(data, weights)) is not None:
        raise WeightsError(
            f"{path} is not the file that the catalogue describes: {wrong}.",
            "Remove it from the mirror, or put the right file there.",
        )
    return data


def _difference(data: bytes, weights: WeightsFile) -> str | None:
    """How a mirror's file differs from the catalogue's, of which no byte more was read."""
    if len(data) > weights.bytes:
        return f"it has more than {weights.bytes:,} bytes"
    if len(data) < weights.bytes:
        return f"it has {len(data):,} bytes instead of {weights.bytes:,}"
    got = hashlib.sha256(data).hexdigest()
    if got == weights.sha256:
        return None
    return f"its sha256 begins with {got[:12]} instead of {weights.sha256[:12]}"


def _convert(data: bytes, weights: WeightsFile) -> bytes:
    if weights.layout is not None:
        state = read_flat(data, weights.file, weights.layout)
    else:
        state = read_origin(
            data,
            weights.file,
            state_key=weights.state_key,
            strip_prefix=weights.strip_prefix,
            keep=weights.keep,
        )
    metadata = {SOURCE_FILE_KEY: weights.file, SOURCE_SHA256_KEY: weights.sha256}
    return stored.pack(state, metadata)
