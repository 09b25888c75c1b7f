"""Files that lie elsewhere, by URL: s3://, gs://, sftp://, http:// and what else fsspec knows.

A file is fetched whole, and written whole or not at all. What a URL holds of secrets, a password or
the signature behind a ``?``, is used and never shown.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from srcli.errors import MediaError, ResourceError, SrcliError, UsageError
from srcli.media.atomic import FULL

if TYPE_CHECKING:
    import paramiko

_logger = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 4  # of what fails for the network's sake
WAIT_S = 0.5  # before the second of them, and twice that before each next one
TIMEOUT_S = 60.0  # without an answer

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_COLLAPSED = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):[/\\]+")
_READ_ONLY = ("http", "https")
_WITH_HOST = ("http", "https", "sftp", "ssh", "ftp", "smb")  # a bucket is no host
_WHOLE = (
    "s3",
    "s3a",
    "gs",
    "gcs",
    "az",
    "abfs",
    "memory",
)  # an object is there when it is complete
# errors of the back ends that are no better the next time
_FINAL = {
    "AuthenticationException",
    "BadHostKeyException",
    "NoCredentialsError",
    "_UnknownHostError",
}
_MODULES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "sftp": "paramiko",
            "ssh": "paramiko", "http": "aiohttp", "https": "aiohttp"}  # fmt: skip

_secrets: dict[str, str] = {}  # by what is shown of a URL, or of a host: what is behind it


def is_url(name: str) -> bool:
    return "://" in name and _URL.match(name) is not None


def path_of(name: str) -> Path:
    """A path from what was typed: a file's name, or a URL."""
    if not is_url(name):
        return Path(name)
    parts = urlsplit(name)
    if parts.scheme == "file":
        return Path(name[len("file://") :])
    return UrlPath(shown(name))


