"""MLflow's SQLite file, locked by another process: it is waited for, then named with what holds it; nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raykd.config import Experiment, TrackingSettings
from raykd.errors import RaykdError
from raykd.study.folder import with_lasting_paths
from raykd.study.session import open_session
from raykd.tracking import ServerAway, Tracker, check_tracking
from raykd.tracking.sqlite_lock import holders
from tests.helpers.mlflow_places import history, runs
from tests.helpers.small_study import quiet_console, small_experiment

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("create table if not exists somebodys (number)")
connection.execute(f"begin {sys.argv[2]}")
connection.execute("insert into somebodys values (1)" if sys.argv[2] == "immediate" else "select * from somebodys")
print("held", flush=True)
sys.stdin.read()
connection.execute("rollback")
print("free", flush=True)
sys.stdin.close()
"""


@contextmanager
def held(file: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that locks a database until its input ends."""
    command = [sys.executable, "-c", HOLD, str(file), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def release(process: subprocess.Popen[str]) -> None:
    """Let the lock go; the file stays open until the process has ended."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    assert process.stdout.readline() == "free\n"


def settings_of(file: Path, seconds: float) -> TrackingSettings:
    return TrackingSettings(uri=f"sqlite:///{file}", timeout_seconds=seconds)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that MLflow has filled."""
    folder = tmp_path_factory.mktemp("database")
    tracker = Tracker(settings_of(folder / "mlflow.db", 30.0), folder, "first")
    tracker.start_study({})
    tracker.end_study()
    assert tracker.close() is None
    return folder / "mlflow.db"


@pytest.mark.parametrize("how", ["exclusive", "immediate"])
def test_what_holds_it_is_named(how: str, database: Path) -> None:
    with held(database, how) as process:
        began = time.monotonic()
        with pytest.raises(ServerAway) as away:
            check_tracking(settings_of(database, 1.0))
        assert 1.0 <= time.monotonic() - began < 20.0
        assert f"process {process.pid} ({sys.executable} -c" in away.value.reason
    first, second = str(away.value).splitlines()
    assert first.startswith(f"tracking.uri sqlite:///{database}: the database is locked since 1 s by process")
    assert second == "Wait for that process or stop it, or give each its own file."
    check_tracking(settings_of(database, 1.0))


def test_a_short_lock_is_waited_for(database: Path) -> None:
    with held(database, "exclusive") as process:
        threading.Timer(1.0, release, [process]).start()
        check_tracking(settings_of(database, 60.0))


def test_links_are_the_same_file_and_others_are_not(database: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(database)
    assert holders(database) == "a process that this user cannot see, or one on another machine"
    with held(database, "exclusive") as process:
        assert f"process {process.pid} " in holders(tmp_path / "link.db")
        assert str(os.getpid()) not in holders(database)


def test_a_password_of_the_process_is_not_shown(database: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(database), "exclusive", "http://me:secret@host"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        shown = holders(database)
        process.kill()
    assert str(process.pid) in shown
    assert "secret" not in shown


def experiment_of(file: Path, folder: Path, **tracking: object) -> Experiment:
    tracking_settings = settings_of(file, 1.0).model_copy(update=tracking)
    return with_lasting_paths(small_experiment(folder, tracking=tracking_settings))


def test_a_run_begins_and_delivers_when_it_is_free(database: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    experiment = experiment_of(database, tmp_path, system_seconds=0.0)
    console, shown = quiet_console()
    with held(database, "exclusive") as process, open_session(experiment, "distill", console, rehearsed=False) as run:
        assert f"is locked since 1 s by process {process.pid}" in shown.getvalue()
        assert "sends what it has to log when" in shown.getvalue()
        run.begin({"data.name": "digits"})
        run.tracker.start_trial("student", {"seed": 1})
        for epoch in range(1, 4):
            run.tracker.epoch("student", epoch, {"loss": 1 / epoch})
        run.tracker.end_trial("student", "finished")
        release(process)
    assert "waits" not in shown.getvalue()
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    found = runs(client, "small")
    (student,) = [run for run in found.values() if run.data.tags.get("raykd.trial") == "student"]
    assert [step for step, _ in history(client, student, "loss")] == [1, 2, 3]


def test_what_is_left_at_the_end_names_it_as_well(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raykd.tracking.tracker.LONGEST_CALL", 1.0)
    tracker = Tracker(settings_of(database, 1.0), tmp_path, "late")
    with held(database, "exclusive") as process:
        tracker.start_study({})
        left = tracker.close(patience=2.0)
    assert left is not None
    assert f"the database is locked by process {process.pid}" in left.reason


def test_a_run_that_requires_it_is_refused(database: Path, tmp_path: Path) -> None:
    experiment = experiment_of(database, tmp_path, required=True)
    says = "is locked since 1 s by process"
    with (
        held(database, "immediate"),
        pytest.raises(RaykdError, match=says),
        open_session(experiment, "distill", quiet_console()[0], rehearsed=False),
    ):
        pass
    assert not experiment.study.output.exists()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda file: file.mkdir(), "cannot be used: unable to open database file"),
    "no database": (lambda file: file.write_text("no database " * 100), "cannot be used: file is not a database"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_database_is_refused(make: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    make(tmp_path / "mine.db")
    with pytest.raises(RaykdError, match=says):
        check_tracking(settings_of(tmp_path / "mine.db", 1.0))


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    check_tracking(settings_of(tmp_path / "new.db", 1.0))
    assert list(tmp_path.iterdir()) == []
