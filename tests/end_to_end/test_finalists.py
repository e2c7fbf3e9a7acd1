"""A study with start points and finalists on a real cluster: trained to the end, resumable, and honest about luck."""

from __future__ import annotations

import json
import re

import pytest
from mlflow import MlflowClient

import raykd
from raykd.places import FINALISTS
from raykd.results.load import load_study
from raykd.settings_io import override
from raykd.training.folder import description
from tests.helpers.small_study import quiet_console, small_experiment

pytestmark = pytest.mark.cluster

SETTINGS = {
    "study.start": ["experiment", "kd", "teachers_bias"],
    "study.finalists": 1,
    "study.finalist_seeds": 2,
    "study.scheduler": "asha",
    "cluster.seats": 4,
}


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    experiment = override(small_experiment(tmp_path_factory.mktemp("finalists"), trials=5), SETTINGS)
    console, shown = quiet_console()
    return experiment, raykd.tune(experiment, console), shown.getvalue()


def test_start_points_are_trials_that_run_to_the_last_epoch(finished):
    _, result, shown = finished
    by_start = {trial.start: trial for trial in result.trials if trial.start is not None}
    assert list(by_start) == ["experiment", "kd", "teachers_bias"]
    assert all(trial.state == "finished" and trial.epochs == 4 for trial in by_start.values())
    assert by_start["kd"].values["objective.kd_weight"] == 0.9
    assert f"{by_start['kd'].name} (kd)" in shown
    assert re.search("^start +experiment, kd, teachers_bias *$", shown, re.MULTILINE)


def test_finalists_decide_who_is_the_best(finished):
    experiment, result, shown = finished
    rows = {row.name: row for row in result.finalists.rows}
    assert "plain" in rows and len(rows) in (2, 3)
    assert all(len(row.accuracies) == 2 for row in rows.values())
    assert result.best.name == result.finalists.winner.name
    kept = description(result.best_folder)
    assert kept["weights"] == description(experiment.folder / "trials" / result.best.name)["weights"]
    assert "further seeds" in shown and "The winner is" in shown


def test_finalists_learn_under_seeds_of_their_own_on_the_same_splits(finished):
    experiment, result, _ = finished
    models = {
        seed: description(experiment.folder / "students" / f"{result.best.name}-seed-{seed}") for seed in (1001, 1002)
    }
    assert {model["lesson"]["training"]["seed"] for model in models.values()} == {1001, 1002}
    assert {model["lesson"]["data"]["view_seed"] for model in models.values()} == {1001, 1002}
    assert {model["lesson"]["data"]["seed"] for model in models.values()} == {0}
    assert len({model["weights"] for model in models.values()}) == 2
    recorded = json.loads((experiment.folder / FINALISTS).read_text())
    assert load_study(experiment.folder).best.name == result.best.name
    assert recorded["seeds"] == 2


def test_finalists_are_runs_beside_the_trials(finished):
    _, result, _ = finished
    client = MlflowClient(result.place.uri)
    mine = client.get_experiment_by_name("small").experiment_id
    runs = client.search_runs([mine], "tags.`raykd.role` = 'finalist'")
    assert len(runs) == 2 * len(result.finalists.rows)
    starts = {run.data.tags["raykd.start"] for run in client.search_runs([mine], "tags.`raykd.start` != ''")}
    assert starts == {"experiment", "kd", "teachers_bias"}


def test_a_finished_study_is_only_shown(finished):
    experiment, result, _ = finished
    before = (experiment.folder / FINALISTS).read_bytes()
    console, shown = quiet_console()
    again = raykd.tune(override(experiment, {"study.resume": True}), console)
    assert again.best.name == result.best.name
    assert "The winner is" in shown.getvalue() and "finalists:" in shown.getvalue()
    assert "cluster " not in shown.getvalue()
    assert (experiment.folder / FINALISTS).read_bytes() == before


def test_a_study_killed_among_its_finalists_goes_on_with_those_that_are_missing(cluster, finished):
    experiment, result, _ = finished
    folder = experiment.folder
    students = folder / "students"
    kept = sorted(students.iterdir())
    lost = kept[-1]
    weights = description(lost)["weights"]
    for file in lost.iterdir():
        file.unlink()
    (folder / FINALISTS).unlink()
    before = {path.name: (path / "model.json").stat().st_mtime_ns for path in kept[:-1]}
    console, shown = quiet_console()
    again = raykd.tune(override(experiment, {"study.resume": True}), console)
    assert "1/1 students" in shown.getvalue()
    assert description(lost)["weights"] == weights
    assert {path.name: (path / "model.json").stat().st_mtime_ns for path in kept[:-1]} == before
    assert again.finalists == result.finalists