def shown(name: str) -> str:
    """What was typed, without the secrets of a URL; they are remembered."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    if parts.scheme not in _WITH_HOST:
        return name
    user, at, host = parts.netloc.rpartition("@")
    user, colon, _ = user.partition(":")
    netloc = f"{user}{at}{host}"
    if colon:
        _secrets[f"{parts.scheme}://{netloc}"] = parts.netloc
    plain = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    if parts.query:
        _secrets[plain] = parts.query
    return plain


class UrlPath(type(Path())):  # type: ignore[misc]
    """A file, or folder, elsewhere."""

    __slots__ = ()

    def __str__(self) -> str:
        return _COLLAPSED.sub(r"\1://", super().__str__()).replace(os.sep, "/")

    def __fspath__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return path_of, (self.url,)

    @property
    def url(self) -> str:
        """With its secrets: nothing to show."""
        name = str(self)
        parts = urlsplit(name)
        netloc = _secrets.get(f"{parts.scheme}://{parts.netloc}", parts.netloc)
        return urlunsplit((parts.scheme, netloc, parts.path, _secrets.get(name, ""), ""))

    @property
    def scheme(self) -> str:
        return urlsplit(str(self)).scheme

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> UrlPath:
        return self

    def resolve(self, strict: bool = False) -> UrlPath:
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Kind and length. Of http(s), a file is taken to be there: fetching it will tell."""
        if self.scheme in _READ_ONLY:
            return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        info = _tried(self, lambda fs, at: fs.info(at), "looked at")
        kind = stat.S_IFDIR if info["type"] == "directory" else stat.S_IFREG
        return os.stat_result((kind, 0, 0, 1, 0, 0, info.get("size") or 0, 0, 0, 0))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def is_fifo(self) -> bool:
        return False

    def read_bytes(self) -> bytes:
        """All of it."""
        data: bytes = _tried(self, lambda fs, at: fs.cat_file(at), "read")
        return data

    def open(self, mode: str = "r", *more: Any, **others: Any) -> IO[Any]:
        """To be read only; it is fetched whole."""
        if mode != "rb":
            raise OSError(errno.EROFS, "files elsewhere are written whole", str(self))
        return io.BytesIO(self.read_bytes())

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Folders are made with what is put into them."""

    def fetch(self, file: Path) -> None:
        """Bring it to this machine, into a file, with the time at which it was changed.

        Raises:
            FileNotFoundError: it is not there.
            MediaError: it cannot be read.
            ResourceError: it does not fit on the disk.
        """

        def fetch(fs: Any, at: str) -> None:
            try:
                n_bytes, changed_s = (None, 0.0) if self.scheme in _READ_ONLY else _state(fs, at)
                fs.get_file(at, str(file))
                there = file.stat().st_size
                if n_bytes is not None and there != n_bytes:
                    raise ConnectionError(f"{there} of {n_bytes} bytes came")
                os.utime(file, (changed_s, changed_s))
            except OSError as exc:
                if exc.errno in FULL:
                    raise ResourceError(
                        f"{self} does not fit into {file.parent}", "set TMPDIR to another folder"
                    ) from exc
                raise

        _tried(self, fetch, "read")

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            _tried(self, lambda fs, at: fs.rm_file(at), "removed")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def put(self, file: Path) -> None:
        """Write it, from a file on this machine: it is there when it is complete.

        Raises:
            MediaError: it cannot be done; what had the name before is as it was.
        """
        if self.scheme in _WHOLE:
            _tried(self, lambda fs, at: fs.put_file(str(file), at), "written")
            return
        part = self.with_name(f".{self.name}.{secrets.token_hex(4)}.part")

        def put(fs: Any, at: str) -> None:
            beside = _at(fs, part)
            try:
                fs.put_file(str(file), beside)
                fs.mv(beside, at)
            except BaseException:
                _remove(fs, beside)
                raise

        _tried(self, put, "written")


def check_writable(path: Path) -> None:
    """Raises UsageError for what can be read alone."""
    if isinstance(path, UrlPath) and path.scheme in _READ_ONLY:
        raise UsageError(
            f"{path} cannot be written: {path.scheme} is for reading", "name an output with -o"
        )


def remove_folder(folder: UrlPath) -> None:
    """Remove a folder of files, as far as that can be done."""
    try:
        for name in names_in(folder):
            (folder / name).unlink(missing_ok=True)
        if folder.scheme not in _WHOLE:  # where folders are more than a part of names
            _tried(folder, lambda fs, at: fs.rmdir(at), "removed")
    except (SrcliError, OSError) as exc:
        _logger.debug("%s stays: %s", folder, exc)


def _state(fs: Any, at: str) -> tuple[int | None, float]:
    """Length and time of the last change, as they are now."""
    fs.invalidate_cache()
    try:
        changed_s = fs.modified(at).timestamp()
    except NotImplementedError:
        changed_s = 0.0
    return fs.info(at).get("size"), changed_s


def names_in(folder: UrlPath) -> frozenset[str]:
    """Names of all that lies in a folder; none if it is not there."""
    try:
        infos = _listed(folder)
    except FileNotFoundError:
        return frozenset()
    return frozenset(info["name"].rstrip("/").rpartition("/")[2] for info in infos)


def _listed(folder: Path) -> list[dict[str, Any]]:
    """What lies in a folder now, and not when it was last listed."""

    def ls(fs: Any, at: str) -> list[dict[str, Any]]:
        fs.invalidate_cache()
        found: list[dict[str, Any]] = fs.ls(at, detail=True)
        return found

    return _tried(folder, ls, "listed")


def walk(folder: UrlPath) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk does: names of folders and files; those that are taken out are not gone into."""
    todo = [str(folder).rstrip("/")]
    while todo:
        here = todo.pop()
        folders, files = [], []
        for info in _listed(path_of(here)):
            name = info["name"].rstrip("/").rpartition("/")[2]
            if info["type"] == "directory":
                folders.append(name)
            elif name and not (info.get("size") == 0 and info["name"].endswith("/")):
                files.append(name)
        yield here, folders, files
        todo += [f"{here}/{name}" for name in reversed(folders)]


def matches(pattern: UrlPath) -> list[str]:
    """Files whose names match."""
    found = _tried(pattern, lambda fs, at: (at, fs.glob(at, detail=True)), "listed")
    at, infos = found
    # what stands before the path itself: s3:// of a bucket, sftp://host of a folder
    before = str(pattern)[: len(str(pattern)) - len(at.lstrip("/"))]
    return sorted(
        before + name.lstrip("/") for name, info in infos.items() if info["type"] == "file"
    )


