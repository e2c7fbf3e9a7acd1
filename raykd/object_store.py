"""Files in an object store, by the URL of a folder and a name; each operation is tried once, except through `retried`.

They raise OSError if the store does not answer, or refuses.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from raykd.errors import RaykdError, StorageError, shortened, unknown_name

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

T = TypeVar("T")
log = logging.getLogger(__name__)

STORES = {"s3": {"allow_delayed_open": "true"}, "gs": {"retry_limit_seconds": "10"}, "abfs": {}, "abfss": {}}
"""Schemes of stores whose puts are atomic, with options of their URLs that a user need not name.

s3: small files in one request instead of three; gs: a wrong address is an error after seconds, not 15 minutes.
"""
PATIENCE_SECONDS = 600.0
"""How long to wait for a store that has answered this process before; there is no waiting for one that never has."""
LONGEST_PAUSE = 15.0

answered: set[str] = set()
"""The roots of the stores that have answered this process."""


def retried(folder: str, operation: Callable[[], T]) -> T:
    """The result of an operation on a store, which is retried if the store has answered this process before.

    Raises:
        StorageError: it does not answer, or refuses.
    """
    root, ends, pause = root_of(folder), time.monotonic() + PATIENCE_SECONDS, 0.5
    while True:
        try:
            result = operation()
        except OSError as error:
            if root not in answered or time.monotonic() + pause > ends:
                raise StorageError(f"{folder} cannot be used: {reason(error)}") from error
            log.warning("%s does not answer (%s): tried again", folder, reason(error))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            answered.add(root)
            return result


def get(folder: str, name: str) -> bytes | None:
    """A file's content; None if there is no such file."""
    filesystem, path = file_system(folder, name)
    while True:
        try:
            with filesystem.open_input_stream(path) as stream:
                content = bytes(stream.read())
        except FileNotFoundError:
            return None
        # Stores are asked for a file's length, then for that many bytes: if it grew in between, these are too few.
        if filesystem.get_file_info(path).size == len(content):
            return content


def put(folder: str, name: str, content: bytes) -> None:
    """Write a file, in one move."""
    filesystem, path = file_system(folder, name)
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def move(folder: str, name: str, target: str) -> None:
    """Give a file another name, if there is such a file."""
    filesystem, path = file_system(folder, name)
    # Asked first, as each store has another error for a file that is missing.
    if filesystem.get_file_info(path).is_file:
        filesystem.move(path, file_system(folder, target)[1])


def nothing_in(folder: str) -> bool:
    """Whether nothing lies below a folder."""
    from pyarrow.fs import FileSelector

    filesystem, path = file_system(folder)
    return not filesystem.get_file_info(FileSelector(path, allow_not_found=True))


def files_below(folder: str) -> dict[str, int]:
    """Names, relative to a folder, of all files below it, with their sizes in bytes."""
    from pyarrow.fs import FileSelector

    filesystem, path = file_system(folder)
    found = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return {each.path.removeprefix(f"{path}/"): each.size for each in found if each.is_file}


def file_system(folder: str, *names: str) -> tuple[FileSystem, str]:
    """The file system of a store's URL, and the path there of what lies below it.

    Raises:
        RaykdError: pyarrow knows no such store, or not its options.
    """
    filesystem, base = _filesystem(root_of(folder))
    return filesystem, "/".join([base, *filter(None, unquote(urlsplit(folder).path).split("/")), *names])


def root_of(folder: str) -> str:
    """A URL without its path: what one file system serves."""
    return urlsplit(folder)._replace(path="").geturl()


@cache
def _filesystem(root: str) -> tuple[FileSystem, str]:
    """The file system of a URL without path, which is made once a process, and the bucket's path there.

    Raises:
        RaykdError: pyarrow knows no such store, or not its options.
    """
    from pyarrow.fs import FileSystem

    url = urlsplit(root)
    if url.scheme not in STORES:
        raise unknown_name("store", url.scheme, STORES, root)
    if url.password is not None:
        raise RaykdError(
            f"{url.scheme}://{url.hostname}: no passwords in URLs, which are logged\n"
            "give them in the environment, on every node: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for instance"
        )
    try:
        filesystem, path = FileSystem.from_uri(_with_options(url))
    except ValueError as error:
        raise RaykdError(f"{root}: {reason(error)}") from error
    return filesystem, path.rstrip("/")


def _with_options(url: SplitResult) -> str:
    options: dict[str, Any] = {**STORES[url.scheme], **parse_qs(url.query)}
    return url._replace(query=urlencode(options, doseq=True)).geturl()


def reason(error: Exception) -> str:
    """The message of a store's library, on one line, without what only its developers need."""
    text = " ".join(str(error).split())
    return shortened(re.sub(r"^When .*?(?=AWS Error)|\s*\(Request ID.*| error_info=.*", "", text))
