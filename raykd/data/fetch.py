"""Data from elsewhere, fetched once a node: into a cache on its disk, by one process while all others wait for it.

What is being fetched has a temporary name until it is whole, so a process that is killed leaves nothing incomplete.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit

from filelock import FileLock

from raykd.config import DataSettings
from raykd.data.image_files import is_hidden
from raykd.data.split_names import split_name
from raykd.errors import RaykdError, shortened
from raykd.object_store import file_system

if TYPE_CHECKING:
    from email.message import Message
    from http.client import HTTPResponse

    from pyarrow.fs import FileInfo, FileSystem

log = logging.getLogger(__name__)

ARCHIVES = {".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar", ".zip": "zip"}
"""Formats of `shutil.unpack_archive` by a file's ending."""

SILENCE_SECONDS = 30.0
"""How long a web server may be silent."""

DAMAGED = (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError)
"""What may be raised by a file that is no archive, or an incomplete one."""


def local_root(settings: DataSettings) -> Path | None:
    """`data.root` as a folder of this node: a URL is fetched into `data.cache`, unless it has not changed since.

    A cached copy is used where the source does not answer any more.

    Raises:
        RaykdError: there is no copy, and the URL cannot be fetched, is no archive, or does not fit on the disk.
    """
    root = settings.root
    if root is None or isinstance(root, Path):
        return root
    cache = settings.cache.expanduser()
    name = hashlib.sha256(root.encode()).hexdigest()[:16]
    try:
        source = _source(root)
    except OSError as error:
        whole = [copy for copy in cache.glob(f"{name}-*") if copy.suffix not in (".part", ".archive")]
        copies = sorted(whole, key=lambda copy: copy.stat().st_mtime)
        if not copies:
            raise _unreachable(f"data.root {root}", error) from error
        log.warning("data.root %s: %s; the copy fetched before is used", root, _reason(error))
        return _inner(copies[-1])
    folder = cache / f"{name}-{source.version}"
    # A lock's file is written only where there is something to fetch.
    with _locked(cache, name):
        if not folder.exists():
            log.warning("fetching data.root %s into %s", root, folder)
            with _moved_when_whole(folder, f"data.root {root}") as new:
                source.fetch(new)
    return _inner(folder)


def fetched_once(settings: DataSettings, name: str, fetch: Callable[[Path], None]) -> Path:
    """A folder of `data.cache`, filled by the first process of this node that needs it.

    Args:
        settings: Of the data.
        name: Of the folder.
        fetch: Fills a new folder.

    Raises:
        RaykdError: it cannot be fetched, or does not fit on the disk.
    """
    cache = settings.cache.expanduser()
    folder = cache / name
    with _locked(cache, name):
        if not folder.exists():
            log.warning("fetching %s into %s", name, folder)
            with _moved_when_whole(folder, name) as new:
                fetch(new)
    return folder