def _filesystem(path: UrlPath) -> tuple[Any, str]:
    """The back end, and how it calls this path.

    Raises:
        UsageError: it is not installed, or there is none.
    """
    scheme = path.scheme
    module = _MODULES.get(scheme, "fsspec")
    if find_spec("fsspec") is None or find_spec(module) is None:
        raise UsageError(f"{scheme}:// needs {module}, which is not installed",
                         'pip install "srcli[cloud]"')  # fmt: skip
    from fsspec.core import url_to_fs

    more: dict[str, Any] = {}
    if scheme in ("sftp", "ssh"):
        more = {"timeout": TIMEOUT_S, "host_key_policy": _known_hosts()}
    try:
        fs, at = url_to_fs(path.url, **more)
    except ImportError as exc:
        raise UsageError(f"{scheme}:// needs a package that is not installed ({exc})",
                         'pip install "srcli[cloud]"') from exc  # fmt: skip
    except ValueError as exc:
        if "Protocol not known" in str(exc):
            raise UsageError(f"{path}: there is no {scheme}:// that srcli knows",
                             "s3, gs, sftp, http and https are") from exc  # fmt: skip
        raise
    if scheme in ("sftp", "ssh"):
        fs.ftp.get_channel().settimeout(TIMEOUT_S)
    return fs, at


def _at(fs: Any, path: UrlPath) -> str:
    at: str = fs._strip_protocol(path.url)
    return at


def _remove(fs: Any, at: str) -> None:
    try:
        fs.rm_file(at)
    except Exception as exc:
        _logger.debug("an unfinished file stays: %s", type(exc).__name__)


def _tried(path: Path, what: Callable[[Any, str], T], done: str) -> T:
    """Do something with a file elsewhere, again where the connection may be to blame.

    Raises:
        FileNotFoundError: it is not there.
        MediaError: it cannot be done.
        UsageError: the back end is not installed.
    """
    assert isinstance(path, UrlPath)
    wait_s = WAIT_S
    for n in range(1, TRIES + 1):
        fs = None
        try:
            fs, at = _filesystem(path)
            return what(fs, at)
        except (SrcliError, FileNotFoundError):
            raise
        except Exception as exc:
            is_final = isinstance(exc, PermissionError | IsADirectoryError | NotImplementedError)
            if is_final or type(exc).__name__ in _FINAL:
                raise MediaError(f"{path} cannot be {done}: {_reason(exc)}") from None
            if n == TRIES:
                raise MediaError(
                    f"{path} cannot be {done}, tried {TRIES} times: {_reason(exc)}",
                    "check the connection and the server",
                ) from None
            _logger.debug("%s: try %d failed: %s", path, n, type(exc).__name__)
            if fs is not None:  # its connection may be gone
                type(fs).clear_instance_cache()
        time.sleep(wait_s)
        wait_s *= 2
    raise AssertionError("the last try returns or raises")


def _reason(exc: Exception) -> str:
    """In one line; what may be a secret is left out."""
    said = str(exc).strip().splitlines()
    text = said[0] if said else type(exc).__name__
    text = re.sub(r"://[^/@\s]*@", "://", text)
    return re.sub(r"\?[^\s'\"]*", "", text)[:300]


_policy: paramiko.MissingHostKeyPolicy | None = None


def _known_hosts() -> paramiko.MissingHostKeyPolicy:
    """As ssh does: only hosts whose keys are known are spoken to."""
    global _policy  # noqa: PLW0603 -- one for all connections, which are told apart by it
    if _policy is None:
        import paramiko

        class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
            def missing_host_key(
                self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
            ) -> None:
                known = paramiko.HostKeys()
                file = Path.home() / ".ssh" / "known_hosts"
                if file.is_file():
                    known.load(str(file))
                if not known.check(hostname, key):
                    raise _UnknownHostError(
                        f"the host's key is not in {file}; connect to it once with ssh"
                    )

        _policy = KnownHosts()
    return _policy


class _UnknownHostError(Exception):
    """Somebody else may be answering."""
