"""Where a study is logged, checked before it starts, and how calls to MLflow are kept short and quiet."""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from raykd.config import TrackingSettings
from raykd.database_urls import DATABASES, hide_password, scheme, sqlite_file
from raykd.errors import RaykdError, shortened
from raykd.tracking.moved_artifacts import ARTIFACTS
from raykd.tracking.runs_table import path_of_view
from raykd.tracking.sqlite_lock import LOCKED, holders, is_free

_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""The packages of databases' drivers that are not named as their modules."""
LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves its page."""
_SERVERS = ("http", "https", "databricks")
# These loggers speak to users of MLflow's own scripts; raykd reports failures itself.
_TALKATIVE = {"mlflow.store.db.utils": logging.CRITICAL, "alembic": logging.WARNING}


class ServerAway(RaykdError):
    """The tracking server does not answer, or only by errors of its own: it may be back later.

    Attributes:
        uri: Its address, without a password.
        reason: Why it counts as away, in one short line.
    """

    def __init__(self, uri: str, reason: str, advice: str) -> None:
        super().__init__(f"tracking.uri {hide_password(uri)}: {reason}.\n{advice}")
        self.uri, self.reason = hide_password(uri), reason


class Address(NamedTuple):
    """Where a run is logged, and how to look at it."""

    uri: str
    """Tracking URI, passwords hidden."""
    folder: Path
    """The run's."""

    @property
    def look(self) -> str:
        """The command to type and the page to open then, or of a server the page: as far as it is known by now."""
        view = path_of_view(self.folder, self.uri)
        if scheme(self.uri) in DATABASES:
            command = f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}"
            return command if view is None else f"{command}\nthen open {LOCAL}/{view}"
        address = self.uri.rstrip("/")
        return address if view is None or scheme(self.uri) == "databricks" else f"{address}/{view}"


def tracking_uri(settings: TrackingSettings, folder: Path) -> str:
    """The URI of the settings, or of the SQLite database in the study's folder."""
    return settings.uri or f"sqlite:///{folder.absolute() / 'mlflow.db'}"


def artifact_location(uri: str, folder: Path) -> str | None:
    """Where a new experiment's artifacts go; None where the server decides.

    Beside a SQLite file, in the study's folder for other databases: MLflow's own choice, `mlruns` below wherever the
    script was started, would scatter them.
    """
    if scheme(uri) not in DATABASES:
        return None
    file = sqlite_file(uri)
    return str((file.parent if file else folder.absolute()) / ARTIFACTS)


def address_of(settings: TrackingSettings, folder: Path) -> Address:
    """The address that a study's settings give.

    Args:
        settings: The study's.
        folder: The study's.
    """
    return Address(hide_password(tracking_uri(settings, folder)), folder)


def check_tracking(settings: TrackingSettings) -> None:
    """Finds a tracking server or database that cannot be used, before the study starts.

    Returns at once where nothing is configured: SQLite in the study's folder needs no network.

    Raises:
        ServerAway: If nothing answers within `timeout_seconds`, or nothing but errors of the server; or if another
            process locks a SQLite file for longer than that.
        RaykdError: If the address is of an unknown kind, the host's name is unknown, the credentials are refused, or
            what answers is not MLflow.
    """
    if settings.uri is None:
        return
    uri = settings.uri
    if scheme(uri) not in (*DATABASES, *_SERVERS):
        raise RaykdError(
            f"tracking.uri {hide_password(uri)!r} is not an address that MLflow can log to:\n"
            "use http(s)://HOST:PORT of a server, or sqlite:///PATH/mlflow.db (plain folders are no longer supported)."
        )
    file = sqlite_file(uri)
    if scheme(uri) == "sqlite" and file is None:
        raise RaykdError(
            f"tracking.uri {uri!r} names no file, so nothing would be kept:\n"
            "use sqlite:///PATH/mlflow.db, or leave tracking.uri out to log into the study's folder."
        )
    if file:
        _check_sqlite(uri, file, settings.timeout_seconds)

    import mlflow.tracking  # noqa: F401  # about a second: not to be counted against the server

    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            with quiet():
                _ask(uri)
            answer.append(None)
        except Exception as error:
            answer.append(error)

    with short_calls(settings.timeout_seconds):
        # In a thread, because no setting limits name resolution or a server that answers drop by drop.
        asking = threading.Thread(target=ask, name="mlflow-check", daemon=True)
        asking.start()
        asking.join(settings.timeout_seconds)
    if not answer:
        advice = "Start the MLflow server, correct the address, or raise tracking.timeout_seconds."
        raise ServerAway(uri, f"no answer within {settings.timeout_seconds:g} s", advice)
    error = answer[0]
    if error is not None:
        if _is_away(error):
            raise ServerAway(uri, reason(error), _advice(error)) from error
        raise RaykdError(f"tracking.uri {hide_password(uri)}: {reason(error)}.\n{_advice(error)}") from error


