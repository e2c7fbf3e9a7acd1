"""What MLflow is told of where results come from; the trials of a real study are in tests/cluster/test_study.py."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from raykd.cluster.resources import Resources, plan_for
from raykd.config import ClusterSettings, DataSettings, Experiment, StudySettings
from raykd.data import load_data
from raykd.settings_io import override
from raykd.study.mlflow_log import Provenance, TrialLog
from raykd.tracking import Tracker
from tests.helpers.mlflow_places import client_of, runs

NODE = {"CPU": 4.0, "node:here": 1.0}


def provenance(folder: Path, **cluster: float) -> Provenance:
    experiment = Experiment(
        data=DataSettings(name="digits"),
        study=StudySettings(name="told", output=folder),
        cluster=ClusterSettings(workers=2, threads_per_worker=3, **cluster),
    )
    plan = plan_for(experiment.cluster, Resources.of([NODE]), students=4)
    return Provenance(experiment, load_data(experiment.data).info, plan)


def test_versions_tell_what_may_change_the_last_digits(tmp_path: Path) -> None:
    import ray
    import torch

    found = json.loads(provenance(tmp_path).tags["raykd.versions"])
    assert (found["ray"], found["torch"]) == (ray.__version__, torch.__version__.partition("+")[0])
    assert (found["workers"], found["threads"], found["device"]) == (2, 3, "cpu")


def test_datasets_are_the_splits_that_a_study_looks_at(tmp_path: Path) -> None:
    told = provenance(tmp_path)
    train, validation = told.datasets
    assert (train.name, train.context, train.images) == ("digits train", "training", 1150)
    assert (validation.name, validation.context, validation.images) == ("digits validation", "validation", 288)
    assert train.fingerprint == told.data.fingerprint == told.tags["raykd.data_fingerprint"]
    assert train.settings["data.name"] == "digits"
    assert json.loads(json.dumps(train.content()))["split_sizes"] == {"train": 1150, "validation": 288, "test": 359}


def test_a_folder_of_images_is_known_by_its_name(tmp_path: Path) -> None:
    told = provenance(tmp_path)
    experiment = override(told.experiment, {"data.name": "folder", "data.root": tmp_path / "photos"})
    info = replace(told.data, name="folder")
    assert [each.name for each in Provenance(experiment, info, told.plan).datasets] == [
        "photos train",
        "photos validation",
    ]


def test_a_trial_whose_settings_cannot_be_written_is_logged_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = provenance(tmp_path)
    told.experiment.folder.mkdir()
    (told.experiment.folder / "trials").write_text("in the way")
    tracker = Tracker(told.experiment.tracking, told.experiment.folder, "told")
    study = optuna.create_study()
    study.enqueue_trial({}, {"start": "kd"})
    log = TrialLog(tracker, told, study)
    with caplog.at_level(logging.WARNING, "raykd.tracking"):
        log.start(0, {"temperature.multiplier": 2.5})
    assert "trial-0000" in caplog.text
    log.epoch("trial-0000", 1, {"validation_accuracy": 0.5, "view": 3.0})
    log.end("trial-0000", "stopped early", None, 1, weights="a" * 64)
    assert tracker.close(60) is None
    run = runs(client_of(told.experiment.folder), "told")["trial-0000"]
    assert run.data.params == {"temperature.multiplier": "2.5"}
    assert run.data.tags["raykd.start"] == "kd"
    assert (run.data.tags["raykd.state"], run.data.tags["raykd.first_view"]) == ("stopped early", "3")
    assert run.data.metrics["epochs"] == 1 and run.data.tags["raykd.weights"] == "a" * 64
