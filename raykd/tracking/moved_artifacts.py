"""Artifacts of a study whose folder was moved or copied: MLflow keeps their addresses whole, in its database.

MLflow makes every local address absolute. So that a copy neither reads nor writes the original's artifacts, the
addresses in a study's database are set to where its folder lies, before it is used.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from raykd.database_urls import sqlite_file

log = logging.getLogger("raykd.tracking")

ARTIFACTS = "mlflow-artifacts"
"""Folder of a study's artifacts, beside its database."""
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts."""
_SECONDS = 30.0


def artifacts_follow(uri: str, lock: Path | None = None) -> bool:
    """Set the addresses of artifacts to where the database is, if its folder was moved or copied with both.

    Args:
        uri: Of a database. Nothing is done of a server, or of a database without artifacts beside it.
        lock: The file that a process which logs there holds locked, so that nothing is changed under it. None: this is
            that process.

    Returns:
        Whether the addresses are right now. If not, the log says why.
    """
    file = sqlite_file(uri)
    if file is None or not file.exists() or not (file.parent / ARTIFACTS).is_dir():
        return True
    _forget_places()
    try:
        elsewhere = _elsewhere(file)
        if not elsewhere:
            return True
        if lock is None:
            _set(file, elsewhere)
        else:
            with FileLock(lock, timeout=0):
                _set(file, elsewhere)
    except Timeout:
        log.warning("artifacts of %s are at %s, where the run that is under way logs them", file, elsewhere[0])
        return False
    except (sqlite3.Error, OSError) as error:
        log.warning("the addresses of artifacts in %s cannot be set to where it lies now: %s", file, error)
        return False
    return True


def _forget_places() -> None:
    """Let MLflow look again where a run's artifacts are: it remembers it by the run's id, which a copy shares."""
    remembering = sys.modules.get("mlflow.tracking._tracking_service.utils")
    getattr(remembering, "_artifact_repos_cache", {}).clear()


def _elsewhere(file: Path) -> list[str]:
    """Addresses of folders of artifacts that are not the one beside the database, but were so once."""
    here = file.parent / ARTIFACTS
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_SECONDS)) as database:
        try:
            rows = database.execute("select distinct artifact_location from experiments").fetchall()
        except sqlite3.OperationalError:  # MLflow has not filled it yet
            return []
    found = []
    for (location,) in rows:
        place = Path(str(location).removeprefix("file://"))
        if place.name == ARTIFACTS and place != here:
            with suppress(OSError):
                if place.samefile(here):
                    continue
            found.append(str(location))
    return found


def _set(file: Path, elsewhere: list[str]) -> None:
    here = str(file.parent / ARTIFACTS)
    update = "update {0} set {1} = ? || substr({1}, ?) where substr({1} || '/', 1, ?) = ?"
    with closing(sqlite3.connect(file, timeout=_SECONDS)) as database, database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
        for before in elsewhere:
            for table, column in ADDRESSES:
                if table in tables:
                    places = (here, len(before) + 1, len(before) + 1, f"{before}/")
                    database.execute(update.format(table, column), places)
