"""Where weights lie: the cache folder, its files, and what is bundled with the package."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from srcli.catalog import Catalogue, Variant, WeightsFile, default_catalogue
from srcli.catalog.features import features
from srcli.errors import ResourceError, WeightsError
from srcli.weights.format import DamagedError, check

log = logging.getLogger(__name__)

Announce = Callable[[str], None]

BUNDLED = Path(__file__).with_name("bundled")
SOURCE_SHA256_KEY = "srcli.source_sha256"
SOURCE_FILE_KEY = "srcli.source_file"
_LOCK_TIMEOUT_S = 1800
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class WeightsOptions:
    """Where weights come from and go to.

    Attributes:
        cache_dir: srcli's cache folder; weights lie under ``weights`` in it.
        mirror: folder or base URL that is tried first, by the catalogue's file names.
        offline: never touch the network (a mirror that is a folder still serves).
    """

    cache_dir: Path
    mirror: str | None = None
    offline: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> WeightsOptions:
        """SRCLI_CACHE_DIR, SRCLI_MIRROR and SRCLI_OFFLINE; the only place that reads them."""
        env = os.environ if environment is None else environment
        folder = env.get("SRCLI_CACHE_DIR", "").strip()
        if folder:
            cache_dir = Path(folder).expanduser().absolute()
        else:
            import platformdirs

            cache_dir = Path(platformdirs.user_cache_dir("srcli"))
        off = env.get("SRCLI_OFFLINE", "").strip().lower() in {"", "0", "false", "no", "off"}
        return cls(cache_dir, env.get("SRCLI_MIRROR", "").strip() or None, not off)

    @property
    def weights_dir(self) -> Path:
        return self.cache_dir / "weights"


@dataclass(frozen=True)
class Verified:
    """What `verify` found out about one file.

    Attributes:
        path: the file.
        models: the catalogue's models that use it; empty: it is from another version of srcli.
        ok: undamaged.
        detail: what is wrong, or where the file is from.
        own: added by the user.
    """

    path: Path
    models: tuple[str, ...]
    ok: bool
    detail: str
    own: bool = False


def cached_path(weights: WeightsFile, options: WeightsOptions) -> Path:
    """Where a downloaded file lies once converted. The name holds the origin's sha256, so that a
    catalogue that moves on to other weights never meets the old ones."""
    stem = weights.file.rsplit(".", 1)[0]
    return options.weights_dir / f"{stem}-{weights.sha256[:12]}.safetensors"


def bundled_path(weights: WeightsFile) -> Path:
    """Where a bundled file lies, inside the package."""
    return BUNDLED / weights.file


def path_of(weights: WeightsFile, options: WeightsOptions) -> Path:
    """Where a file lies, or will lie: the user's own, bundled or cached."""
    if weights.folder is not None:
        return weights.folder / weights.file
    return bundled_path(weights) if weights.bundled else cached_path(weights, options)


def is_cached(weights: WeightsFile, options: WeightsOptions) -> bool:
    """True if it is at hand: bundled, cached or the user's own. Its bytes are not looked at."""
    return path_of(weights, options).is_file()


def at_hand(variant: Variant, options: WeightsOptions) -> bool:
    """True if there are weights and every file that they are made of is at hand."""
    return bool(variant.parts) and all(is_cached(file, options) for file, _ in variant.parts)


def read_own(weights: WeightsFile, name: str = "") -> bytes:
    """The bytes of a file that the user added, checked.

    Raises:
        WeightsError: it is missing, damaged or unreadable.
    """
    assert weights.folder is not None, "not a file of the user's own"
    path = weights.folder / weights.file
    name = name or "NAME"
    hint = (
        f"Add it again: srcli models add FILE --name {name} --overwrite; "
        f"or forget it: srcli models remove {name}"
    )
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise WeightsError(f"The weights that you added are missing: {path}", hint) from exc
    except OSError as exc:
        text = f"The weights that you added cannot be read: {path}: {exc.strerror or exc}"
        raise WeightsError(text, hint) from exc
    got = hashlib.sha256(data).hexdigest()
    if got != weights.sha256:
        raise WeightsError(
            f"The weights that you added are damaged: {path}: expected sha256 {weights.sha256}, "
            f"got {got}.",
            hint,
        )
    return data


def read_bundled(weights: WeightsFile) -> bytes:
    """A bundled file's bytes, checked.

    Raises:
        WeightsError: it is missing or not the catalogue's; the package is damaged.
    """
    path = bundled_path(weights)
    hint = "The installation is damaged: reinstall srcli."
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise WeightsError(f"The bundled weights {path} cannot be read: {exc}.", hint) from exc
    got = hashlib.sha256(data).hexdigest()
    if got != weights.sha256:
        raise WeightsError(
            f"The bundled weights {path} are damaged: expected sha256 {weights.sha256}, got {got}.",
            hint,
        )
    return data


