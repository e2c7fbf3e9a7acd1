"""`raykd sync`, and runs that begin or end while the MLflow server is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from raykd.cli import main
from raykd.config import Experiment, TrackingSettings
from raykd.errors import RaykdError
from raykd.settings_io import override
from raykd.study.folder import begin_folder, locked_folder, with_lasting_paths
from raykd.study.session import open_session
from tests.helpers.faulty_proxy import Proxy
from tests.helpers.mlflow_places import Server, history, runs
from tests.helpers.small_study import quiet_console, small_experiment


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr("raykd.tracking.tracker.PATIENCE", 0.3)
    proxy = Proxy(server.port)
    yield proxy
    proxy.mend()
    proxy.close()


def experiment_of(proxy: Proxy, folder: Path, **settings: object) -> Experiment:
    tracking = TrackingSettings(uri=proxy.uri, timeout_seconds=10.0).model_copy(update=settings)
    small = small_experiment(folder, tracking=tracking)
    return with_lasting_paths(override(small, {"study.name": folder.name}))


def logged(experiment: Experiment, epochs: int = 20) -> str:
    """What a run shows that trains a student, as far as MLflow sees it."""
    console, shown = quiet_console()
    with open_session(experiment, "distill", console, rehearsed=False) as session:
        session.begin({"data.name": "digits"})
        session.tracker.start_trial("student", {"seed": 1})
        for epoch in range(1, epochs + 1):
            session.tracker.epoch("student", epoch, {"loss": 1 / epoch})
        session.tracker.end_trial("student", "finished")
    return shown.getvalue()


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        main(["sync", *words])
    assert exit_info.value.code
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 2
    return error


def test_a_run_without_its_server_is_delivered_by_the_command(
    proxy: Proxy, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    proxy.down()
    experiment = experiment_of(proxy, tmp_path)
    folder = str(experiment.folder)
    shown = logged(experiment).replace("\n", "")
    assert f"MLflow at {proxy.uri}: connection refused. The run starts" in shown
    events = 25  # two starts with their settings' file, epochs, two ends
    assert f"{events} events wait in {folder} for {proxy.uri} (connection refused)" in shown
    assert f"raykd sync {folder}" in shown

    error = error_of(capsys, folder)
    assert f"{events} events for MLflow at {proxy.uri} left in {folder}, but: connection refused" in error
    assert f"raykd sync {folder}" in error
    proxy.up()
    proxy.fail("error", "runs/log-batch")
    error = error_of(capsys, folder)
    assert f"{events} of {events} events could not be delivered from {folder} to {proxy.uri}: " in error
    assert "the server answers HTTP 500" in error
    proxy.mend()
    proxy.fail("error", "mlflow-artifacts")
    error = error_of(capsys, folder)
    assert f"1 of {events} events could not be delivered" in error
    assert "experiment.yaml could not be uploaded" in error
    proxy.mend()
    with locked_folder(experiment):
        assert "is under way, and delivers to MLflow itself" in error_of(capsys, folder)
    main(["sync", folder])
    assert f"1 event delivered; look: {proxy.uri}/#/experiments/" in capsys.readouterr().out
    main(["sync", folder])
    assert "everything is in MLflow" in capsys.readouterr().out

    client = MlflowClient(tracking_uri=server.uri)
    name = experiment.study.name
    found = runs(client, name)
    assert {run: each.info.status for run, each in found.items()} == {name: "FINISHED", "student": "FINISHED"}
    assert history(client, found["student"], "loss") == [(epoch, 1 / epoch) for epoch in range(1, 21)]
    assert [file.path for file in client.list_artifacts(found[name].info.run_id)] == ["experiment.yaml"]


def test_a_server_that_is_required_is_waited_for_by_nobody(proxy: Proxy, tmp_path: Path) -> None:
    proxy.down()
    experiment = experiment_of(proxy, tmp_path, required=True)
    with pytest.raises(RaykdError, match="connection refused") as error:
        logged(experiment)
    assert len(str(error.value).splitlines()) == 2
    assert not experiment.folder.exists()


def test_the_command_delivers_to_a_new_address_and_the_confirms_of_a_study(
    proxy: Proxy, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    proxy.down()
    study = experiment_of(proxy, tmp_path, experiment="moved")
    logged(study, epochs=1)
    confirm = study.model_copy(
        update={"study": study.study.model_copy(update={"name": "confirm", "output": study.folder})}
    )
    logged(confirm, epochs=1)
    main(["sync", str(study.folder), "--uri", server.uri])
    assert capsys.readouterr().out.count("6 events delivered; look") == 2
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("moved")
    assert experiment is not None
    names = sorted(str(run.info.run_name) for run in client.search_runs([experiment.experiment_id]))
    assert names == sorted(["confirm", study.study.name, "student", "student"])


def test_what_cannot_be_synced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no study" in error_of(capsys, str(tmp_path / "absent"))
    experiment = with_lasting_paths(small_experiment(tmp_path))
    begin_folder(experiment)
    assert "was never logged to MLflow" in error_of(capsys, str(experiment.folder))
    (experiment.folder / "mlflow_outbox.jsonl").write_text("shopping list\n")
    assert "is damaged: its first line" in error_of(capsys, str(experiment.folder))
