"""Where a study is logged, checked before it starts, and how calls to MLflow are kept short and quiet."""

from __future__ import annotations

import logging
import math
import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from raykd.config import TrackingSettings
from raykd.database_urls import DATABASES, hide_password, scheme, sqlite_file
from raykd.errors import RaykdError

_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""The packages of databases' drivers that are not named as their modules."""
_SERVERS = ("http", "https", "databricks")
# These loggers speak to users of MLflow's own scripts; raykd reports failures itself.
_TALKATIVE = {"mlflow.store.db.utils": logging.CRITICAL, "alembic": logging.WARNING}


class Address(NamedTuple):
    """Where a study is logged, and how to look at it."""

    uri: str
    """Tracking URI, passwords hidden."""
    look: str
    """The command to type, or the address to open."""


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
    return str((file.parent if file else folder.absolute()) / "mlflow-artifacts")


def look(uri: str, experiment: str = "") -> str:
    """How to look at what is logged there: a command for databases, an address for servers.

    Args:
        uri: Tracking URI.
        experiment: The experiment's id, once it is known.
    """
    if scheme(uri) in DATABASES:
        return f"mlflow ui --backend-store-uri {shlex.quote(hide_password(uri))}"
    address = hide_password(uri).rstrip("/")
    return f"{address}/#/experiments/{experiment}" if experiment and scheme(uri) != "databricks" else address


def address_of(settings: TrackingSettings, folder: Path) -> Address:
    """The address that a study's settings give.

    Args:
        settings: The study's.
        folder: The study's.
    """
    uri = tracking_uri(settings, folder)
    return Address(hide_password(uri), look(uri))


def check_tracking(settings: TrackingSettings) -> None:
    """Finds a tracking server or database that cannot be used, before the study starts.

    Returns at once where nothing is configured: SQLite in the study's folder needs no network.

    Raises:
        RaykdError: If the address is of an unknown kind, nothing answers within `timeout_seconds`, the credentials
            are refused, or what answers is not MLflow.
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
    if file and not file.parent.is_dir():
        raise RaykdError(f"tracking.uri {uri!r}: there is no folder {file.parent}. Create it, or correct the path.")

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
    shown_uri = hide_password(uri)
    if not answer:
        raise RaykdError(
            f"tracking.uri {shown_uri}: no answer within {settings.timeout_seconds:g} s.\n"
            "Start the MLflow server, correct the address, or raise tracking.timeout_seconds."
        )
    if answer[0] is not None:
        raise RaykdError(f"tracking.uri {shown_uri}: {reason(answer[0])}.\n{_advice(answer[0])}") from answer[0]


def _ask(uri: str) -> None:
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


def reason(error: Exception) -> str:
    """Why a call to MLflow failed, in one short line."""
    code = getattr(error, "error_code", "")
    text = str(error)
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"):
        return "the server refuses the credentials"
    if "password authentication failed" in text or "Access denied for user" in text:
        return "the database refuses the password"
    if "Connection refused" in text:
        return "connection refused"
    if "Name or service not known" in text or "NameResolutionError" in text or "Failed to resolve" in text:
        return "the host's name is unknown"
    if "timeout exception" in text or "timed out" in text:
        return "no answer in time"
    if code == "ENDPOINT_NOT_FOUND" or "valid JSON" in text:
        return "what answers there is not an MLflow server"
    line = (text.strip() or type(error).__name__).splitlines()[0]
    return hide_password(line if len(line) <= 200 else line[:197] + "...")


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
