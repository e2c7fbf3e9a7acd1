"""The tracker against servers with accounts and against PostgreSQL, and what MLflow's pages are to find there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raykd.config import TrackingSettings
from raykd.errors import RaykdError
from raykd.tracking import Tracker, check_tracking
from tests.helpers.mlflow_places import (
    ADMIN,
    ADMIN_PASSWORD,
    DIGITS,
    PostgreSQL,
    Server,
    datasets,
    history,
    postgresql_programs,
    runs,
)

USER, PASSWORD = "ada", "adas-long-password"
ACCOUNT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
VALIDATION = replace(DIGITS, name="digits validation", context="validation", images=288)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    pytest.importorskip("psycopg")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="raykd-postgresql-"))  # pytest's own folders are closed to other users
    server = PostgreSQL(programs, folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def guarded(postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with accounts, in front of PostgreSQL."""
    pytest.importorskip("flask_wtf", reason="pip install 'mlflow[auth]'")
    from mlflow.server import get_app_client

    server = Server(tmp_path_factory.mktemp("guarded"), postgresql.uri(), accounts=True)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in zip(ACCOUNT, (ADMIN, ADMIN_PASSWORD), strict=True):
            environment.setenv(name, value)
        get_app_client("basic-auth", server.uri).create_user(USER, PASSWORD)
    yield server
    server.kill()


def log_a_study(settings: TrackingSettings, folder: Path, epochs: int) -> None:
    """One launch of a study of one trial; a second one goes on with the first."""
    file = folder / "experiment.yaml"
    file.write_text("training.epochs: 4\n")
    tracker = Tracker(settings, folder, folder.name)
    tracker.start_study({"study.trials": 1}, {"raykd.kind": "tune"}, [file], [DIGITS, VALIDATION])
    tracker.start_trial("t", {"temperature.multiplier": 1.5}, {"raykd.seed": "0"}, [file], [DIGITS, VALIDATION])
    tracker.tags({"raykd.first_view": "3"}, "t")
    for epoch in range(1, epochs + 1):
        tracker.epoch("t", epoch, {"loss": 1 / epoch})
    tracker.usage({"10.0.0.1": {"cpu_utilization_percentage": 50.0}, "10.0.0.2": {}})
    tracker.end_trial("t", "finished", metrics={"epochs": epochs})
    tracker.tags({"mlflow.note.content": f"{epochs} epochs"})
    tracker.end_study()
    assert tracker.close(120) is None


def check_it_is_there_once(uri: str, study: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = runs(client, study)
    assert found.keys() == {study, "t"}
    for run in found.values():
        assert datasets(run) == {"digits train": "training", "digits validation": "validation"}
        assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["experiment.yaml"]
        assert run.info.status == "FINISHED"
    parent, trial = found[study], found["t"]
    (entity,) = [each.dataset for each in trial.inputs.dataset_inputs if each.dataset.name == VALIDATION.name]
    assert entity.digest == "01234567"
    profile = json.loads(entity.profile)
    assert profile["num_rows"] == 288
    assert profile["split_sizes"] == {"train": 1150, "validation": 288, "test": 359}
    assert history(client, trial, "loss") == [(epoch, 1 / epoch) for epoch in (1, 2, 3, 4)]
    assert trial.data.metrics["epochs"] == 4
    assert (trial.data.tags["raykd.first_view"], trial.data.tags["raykd.seed"]) == ("3", "0")
    assert parent.data.tags["mlflow.note.content"] == "4 epochs"
    system = [name for name in parent.data.metrics if name.startswith("system/")]
    assert system == ["system/10.0.0.1/cpu_utilization_percentage"]


def test_a_study_on_postgresql_and_on_again(postgresql: PostgreSQL, tmp_path: Path) -> None:
    folder = tmp_path / "on-postgresql"
    folder.mkdir()
    settings = TrackingSettings(uri=postgresql.uri(), timeout_seconds=30)
    check_tracking(settings)
    for epochs in (2, 4):
        log_a_study(settings, folder, epochs)
    check_it_is_there_once(postgresql.uri(), "on-postgresql")


def test_a_study_on_a_server_with_accounts_and_on_again(
    guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "guarded"
    folder.mkdir()
    for name, value in zip(ACCOUNT, (USER, PASSWORD), strict=True):
        monkeypatch.setenv(name, value)
    settings = TrackingSettings(uri=guarded.uri, timeout_seconds=30)
    check_tracking(settings)
    for epochs in (2, 4):
        log_a_study(settings, folder, epochs)
    check_it_is_there_once(guarded.uri, "guarded")


@pytest.mark.parametrize("password", [None, "wrong"], ids=["none", "wrong"])
def test_a_server_that_refuses_the_account_is_named_at_the_start(
    guarded: Server, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    if password:
        monkeypatch.setenv(ACCOUNT[0], USER)
        monkeypatch.setenv(ACCOUNT[1], password)
    with pytest.raises(RaykdError, match="the server refuses the credentials") as error:
        check_tracking(TrackingSettings(uri=guarded.uri, timeout_seconds=30))
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert "MLFLOW_TRACKING_PASSWORD" in lines[1]


def test_a_database_takes_its_password_from_outside_the_address(
    postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "pgpass"
    secret.write_text(f"127.0.0.1:{postgresql.port}:*:{postgresql.USER}:{postgresql.PASSWORD}\n")
    secret.chmod(0o600)
    settings = TrackingSettings(uri=postgresql.uri().replace(f":{postgresql.PASSWORD}", ""))
    with pytest.raises(RaykdError, match="no password"):
        check_tracking(settings)
    monkeypatch.setenv("PGPASSFILE", str(secret))
    check_tracking(settings)


def test_a_database_that_refuses_the_password_is_named_at_the_start(postgresql: PostgreSQL) -> None:
    with pytest.raises(RaykdError, match="the database refuses the password") as error:
        check_tracking(TrackingSettings(uri=postgresql.uri("wrong-one")))
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert "wrong-one" not in str(error.value)
    assert "MLFLOW_TRACKING_PASSWORD" not in lines[1]
