"""One driver a study: a second one on the same folder, or on the same study of a storage, is refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.search.storage import database_connection, study_storage
from raykd.tracking.address import sqlite_file

LOCK = "driver.lock"
"""File of a study's folder that its driver holds locked; the kernel frees it however the driver ends."""


@contextmanager
def sole_driver(experiment: Experiment) -> Iterator[None]:
    """Be the only driver of a study while this is open. What was not begun leaves no folder behind.

    The folder is locked, and beside it the study's name in its storage: a file beside a journal or SQLite, an advisory
    lock of the session in PostgreSQL, which ends with the connection.

    Raises:
        RaykdError: another driver runs it.
    """
    place = study_storage(experiment.study, experiment.folder)
    name, folder = experiment.study.name, experiment.folder
    file = place if isinstance(place, Path) else sqlite_file(place)
    with ExitStack() as stack:
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        stack.callback(_leave_no_trace, folder, new)
        stack.enter_context(_locked(folder / LOCK, experiment))
        if file is None:
            assert isinstance(place, str)
            stack.enter_context(_locked_in_database(place, experiment))
        elif experiment.study.storage is not None:
            stack.enter_context(_locked(file.with_name(f"{file.name}.{name}.lock"), experiment))
        yield


@contextmanager
def _locked(file: Path, experiment: Experiment) -> Iterator[None]:
    try:
        with FileLock(file, timeout=0):
            yield
    except Timeout:
        raise _refused(experiment, str(file)) from None


@contextmanager
def _locked_in_database(address: str, experiment: Experiment) -> Iterator[None]:
    from sqlalchemy import text

    key = zlib.crc32(f"raykd/{experiment.study.name}".encode())
    with database_connection(address) as connection:
        if not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise _refused(experiment, "its database")
        yield


def _refused(experiment: Experiment, held: str) -> RaykdError:
    return RaykdError(
        f"study {experiment.study.name!r} is being run by another process, which holds {held}:\n"
        "wait for it or stop it first, or name another study with --study.name"
    )


def _leave_no_trace(folder: Path, new: Sequence[Path]) -> None:
    """Take the lock's file and the folders that came with it away, where nothing else came to them."""
    with suppress(OSError):  # there is something, or another driver has come
        if [file.name for file in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            for each in new:
                each.rmdir()