def _check_sqlite(uri: str, file: Path, seconds: float) -> None:
    """Make sure that a SQLite file can be written, or made, and is not locked by another process for long."""
    if not file.parent.is_dir():
        raise RaykdError(f"tracking.uri {uri!r}: there is no folder {file.parent}. Create it, or correct the path.")
    # Beside the file SQLite writes its journal.
    for place in (file.parent, file):
        if place.exists() and not os.access(place, os.W_OK):
            raise RaykdError(
                f"tracking.uri {uri!r}: {place} cannot be written\nlet this user write there, or name another file"
            )
    try:
        if not file.exists() or is_free(file, seconds):
            return
    except sqlite3.Error as error:
        advice = "Bring back a copy of the file, or name another one."
        raise RaykdError(f"tracking.uri {uri!r}: {file} cannot be used: {error}.\n{advice}") from error
    held = f"the database is locked since {seconds:g} s by {holders(file)}"
    raise ServerAway(uri, held, "Wait for that process or stop it, or give each its own file.")


def _ask(uri: str) -> None:
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return  # a look would make it
    if scheme(uri) in DATABASES:
        from sqlalchemy import create_engine, inspect

        engine = create_engine(uri)
        try:
            if not inspect(engine).get_table_names():
                return  # MLflow fills it later, in the background: its migrations take seconds
        finally:
            engine.dispose()
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


_REFUSED, _SILENT, _BROKEN = "connection refused", "no answer in time", "the connection breaks off"
_NO_NAMES, _BUSY = "hosts' names cannot be looked up now", "the database starts, stops or is full"
_LOCKED = "the database is locked"
_SERVER_ERROR = "the server answers HTTP "
_AWAY = re.compile(rf"({'|'.join((_REFUSED, _SILENT, _BROKEN, _NO_NAMES, _BUSY, _LOCKED))}|{_SERVER_ERROR}(429|5..))$")
_AWAY_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")


def reason(error: Exception) -> str:
    """Why a call to MLflow failed, in one short line."""
    code = getattr(error, "error_code", "")
    text = str(error)
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"):
        return "the server refuses the credentials"
    if "password authentication failed" in text or "Access denied for user" in text:
        return "the database refuses the password"
    if "Connection refused" in text:
        return _REFUSED
    if "Temporary failure in name resolution" in text:
        return _NO_NAMES
    if "Name or service not known" in text or "NameResolutionError" in text or "Failed to resolve" in text:
        return "the host's name is unknown"
    if "timeout exception" in text or "timed out" in text or "timeout expired" in text:
        return _SILENT
    if "Connection aborted" in text or "Connection reset" in text or "Connection broken" in text:
        return _BROKEN
    if "the database system is" in text or "too many clients" in text or "Too many connections" in text:
        return _BUSY
    if code == "ENDPOINT_NOT_FOUND" or "valid JSON" in text:
        return "what answers there is not an MLflow server"
    if LOCKED in text:
        return _LOCKED
    if status := re.search(r"failed with error code (\d+) != |too many (\d+) error responses", text):
        return _SERVER_ERROR + (status[1] or status[2])
    if of_driver := re.search(r"\(\w+\.\w+Error\) (.+)", text):  # SQLAlchemy puts what it was doing before it
        return shortened(hide_password(of_driver[1]))
    return shortened(hide_password((text.strip() or type(error).__name__).splitlines()[0]))


def why_away(reason: str, uri: str) -> str:
    """A reason of `reason`, or empty while a call goes on: MLflow waits long for SQLite. With what locks its file."""
    file = sqlite_file(uri)
    if file is None or reason not in ("", _LOCKED):
        return reason
    locked = reason == _LOCKED
    with suppress(sqlite3.Error):
        locked = locked or (file.exists() and not is_free(file, 0.0))
    return f"{_LOCKED} by {holders(file)}" if locked else reason


def _is_away(error: Exception) -> bool:
    """Whether the server may answer later, where an error of the user's stays what it is."""
    code = getattr(error, "error_code", "")
    return _AWAY.match(reason(error)) is not None or (code in _AWAY_CODES and str(error).startswith(code))


def _advice(error: Exception) -> str:
    if "credentials" in reason(error):
        return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
    if "password" in reason(error):
        return "Correct it in tracking.uri: postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
    if isinstance(error, ModuleNotFoundError):
        return f"Install the database's driver: pip install '{_DRIVERS.get(error.name or '', error.name)}'"
    return "Start the MLflow server or correct the address; without tracking.uri a study logs to SQLite in its folder."


@contextmanager
def short_calls(seconds: float) -> Iterator[None]:
    """Makes MLflow's HTTP calls give up soon instead of after minutes; whoever calls tries again later.

    MLflow reads these settings from the environment alone. What the user has set stays; ours are taken back at the end.
    """
    ours = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(math.ceil(seconds)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    added = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences MLflow's chatter about database migrations and its tracebacks of failures that raykd reports."""
    loggers = {logging.getLogger(name): level for name, level in _TALKATIVE.items()}
    before = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
