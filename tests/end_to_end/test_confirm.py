"""A tiny study, confirmed over a real Ray cluster, resumed, and read back from disk and from MLflow."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

import raykd
from raykd.config import Experiment
from raykd.data import load_data
from raykd.errors import RaykdError
from raykd.results.confirm import ConfirmResult
from raykd.settings_io import override
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

NAMES = ["plain", "kd", "dkd"]


@dataclass
class Confirmed:
    study: Experiment
    asked: Experiment
    result: ConfirmResult
    shown: str


@pytest.fixture(scope="module")
def confirmed(cluster, tmp_path_factory) -> Confirmed:
    folder = tmp_path_factory.mktemp("confirm")
    study = override(small_experiment(folder, trials=2), {"training.epochs": 2, "study.scheduler": "none"})
    raykd.tune(study, quiet_console()[0])
    asked = override(
        Experiment(),
        {"study.name": "small", "study.output": study.study.output, "confirm.seeds": 2, "cluster.seats": 4},
    )
    console, shown = quiet_console()
    return Confirmed(study, asked, raykd.confirm(asked, console), shown.getvalue())


def test_all_learn_from_train_and_validation_and_are_measured_on_test_alone(confirmed):
    info = load_data(confirmed.study.data).info
    sizes = {"train": info.split_sizes["train"] + info.split_sizes["validation"], "test": info.split_sizes["test"]}
    winner = raykd.load_study(confirmed.study.folder).best
    assert [row.name for row in confirmed.result.rows] == [*NAMES, winner.name]
    described = [found for row in confirmed.result.rows for found in row.students.values()]
    assert len(described) == 8
    for found in (*described, confirmed.result.teachers[0].model):
        assert found["data"]["split_sizes"] == sizes
        assert "test_accuracy" in found["metrics"]
        assert not [name for name in found["metrics"] if "validation" in name]
    for row in confirmed.result.rows:
        assert list(row.students) == [1, 2]
        for seed, found in row.students.items():
            assert (found["lesson"]["training"]["seed"], found["data"]["seed"]) == (seed, seed)
            # All of a seed sat in one class and saw the same views in the same order.
            assert found["views"] == [0, 1]
            assert found["metrics"]["class_size"] == 4
    # The search saw nothing of it.
    trials = (confirmed.study.folder / "trials").rglob("model.json")
    assert all("test_accuracy" not in json.loads(file.read_text())["metrics"] for file in trials)


def test_the_table_the_files_and_mlflow_agree(confirmed):
    folder = confirmed.study.folder
    assert confirmed.result.folder == folder / "confirm"
    found = json.loads((folder / "confirm" / "result.json").read_text())
    assert found["winner"] == confirmed.result.winner.name
    assert found["students"][0]["test_accuracy"]["mean"] == pytest.approx(confirmed.result.rows[0].accuracy.mean)
    assert "small: accuracy on the test split, in %, over 2 seeds" in confirmed.shown
    assert re.search("^test split +not used before *$", confirmed.shown, re.MULTILINE)
    assert "Does trial-000" in (folder / "confirm" / "table.md").read_text()

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "small"]
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.data.tags["raykd.kind"]: run for run in runs if "mlflow.parentRunId" not in run.data.tags}
    own, study = parents["confirm"], parents["tune"]
    assert own.info.run_name == "confirm"
    assert own.info.status == "FINISHED"
    assert own.data.tags["raykd.study"] == "small"
    assert own.data.tags["raykd.study_run"] == study.info.run_id
    use = json.loads((folder / "test_split.json").read_text())[0]
    for run in (own, study):
        assert run.data.tags["raykd.test_split"] == f"confirm ({use['began']})"
    logged = {name: value for name, value in own.data.metrics.items() if not name.startswith("system/")}
    assert logged == pytest.approx(confirmed.result.summary())
    assert {"result.json", "table.md"} <= {file.path for file in client.list_artifacts(own.info.run_id)}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == own.info.run_id]
    assert len(children) == 1 + 8
    for run in children:
        history = client.get_metric_history(run.info.run_id, "test_accuracy")
        assert [point.step for point in history] == ([1, 2] if run.data.tags["raykd.role"] == "student" else [1, 2, 3])


def test_a_finished_confirm_is_only_shown_and_an_interrupted_one_goes_on(confirmed):
    with pytest.raises(RaykdError, match="add --resume"):
        raykd.confirm(confirmed.asked, quiet_console()[0])
    folder: Path = confirmed.study.folder / "confirm" / "students"
    resumed = override(confirmed.asked, {"study.resume": True})
    lost = folder / "kd-seed-2"
    weights = (lost / "model.safetensors").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("checkpoint.pt") if lost not in path.parents}
    console, shown = quiet_console()
    again = raykd.confirm(resumed, console)
    assert "parameters, " not in shown.getvalue()  # no briefing, for nothing is taught
    assert again.as_data() == confirmed.result.as_data()
    shutil.rmtree(lost)
    rebuilt = raykd.confirm(resumed, quiet_console()[0])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Alone or in a class of four, a student is the same to the bit.
    assert (lost / "model.safetensors").read_bytes() == weights
    assert rebuilt.row("kd").accuracy == confirmed.result.row("kd").accuracy
