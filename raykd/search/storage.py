"""Optuna's storage of a study: a journal file, SQLite or PostgreSQL; opened, and checked before anything starts.

A password in `study.storage` is neither shown nor written; libpq completes the URL from PGPASSWORD or ~/.pgpass.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileOpenLock
from optuna.study import Study

from raykd.config import Experiment, StudySettings
from raykd.database_urls import is_readable, is_same_database, scheme, sqlite_file, with_absolute_path, without_password
from raykd.errors import DamagedError, RaykdError, StorageError
from raykd.places import JOURNAL, SETTINGS
from raykd.search.journal import Journal
from raykd.tracking.address import reason, tracking_uri

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""How long a database server may take to answer."""


def study_storage(settings: StudySettings, folder: Path) -> Path | str:
    """The storage of a study: a journal file, or the URL of a database.

    Args:
        settings: The study's.
        folder: The study's.
    """
    return folder / JOURNAL if settings.storage is None else storage_address(settings.storage)


def storage_address(text: str, root: Path | None = None) -> Path | str:
    """A journal file, or the URL of a database, with the path of a file made absolute.

    Args:
        text: As in `study.storage`.
        root: The folder that relative paths start from. None: the present one.

    Raises:
        RaykdError: the text is neither.
    """
    root = root or Path.cwd()
    if text.startswith("journal://") or ("://" not in text and text.endswith(".journal")):
        return root / Path(text.removeprefix("journal://")).expanduser()
    if scheme(text) == "postgresql":
        if not is_readable(text):
            raise RaykdError(
                f"study.storage {without_password(text)} cannot be read as an address: "
                "give postgresql://USER@HOST/DATABASE"
            )
        return text
    if sqlite_file(text) is not None:
        return with_absolute_path(text, root)
    raise RaykdError(
        f"study.storage {without_password(text)!r} is not a place that Optuna can use: "
        "give a path ending in .journal, sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    )


def open_storage(storage: Path | str, reading: bool = False) -> BaseStorage:
    """Open a storage, or begin it.

    Args:
        storage: See `study_storage`.
        reading: Nothing will be written through it: a journal, which must exist, is then neither locked nor changed,
            whoever writes it meanwhile.

    A journal needs no database server and, unlike SQLite, works on network file systems. Its lock is a file that is
    created exclusively, which NFSv3 and newer support. Optuna's default, a symbolic link, is not supported by every
    mounted file system, and where the path is relative, Optuna waits without end for a link that a killed process has
    left. A lock file that was left delays the next launch by 30 s at most.

    Raises:
        RaykdError: the database does not answer, refuses the user, or holds something else.
        StorageError: the journal is damaged, or the disk is full, or refuses.
    """
    if isinstance(storage, Path):
        path = storage.expanduser().absolute()
        with _journal_errors(path):
            if reading:
                return Journal(str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_off_torn_line(path)
            return Journal(str(path))
    with _errors_in_a_line(storage):
        return _Database(storage, engine_kwargs=_engine_options(storage))


def recorded_together(study: Study) -> AbstractContextManager[None]:
    """A context in which records of a study are written to its journal as one. A database writes each by itself."""
    storage = study._storage
    return storage.file.together() if isinstance(storage, Journal) else nullcontext()


class _Database(RDBStorage):
    """A database whose password stays in this process: Tune pickles its searcher, and so its storage, into a file."""

    def __getstate__(self) -> dict[Any, Any]:
        state: dict[Any, Any] = super().__getstate__()
        return state | {"url": without_password(self.url)}


def check_optuna_storage(experiment: Experiment) -> None:
    """Make sure, before the study starts, that its storage can be used and has no other study of this name.

    Raises:
        RaykdError: it cannot, or it has; a line or two say what to do.
    """
    storage = study_storage(experiment.study, experiment.folder)
    if experiment.study.storage is None:
        return
    uri = tracking_uri(experiment.tracking, experiment.folder)
    if is_same_database(storage, uri):
        raise RaykdError(
            f"study.storage and tracking.uri are one database, {without_password(uri)}: each needs its own\n"
            "name another file or database for one of them, or leave it out: it then lies in the study's folder"
        )
    file = storage if isinstance(storage, Path) else sqlite_file(storage)
    if file is not None and not file.parent.is_dir():
        raise RaykdError(f"study.storage: there is no folder {file.parent}: create it, or correct the path")
    if file is not None and file.exists() and not os.access(file, os.W_OK):
        raise RaykdError(f"study.storage: {file} cannot be written")
    name = experiment.study.name
    if name in study_names(storage) and not (experiment.folder / SETTINGS).exists():
        raise RaykdError(
            f"study.storage {without_password(str(storage))} has a study {name!r} already, "
            f"and {experiment.folder} is not its folder:\n"
            "name another with --study.name, or give the --study.output that it was begun with"
        )


def study_names(storage: Path | str) -> list[str]:
    """Names of the studies in a storage, which is not changed.

    Raises:
        RaykdError: as `open_storage`.
    """
    if isinstance(storage, Path):
        exists = storage.exists() and storage.stat().st_size > 0
    else:
        file = sqlite_file(storage)
        exists = (file is None or file.exists()) and _has_optunas_tables(storage)
    with errors_told(storage):
        return optuna.study.get_all_study_names(open_storage(storage, reading=True)) if exists else []


@contextmanager
def database_connection(address: str) -> Iterator[Connection]:
    """A connection to a database, used by nobody else, that commits each statement at once.

    Raises:
        RaykdError: it does not answer, or refuses the user.
    """
    from sqlalchemy import create_engine

    with _errors_in_a_line(address):
        engine = create_engine(address, isolation_level="AUTOCOMMIT", **_engine_options(address))
    try:
        with _errors_in_a_line(address):
            connection = engine.connect()
        with connection:
            yield connection
    finally:
        engine.dispose()


def _has_optunas_tables(address: str) -> bool:
    from sqlalchemy import inspect

    with database_connection(address) as connection, _errors_in_a_line(address):
        tables = set(inspect(connection).get_table_names())
    optunas = {"studies", "trials"} <= tables
    if tables and not optunas:
        raise RaykdError(
            f"study.storage {without_password(address)} holds another program's tables: "
            "give Optuna a database of its own"
        )
    return optunas


def _engine_options(address: str) -> dict[str, Any]:
    if scheme(address) == "sqlite":
        return {"connect_args": {"timeout": 30}}  # a dashboard may be reading
    # A server that was restarted during the study is connected to again.
    return {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}


def errors_told(storage: Path | str) -> AbstractContextManager[None]:
    """A context in which errors of a storage become RaykdErrors of a line or two."""
    if isinstance(storage, Path):
        return _journal_errors(storage.expanduser().absolute())
    return _errors_in_a_line(storage)


@contextmanager
def _errors_in_a_line(storage: Path | str) -> Iterator[None]:
    """Turn the errors of a storage into a RaykdError of one line."""
    setting = f"study.storage {without_password(str(storage))}"
    known = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError)
    try:
        yield
    except ModuleNotFoundError as error:
        raise RaykdError(f"{setting}: pip install 'raykd[postgresql]' ({error.name})") from error
    except known + _sql_errors() as error:
        advice = "correct the address, or start the server"
        if "no password supplied" in str(error) or "password authentication" in str(error):
            advice = "set PGPASSWORD, or put the password into ~/.pgpass"
        if "malformed" in str(error) or "not a database" in str(error):
            advice = "bring back a copy of the file, or correct the address"
            raise DamagedError(f"{setting} is damaged: {reason(error)}\n{advice}") from None
        raise RaykdError(f"{setting}: {reason(error)}: {advice}") from None


def _sql_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError, StorageInternalError


@contextmanager
def _journal_errors(journal: Path) -> Iterator[None]:
    """Turn the errors of a journal into a StorageError of a line or two."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{journal} cannot be used: {error.strerror or error}") from error
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, AssertionError):
        # Each record is what was written, but Optuna cannot put them together.
        raise DamagedError(
            f"{journal} is damaged: records are missing from it\n"
            "bring back a copy, or name another place with --study.storage or --study.output"
        ) from None


def _cut_off_torn_line(journal: Path) -> None:
    """Cut off a last line of which only a part was written: Optuna would append to it and fail to read the file.

    A journal whose lines are whole is not touched: it may lie where nothing can be written.
    """
    if not journal.exists() or _is_whole(journal):
        return
    lock = JournalFileOpenLock(str(journal))
    lock.acquire()
    try:
        if not _is_whole(journal):
            _log.warning("%s ended in the middle of a line; that line is dropped", journal)
            os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_whole(journal: Path) -> bool:
    return journal.read_bytes()[-1:] in (b"", b"\n")
