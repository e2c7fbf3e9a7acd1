"""A study's folder that was copied or moved is whole: what reads it and what adds to it stay in the copy."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
import torch
from filelock import FileLock
from mlflow import MlflowClient

import raykd
from raykd.cli import main
from raykd.config import Experiment, TrackingSettings
from raykd.places import JOURNAL, LOCK, SETTINGS
from raykd.results.load import recorded_study
from raykd.saved_settings import load_saved, moved, save_experiment
from raykd.settings_io import override
from raykd.study.replay import _recorded
from raykd.study.sync import sync
from raykd.tracking import Tracker
from tests.helpers.finished_models import finished_study
from tests.helpers.logged_study import log_study


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A logged study's folder, copied under another name; the original is gone."""
    experiment = finished_study(tmp_path / "outputs", TrackingSettings())
    log_study(experiment.folder)
    copy = tmp_path / "elsewhere" / "a copy_1"
    shutil.copytree(experiment.folder, copy)
    shutil.rmtree(experiment.folder)
    return copy


def test_a_copy_stands_for_itself(copied: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    uri = f"sqlite:///{copied / 'mlflow.db'}"
    assert raykd.load_study(copied).best.name == "trial-0000"
    assert raykd.load_study(copied).place.uri == uri
    # Its settings, from MLflow's artifacts, which are the copy's.
    trial, folder = _recorded(f"{copied}/trial-0000", None, tmp_path)
    assert (trial.name, folder) == ("trial-0000", copied)
    assert "multiplier: 1.5" in trial.settings

    main(["report", str(copied)])
    assert "logged to the study's MLflow run" in capsys.readouterr().out
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id], "tags.`raykd.kind` = 'tune'")
    assert [file.path for file in client.list_artifacts(run.info.run_id, "report")] == ["report/report.html"]
    main(["export", str(copied), "--output", str(tmp_path / "exported"), "--format", "safetensors"])
    main(["register", str(copied), "--name", "digits"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for model in (f"runs:/{run.info.run_id}/student", "models:/digits@champion"):
        answers = mlflow.pytorch.load_model(model)(torch.zeros(2, 1, 8, 8))
        assert torch.equal(answers, raykd.load_model(copied / "best")(torch.zeros(2, 1, 8, 8)))
    # A resumed study logs into the copy.
    tracker = Tracker(TrackingSettings(), copied, "small")
    tracker.start_study({})
    tracker.artifact(copied / SETTINGS)
    tracker.end_study()
    assert tracker.close(60) is None

    assert not (tmp_path / "outputs" / "small").exists()
    database = sqlite3.connect(copied / "mlflow.db")
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source")):
        for (address,) in database.execute(f"select {column} from {table}"):
            # MLflow's own experiment, which holds nothing, is where it was started.
            assert str(copied) in address or address.startswith("models:/") or address.endswith("mlruns/0")
    database.close()


def test_a_copy_of_a_study_that_is_under_way_is_left_alone(copied: Path, capsys) -> None:
    before = (copied / "mlflow.db").read_bytes()
    with FileLock(copied / LOCK):
        main(["report", str(copied)])
    assert "not logged to MLflow" in capsys.readouterr().out
    assert (copied / "mlflow.db").read_bytes() == before


def test_files_that_wait_for_mlflow_are_those_of_the_copy(tmp_path: Path, capsys) -> None:
    away = TrackingSettings(uri="http://127.0.0.1:9", timeout_seconds=0.1)
    experiment = finished_study(tmp_path / "outputs", away)
    tracker = Tracker(away, experiment.folder, "small")
    tracker.start_study({}, artifacts=[experiment.folder / SETTINGS])
    assert tracker.close(0) is not None
    shutil.move(experiment.folder, tmp_path / "moved")
    sync(tmp_path / "moved", f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}")
    client = MlflowClient(f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == [SETTINGS]


def test_paths_in_the_folder_follow_it_and_others_stay(tmp_path: Path) -> None:
    begun, here = tmp_path / "outputs" / "small", tmp_path / "copy"
    settings = {
        "study.name": "small",
        "study.output": begun.parent,
        "study.storage": f"sqlite:///{begun}/optuna.db",
        "tracking.uri": f"sqlite:///{begun}/mlflow.db",
        "teacher.cache": begun / "cache",
        "data.root": tmp_path / "outputs" / "smaller",
    }
    experiment = override(Experiment(), settings)
    save_experiment(experiment, begun / SETTINGS)
    assert load_saved(begun / SETTINGS) == experiment
    shutil.copytree(begun, here)
    found = load_saved(here / SETTINGS)
    assert found.study.storage == f"sqlite:///{here}/optuna.db"
    assert found.tracking.uri == f"sqlite:///{here}/mlflow.db"
    assert found.teacher.cache == here / "cache"
    assert found.data.root == tmp_path / "outputs" / "smaller"
    # A confirm logs beside its study.
    confirm = override(experiment, {"study.name": "confirm", "study.output": begun})
    assert moved(confirm, here / "confirm").tracking.uri == f"sqlite:///{here}/mlflow.db"
    # The same folder by another way is no other folder.
    (tmp_path / "link").symlink_to(begun)
    assert load_saved(tmp_path / "link" / SETTINGS) == experiment


def test_a_study_in_a_storage_of_its_folder_is_read_from_the_copy(tmp_path: Path) -> None:
    experiment = finished_study(tmp_path / "outputs", TrackingSettings())
    (experiment.folder / JOURNAL).rename(experiment.folder / "own.journal")
    storage = str(experiment.folder / "own.journal")
    save_experiment(override(experiment, {"study.storage": storage}), experiment.folder / SETTINGS)
    shutil.move(experiment.folder, tmp_path / "moved")
    assert recorded_study(tmp_path / "moved").result.best is not None
    assert not experiment.folder.exists()
