"""A trial read back from MLflow: whole, or with a line that says what its record lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from raykd.cli import main
from raykd.config import Experiment
from raykd.errors import RaykdError
from raykd.places import SETTINGS
from raykd.saved_settings import save_experiment
from raykd.tracking.trial_record import is_run_id, recorded_trial

TAGS = {
    "raykd.study": "digits",
    "raykd.trial": "trial-0003",
    "raykd.state": "stopped early",
    "raykd.versions": '{"torch": "2.9", "workers": 1}',
    "raykd.data_fingerprint": "f" * 64,
    "raykd.weights": "a" * 64,
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('recorded')}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def experiment(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    return client.create_experiment("digits", str(tmp_path_factory.mktemp("artifacts")))


def trial_run(client: MlflowClient, experiment: str, folder: Path, epochs: dict[int, int], lacks: str = "") -> Run:
    """A trial's run, with the view of each epoch, but without one of its tags or its settings."""
    run = client.create_run(experiment, tags={name: value for name, value in TAGS.items() if name != lacks})
    for epoch, view in epochs.items():
        client.log_metric(run.info.run_id, "view", view, step=epoch)
        client.log_metric(run.info.run_id, "loss", 1 / 3 + epoch, step=epoch)
    client.log_metric(run.info.run_id, "epochs", len(epochs))  # a summary, at step 0
    if lacks != SETTINGS:
        save_experiment(Experiment(), folder / SETTINGS)
        client.log_artifact(run.info.run_id, str(folder / SETTINGS))
    return run


def test_a_trial_as_it_was_logged(client: MlflowClient, experiment: str, uri: str, tmp_path: Path) -> None:
    run = trial_run(client, experiment, tmp_path, {1: 2, 2: 0, 3: 1})
    found = recorded_trial(uri, run=run.info.run_id)
    assert found == recorded_trial(uri, study="digits", trial="trial-0003")
    assert found.views == (2, 0, 1)
    assert not found.banked and found.stacks == ((1, 0),) * 3, "as earlier versions taught"
    assert [metrics["loss"] for metrics in found.epochs] == [1 / 3 + epoch for epoch in (1, 2, 3)]
    assert (found.study, found.name, found.state) == ("digits", "trial-0003", "stopped early")
    assert found.settings == (tmp_path / SETTINGS).read_text()
    assert found.versions == {"torch": "2.9", "workers": 1} and found.weights == "a" * 64
    assert found.teacher_weights is None


@pytest.mark.parametrize(
    ("lacks", "epochs", "message"),
    [
        ("raykd.trial", {1: 0}, r"is not a trial of raykd's: name the run of a trial"),
        ("raykd.versions", {1: 0}, r"lacks raykd.versions: an earlier raykd logged it"),
        (SETTINGS, {1: 0}, r"lacks experiment.yaml"),
        ("", {1: 0, 3: 2}, r"lacks epochs: its record is not whole"),
        ("", {}, r"has no epoch: there is nothing to replay"),
    ],
    ids=["no trial", "no versions", "no settings", "a gap", "no epoch"],
)
def test_what_a_record_lacks(
    client: MlflowClient, experiment: str, uri: str, tmp_path: Path, lacks: str, epochs: dict[int, int], message: str
) -> None:
    run = trial_run(client, experiment, tmp_path, epochs, lacks)
    with pytest.raises(RaykdError, match=message):
        recorded_trial(uri, run=run.info.run_id)


def test_no_such_run(uri: str, client: MlflowClient, experiment: str) -> None:
    with pytest.raises(RaykdError, match=rf"run {'0' * 32} cannot be read from sqlite:.*not found"):
        recorded_trial(uri, run="0" * 32)
    with pytest.raises(RaykdError, match=r"MLflow has no run of trial-0099 of study 'digits'"):
        recorded_trial(uri, study="digits", trial="trial-0099")


def test_what_names_a_run() -> None:
    assert is_run_id("0123456789abcdef" * 2)
    assert not is_run_id("outputs/digits-dkd/trial-0007")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trial-0001"], "error: 'trial-0001' names no trial: give STUDY/trial-0007"),
        (["0123456789abcdef" * 2], "name the MLflow server or database that has it with --uri"),
        (["nowhere/trial-0001"], "error: no study 'nowhere'"),
    ],
)
def test_what_cannot_be_replayed_ends_in_a_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["replay", *words, "--output", str(tmp_path)])
    assert message in capsys.readouterr().err
