"""What Optuna keeps a study in, opened, and checked before anything starts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from raykd.config import Experiment, StudySettings
from raykd.errors import RaykdError
from raykd.places import JOURNAL, SETTINGS
from raykd.search.storage_address import shown, storage_address, without_password
from raykd.tracking.address import reason, scheme, sqlite_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
"""How long a database server may take to answer."""


def study_storage(settings: StudySettings, folder: Path) -> Path | str:
    """Where a study is kept: its journal file, or a database's address.

    Args:
        settings: The study's.
        folder: The study's.
    """
    return folder / JOURNAL if settings.storage is None else storage_address(settings.storage)


def open_storage(place: Path | str) -> BaseStorage:
    """Open a storage, or begin it.

    A journal needs no database server and, unlike SQLite, works on network file systems. Its lock is an exclusively
    created file, as on NFSv3 and newer. Optuna's default, a symbolic link, is not to be had on every mounted file
    system, and where the path is relative, a link left by a killed process is waited for without end. A file left so
    delays the next launch by 30 s at most.

    Raises:
        RaykdError: the database does not answer, refuses the user, or holds something else.
    """
    if isinstance(place, Path):
        path = str(place.expanduser().absolute())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = JournalFileOpenLock(path)
        _mend(Path(path), lock)
        with _told(path):
            return JournalStorage(JournalFileBackend(path, lock))
    with _told(place):
        return _Database(place, engine_kwargs=_engine_options(place))


class _Database(RDBStorage):
    """A database whose password stays in this process: Tune pickles its searcher, and so its storage, into a file."""

    def __getstate__(self) -> dict[Any, Any]:
        state: dict[Any, Any] = super().__getstate__()
        return state | {"url": without_password(self.url)}


def check_optuna_storage(experiment: Experiment) -> None:
    """Find a storage that cannot be used, or has another's study of this name, before the study starts.

    Raises:
        RaykdError: so it is; a line or two say what to do.
    """
    place = study_storage(experiment.study, experiment.folder)
    if experiment.study.storage is None:
        return
    file = place if isinstance(place, Path) else sqlite_file(place)
    if file is not None and not file.parent.is_dir():
        raise RaykdError(f"study.storage: there is no folder {file.parent}: create it, or correct the path")
    if file is not None and file.exists() and not os.access(file, os.W_OK):
        raise RaykdError(f"study.storage: {file} cannot be written")
    name = experiment.study.name
    if name in study_names(place) and not (experiment.folder / SETTINGS).exists():
        raise RaykdError(
            f"study.storage {shown(place)} has a study {name!r} already, and {experiment.folder} is not its folder:\n"
            "name another with --study.name, or give the --study.output that it was begun with"
        )


def study_names(place: Path | str) -> list[str]:
    """Names of the studies in a storage; it is left as it is.

    Raises:
        RaykdError: as `open_storage`.
    """
    if isinstance(place, Path):
        exists = place.exists() and place.stat().st_size > 0
    else:
        file = sqlite_file(place)
        exists = (file is None or file.exists()) and _has_optunas_tables(place)
    return optuna.study.get_all_study_names(open_storage(place)) if exists else []


@contextmanager
def database_connection(address: str) -> Iterator[Connection]:
    """A connection of one's own to a database, each statement committed at once.

    Raises:
        RaykdError: it does not answer, or refuses the user.
    """
    from sqlalchemy import create_engine

    with _told(address):
        engine = create_engine(address, isolation_level="AUTOCOMMIT", **_engine_options(address))
    try:
        with _told(address):
            connection = engine.connect()
        with connection:
            yield connection
    finally:
        engine.dispose()


def _has_optunas_tables(address: str) -> bool:
    from sqlalchemy import inspect

    with database_connection(address) as connection, _told(address):
        tables = set(inspect(connection).get_table_names())
    optunas = {"studies", "trials"} <= tables
    if tables and not optunas:
        raise RaykdError(
            f"study.storage {shown(address)} holds another program's tables: give Optuna a database of its own"
        )
    return optunas


def _engine_options(address: str) -> dict[str, Any]:
    if scheme(address) == "sqlite":
        return {"connect_args": {"timeout": 30}}  # a dashboard may be reading
    # A server that was restarted during the study is connected to again.
    return {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True}


@contextmanager
def _told(place: Path | str) -> Iterator[None]:
    """What goes wrong with a storage, in a line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RaykdError(f"study.storage {shown(place)}: pip install 'raykd[postgresql]' ({error.name})") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, _sql_error()) as error:
        advice = "correct the address, or start the server"
        if "no password supplied" in str(error) or "password authentication" in str(error):
            advice = "set PGPASSWORD, or put the password into ~/.pgpass"
        raise RaykdError(f"study.storage {shown(place)}: {reason(error)}: {advice}") from None


def _sql_error() -> type[Exception]:
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError


def _mend(journal: Path, lock: JournalFileOpenLock) -> None:
    """Cut off a last line that a dying machine wrote half: Optuna would append to it and not read the file again."""
    if not journal.exists():
        return
    lock.acquire()
    try:
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _log.warning("%s ended in the middle of a line; that line is dropped", journal)
            os.truncate(journal, whole)
    finally:
        lock.release()
