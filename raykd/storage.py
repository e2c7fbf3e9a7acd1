"""Files of a folder, read and written by name, wherever the folder is: on disk, or below an object store's URL.

A file is there whole or not at all, and a later one replaces it in one move. Folders on disk need no pyarrow.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from raykd import object_store
from raykd.errors import RaykdError, StorageError, shortened

TEMPORARY = ".tmp"
"""Ending of the names under which files on disk are written."""


def local_path(text: str | Path) -> Path:
    """A path as a user gives it, with ``~`` for a home folder.

    Raises:
        RaykdError: there is no such home folder, or no file system has such a path.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (RuntimeError, ValueError) as error:
        raise RaykdError(f"{shortened(repr(str(text)), 100)} is no path: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise RaykdError(f"{shortened(repr(str(text)), 100)} is no path: its name is too long") from None
    return path


def is_url(folder: str | Path) -> bool:
    """Whether a folder is an object store's."""
    return "://" in str(folder) and not str(folder).startswith("file://")


def below(folder: str | Path, *names: str) -> str:
    """The path or URL of what lies below a folder; a URL keeps its query, such as endpoint_override=HOST:PORT."""
    if not is_url(folder):
        return str(_path(folder).joinpath(*names))
    url = urlsplit(str(folder))
    return url._replace(path="/".join([url.path.rstrip("/"), *names])).geturl()


def sibling(folder: str | Path, name: str) -> str:
    """The path or URL of what lies beside a folder under this name."""
    if not is_url(folder):
        return str(_path(folder).parent / name)
    url = urlsplit(str(folder))
    return url._replace(path=f"{url.path.rstrip('/').rpartition('/')[0]}/{name}").geturl()


def name_of(folder: str | Path) -> str:
    """The last name of a folder's path."""
    return Path(urlsplit(str(folder)).path if is_url(folder) else folder).name


def read(folder: str | Path, name: str) -> bytes | None:
    """A file's content, or None if there is no such file.

    Raises:
        StorageError: the store or disk does not answer, or refuses.
    """
    if is_url(folder):
        return object_store.retried(str(folder), lambda: object_store.get(str(folder), name))
    with _told_of(folder, "read"):
        try:
            return (_path(folder) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def write(folder: str | Path, name: str, content: bytes) -> None:
    """Write a file, in one move; its folder need not exist. A power failure leaves the old file or the new one.

    Raises:
        StorageError: the store or disk does not answer, is full, or refuses.
    """
    if is_url(folder):
        object_store.retried(str(folder), lambda: object_store.put(str(folder), name, content))
        return
    path = _path(folder) / name
    with _told_of(folder, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)


def move(folder: str | Path, name: str, target: str) -> None:
    """Give a file another name in its folder, if there is such a file; what had that name is replaced.

    Raises:
        StorageError: the store or disk does not answer, or refuses.
    """
    if is_url(folder):
        object_store.retried(str(folder), lambda: object_store.move(str(folder), name, target))
        return
    with _told_of(folder, "written"), suppress(FileNotFoundError):
        os.replace(_path(folder) / name, _path(folder) / target)


def delete(folder: str | Path, name: str) -> None:
    """Delete a file.

    Raises:
        OSError: there is none, or the store does not answer, or refuses.
    """
    if is_url(folder):
        filesystem, path = object_store.file_system(str(folder), name)
        filesystem.delete_file(path)
    else:
        (_path(folder) / name).unlink()


def is_empty(folder: str | Path) -> bool:
    """Whether nothing lies below a folder, or there is none.

    Raises:
        StorageError: the store or disk does not answer, or refuses.
    """
    if is_url(folder):
        return object_store.retried(str(folder), lambda: object_store.nothing_in(str(folder)))
    path = _path(folder)
    with _told_of(folder, "read"):
        return not path.is_dir() or not any(path.iterdir())


def files_below(folder: str | Path) -> dict[str, int]:
    """Names, relative to a folder, of all files below it, with their sizes in bytes; half-written ones are left out.

    Raises:
        StorageError: the store or disk does not answer, or refuses.
    """
    if is_url(folder):
        return object_store.retried(str(folder), lambda: object_store.files_below(str(folder)))
    root = _path(folder)
    found = {}
    with _told_of(folder, "read"):
        for path in root.rglob("*"):
            with suppress(FileNotFoundError):  # another process has deleted or moved it
                if path.is_file() and path.suffix != TEMPORARY:
                    found[path.relative_to(root).as_posix()] = path.stat().st_size
    return found


def delete_below(folder: str | Path) -> None:
    """Delete a folder and all that is in it; there may be none.

    Raises:
        OSError: the store does not answer, or refuses.
    """
    if is_url(folder):
        filesystem, path = object_store.file_system(str(folder))
        if not is_empty(folder):
            filesystem.delete_dir(path)
    elif _path(folder).exists():
        shutil.rmtree(_path(folder))


def check_writable(folder: str, setting: str) -> None:
    """Make sure, without waiting, that files can be written below a shared folder, read again and deleted.

    Args:
        folder: On disk it must exist: one made below the mount point of a share that is not mounted is invisible to
            other nodes.
        setting: Which setting names it, for errors.

    Raises:
        RaykdError: they cannot.
    """
    name, content = f"raykd-probe-{uuid4().hex}", b"deleted at once"
    if not is_url(folder) and not _path(folder).is_dir():
        raise RaykdError(f"{setting} {folder}: no such folder\nmake it, or mount the share that it lies on")
    try:
        if is_url(folder):
            object_store.put(folder, name, content)
            content_read = object_store.get(folder, name)
            delete(folder, name)
            # Without the right to list, some stores refuse this instead of answering that the file is missing.
            object_store.get(folder, name)
            object_store.answered.add(object_store.root_of(folder))
        else:
            write(folder, name, content)
            content_read = read(folder, name)
            delete(folder, name)
    except RaykdError as error:
        raise RaykdError(f"{setting}: {error}") from error
    except OSError as error:
        raise RaykdError(
            f"{setting} {folder} cannot be used: {object_store.reason(error)}\n{_advice(folder)}"
        ) from error
    if content_read != content:
        raise RaykdError(f"{setting} {folder}: what was written there is not what was read\n{_advice(folder)}")


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


def disk_error(error: OSError) -> str | None:
    """What a disk refused, in a line; None if the error is not of a disk."""
    if error.errno not in DISK_ERRORS or error.filename is None:
        return None
    return f"{error.filename} cannot be used: {error.strerror}"


def check_creatable(folder: str, setting: str) -> None:
    """Make sure that a folder on disk, or the one in which it would be made, lets this process write, and make nothing.

    Args:
        folder: A store's URL is not looked at.
        setting: Which setting names it, for errors; or in words, what it is.

    Raises:
        StorageError: it does not.
    """
    path = _path(folder).absolute()
    there = next(each for each in (path, *path.parents) if each.exists())
    if not is_url(folder) and not os.access(there, os.W_OK | os.X_OK):
        another = f", or name another folder with --{setting}" if " " not in setting else ""
        raise StorageError(
            f"{setting} {folder} cannot be written: {there} is read-only\nlet this user write there{another}"
        )


def check_temporary_folder() -> None:
    """Make sure that there is a folder for temporary files, without which torch does not even build a network.

    Raises:
        StorageError: there is none.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise StorageError(
            "no folder for temporary files can be written, such as /tmp: name one by the environment variable TMPDIR"
        ) from None


@contextmanager
def _told_of(folder: str | Path, what: str) -> Iterator[None]:
    """Errors of the disk are the storage's, and nobody else's."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder} cannot be {what}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name in a folder outlives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; the file is moved to `path` in one move once it is whole.

    The name is unique: two studies may train the same teacher into one cache.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}{TEMPORARY}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _path(folder: str | Path) -> Path:
    text = str(folder)
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text)


def _advice(folder: str) -> str:
    if not is_url(folder):
        return "check who may write there"
    return "check address and bucket, and that this machine's credentials may read, write and delete there"