class _Web:
    """An archive on a web server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._format = _format(url)
        if self._format is None:
            raise RaykdError(
                f"data.root {url} is no archive ({', '.join(ARCHIVES)})\n"
                "a web server does not list folders: name an archive, an object store or a shared folder"
            )
        headers = _headers(url)
        self.version = _version(*(headers[name] for name in ("ETag", "Last-Modified", "Content-Length")))

    def fetch(self, folder: Path) -> None:
        """Fetch and unpack it into a new folder."""
        archive = folder.with_suffix(".archive")
        try:
            with _opened(self._url, "GET") as response, archive.open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
                size = response.headers["Content-Length"]
            if size is not None and archive.stat().st_size != int(size):
                raise ConnectionError(f"{archive.stat().st_size} of {size} bytes arrived")
            _unpack(archive, self._format, folder, self._url)
        finally:
            archive.unlink(missing_ok=True)


class _Store:
    """A folder or an archive of a file system that pyarrow knows."""

    def __init__(self, url: str) -> None:
        from pyarrow.fs import FileSelector, FileType

        self._url = url
        self._system, self._path = _file_system(url)
        info = self._system.get_file_info(self._path)
        if info.type == FileType.NotFound:
            raise FileNotFoundError(errno.ENOENT, "nothing is there")
        self._format = None if info.type == FileType.Directory else _format(url)
        if info.type == FileType.File and self._format is None:
            raise RaykdError(f"data.root {url} is neither a folder nor an archive ({', '.join(ARCHIVES)})")
        files = [info] if self._format else self._system.get_file_info(FileSelector(self._path, recursive=True))
        self.version = _version(*map(_described, sorted(files, key=lambda file: str(file.path))))

    def fetch(self, folder: Path) -> None:
        """Copy it into a new folder, and unpack it if it is an archive."""
        from pyarrow.fs import LocalFileSystem, copy_files

        archive = folder.with_suffix(".archive")
        target = archive if self._format else folder
        try:
            copy_files(
                self._path,
                str(target),
                source_filesystem=self._system,
                destination_filesystem=LocalFileSystem(),
            )
            if self._format:
                _unpack(archive, self._format, folder, self._url)
        finally:
            archive.unlink(missing_ok=True)


def _source(url: str) -> _Web | _Store:
    if urlsplit(url).password is not None:
        raise RaykdError(
            f"data.root: {urlsplit(url).hostname} is given with a password, and URLs are logged\n"
            "leave it out: object stores take credentials from the environment, on every node"
        )
    return _Web(url) if url.startswith(("http://", "https://")) else _Store(url)


def _file_system(url: str) -> tuple[FileSystem, str]:
    from pyarrow.fs import FileSystem

    if url.startswith("file://"):
        local: tuple[FileSystem, str] = FileSystem.from_uri(url)
        return local
    return file_system(url)


def _opened(url: str, method: str) -> HTTPResponse:
    request = urllib.request.Request(url, method=method)
    response: HTTPResponse = urllib.request.urlopen(request, timeout=SILENCE_SECONDS)
    return response


def _headers(url: str) -> Message:
    try:
        with _opened(url, "HEAD") as response:
            return response.headers
    except HTTPError as error:
        if error.code not in (403, 405, 501):
            raise
    # A signed address allows GET alone.
    with _opened(url, "GET") as response:
        return response.headers


def _format(url: str) -> str | None:
    path = urlsplit(url).path.lower()
    return next((kind for ending, kind in ARCHIVES.items() if path.endswith(ending)), None)


def _described(file: FileInfo) -> str:
    return f"{file.path} {file.size} {file.mtime_ns}"


def _version(*parts: str | None) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _unpack(archive: Path, kind: str | None, folder: Path, url: str) -> None:
    try:
        if kind == "zip":
            shutil.unpack_archive(archive, folder, kind)
        else:
            shutil.unpack_archive(archive, folder, kind, filter="data")
    except DAMAGED as error:
        raise RaykdError(
            f"data.root {url} is damaged, or no archive in spite of its name: "
            f"{_reason(error).replace(str(archive), 'it')}\npack it anew"
        ) from error


@contextmanager
def _locked(cache: Path, name: str) -> Iterator[None]:
    """Hold this node's lock on fetching something; the kernel releases it however a process ends."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f"{name}.lock")
        lock.acquire()
    except OSError as error:
        raise RaykdError(f"data.cache {cache} cannot be used: {_reason(error)}\nset data.cache") from error
    try:
        for left_over in cache.glob(f"{name}[-.]*.part"):
            shutil.rmtree(left_over)
        for left_over in cache.glob(f"{name}[-.]*.archive"):
            left_over.unlink()
        yield
    finally:
        lock.release()


@contextmanager
def _moved_when_whole(folder: Path, what: str) -> Iterator[Path]:
    """A new folder to fill; it is moved to `folder` once it is whole.

    Raises:
        RaykdError: it could not be filled.
    """
    new = Path(tempfile.mkdtemp(suffix=".part", prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield new
        os.chmod(new, 0o755)
        os.replace(new, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RaykdError(f"{what} does not fit into {folder.parent}: set data.cache to a larger disk") from error
        raise _unreachable(what, error) from error
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(new)


def _inner(folder: Path) -> Path:
    """The folder, or the only one in it: archives hold their files with or without one around them."""
    inside = [path for path in folder.iterdir() if not is_hidden(path.name)]
    only = inside[0] if len(inside) == 1 else folder
    named = split_name(only.name)
    return only if only.is_dir() and not (named and named.split == "train") else folder


def _unreachable(what: str, error: OSError) -> RaykdError:
    advice = "check the address, and who may read there"
    return RaykdError(f"{what} cannot be fetched: {_reason(error)}\n{advice}")


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    text = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
    return shortened(text) or type(error).__name__
