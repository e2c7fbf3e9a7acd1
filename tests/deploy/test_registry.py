"""The best student in MLflow's model registry: on SQLite, over a server that goes away, and served over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import optuna
import pytest
import torch
from mlflow import MlflowClient, pyfunc
from torch import nn

import raykd
from raykd.cli import main
from raykd.config import Experiment, TrackingSettings
from raykd.data import load_data
from raykd.deploy import publish
from raykd.deploy.source import best_student
from raykd.errors import RaykdError
from raykd.results.load import recorded_study
from raykd.tracking import Tracker
from raykd.training.folder import model_files
from tests.helpers.finished_models import DIGITS, HALF, finished_model, finished_study, trained
from tests.helpers.mlflow_places import DIRECT, Server

BIN = str(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return trained(HALF, load_data(DIGITS), epochs=1)


def logged(experiment: Experiment, settings: TrackingSettings) -> Tracker:
    """The end of a study as `raykd.tune` logs it; the tracker is still open."""
    recorded = recorded_study(experiment.folder)
    best = recorded.result.best
    assert best is not None
    tracker = Tracker(settings, experiment.folder, "small")
    tracker.start_study({})
    student = raykd.load_model(experiment.folder / "best")
    metadata = {"study": "small", "trial": best.name}
    tracker.log_student(student, torch.rand(1, 1, 8, 8), metadata, model_files(experiment.folder / "best"))
    tracker.end_study()
    return tracker


@pytest.fixture
def study(tmp_path: Path, empty_database: Path, network: nn.Module) -> Experiment:
    """A study that was logged to the database in its folder, and not registered."""
    experiment = finished_study(tmp_path / "outputs", TrackingSettings(), network)
    shutil.copy(empty_database, experiment.folder)
    assert logged(experiment, TrackingSettings()).close(60) is None
    return experiment


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        main(["register", *words])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") <= 2
    return error


def test_the_command_registers_a_student_once_with_its_provenance(
    study: Experiment, network: nn.Module, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{study.folder}/mlflow.db"
    main(["register", str(study.folder), "--name", "digits"])
    assert "trial-0000" in capsys.readouterr().out
    main(["register", str(study.folder), "--name", "digits", "--alias", "challenger"])
    assert "as it was before" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (version,) = client.search_model_versions("name = 'digits'")
    assert version.version == client.get_model_version_by_alias("digits", "champion").version
    assert version.version == client.get_model_version_by_alias("digits", "challenger").version
    tags = version.tags
    assert (tags["raykd.study"], tags["raykd.trial"], tags["raykd.validation_accuracy"]) == (
        "small",
        "trial-0000",
        "0.9",
    )
    assert tags["raykd.data_fingerprint"] == load_data(DIGITS).info.fingerprint
    assert tags["raykd.teacher"] == "resnet8(width=0.5)" and len(tags["raykd.teacher_digest"]) == 64
    assert "- trial: trial-0000\n" in version.description
    (student,) = client.search_logged_models([client.get_run(version.run_id).info.experiment_id])
    assert json.loads(student.tags["mlflow.modelVersions"]) == [{"name": "digits", "version": str(version.version)}]
    assert client.get_run(version.run_id).data.tags["raykd.study"] == "small"

    with pytest.raises(RaykdError, match=r"^models:/digits@champion: .*MLFLOW_TRACKING_URI"):
        raykd.load_model("models:/digits@champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    images = load_data(DIGITS).splits["test"].images.float() / 255
    with torch.no_grad():
        expected = raykd.load_model(study.folder / "best")(images)
        assert torch.equal(raykd.load_model("models:/digits@champion")(images), expected)
        assert expected.argmax(1).eq(load_data(DIGITS).splits["test"].labels).double().mean() > 0.3
    model = pyfunc.load_model("models:/digits/1")
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert model.input_example.shape == (1, 1, 8, 8)


def with_better_trial(experiment: Experiment) -> nn.Module:
    """A second trial is finished, and is the best student by now; what was saved for MLflow is still the first."""
    data = load_data(DIGITS)
    network = trained(HALF, data, epochs=0, seed=7)
    finished_model(experiment.folder / "trials" / "trial-0001", network, HALF, data, 0.95)
    recorded = recorded_study(experiment.folder)
    first = recorded.study.get_trials()[0]
    recorded.study.add_trial(
        optuna.trial.create_trial(
            value=0.95,
            params={"temperature.multiplier": 2.5},
            distributions=first.distributions,
            intermediate_values={1: 0.95},
            user_attrs=first.user_attrs,
        )
    )
    recorded.result.keep_best(str(experiment.folder))
    return network


def registered(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{experiment.folder}/mlflow.db")
    return dict(raykd.load_model("models:/digits@champion").network.state_dict())


def test_the_registered_student_is_the_one_that_is_named(
    study: Experiment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["register", str(study.folder), "--name", "digits"])
    first = registered(study, monkeypatch)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    network = with_better_trial(study)
    main(["register", str(study.folder), "--name", "digits"])
    assert "trial-0001 of " in capsys.readouterr().out
    found = registered(study, monkeypatch)
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
    assert any(not torch.equal(first[name], tensor) for name, tensor in network.state_dict().items())
    client = MlflowClient()
    champion = client.get_model_version_by_alias("digits", "champion")
    assert champion.tags["raykd.trial"] == "trial-0001"
    # What others load by MLflow is the same student.
    pickled = mlflow.pytorch.load_model("models:/digits@champion").network.state_dict()
    assert all(torch.equal(pickled[name], tensor) for name, tensor in found.items())


def test_a_best_student_that_changes_meanwhile_is_not_registered_under_another_s_name(study: Experiment) -> None:
    recorded = recorded_study(study.folder)
    best = best_student(recorded)
    with_better_trial(study)
    settings = TrackingSettings(uri=f"sqlite:///{study.folder}/mlflow.db")
    shutil.rmtree(study.folder / "mlflow_student")
    with pytest.raises(RaykdError, match="has changed meanwhile: run this again"):
        publish._register(recorded, best, settings, "digits", "champion")
    assert MlflowClient(tracking_uri=settings.uri).search_registered_models() == []


def test_a_saved_student_that_is_damaged_is_not_registered(study: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = study.folder / "mlflow_student" / "data" / "model.pth"
    saved.write_bytes(saved.read_bytes()[:-1000])
    main(["register", str(study.folder), "--name", "digits"])
    registered(study, monkeypatch)
    assert mlflow.pytorch.load_model("models:/digits@champion")


def test_a_student_that_was_not_logged_is_logged_by_the_command(
    tmp_path: Path, empty_database: Path, network: nn.Module
) -> None:
    settings = TrackingSettings(log_model=False)
    experiment = finished_study(tmp_path / "outputs", settings, network)
    shutil.copy(empty_database, experiment.folder)
    assert logged(experiment, settings).close(60) is None
    main(["register", str(experiment.folder), "--name", "digits"])
    client = MlflowClient(tracking_uri=f"sqlite:///{experiment.folder}/mlflow.db")
    assert client.get_model_version_by_alias("digits", "champion").tags["raykd.trial"] == "trial-0000"


def test_what_cannot_be_registered(study: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(study.folder)
    assert "no study" in error_of(capsys, str(tmp_path / "absent"), "--name", "digits")
    assert "--name 'a/b'" in error_of(capsys, folder, "--name", "a/b")
    assert "means a version's number" in error_of(capsys, folder, "--name", "digits", "--alias", "v1")
    outbox = study.folder / "mlflow_outbox.jsonl"
    first = outbox.read_text()
    outbox.write_text('{"outbox": "another"}\n')
    assert "has no run of the study" in error_of(capsys, folder, "--name", "digits")
    outbox.write_text(first)
    (study.folder / "mlflow.db").rename(tmp_path / "away.db")
    assert "is missing" in error_of(capsys, folder, "--name", "digits")
    (tmp_path / "away.db").rename(study.folder / "mlflow.db")
    shutil.rmtree(study.folder / "best")
    assert "has no best student yet" in error_of(capsys, folder, "--name", "digits")


def test_an_unreachable_server_is_named_in_the_error_and_takes_the_student_once_it_is_back(
    server: Server, tmp_path: Path, network: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TrackingSettings(uri=server.uri, timeout_seconds=10)
    experiment = finished_study(tmp_path / "outputs", settings, network)
    server.kill()
    error = error_of(capsys, str(experiment.folder), "--name", "digits")
    # The first call may meet a connection that was open.
    assert "connection refused" in error or "the connection breaks off" in error
    left = logged(experiment, settings).close(1)
    assert left is not None and left.events == 3
    server.start()
    assert Tracker(settings, experiment.folder, "small").close(60) is None

    for alias in ("champion", "challenger"):
        main(["register", str(experiment.folder), "--name", "digits", "--alias", alias])
        assert f"MLFLOW_TRACKING_URI={server.uri}" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    (version,) = client.search_model_versions("name = 'digits'")
    assert (version.tags["raykd.trial"], version.tags["raykd.study"]) == ("trial-0000", "small")
    assert sorted(client.get_model_version("digits", version.version).aliases) == ["challenger", "champion"]
    assert [model.name for model in client.search_registered_models()] == ["digits"]


def test_an_undelivered_registration_of_an_earlier_release_is_skipped_with_a_warning(
    study: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(TrackingSettings(), study.folder, "small")
    tracker._put("register", path=str(study.folder / "mlflow_student"), registration={"name": "digits"})
    tracker.end_study()
    assert tracker.close(60) is None
    assert "raykd register STUDY --name NAME" in caplog.text
    client = MlflowClient(tracking_uri=f"sqlite:///{study.folder}/mlflow.db")
    assert client.search_registered_models() == []


def test_mlflow_serves_the_champion(study: Experiment) -> None:
    main(["register", str(study.folder), "--name", "digits"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{study.folder}/mlflow.db",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path(raykd.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/digits@champion"]
    command += ["--env-manager", "local", "--port", str(port)]
    images = load_data(DIGITS).splits["test"].images[:3].float() / 255
    with (study.folder / "serve.log").open("wb") as log:
        served = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(1200):
            try:
                DIRECT.open(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert served.poll() is None, (study.folder / "serve.log").read_text()
                time.sleep(0.1)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps({"inputs": images.tolist()}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with DIRECT.open(request, timeout=30) as response:
            answer = torch.tensor(json.load(response)["predictions"])
    finally:
        os.killpg(served.pid, signal.SIGKILL)
        served.wait()
    with torch.no_grad():
        torch.testing.assert_close(answer, raykd.load_model(study.folder / "best")(images), rtol=1e-5, atol=1e-5)