def read_cached(path: Path, weights: WeightsFile) -> bytes | None:
    """A cached file's bytes, checked against their digest; None if there is no such file.

    Raises:
        DamagedError: it is there, and damaged or unreadable.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise DamagedError(exc.strerror or str(exc)) from exc
    if check(data).metadata.get(SOURCE_SHA256_KEY) != weights.sha256:
        raise DamagedError("it was made from another file")
    return data


def verify(options: WeightsOptions, catalogue: Catalogue | None = None) -> list[Verified]:
    """Check every byte of the bundled, the user's own and the cached weights. Changes nothing.

    Returns:
        One entry per file: bundled ones and the user's in catalogue order, the cache's by name.
    """
    users: dict[Path, tuple[WeightsFile, list[str]]] = {}
    for model in (catalogue or default_catalogue()).models.values():
        for weights in (file for v in model.variants for file in v.files):
            path = path_of(weights, options)
            names = users.setdefault(path, (weights, []))[1]
            if model.name not in names:
                names.append(model.name)
    for feature in features().values() if catalogue is None else ():
        if feature.weights is not None:
            path = path_of(feature.weights, options)
            users.setdefault(path, (feature.weights, []))[1].append(feature.name)
    found = []
    for path, (weights, names) in users.items():
        if not (weights.bundled or weights.own):
            continue
        ok, detail = True, "your own" if weights.own else "bundled"
        try:
            if weights.own:
                read_own(weights, names[0])
            else:
                read_bundled(weights)
        except WeightsError as exc:
            ok, detail = False, exc.message
        found.append(Verified(path, tuple(names), ok, detail, weights.own))
    for path in sorted(options.weights_dir.glob("*.safetensors")):
        weights_of, names = users.get(path, (None, []))
        try:
            data = path.read_bytes()
            if weights_of is not None:
                read_cached(path, weights_of)
                detail = f"from {weights_of.file}"
            else:
                source = check(data).metadata.get(SOURCE_FILE_KEY, "an unknown file")
                detail = f"from {source}, not in this catalogue"
            found.append(Verified(path, tuple(names), True, detail))
        except (DamagedError, OSError) as exc:
            found.append(Verified(path, tuple(names), False, str(exc)))
    return found


def no_room(exc: OSError) -> bool:
    """True if the disk, the quota or the file-size limit is what failed."""
    return exc.errno in _FULL


def no_room_error(folder: Path, exc: OSError | None = None, needed_bytes: int = 0) -> ResourceError:
    reason = f" ({exc.strerror})" if exc is not None and exc.strerror else ""
    needed = f": {needed_bytes / 1e6:.1f} MB are needed" if needed_bytes else ""
    return ResourceError(
        f"There is not enough room in {folder}{needed}{reason}.",
        "Free some space there, or set SRCLI_CACHE_DIR to a folder elsewhere.",
    )


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it.

    Raises:
        ResourceError: no room.
        OSError: anything else; the caller knows what that means.
    """
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file that takes its place at the end, unless that raises.

    Raises:
        ResourceError: no room.
        OSError: anything else; the caller knows what that means.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as exc:
        if no_room(exc):
            raise no_room_error(path.parent, exc) from exc
        raise
    finally:
        temporary.unlink(missing_ok=True)


def why_not_writable(folder: Path) -> str | None:
    """Make the folder and try to write in it; the reason if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as exc:
        if no_room(exc):
            raise no_room_error(folder, exc) from exc
        return exc.strerror or str(exc)


def scratch_dir() -> Path:
    """A folder of this process alone, removed when it ends: for a cache that cannot be written."""
    return Path(_scratch().name)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="srcli-weights-", ignore_cleanup_errors=True)


@contextmanager
def locked(target: Path, announce: Announce, *, doing: str = "fetching") -> Iterator[None]:
    """Hold a file's lock among all processes; says so once if it must wait."""
    from filelock import FileLock, Timeout

    lock_path = target.parent / ".locks" / f"{target.name}.lock"
    lock = FileLock(lock_path)
    try:
        lock_path.parent.mkdir(exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            announce(f"Waiting for another srcli that is {doing} {target.name}.")
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as exc:
        raise WeightsError(
            f"Another process has held {lock_path} for {_LOCK_TIMEOUT_S // 60} minutes.",
            "If no other srcli is running, remove that file and try again.",
        ) from exc
    except OSError as exc:
        raise WeightsError(f"The lock {lock_path} cannot be taken: {exc}.") from exc
    try:
        yield
    finally:
        try:
            lock.release()
        except OSError as exc:
            log.warning("the lock %s could not be released: %s", lock_path, exc)
